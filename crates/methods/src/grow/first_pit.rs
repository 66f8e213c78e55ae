//! # Continuations up to the first pit
//!
//! Paper: PAV, arXiv 2410.08146, appendix D, first-pit coverage.
//! Idea: Of an attempt that failed, the places worth labelling are those up to the first from which
//! nothing succeeds any more, the pit: what follows it is lost already, and an attempt that
//! succeeded tells little that it does not tell itself.
//! Formula: from each boundary of a failed attempt in order `rollouts` lines to the end, c of them
//! right; go on while c > 0; the first boundary with c = 0 is the pit. Then `extra` lines from each
//! boundary up to the pit
//! Reads: the whole tree and its verdicts, round by round.
//! Differs: the search along an attempt is linear, as is safe where chances do not fall evenly (the
//! paper does not print its own). Attempts start at the prompt, whose own chance decides first, and
//! not at prefixes found to be good before.
//! Degenerate: an attempt that is right has no pit and gets no line; where nothing succeeds from
//! the prompt, that is the pit of all. Lines that could not be judged are no proof of a pit but end
//! the walk where none was judged. `leaves` ends all.
//! Control: `continuations` at the same number of sampled tokens.
//!
//! With `monte_carlo` a step after the pit is worth R − V(pit) = 0, and steps up to it the change
//! of the chance. Which values are known depends on how an attempt ended, so this credit is no
//! unbiased estimate, as that of `continuations` is. [`labels`] tells n and c for a verifier to
//! learn from.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use stepwell_tree::{Key, StepId, StepTree, children, leaves, path_to};

use super::{Open, Run, SearchView, continuations};

/// Attempts, and lines from where they could still be saved.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Attempts per task, n_cov, 1 to 65536. Default 4, ours.
    pub attempts: u32,
    /// Lines that decide whether a boundary is a pit, n_mc, 1 to 1024. Default 8, ours.
    pub rollouts: u32,
    /// Further lines from every boundary up to the pit, 0 to 1024. Default 0, ours.
    pub extra: u32,
    /// The reward from which on an attempt is right, -1e6 to 1e6. Default 1.
    pub right: f64,
    /// Most lines of a tree, 1 to 65536. Default 256, ours.
    pub leaves: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config { attempts: 4, rollouts: 8, extra: 0, right: 1.0, leaves: 256 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let counts = [
            ("attempts", self.attempts, 1, 65536),
            ("rollouts", self.rollouts, 1, 1024),
            ("extra", self.extra, 0, 1024),
            ("leaves", self.leaves, 1, 65536),
        ];
        for (name, count, least, most) in counts {
            if !(least..=most).contains(&count) {
                let key = format!("`first_pit.{name}`");
                return Some(format!("{key} must be from {least} to {most}, got: {count}"));
            }
        }
        let fine = (-1e6..=1e6).contains(&self.right);
        let why = || format!("`first_pit.right` must be from -1e6 to 1e6, got: {}", self.right);
        (!fine).then(why)
    }
}

/// What the lines from a boundary say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label {
    /// The boundary: the prompt or an observation.
    pub at: StepId,
    /// Judged lines.
    pub n: u32,
    /// Right ones among them.
    pub c: u32,
    /// True where some line of the first `rollouts` was judged and none was right.
    pub pit: bool,
}

/// Where lines start next. The key is not read: nothing here is drawn.
pub fn search(view: &SearchView<'_>, config: &Config, _key: Key) -> Vec<Open> {
    assert!(config.problem().is_none(), "{:?}", config.problem());
    let run = Run::ToTheEnd;
    if view.round == 0 {
        return vec![Open { at: StepId::ROOT, children: config.attempts, run }];
    }
    let lines = Lines::new(view.tree, config);
    let (known, next) = lines.walk(view.tree, config);
    let (places, wanted) = match next.is_empty() {
        false => (next, config.rollouts),
        true => (known, config.rollouts + config.extra),
    };
    let mut left = config.leaves.saturating_sub(lines.total());
    let mut opens = Vec::new();
    for at in places {
        let have = lines.from[at.index()].len() as u32;
        let children = wanted.saturating_sub(have).min(left);
        left -= children;
        if children > 0 {
            opens.push(Open { at, children, run });
        }
    }
    opens
}

/// What is known of every boundary up to the pits, in canonical order, of a tree that has ended;
/// nothing after a pit is among them.
pub fn labels(tree: &StepTree, config: &Config) -> Vec<Label> {
    let lines = Lines::new(tree, config);
    let (known, _) = lines.walk(tree, config);
    let of = |at: StepId| {
        let judged: Vec<bool> = lines.from[at.index()].iter().flatten().copied().collect();
        let (n, c) = (judged.len() as u32, judged.iter().filter(|right| **right).count() as u32);
        Label { at, n, c, pit: lines.is_pit(at, config) }
    };
    known.into_iter().map(of).collect()
}

/// `[N]` 1 on lines: as `continuations` marks them.
pub fn companions(tree: &StepTree, config: &Config) -> Vec<f32> {
    let attempts = config.attempts;
    continuations::companions(tree, &continuations::Config { attempts, ..Default::default() })
}

/// The lines from every boundary.
struct Lines {
    mark: Vec<f32>,
    /// `[N]` whether each was right, in order; `None` where it could not be judged.
    from: Vec<Vec<Option<bool>>>,
}

impl Lines {
    fn new(tree: &StepTree, config: &Config) -> Lines {
        let mark = companions(tree, config);
        let below = children(tree);
        let ends = |mut at: StepId| {
            while let Some(next) = below[at.index()].first() {
                at = *next;
            }
            tree.verdict[at.index()].reward().map(|reward| reward >= config.right)
        };
        let of = |(i, below): (usize, &Vec<StepId>)| {
            let lines = below.iter().filter(|step| mark[i] == 0.0 && mark[step.index()] != 0.0);
            lines.map(|step| ends(*step)).collect()
        };
        let from = below.iter().enumerate().map(of).collect();
        Lines { mark, from }
    }

    fn total(&self) -> u32 {
        self.from.iter().map(|lines| lines.len() as u32).sum()
    }

    /// What the deciding lines said, those that could be judged.
    fn deciding(&self, at: StepId, config: &Config) -> impl Iterator<Item = bool> {
        self.from[at.index()].iter().take(config.rollouts as usize).flatten().copied()
    }

    /// True where none of the deciding lines was right.
    fn is_lost(&self, at: StepId, config: &Config) -> bool {
        !self.deciding(at, config).any(|right| right)
    }

    /// True where one of them was judged besides.
    fn is_pit(&self, at: StepId, config: &Config) -> bool {
        self.is_lost(at, config) && self.deciding(at, config).next().is_some()
    }

    /// Along every failed attempt: the boundaries that have lines, and those that need some next.
    fn walk(&self, tree: &StepTree, config: &Config) -> (Vec<StepId>, Vec<StepId>) {
        let (mut known, mut next) = (BTreeSet::new(), BTreeSet::new());
        for leaf in leaves(tree).into_iter().filter(|leaf| self.mark[leaf.index()] == 0.0) {
            let failed = tree.verdict[leaf.index()].reward().is_some_and(|r| r < config.right);
            let path = path_to(tree, leaf);
            let boundary = |step: &&StepId| !tree.origin[step.index()].is_policy();
            for at in path.iter().filter(boundary).take_while(|_| failed) {
                if self.from[at.index()].is_empty() {
                    next.insert(*at);
                    break;
                }
                known.insert(*at);
                if self.is_lost(*at, config) {
                    break;
                }
            }
        }
        (known.into_iter().collect(), next.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::{Purpose, parse};

    const CONFIG: Config = Config { attempts: 2, rollouts: 2, extra: 0, right: 1.0, leaves: 100 };

    fn ask(tree: &str, config: &Config, round: u32) -> Vec<(u32, u32)> {
        let tree = parse(tree);
        let value = vec![None; tree.len()];
        let view = SearchView { tree: &tree, value: &value, round };
        let opens = search(&view, config, Key::new(0, Purpose::Grow));
        opens.iter().map(|open| (open.at.0, open.children)).collect()
    }

    /// The attempt a b c failed, d was right. Lines below are added round by round.
    const SEEDS: &str = "
        0 -  prompt q
        1 0  policy a
        2 1  environment o
        3 2  policy b
        4 3  environment p
        5 4  policy c        r=0
        6 0  policy d
        7 6  environment s
        8 7  policy e        r=1";

    #[test]
    fn a_worked_tree() {
        assert_eq!(ask("0 - prompt q", &CONFIG, 0), [(0, 2)]);
        assert_eq!(ask(SEEDS, &CONFIG, 1), [(0, 2)]);
        // Nothing succeeds from the prompt: that is the pit.
        let lost = format!("{SEEDS}\n9 0 policy x r=0\n10 0 policy y r=0");
        assert_eq!(ask(&lost, &CONFIG, 2), []);
        let pit = Label { at: StepId(0), n: 2, c: 0, pit: true };
        assert_eq!(labels(&parse(&lost), &CONFIG), [pit]);
        // Something does: on to o, the first observation of the attempt that failed.
        let saved = format!("{SEEDS}\n9 0 policy x r=0\n10 0 policy y r=1");
        assert_eq!(ask(&saved, &CONFIG, 2), [(2, 2)]);
        // Nothing from o: the pit. p comes after it and is never asked for.
        let found = format!("{saved}\n11 2 policy z r=0\n12 2 policy w r=0");
        assert_eq!(ask(&found, &CONFIG, 3), []);
        let first = Label { at: StepId(0), n: 2, c: 1, pit: false };
        let pit = Label { at: StepId(2), n: 2, c: 0, pit: true };
        assert_eq!(labels(&parse(&found), &CONFIG), [first, pit]);
        // Extra lines go to both, and a right one among them does not move the pit.
        let extra = Config { extra: 3, ..CONFIG };
        assert_eq!(ask(&found, &extra, 3), [(0, 3), (2, 3)]);
        assert_eq!(ask(&found, &Config { leaves: 8, ..extra }, 3), [(0, 3), (2, 1)]);
        let more = format!("{found}\n13 2 policy v r=1\n14 2 policy u r=0\n15 2 policy t r=0");
        assert_eq!(ask(&more, &extra, 4), [(0, 3)]);
        assert!(labels(&parse(&more), &extra)[1].pit);
    }

    #[test]
    fn every_prefix_before_the_pit_can_be_saved_and_a_right_attempt_has_no_pit() {
        let saved = "
            0 -  prompt q
            1 0  policy a
            2 1  environment o
            3 2  policy b        r=1
            4 2  policy m        r=1
            5 0  policy d        r=1
            6 0  policy x        r=1";
        assert!(labels(&parse(saved), &CONFIG).is_empty());
        // An attempt that could not be judged is no failed one, and such lines are no pit.
        let unjudged = SEEDS.replace("policy c        r=0", "policy c        unscored=x");
        assert_eq!(ask(&unjudged, &CONFIG, 1), []);
        let harness = format!("{SEEDS}\n9 0 policy x unscored=x\n10 0 policy y unscored=x");
        assert_eq!(ask(&harness, &CONFIG, 2), []);
        assert!(!labels(&parse(&harness), &CONFIG)[0].pit);
        // An extra line that was judged decides nothing: only the first two do.
        let late = format!("{harness}\n11 0 policy z r=0");
        let label = Label { at: StepId(0), n: 1, c: 0, pit: false };
        assert_eq!(labels(&parse(&late), &Config { extra: 1, ..CONFIG }), [label]);
    }

    #[test]
    fn refuses_what_decides_nothing() {
        assert_eq!(Config::default().problem(), None);
        let none = Config { rollouts: 0, ..CONFIG }.problem();
        assert_eq!(none.as_deref(), Some("`first_pit.rollouts` must be from 1 to 1024, got: 0"));
    }
}

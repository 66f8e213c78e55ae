//! # Beam search over steps
//!
//! Paper: PAV, arXiv 2410.08146, section 4 and appendix C.
//! Idea: Keep a few prefixes, sample a few next steps of each, and go on with those that a verifier
//! values most, where a step that makes progress for a prover counts beside what is likely to end
//! well.
//! Formula: from every kept prefix `candidates` steps; E(step) = Q(s') + α·(B(s') − B(s)), B(s) = 1
//! − (1 − Q(s))ᴷ; the `width` best across all go on
//! Reads: the scores Q of the prompt, of observations and of judged leaves, by a scorer.
//! Differs: the prover's value is computed from Q, its best of K, so that one scorer is asked; with
//! `provers = 1` it is Q. A finished attempt keeps its place in the beam, which is narrower from
//! then on. The answer is picked among the finished by Q alone, as in the paper, by whoever asks.
//! Degenerate: `alpha = 0` is a beam on Q. `width = 1` and `candidates = 1` is one attempt. What
//! has no score is kept after all that have one. Ties go to the first.
//! Control: best of N on the same scorer at the same number of sampled tokens, those of the
//! candidates that were dropped and of the scorer included.
//!
//! Prefixes that are dropped end unjudged (`abandoned`). Leaves are chosen by their score, so a
//! beam is for evaluation: as a sample to train on it would be biased.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Key, StepId, StepTree, children, path_to};

use super::{Open, Run, SearchView};
use crate::credit::progress::best_of;

/// A beam of prefixes.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// B, prefixes that go on, 1 to 1024. Default 4, ours.
    pub width: u32,
    /// C, steps sampled from each, 1 to 1024. Default 3, the paper's.
    pub candidates: u32,
    /// α, the factor of progress, 0 to 100. Default 0.5, the paper's for 2B and 9B.
    pub alpha: f64,
    /// K of the best-of-K prover, 1 to 1024. Default 4, the paper's.
    pub provers: u32,
    /// Most steps of an attempt, 1 to 1024; what is open then is dropped. Default 32, ours.
    pub steps: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config { width: 4, candidates: 3, alpha: 0.5, provers: 4, steps: 32 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let Config { width, candidates, alpha, provers, steps } = *self;
        let counts =
            [("width", width), ("candidates", candidates), ("provers", provers), ("steps", steps)];
        for (name, count) in counts {
            if !(1..=1024).contains(&count) {
                return Some(format!("`beam.{name}` must be from 1 to 1024, got: {count}"));
            }
        }
        let fine = (0.0..=100.0).contains(&alpha);
        (!fine).then(|| format!("`beam.alpha` must be from 0 to 100, got: {alpha}"))
    }
}

/// What to open next. The key is not read: nothing here is drawn.
pub fn search(view: &SearchView<'_>, config: &Config, _key: Key) -> Vec<Open> {
    assert!(config.problem().is_none(), "{:?}", config.problem());
    let run = Run::OneStep;
    if view.round == 0 {
        // As many as B prefixes would have had.
        return vec![Open { at: StepId::ROOT, children: lines_max(config), run }];
    }
    if view.round >= config.steps {
        return Vec::new();
    }
    let (beam, _) = kept(view, config);
    let open = |at: StepId| Open { at, children: config.candidates, run };
    beam.into_iter().map(open).collect()
}

/// Steps of a turn: as many lines as are ever sampled at once, and what there must be room for.
/// Leaves can be more, for every turn's dropped prefixes end there.
pub fn lines_max(config: &Config) -> u32 {
    config.width.saturating_mul(config.candidates).min(65536)
}

/// The observations that go on after this round, and the finished attempts that hold a place.
fn kept(view: &SearchView<'_>, config: &Config) -> (Vec<StepId>, Vec<StepId>) {
    let tree = view.tree;
    let below = children(tree);
    let mut finished = Vec::new();
    for turn in 1..=view.round as usize {
        let here = candidates(tree, &below, turn);
        let mut ranked: Vec<(f64, StepId)> =
            here.into_iter().map(|at| (effective(view, at, config), at)).collect();
        // A stable sort: ties stay in canonical order.
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        ranked.truncate((config.width as usize).saturating_sub(finished.len()));
        let (ends, open): (Vec<_>, Vec<_>) = ranked
            .into_iter()
            .map(|(_, at)| at)
            .partition(|at| tree.origin[at.index()].is_policy());
        finished.extend(ends);
        if turn == view.round as usize {
            let mut open = open;
            open.sort();
            return (open, finished);
        }
    }
    (Vec::new(), finished)
}

/// Where the steps of a turn led: an observation, or the end.
fn candidates(tree: &StepTree, below: &[Vec<StepId>], turn: usize) -> Vec<StepId> {
    let depth = |at: StepId| {
        let path = path_to(tree, at);
        path.iter().filter(|step| tree.origin[step.index()].is_policy()).count()
    };
    let ends = |i: usize| match tree.origin[i].is_policy() {
        true => below[i].is_empty() && tree.verdict[i].reward().is_some(),
        false => i > 0,
    };
    let all = (1..tree.len()).filter(|&i| ends(i)).map(|i| StepId(i as u32));
    all.filter(|at| depth(*at) == turn).collect()
}

/// Q and progress of the step that led here; −∞ where nothing could be scored.
fn effective(view: &SearchView<'_>, at: StepId, config: &Config) -> f64 {
    let Some(q) = view.value[at.index()] else { return f64::NEG_INFINITY };
    if config.alpha == 0.0 {
        return q;
    }
    let tree = view.tree;
    let step = if tree.origin[at.index()].is_policy() { at } else { tree.parent[at.index()] };
    let before = view.value[tree.parent[step.index()].index()];
    let prover = |q: f64| if config.provers == 1 { q } else { best_of(q, config.provers) };
    // A step from where nothing is known has no progress that could be measured.
    q + config.alpha * before.map_or(0.0, |before| prover(q) - prover(before))
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::{Purpose, parse};

    /// A beam of two, two candidates of each: the first turn has four steps, d ended.
    const TREE: &str = "
        0 -  prompt q
        1 0  policy a
        2 1  environment o
        3 0  policy b
        4 3  environment p
        5 0  policy c
        6 5  environment r
        7 0  policy d        r=1";

    const CONFIG: Config = Config { width: 2, candidates: 2, alpha: 0.0, provers: 1, steps: 9 };

    fn ask(tree: &StepTree, value: &[Option<f64>], config: &Config, round: u32) -> Vec<u32> {
        let view = SearchView { tree, value, round };
        let opens = search(&view, config, Key::new(0, Purpose::Grow));
        assert!(opens.iter().all(|open| open.run == Run::OneStep && open.children == 2));
        opens.iter().map(|open| open.at.0).collect()
    }

    fn values(of: [f64; 5]) -> Vec<Option<f64>> {
        let [q, o, p, r, d] = of.map(Some);
        vec![q, None, o, None, p, None, r, d]
    }

    #[test]
    fn a_worked_tree() {
        let start = SearchView { tree: &parse("0 - prompt q"), value: &[Some(0.5)], round: 0 };
        let opens = search(&start, &CONFIG, Key::new(0, Purpose::Grow));
        assert_eq!(opens, [Open { at: StepId::ROOT, children: 4, run: Run::OneStep }]);
        let tree = parse(TREE);
        assert_eq!(ask(&tree, &values([0.5, 0.1, 0.6, 0.7, 0.2]), &CONFIG, 1), [4, 6]);
        // The finished d takes a place, and one is left.
        assert_eq!(ask(&tree, &values([0.5, 0.1, 0.6, 0.7, 0.9]), &CONFIG, 1), [6]);
        // Ties go to the first; what has no score comes last.
        assert_eq!(ask(&tree, &values([0.5; 5]), &CONFIG, 1), [2, 4]);
        let mut some = values([0.5, 0.1, 0.6, 0.7, 0.0]);
        (some[4], some[6]) = (None, None);
        assert_eq!(ask(&tree, &some, &CONFIG, 1), [2]);
        assert_eq!(ask(&tree, &some, &Config { steps: 1, ..CONFIG }, 1), [0u32; 0]);
    }

    /// From p and r, kept in the first turn, two steps each.
    const SECOND: &str = "
        0 -  prompt q
        1 0  policy a
        2 1  environment o
        3 0  policy b
        4 3  environment p
        5 4  policy e
        6 5  environment s
        7 4  policy f
        8 7  environment t
        9 0  policy c
        10 9  environment r
        11 10 policy g
        12 11 environment u
        13 10 policy h        r=0";

    #[test]
    fn progress_prefers_the_step_that_rose_most() {
        // Q: p 0.6, r 0.2; s 0.7, t 0.1, u 0.6, h 0.65. By Q: s and h, which has ended, so s goes
        // on. With α = 1 and one prover: s 0.8, u 1.0, h 1.1: u goes on instead.
        let tree = parse(SECOND);
        let mut value = vec![None; 14];
        for (at, q) in
            [(0, 0.3), (2, 0.0), (4, 0.6), (6, 0.7), (8, 0.1), (10, 0.2), (12, 0.6), (13, 0.65)]
        {
            value[at] = Some(q);
        }
        assert_eq!(ask(&tree, &value, &CONFIG, 2), [6]);
        let progress = Config { alpha: 1.0, ..CONFIG };
        assert_eq!(ask(&tree, &value, &progress, 2), [12]);
        // Best of two: B = 1 − (1 − Q)²: s 0.91 − 0.84, u 0.84 − 0.36, h 0.8775 − 0.36.
        let view = SearchView { tree: &tree, value: &value, round: 2 };
        let two = Config { alpha: 1.0, provers: 2, ..CONFIG };
        let got = [6, 12, 13].map(|at| effective(&view, StepId(at), &two));
        let expected = [0.7 + 0.07, 0.6 + 0.48, 0.65 + 0.5175];
        assert!(got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 1e-12), "{got:?}");
    }

    #[test]
    fn shifting_every_score_changes_nothing() {
        let tree = parse(SECOND);
        for seed in 0..200u64 {
            let key = Key::new(seed, Purpose::Control);
            let value: Vec<Option<f64>> =
                (0..14).map(|i| Some((key.with(i).uniform() * 64.0).floor() / 64.0)).collect();
            let shifted: Vec<Option<f64>> = value.iter().map(|v| v.map(|v| v + 3.0)).collect();
            for alpha in [0.0, 0.5] {
                let config = Config { alpha, ..CONFIG };
                let (a, b) = (ask(&tree, &value, &config, 2), ask(&tree, &shifted, &config, 2));
                assert_eq!(a, b, "seed {seed}, alpha {alpha}");
            }
            // Without progress the prover is not read.
            let many = Config { provers: 9, ..CONFIG };
            assert_eq!(ask(&tree, &value, &many, 2), ask(&tree, &value, &CONFIG, 2));
        }
    }

    #[test]
    fn refuses_an_empty_beam() {
        assert_eq!(Config::default().problem(), None);
        let none = Config { width: 0, ..CONFIG }.problem();
        assert_eq!(none.as_deref(), Some("`beam.width` must be from 1 to 1024, got: 0"));
        assert!(Config { alpha: f64::NAN, ..CONFIG }.problem().is_some());
    }
}

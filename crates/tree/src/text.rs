//! Trees as text: golden tables for tests, drawings for people.

use std::fmt::Write as _;

use crate::{
    Credit, NewStep, Origin, PolicyVersion, StepId, StepTree, Stop, TaskHash, UnscoredReason,
    Verdict, children,
};

/// Reads a tree from a table, one step a line: `id parent origin token ... [r=REWARD]`, with
/// parts as `part:NAME=NUMBER`, or `unscored=LABEL` in place of the reward. A token is any word;
/// its id is the code of its first character. Sampled tokens get log-probability -1.
///
/// Panics on a malformed table: it is written by hand, in tests and examples.
pub fn parse(table: &str) -> StepTree {
    let mut tree = StepTree::new(TaskHash([0; 32]), &[]);
    let mut born = std::collections::BTreeMap::<StepId, u32>::new();
    for (row, line) in table.lines().filter(|line| !line.trim().is_empty()).enumerate() {
        let mut word = line.split_whitespace();
        let mut next = || word.next().unwrap_or_else(|| panic!("line too short: `{line}`"));
        assert_eq!(next(), row.to_string(), "ids count from 0: `{line}`");
        let parent = next();
        let origin = match next() {
            "prompt" => Origin::Prompt,
            "policy" => Origin::Policy(PolicyVersion(0)),
            "environment" => Origin::Environment,
            "demonstration" => Origin::Demonstration,
            other => panic!("unknown origin `{other}`: `{line}`"),
        };
        let (marks, tokens): (Vec<&str>, Vec<&str>) = word.partition(|w| w.contains('='));
        let token: Vec<u32> =
            tokens.iter().filter_map(|w| w.chars().next()).map(u32::from).collect();
        if origin == Origin::Prompt {
            assert!(row == 0 && parent == "-", "the prompt is the root: `{line}`");
            tree = StepTree::new(TaskHash([0; 32]), &token);
            continue;
        }
        let parent = StepId(parent.parse().expect("a parent is a number"));
        let index = born.entry(parent).or_default();
        let logprob = vec![-1.0; if origin.is_policy() { token.len() } else { 0 }];
        let stop = if origin.is_policy() { Stop::StopString } else { Stop::NotSampled };
        let child_index = *index;
        *index += 1;
        let step = tree.push(NewStep {
            parent,
            child_index,
            origin,
            stop,
            token: &token,
            logprob: &logprob,
        });
        tree.verdict[step.index()] = parse_verdict(&marks);
    }
    tree
}

fn parse_verdict(marks: &[&str]) -> Verdict {
    let mut verdict = Verdict::Pending;
    for mark in marks {
        let (name, value) = mark.split_once('=').expect("marks were chosen by their `=`");
        match (name, &mut verdict) {
            ("unscored", _) => verdict = Verdict::Unscored(UnscoredReason::Interrupted),
            ("r", _) => verdict = Verdict::scored(value.parse().expect("a reward is a number")),
            (part, Verdict::Scored { parts, .. }) => {
                let part = part.strip_prefix("part:").expect("`part:NAME=NUMBER` after `r=`");
                parts.insert(part.to_owned(), value.parse().expect("a part is a number"));
            }
            (other, _) => panic!("unknown mark `{other}`"),
        }
    }
    verdict
}

/// Draws a tree for a terminal: a line per step with verdict and credit. `label` gives the text of
/// a step; control characters are the caller's to remove.
pub fn draw(
    tree: &StepTree,
    credit: Option<&Credit>,
    mut label: impl FnMut(StepId) -> String,
) -> String {
    let below = children(tree);
    let mut out = String::new();
    // Each entry: step, the lines drawn to its left, and whether it is its parent's last child.
    let mut open = vec![(StepId::ROOT, String::new(), true)];
    while let Some((step, left, last)) = open.pop() {
        let i = step.index();
        let branch = match (i, last) {
            (0, _) => "",
            (_, true) => "└─ ",
            (_, false) => "├─ ",
        };
        let verdict = match &tree.verdict[i] {
            Verdict::Pending => String::new(),
            Verdict::Scored { reward, .. } => format!("  r={reward}"),
            Verdict::Unscored(reason) => format!("  unscored({})", reason.label()),
        };
        let worth = match credit.and_then(|c| c.step.get(i).copied().flatten()) {
            Some(c) => format!("  credit={c:+.3}"),
            None => String::new(),
        };
        let _ = writeln!(out, "{left}{branch}{}{verdict}{worth}", label(step));
        let indent = match (i, last) {
            (0, _) => String::new(),
            (_, true) => format!("{left}   "),
            (_, false) => format!("{left}│  "),
        };
        for (k, child) in below[i].iter().enumerate().rev() {
            open.push((*child, indent.clone(), k + 1 == below[i].len()));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_drawn_with_verdicts_and_credit() {
        let tree = parse(
            "0 -  prompt q
             1 0  policy a
             2 0  policy d    unscored=interrupted
             3 1  policy b    r=1
             4 1  policy c    r=0",
        );
        let mut credit = Credit::none(5);
        credit.step[3] = Some(0.5);
        let drawing = draw(&tree, Some(&credit), |s| {
            tree.tokens(s).iter().filter_map(|t| char::from_u32(*t)).collect()
        });
        let expected = "\
q
├─ a
│  ├─ b  r=1  credit=+0.500
│  └─ c  r=0
└─ d  unscored(interrupted)
";
        assert_eq!(drawing, expected);
    }
}

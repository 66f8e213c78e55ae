//! Rewards and development accuracies at equal updates and at equal sampled tokens.

use stepwell_store::{Kind, RunReader};

use super::Side;
use crate::table::{Align, grouped, table};

/// Rows of a table.
const PARTS: usize = 8;

/// What a run did while it sampled.
#[derive(Debug, Default)]
pub(super) struct Curve {
    /// Per update that sampled: tokens sampled up to its end, and the mean reward.
    update: Vec<(f64, f64)>,
    /// Updates and tokens before a look at the development split, and the accuracy.
    look: Vec<(usize, f64, f64)>,
}

/// Along what two runs are laid side by side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Axis {
    Updates,
    Tokens,
}

impl Curve {
    pub(super) fn read(reader: &RunReader) -> anyhow::Result<Curve> {
        let mut curve = Curve::default();
        let mut tokens = 0.0;
        for commit in reader.commits()? {
            if !matches!(commit.key.kind, Kind::Updated | Kind::Evaluated) {
                continue;
            }
            let metrics = reader.metrics(commit.head.number)?;
            match commit.key.kind {
                Kind::Updated => {
                    tokens += metrics.get("sampled_tokens").unwrap_or(&0.0);
                    curve.update.extend(metrics.get("reward").map(|reward| (tokens, *reward)));
                }
                _ if commit.key.name == "development" && !curve.update.is_empty() => {
                    let accuracy = metrics.get("accuracy").copied();
                    curve.look.extend(accuracy.map(|a| (curve.update.len(), tokens, a)));
                }
                _ => {}
            }
        }
        Ok(curve)
    }

    fn end(&self, axis: Axis) -> f64 {
        match axis {
            Axis::Updates => self.update.len() as f64,
            Axis::Tokens => self.update.last().map_or(0.0, |(tokens, _)| *tokens),
        }
    }

    /// The mean reward of the updates that ended in `(from, to]`.
    fn reward(&self, axis: Axis, from: f64, to: f64) -> Option<f64> {
        let place = |at: usize| match axis {
            Axis::Updates => (at + 1) as f64,
            Axis::Tokens => self.update[at].0,
        };
        let inside = (0..self.update.len()).filter(|at| place(*at) > from && place(*at) <= to);
        let rewards: Vec<f64> = inside.map(|at| self.update[at].1).collect();
        (!rewards.is_empty()).then(|| rewards.iter().sum::<f64>() / rewards.len() as f64)
    }

    /// The newest accuracy by then.
    fn accuracy(&self, axis: Axis, to: f64) -> Option<f64> {
        let by_then = |(updates, tokens, _): &&(usize, f64, f64)| match axis {
            Axis::Updates => *updates as f64 <= to,
            Axis::Tokens => *tokens <= to,
        };
        self.look.iter().take_while(by_then).last().map(|(_, _, accuracy)| *accuracy)
    }
}

/// Two tables; a sentence where a run has no rewards.
pub(super) fn tell(sides: &[Side]) -> String {
    if let Some(side) = sides.iter().find(|side| side.curve.update.is_empty()) {
        return format!("curves: {} has no update with rewards\n", side.name);
    }
    let curves: Vec<(&str, &Curve)> =
        sides.iter().map(|side| (side.name.as_str(), &side.curve)).collect();
    [("updates", Axis::Updates), ("sampled tokens", Axis::Tokens)]
        .map(|(name, axis)| beside(&curves, name, axis))
        .join("\n")
}

/// Rows over the range that all of them have.
fn beside(curves: &[(&str, &Curve)], name: &str, axis: Axis) -> String {
    let end = curves.iter().map(|(_, curve)| curve.end(axis)).fold(f64::INFINITY, f64::min);
    let updates = curves.iter().map(|(_, curve)| curve.update.len()).min();
    let parts = PARTS.min(updates.unwrap_or(1)).max(1);
    let border = |part: usize| (end * part as f64 / parts as f64).round();
    let first = format!("up to {name}");
    let mut head = vec![(first, Align::Right)];
    head.extend(curves.iter().map(|(name, _)| (format!("reward {name}"), Align::Right)));
    head.extend(curves.iter().map(|(name, _)| (format!("accuracy {name}"), Align::Right)));
    let head: Vec<(&str, Align)> =
        head.iter().map(|(text, align)| (text.as_str(), *align)).collect();
    let shown = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.3}"));
    let rows: Vec<Vec<String>> = (1..=parts)
        .map(|part| {
            let (from, to) = (border(part - 1), border(part));
            let mut row = vec![grouped(to as u64)];
            row.extend(curves.iter().map(|(_, curve)| shown(curve.reward(axis, from, to))));
            row.extend(curves.iter().map(|(_, curve)| shown(curve.accuracy(axis, to))));
            row
        })
        .collect();
    table(&head, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_lie_side_by_side_over_the_range_that_both_have() {
        // Four updates of 10 tokens, and two of 30.
        let a = Curve {
            update: vec![(10.0, 0.0), (20.0, 0.2), (30.0, 0.4), (40.0, 0.6)],
            look: vec![(2, 20.0, 0.5), (4, 40.0, 0.75)],
        };
        let b = Curve { update: vec![(30.0, 0.5), (60.0, 1.0)], look: vec![(1, 30.0, 0.25)] };
        let curves = [("a", &a), ("b", &b)];
        let expected = "\
up to updates  reward a  reward b  accuracy a  accuracy b
            1     0.000     0.500                   0.250
            2     0.200     1.000       0.500       0.250
";
        assert_eq!(beside(&curves, "updates", Axis::Updates), expected);
        let tokens = beside(&curves, "sampled tokens", Axis::Tokens);
        let rows: Vec<Vec<&str>> =
            tokens.lines().map(|line| line.split_whitespace().collect()).collect();
        // The shorter run has two updates, so the 40 tokens are told in two parts.
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[1], ["20", "0.100", "0.500"]);
        assert_eq!(rows[2], ["40", "0.500", "0.500", "0.750", "0.250"]);
    }
}

//! Objectives over ratios of sequences, on random branched trees: their gradients against central
//! differences in f64 of losses written out here, path by path.

use stepwell_methods::objective::{Level, Part, RowSequence, Unit, gmpo, gspo, sequences};
use stepwell_methods::{Aggregation, Batch, Loss, Objective, token_weights};
use stepwell_tree::{Credit, Key, Purpose, StepTree, parse};

const TREE: &str = "
    0 -  prompt q q
    1 0  policy a a a
    2 0  policy b b
    3 2  environment o o
    4 3  policy c c c c   r=0
    5 3  policy d         r=1
    6 1  environment o
    7 6  policy e e       r=1
    8 6  policy f         r=0
    9 6  policy g g       unscored=x
    10 0 policy h h       r=1";

const AGGREGATIONS: [Aggregation; 3] = [
    Aggregation::TokenMean,
    Aggregation::SequenceMeanTokenMean,
    Aggregation::SequenceMeanTokenSumNorm { length_constant: Some(5) },
];

/// A tree, its credit, and for each row its token in the arena, its step, log-probs and credit.
struct Example {
    tree: StepTree,
    credit: Credit,
    step: Vec<usize>,
    arena: Vec<usize>,
    logprob: Vec<f64>,
    behaviour: Vec<f64>,
}

impl Example {
    /// Drifts up to `wide` on either side; all numbers have 12 binary places.
    fn new(seed: u64, wide: f64, one_credit: bool) -> Example {
        let tree = parse(TREE);
        let key = Key::new(seed, Purpose::Sample);
        let mut credit = Credit::none(tree.len());
        for i in [1, 2, 4, 5, 7, 8, 10] {
            let drawn = [-1.5, -0.5, 0.0, 0.75, 1.25][key.with(i as u64).below(5)];
            credit.step[i] = Some(if one_credit { 0.75 } else { drawn });
        }
        let mut example = Example {
            credit,
            step: Vec::new(),
            arena: Vec::new(),
            logprob: Vec::new(),
            behaviour: Vec::new(),
            tree,
        };
        for i in (0..example.tree.len()).filter(|&i| example.credit.step[i].is_some()) {
            for arena in example.tree.span[i].range() {
                let key = key.with(100 + arena as u64);
                let round = |x: f64| (x * 4096.0).round() / 4096.0;
                let behaviour = round(-1.0 - key.with(0).uniform());
                example.step.push(i);
                example.arena.push(arena);
                example.behaviour.push(behaviour);
                example.logprob.push(round(behaviour + wide * (2.0 * key.with(1).uniform() - 1.0)));
            }
        }
        example
    }

    fn rows(&self, step: usize) -> std::ops::Range<usize> {
        let begin = self.step.iter().position(|s| *s == step).unwrap();
        begin..begin + self.step.iter().filter(|s| **s == step).count()
    }

    fn loss(&self, objective: &Objective, logprob: &[f64]) -> Loss {
        let narrow = |x: &[f64]| x.iter().map(|x| *x as f32).collect::<Vec<f32>>();
        let forest = std::slice::from_ref(&self.tree);
        let credit = std::slice::from_ref(&self.credit);
        let weight = &token_weights(forest, credit, objective.aggregation(), 9)[0];
        let unit = objective.sequence().unwrap();
        let sequence: Vec<RowSequence> =
            sequences(&self.tree, &self.credit, objective.aggregation(), unit)
                .into_iter()
                .map(|sequence| {
                    let row = |part: Part<stepwell_tree::StepId>| Part {
                        of: self.rows(part.of.index()),
                        share: part.share,
                    };
                    sequence.into_iter().map(row).collect()
                })
                .collect();
        let own: Vec<f64> = self.step.iter().map(|s| self.credit.step[*s].unwrap()).collect();
        objective.objective(&Batch {
            logprob: &narrow(logprob),
            behaviour: &narrow(&self.behaviour),
            credit: &narrow(&own),
            weight: &self.arena.iter().map(|t| weight[*t]).collect::<Vec<f64>>(),
            sequence: &sequence,
            ..Batch::default()
        })
    }

    /// Every path or step with the weight that each of its tokens has in it: from the flat
    /// formulas, by walking the tree here.
    fn weighed(&self, aggregation: Aggregation, unit: Unit) -> Vec<Vec<(usize, f64)>> {
        let total = self.step.len() as f64;
        let paths: [(&[usize], f64); 5] = [
            (&[1, 7], 1.0 / 6.0),
            (&[1, 8], 1.0 / 6.0),
            (&[2, 4], 1.0 / 6.0),
            (&[2, 5], 1.0 / 6.0),
            (&[10], 1.0 / 3.0),
        ];
        let share = |step: usize| if [1, 2, 10].contains(&step) { 1.0 / 3.0 } else { 1.0 / 6.0 };
        let of = |(steps, path): &(&[usize], f64)| {
            let rows: Vec<usize> = steps.iter().flat_map(|s| self.rows(*s)).collect();
            let length = rows.len() as f64;
            let weight = |row: &usize| match aggregation {
                Aggregation::TokenMean => path / share(self.step[*row]) / total,
                Aggregation::SequenceMeanTokenMean => path / length,
                Aggregation::SequenceMeanTokenSumNorm { .. } => path / 5.0,
            };
            rows.iter().map(|row| (*row, weight(row))).collect::<Vec<_>>()
        };
        let paths: Vec<Vec<(usize, f64)>> = paths.iter().map(of).collect();
        if unit == Unit::Path {
            return paths;
        }
        // A step alone, with the sum of what its paths give each token.
        let mut whole = vec![0.0; self.step.len()];
        paths.iter().flatten().for_each(|(row, w)| whole[*row] += w);
        let steps = [1, 2, 4, 5, 7, 8, 10];
        steps.map(|s| self.rows(s).map(|row| (row, whole[row])).collect()).to_vec()
    }

    fn credit_of(&self, row: usize) -> f64 {
        self.credit.step[self.step[row]].unwrap()
    }
}

fn gspo(level: Level, sequence: Unit, aggregation: Aggregation) -> gspo::Config {
    gspo::Config {
        clip_low: 0.05,
        clip_high: 0.07,
        level,
        sequence,
        aggregation,
        ..Default::default()
    }
}

fn gmpo(level: Level, sequence: Unit, aggregation: Aggregation) -> gmpo::Config {
    gmpo::Config {
        clip_low: 0.2,
        clip_high: 0.3,
        level,
        sequence,
        aggregation,
        ..Default::default()
    }
}

/// One of the two losses, written out; with `level = "token"` each token's own log-prob moves its
/// own term and the rest of the ratio stands still at `base`.
fn written_out(example: &Example, objective: &Objective, base: &[f64], logprob: &[f64]) -> f64 {
    let (level, unit) = match objective {
        Objective::Gspo(c) => (c.level, c.sequence),
        Objective::Gmpo(c) => (c.level, c.sequence),
        other => panic!("`{}` does not look at sequences", other.name()),
    };
    let mut value = 0.0;
    for sequence in example.weighed(objective.aggregation(), unit) {
        let count = sequence.len() as f64;
        let drift = |row: usize, at: &[f64]| {
            let d = at[row] - example.behaviour[row];
            match objective {
                Objective::Gmpo(c) => match example.credit_of(row) {
                    a if a > 0.0 => d.min(c.clip_high),
                    a if a < 0.0 => d.max(-c.clip_low),
                    _ => 0.0,
                },
                _ => d,
            }
        };
        let mean = |at: &[f64]| sequence.iter().map(|(r, _)| drift(*r, at)).sum::<f64>() / count;
        for (row, weight) in &sequence {
            let ratio = match level {
                Level::Sequence => mean(logprob).exp(),
                Level::Token => (mean(base) + drift(*row, logprob) - drift(*row, base)).exp(),
            };
            let credit = example.credit_of(*row);
            value += weight
                * match objective {
                    Objective::Gspo(c) => {
                        let held = ratio.clamp(1.0 - c.clip_low, 1.0 + c.clip_high);
                        f64::max(-credit * ratio, -credit * held)
                    }
                    _ => -credit * ratio,
                };
        }
    }
    value
}

fn all() -> Vec<Objective> {
    let mut all = Vec::new();
    for aggregation in AGGREGATIONS {
        for unit in [Unit::Path, Unit::Step] {
            for level in [Level::Token, Level::Sequence] {
                all.push(Objective::Gspo(gspo(level, unit, aggregation)));
                all.push(Objective::Gmpo(gmpo(level, unit, aggregation)));
            }
        }
    }
    all
}

#[test]
fn value_and_gradient_are_those_of_the_paths_written_out() {
    let h = 1.0 / 65_536.0;
    let mut clipped = 0;
    for objective in all() {
        for seed in 0..6 {
            let example = Example::new(seed, 0.6, false);
            let base = &example.logprob;
            let loss = example.loss(&objective, base);
            clipped += loss.diagnostics.clipped_low + loss.diagnostics.clipped_high;
            let value = written_out(&example, &objective, base, base);
            assert!((loss.value - value).abs() < 1e-7, "{objective:?}: {} {value}", loss.value);
            for row in 0..base.len() {
                let shifted = |by: f64| {
                    let mut moved = base.clone();
                    moved[row] += by;
                    written_out(&example, &objective, base, &moved)
                };
                let expected = (shifted(h) - shifted(-h)) / (2.0 * h);
                let got = f64::from(loss.d_logprob[row]);
                assert!((got - expected).abs() < 1e-7, "{objective:?} {row}: {got} {expected}");
            }
        }
    }
    assert!(clipped > 500, "clips hardly bind: {clipped}");
}

#[test]
fn where_a_sequence_has_one_credit_both_levels_are_the_same() {
    // Weights are equal within a sequence too, by steps or where sequences weigh the same.
    for (unit, aggregation) in [
        (Unit::Step, Aggregation::TokenMean),
        (Unit::Step, Aggregation::SequenceMeanTokenMean),
        (Unit::Path, Aggregation::SequenceMeanTokenMean),
    ] {
        let example = Example::new(3, 0.05, true);
        let of = |level| {
            let objective = Objective::Gspo(gspo(level, unit, aggregation));
            example.loss(&objective, &example.logprob)
        };
        let (token, sequence) = (of(Level::Token), of(Level::Sequence));
        assert!((token.value - sequence.value).abs() < 1e-12);
        for (a, b) in token.d_logprob.iter().zip(&sequence.d_logprob) {
            assert!((a - b).abs() < 1e-8, "{unit:?} {aggregation:?}: {a} {b}");
        }
    }
}

#[test]
fn on_the_policy_that_sampled_the_gradient_is_the_policy_gradient() {
    for objective in all() {
        let example = Example::new(1, 0.6, false);
        let loss = example.loss(&objective, &example.behaviour);
        let seen = loss.diagnostics;
        assert_eq!((seen.clipped_low, seen.clipped_high, seen.ratio_max), (0, 0, 1.0));
        let forest = std::slice::from_ref(&example.tree);
        let credit = std::slice::from_ref(&example.credit);
        let weight = &token_weights(forest, credit, objective.aggregation(), 9)[0];
        let token = match &objective {
            Objective::Gspo(c) => c.level == Level::Token,
            Objective::Gmpo(c) => c.level == Level::Token,
            other => panic!("`{}` does not look at sequences", other.name()),
        };
        let rows = (0..example.step.len()).filter(|_| token);
        for row in rows {
            let expected = -weight[example.arena[row]] * example.credit_of(row);
            let got = f64::from(loss.d_logprob[row]);
            assert!((got - expected).abs() < 1e-8, "{objective:?} {row}: {got} {expected}");
        }
    }
}

#[test]
#[should_panic(expected = "its shares add up to")]
fn a_row_outside_every_sequence_is_a_bug() {
    let objective = Objective::Gspo(gspo::Config::default());
    objective.objective(&Batch {
        logprob: &[-1.0],
        behaviour: &[-1.0],
        credit: &[1.0],
        weight: &[1.0],
        ..Batch::default()
    });
}

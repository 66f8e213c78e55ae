//! Training in `bf16` is what [`Precision::Bf16`] says and nothing else: products read rounded
//! weights, inputs and gradients, and everything between them is not rounded. The answer comes
//! from the slow `f64` transformer with the same rounding points.

mod support;

use stepwell_model::{Config, Family, Gradients, Model, Precision, Scored, Workspace};
use support::{
    Forest, config, model, sample_forest,
    tape::{Answer, Rounding, differentiate},
    unit,
};

/// How far the engine is from an answer.
#[derive(Clone, Copy, Debug)]
struct Distance {
    /// |difference| of a log-probability or entropy: mean and largest.
    score_mean: f64,
    score_most: f64,
    /// Of one parameter, the Euclidean norm of the difference of gradients over that of the
    /// gradient: mean and largest over the parameters.
    gradient_mean: f64,
    gradient_most: f64,
}

impl Distance {
    fn within(&self, bound: &Distance) -> bool {
        self.score_mean < bound.score_mean
            && self.score_most < bound.score_most
            && self.gradient_mean < bound.gradient_mean
            && self.gradient_most < bound.gradient_most
    }
}

/// Rounding to `f32` alone; measured 1.7e-7, 7.7e-7, 6.2e-7 and 1.3e-6.
const F32: Distance =
    Distance { score_mean: 5e-7, score_most: 2e-6, gradient_mean: 2e-6, gradient_most: 4e-6 };

/// With `bf16`; measured 6.9e-6, 3.2e-4, 1.2e-3 and 2.8e-3, where in most cases the scores are as
/// near as in `f32`. What is left are the few numbers that lie so near the middle of two `bf16`
/// that `f32` and `f64` round them to different sides, and what follows from these; the largest is
/// a bias of keys, whose gradient is a sum that nearly cancels.
const BF16: Distance =
    Distance { score_mean: 2e-5, score_most: 1e-3, gradient_mean: 2e-3, gradient_most: 5e-3 };

struct Case {
    model: Model,
    forest: Forest,
    temperature: f32,
}

impl Case {
    fn new(config: Config, temperature: f32, precision: Precision) -> Self {
        let mut model = model(config, 5);
        model.set_precision(precision);
        Self { model, forest: sample_forest(75), temperature }
    }

    fn distance(&self, rounding: Rounding) -> Distance {
        let (row, target) = self.forest.predictions();
        let scored = Scored { row: &row, target: &target, temperature: self.temperature };
        let draw = |stream, index: usize| (unit(stream, index as u64) * 2.0 - 1.0) as f32;
        let d_logprob: Vec<f32> = (0..row.len()).map(|index| draw(1, index)).collect();
        let d_entropy: Vec<f32> = (0..row.len()).map(|index| 0.3 * draw(2, index)).collect();
        let seeds = (&d_logprob[..], &d_entropy[..]);
        let answer = differentiate(&self.model, &self.forest, &scored, seeds, rounding);
        let mut gradients = Gradients::zeros_like(&self.model);
        let mut workspace = Workspace::new(2);
        let packed = self.forest.packed();
        let scores = workspace.forward(&self.model, &packed, &scored);
        workspace.backward(&self.model, &packed, &scored, seeds.0, seeds.1, &mut gradients);
        let Answer { scores: expected, gradients: exact } = answer;
        let errors = scores.logprob.iter().zip(&scores.entropy).zip(expected).flat_map(
            |((logprob, entropy), expected)| {
                let error = |got: &f32, expected: f64| (f64::from(*got) - expected).abs();
                [error(logprob, expected.0), error(entropy, expected.1)]
            },
        );
        let errors: Vec<f64> = errors.collect();
        let far = |(name, exact): (&String, &Vec<f64>)| {
            let square = |x: f64| x * x;
            let own = gradients.to_row_major(name).unwrap();
            assert_eq!(own.len(), exact.len(), "{name}");
            let size: f64 = exact.iter().copied().map(square).sum();
            assert!(size > 0.0, "{name} has no gradient");
            let pairs = own.iter().zip(exact);
            let error: f64 = pairs.map(|(own, exact)| square(f64::from(*own) - exact)).sum();
            (error / size).sqrt()
        };
        let far: Vec<f64> = exact.iter().map(far).collect();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
        Distance {
            score_mean: mean(&errors),
            score_most: most(&errors),
            gradient_mean: mean(&far),
            gradient_most: most(&far),
        }
    }
}

/// One shape of each family with a temperature; odd widths end chains in half a pair.
fn shapes() -> [(Config, f32); 3] {
    let untied = Config { tied: false, ffn: 53, ..config(Family::Qwen2) };
    let odd = Config { head_dim: 34, kv_heads: 1, heads: 2, hidden: 39, ..config(Family::Qwen3) };
    [(config(Family::Llama), 1.0), (untied, 0.7), (odd, 1.3)]
}

#[test]
fn in_f32_every_gradient_is_that_of_the_tape() {
    for (shape, temperature) in shapes() {
        let case = Case::new(shape, temperature, Precision::F32);
        let distance = case.distance(Rounding::NONE);
        assert!(distance.within(&F32), "{:?}: {distance:?}", case.model.config().family);
    }
}

/// A reference that rounds at one place too few, too many or the wrong way is told from the right
/// one: the bound would catch an engine that did.
#[test]
fn in_bf16_scores_and_gradients_are_those_of_the_stated_rounding_and_of_no_other() {
    let right = Rounding::BF16;
    let wrong = [
        Rounding::NONE,
        Rounding { weights: false, ..right },
        Rounding { embedding: false, ..right },
        Rounding { inputs: false, ..right },
        Rounding { attended: false, ..right },
        Rounding { gradients: false, ..right },
        Rounding { queries: true, ..right },
        Rounding { truncates: true, ..right },
        Rounding { drops: true, ..right },
    ];
    for (shape, temperature) in shapes() {
        let case = Case::new(shape, temperature, Precision::Bf16);
        let family = case.model.config().family;
        let distance = case.distance(right);
        assert!(distance.within(&BF16), "{family:?}: {distance:?}");
        for rounding in wrong {
            let distance = case.distance(rounding);
            assert!(!distance.within(&BF16), "{family:?}, {rounding:?}: {distance:?}");
        }
    }
}

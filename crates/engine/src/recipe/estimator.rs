//! The `estimator` stage: a learner beside the policy that says a number at the ends of steps, and
//! what later stages must ask of it.

use stepwell_methods::estimator::{SCORE, prefix_value};
use stepwell_methods::{EstimatorConfig, Grow, RewardConfig};

use super::combine::Place;
use super::compute::Device;
use super::macros::{choices, settings};
use super::methods::default_grow;
use super::optimizer::Optimizer;
use super::preference::PairFile;
use super::setting::Limit;
use super::stage::Stage;

choices! {
    /// What learns beside the head.
    pub enum EstimatorTrunk {
        /// A copy of the policy, made when the stage begins, which trains with the head.
        Own = "own",
        /// A copy of the policy that stands still: the head learns alone.
        Frozen = "frozen",
    }
}

settings! {
    /// Training of an estimator on attempts of the policy, which stays as it is.
    pub struct Estimator {
        /// Updates: each grows trees, or draws pairs, and trains on them.
        steps: usize = 100, Limit::Whole(1, 10_000_000);
        /// Tasks, and so trees, per update.
        tasks: usize = 32, Limit::Whole(1, 65_536);
        /// A file of pairs in place of trees, for estimators that compare: `prompt`, `chosen`,
        /// `rejected` per line. Default: trees.
        pairs: Option<String> = None, Limit::Any;
        /// Pairs per update, of a file.
        batch: usize = 32, Limit::Whole(1, 65_536);
        /// What learns beside the head.
        trunk: EstimatorTrunk = EstimatorTrunk::Own, Limit::Any;
        /// Width of an inner layer of the head. Default: none, one linear layer.
        hidden: Option<usize> = None, Limit::Whole(1, 65_536);
        /// Most tokens the policy may write in one step.
        max_tokens: usize = 48, Limit::Whole(1, 1_048_576);
        /// Most tokens on a path, prompt and observations included. Default: the model's context.
        path_tokens: Option<usize> = None, Limit::Whole(2, 1_048_576);
        /// Divides the logits when sampling; above 0.
        temperature: f64 = 1.0, Limit::Real(0.0, 100.0);
        /// Largest share of an update's attempts that may stay unjudged before the run stops.
        unscored_max: f64 = 0.2, Limit::Real(0.0, 1.0);
        /// Most tokens computed at once; bounds memory and changes nothing else. Default: as many
        /// as keep 1 GiB of activations, from 1,024 to 32,768.
        microbatch_tokens: Option<usize> = None, Limit::Whole(16, 16_777_216);
        /// Updates between checkpoints; 0 is at the stage's end only.
        checkpoint_every: usize = 20, Limit::Whole(0, 10_000_000);
        with {
            /// How the estimator's weights move.
            optimizer: Optimizer = Optimizer::for_sft();
            /// Where trees branch.
            grow: Grow = default_grow();
            /// What a verdict is worth.
            reward: RewardConfig = RewardConfig::default();
            /// What is learned.
            estimator: EstimatorConfig =
                EstimatorConfig::PrefixValue(prefix_value::Config::default());
        }
    }
}

impl Estimator {
    /// The file of pairs, read as answers without an end of text.
    pub(crate) fn pair_file(&self) -> Option<PairFile> {
        self.pairs.clone().map(|path| PairFile { path, end_of_text: true })
    }
}

/// What the stage itself must not hold. Attempts, rewards and tokens are checked as elsewhere.
pub(super) fn check(own: &Estimator, device: Device, place: &Place<'_, '_>) {
    let name = own.estimator.name();
    if device == Device::Cuda {
        let message = "has a head, which is computed on the processor only; set \
                       `model.compute.device = \"cpu\"`";
        place.error("", message);
    }
    if own.temperature == 0.0 && own.pairs.is_none() {
        place.error("temperature", "is 0: all attempts at a task would be one; set it to 1");
    }
    let compares = own.estimator.needs().attempts_min > 1;
    if own.pairs.is_some() && !compares {
        let message = format!(
            "is a file of pairs, and `{name}` reads attempts that were judged; take it out, or set \
             `estimator = {{ type = \"bradley_terry\" }}`"
        );
        place.error("pairs", &message);
    }
    if own.pairs.is_none() && own.grow.leaves_max() < own.estimator.needs().attempts_min {
        let message = format!(
            "makes trees of 1 attempt, and `{name}` compares attempts; raise its attempts, or name \
             a file of `pairs`"
        );
        place.error("grow", &message);
    }
    if own.estimator.reads_chances() && !own.reward.is_chance() {
        let message = format!(
            "is `{}`, and `{name}` learns chances, from rewards of 0 to 1; set `reward = {{ type = \
             \"outcome\" }}`",
            own.reward.name()
        );
        place.error("reward", &message);
    }
}

/// What a later stage says of the stage at `index`, which must be an estimator that fills a column.
pub(super) fn check_use(
    (key, index): (&str, usize),
    before: &[Option<Stage>],
    column: Option<&str>,
    place: &Place<'_, '_>,
) {
    let wrong = |what: String| place.error(key, &what);
    match before.get(index) {
        Some(Some(Stage::Estimator(own))) => {
            let fills = own.estimator.fills();
            if let Some(column) = column.filter(|column| *column != fills) {
                wrong(format!(
                    "is stage[{index}], whose `{}` fills `{fills}`, and `{column}` is read; name \
                     another stage",
                    own.estimator.name()
                ));
            }
            if column == Some(SCORE) && !own.estimator.reads_chances() {
                wrong(format!(
                    "is stage[{index}], whose `{}` says what is better and not how likely it is; \
                     name one that learns chances: `outcome`, `process` or `prefix_value`",
                    own.estimator.name()
                ));
            }
        }
        // It could not be read: that has been said.
        Some(None) => {}
        Some(Some(other)) => {
            wrong(format!(
                "must name a `[stage.estimator]`, got: stage[{index}], `{}`",
                other.name()
            ));
        }
        None => wrong(format!(
            "must name an earlier `[stage.estimator]` (stages count from 0), got: {index}"
        )),
    }
}

//! The `offline` stage: Q-learning from logged attempts and their rewards.

use stepwell_methods::offline::{bellman, ilql};
use stepwell_methods::{Grow, OfflineValue, RewardConfig, grow};
use stepwell_model::Config;

use super::combine::{Place, World};
use super::combine_grow;
use super::combine_rewards::columns;
use super::combine_stage::{attempts, parts};
use super::combine_world::lacks;
use super::compute::Device;
use super::evaluate::{Evaluate, Split};
use super::macros::{choices, settings};
use super::optimizer::Optimizer;
use super::rejection::Rejection;
use super::setting::Limit;
use super::stage::Stage;

choices! {
    /// What learns beside the heads.
    pub enum OfflineTrunk {
        /// The policy, by what the heads and the weighted cross-entropy send back.
        Shared = "shared",
        /// Nothing: the policy stays as it is.
        Frozen = "frozen",
    }
}

settings! {
    /// Q-learning from logged attempts: heads on the policy's trunk learn what each token is
    /// worth. They stay with the policy until the next stage that trains it; an evaluation is led
    /// by them with `q_beta`.
    pub struct Offline {
        /// Optimizer steps on the log.
        steps: usize = 200, Limit::Whole(1, 10_000_000);
        /// Trees of the log per optimizer step.
        batch: usize = 16, Limit::Whole(1, 65_536);
        /// The earlier stage whose recorded trees are the log, by its index from 0. Default: the
        /// stage's own, which the policy writes before anything trains.
        log: Option<usize> = None, Limit::Whole(0, 255);
        /// Tasks, and so trees, of a log of its own. Default: all training tasks.
        tasks: Option<usize> = None, Limit::Whole(1, 10_000_000);
        /// Trees that grow at once; bounds memory and changes nothing else.
        tasks_at_once: usize = 64, Limit::Whole(1, 65_536);
        /// What a token's successor counts: gamma per sampled token. Default: trlX's for ILQL.
        gamma: f64 = bellman::Config::default().gamma, Limit::Real(0.0, 1.0);
        /// What learns beside the heads.
        trunk: OfflineTrunk = OfflineTrunk::Shared, Limit::Any;
        /// Width of the inner layer of every head. Default: twice that of the policy's states.
        hidden: Option<usize> = None, Limit::Whole(1, 65_536);
        /// How far frozen heads move towards those that learn, each time they do. Default: trlX's.
        target_rate: f64 = 0.001, Limit::Above(0.0, 1.0);
        /// Optimizer steps between such moves. Default: trlX's.
        target_every: usize = 5, Limit::Whole(1, 1_000_000);
        /// Most tokens the policy may write in one step.
        max_tokens: usize = 48, Limit::Whole(1, 1_048_576);
        /// Most tokens on a path, prompt and observations included. Default: the model's context.
        path_tokens: Option<usize> = None, Limit::Whole(2, 1_048_576);
        /// Divides the logits when a log of its own is sampled; training is at 1.
        temperature: f64 = 1.0, Limit::Real(0.0, 100.0);
        /// Largest share of the log's attempts that may stay unjudged before the run stops.
        unscored_max: f64 = 0.2, Limit::Real(0.0, 1.0);
        /// Most tokens computed at once; bounds memory and changes nothing else. Default: as many
        /// as keep 1 GiB of activations, from 1,024 to 32,768.
        microbatch_tokens: Option<usize> = None, Limit::Whole(16, 16_777_216);
        /// Optimizer steps between evaluations of the policy alone on the development split; 0 is
        /// never.
        evaluate_every: usize = 0, Limit::Whole(0, 10_000_000);
        /// Questions of such an evaluation.
        evaluate_questions: usize = 100, Limit::Whole(1, 1_000_000);
        /// Optimizer steps between checkpoints; 0 is at the stage's end only.
        checkpoint_every: usize = 0, Limit::Whole(0, 10_000_000);
        with {
            /// How heads and policy move.
            optimizer: Optimizer = Optimizer::for_sft();
            /// Attempts per task of a log of its own.
            grow: Grow = Grow::Independent(grow::independent::Config { attempts: 8 });
            /// What a verdict is worth.
            reward: RewardConfig = RewardConfig::default();
            /// What is learned.
            method: OfflineValue = OfflineValue::Ilql(ilql::Config::default());
        }
    }
}

impl Offline {
    /// γ, as the method has it.
    pub(crate) fn bellman(&self) -> bellman::Config {
        bellman::Config { gamma: self.gamma }
    }

    /// Width of the heads' inner layers on a model of this shape.
    pub(crate) fn width(&self, model: &Config) -> usize {
        self.hidden.unwrap_or(2 * model.hidden)
    }

    /// Numbers of the heads that learn, and of their frozen copies.
    pub(crate) fn head_numbers(&self, model: &Config) -> (u64, u64) {
        let (width, pairs) = (self.width(model) as u64, self.method.q_heads().len() as u64);
        let inner = (model.hidden as u64 + 1) * width;
        let q = pairs * (inner + (width + 1) * model.vocabulary as u64);
        let value = if self.method.learns_value() { inner + width + 1 } else { 0 };
        (q + value, q)
    }
}

/// What the stage itself must not hold.
pub(super) fn check(
    own: &Offline,
    device: Device,
    before: &[Option<Stage>],
    (place, world): (&Place<'_, '_>, World<'_>),
) {
    if device == Device::Cuda {
        let message = "has heads, which are computed on the processor only; set \
                       `model.compute.device = \"cpu\"`";
        place.error("", message);
    }
    if own.trunk == OfflineTrunk::Frozen && own.method.trains_policy() {
        let message = "is \"frozen\", and the weighted cross-entropy of `ilql` trains the policy; \
                       set `method = { type = \"ilql\", awac = 0 }`, or `trunk = \"shared\"`";
        place.error("trunk", message);
    }
    columns(&own.reward, place);
    parts(&own.reward, place, world);
    if let Some(index) = own.log {
        check_log(index, before, place);
        return;
    }
    let leaves = own.grow.leaves_max();
    if own.temperature == 0.0 && leaves > 1 {
        let message = format!(
            "is 0: `grow` would repeat one attempt {leaves} times; raise it, or grow one attempt"
        );
        place.error("temperature", &message);
    }
    combine_grow::check_pairs(&own.grow, place);
    attempts(own.tasks_at_once, &own.grow, place);
    if let Some(why) = world.and_then(|world| lacks(world, Split::Train)) {
        place.error("", &why);
    }
}

/// The stage that is named has recorded trees, under the prompts of their tasks.
fn check_log(index: usize, before: &[Option<Stage>], place: &Place<'_, '_>) {
    match before.get(index) {
        Some(Some(Stage::Rejection(Rejection { hints: true, .. }))) => {
            let message = format!(
                "is stage[{index}], whose prompts hold hints; take its `hints` out, or name \
                 another stage"
            );
            place.error("log", &message);
        }
        // One that could not be read has been spoken of.
        Some(None) => {}
        Some(Some(stage)) if stage.samples() => {}
        Some(Some(stage)) => {
            let message = format!(
                "must name a stage that writes attempts, got: stage[{index}], `{}`",
                stage.name()
            );
            place.error("log", &message);
        }
        None => {
            let message = format!("must name an earlier stage (they count from 0), got: {index}");
            place.error("log", &message);
        }
    }
}

/// An evaluation that Q leads stands behind the stage that taught it, before the policy moves on.
pub(super) fn check_led(own: &Evaluate, before: &[Option<Stage>], place: &Place<'_, '_>) {
    let taught = before.iter().rposition(|stage| matches!(stage, Some(Stage::Offline(_))));
    // A stage that could not be read may be the one.
    if own.q_beta == 0.0 || before.contains(&None) {
        return;
    }
    let Some(taught) = taught else {
        let message = "is above 0, and no `[stage.offline]` before this stage has taught what a \
                       token is worth; put one before it, or take `q_beta` out";
        place.error("q_beta", message);
        return;
    };
    let moves = |stage: &Option<Stage>| matches!(stage, Some(stage) if stage.moves_policy());
    if let Some(index) = (taught + 1..before.len()).find(|&k| moves(&before[k])) {
        let name = before[index].as_ref().map_or("", Stage::name);
        let message = format!(
            "is above 0, and stage[{index}], `{name}`, has moved the policy since stage[{taught}], \
             whose heads went with it; evaluate before that stage"
        );
        place.error("q_beta", &message);
    }
}

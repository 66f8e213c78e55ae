//! The `preference` stage: pairs of answers, and a loss that prefers the better one.

use serde::{Deserialize, Serialize};
use stepwell_methods::preference::{dpo, siblings};
use stepwell_methods::{Grow, PreferenceLoss, RewardConfig};
use stepwell_train::Codec;
use toml::de::ValueDeserializer;

use super::judge::Judge;
use super::macros::{choices, settings};
use super::methods::default_grow;
use super::optimizer::Optimizer;
use super::part::Part;
use super::setting::Limit;

/// Where pairs come from.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Pairs {
    /// The better and the worse step of one decision, in trees that the stage grows.
    Siblings(siblings::Config),
    /// A file of pairs.
    File(PairFile),
}

/// A file with a pair per line: `prompt`, `chosen`, `rejected`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PairFile {
    /// Where it is.
    pub path: String,
    /// Ends each answer with the tokenizer's token for that, as TRL does. Default true; set it to
    /// false where answers end with a stop string.
    pub end_of_text: bool,
}

impl Default for PairFile {
    fn default() -> Self {
        PairFile { path: String::new(), end_of_text: true }
    }
}

impl PairFile {
    /// The token that ends an answer, where one does.
    pub(crate) fn end(&self, codec: &Codec) -> Option<u32> {
        codec.end_tokens().first().copied().filter(|_| self.end_of_text)
    }
}

impl Part for Pairs {
    const KIND: &'static str = "pairs";
    const NAMES: &'static [&'static str] = &["siblings", "file"];

    fn deserialize(
        name: &str,
        config: ValueDeserializer<'_>,
    ) -> Result<Option<Self>, toml::de::Error> {
        Ok(Some(match name {
            "siblings" => Pairs::Siblings(siblings::Config::deserialize(config)?),
            "file" => Pairs::File(PairFile::deserialize(config)?),
            _ => return Ok(None),
        }))
    }

    fn name(&self) -> &'static str {
        match self {
            Pairs::Siblings(_) => "siblings",
            Pairs::File(_) => "file",
        }
    }

    fn problem(&self) -> Option<String> {
        match self {
            Pairs::Siblings(config) => config.problem(),
            Pairs::File(file) if file.path.is_empty() => {
                Some("`file.path` must name a file of pairs".to_owned())
            }
            Pairs::File(_) => None,
        }
    }
}

choices! {
    /// What is done to pairs to see whether they do the work.
    pub enum Control {
        /// The sides of some are swapped: labels that are wrong on purpose.
        Swapped = "swapped",
    }
}

settings! {
    /// Preference optimisation on pairs of answers.
    pub struct Preference {
        /// Updates: each draws pairs and trains on them.
        steps: usize = 100, Limit::Whole(1, 10_000_000);
        /// Pairs per update, of a file.
        batch: usize = 32, Limit::Whole(1, 65_536);
        /// Tasks, and so trees, per update, of siblings.
        tasks: usize = 32, Limit::Whole(1, 65_536);
        /// The control of every loss: pairs whose sides are swapped. Default: none.
        control: Option<Control> = None, Limit::Any;
        /// Share of the pairs that the control touches; of a file each is touched always or never.
        control_share: f64 = 0.5, Limit::Above(0.0, 1.0);
        /// Optimizer steps per update, each on all its pairs.
        epochs: usize = 1, Limit::Whole(1, 64);
        /// Most tokens the policy may write in one step.
        max_tokens: usize = 48, Limit::Whole(1, 1_048_576);
        /// Most tokens on a path, prompt and observations included. Default: the model's context.
        path_tokens: Option<usize> = None, Limit::Whole(2, 1_048_576);
        /// Divides the logits when sampling and when training; above 0.
        temperature: f64 = 1.0, Limit::Real(0.0, 100.0);
        /// Largest share of an update's attempts that may stay unjudged before the run stops; of
        /// its pairs that may stay without a label, where a judge labels them.
        unscored_max: f64 = 0.2, Limit::Real(0.0, 1.0);
        /// Most tokens computed at once; bounds memory and changes nothing else. Default: as many
        /// as keep 1 GiB of activations, from 1,024 to 32,768.
        microbatch_tokens: Option<usize> = None, Limit::Whole(16, 16_777_216);
        /// Updates between evaluations on the development split; 0 is never.
        evaluate_every: usize = 0, Limit::Whole(0, 10_000_000);
        /// Questions of such an evaluation.
        evaluate_questions: usize = 100, Limit::Whole(1, 1_000_000);
        /// Updates between checkpoints; 0 is at the stage's end only.
        checkpoint_every: usize = 20, Limit::Whole(0, 10_000_000);
        with {
            /// How the weights move.
            optimizer: Optimizer = Optimizer::for_rl();
            /// Where pairs come from.
            pairs: Pairs = Pairs::Siblings(siblings::Config::default());
            /// Where trees branch, of siblings.
            grow: Grow = default_grow();
            /// What a verdict is worth, of siblings.
            reward: RewardConfig = RewardConfig::default();
            /// The loss of a pair.
            loss: PreferenceLoss = PreferenceLoss::Dpo(dpo::Config::default());
        }
        tables {
            /// A model that says how likely the better answer of a file's pair is the better.
            judge: Judge = Judge::default();
        }
    }
}

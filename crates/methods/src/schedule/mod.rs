//! What an update is made of: which loss terms, with which weights and coefficients.
//!
//! A schedule is two functions. `plan` is asked before every update and says, from what it has seen
//! and a key, how much of the update's loss is that of demonstrations and how much that of
//! reinforcement. `observe` is told afterwards what was measured. What it keeps between updates is
//! a [`State`]: a few named numbers that a checkpoint holds (INV-13). The same state, place and key
//! give the same plan, so that a record can be checked against it.

pub mod adaptive_kl;
pub mod cosine;
pub mod fixed;
pub mod sasr;
pub mod shuffled;
pub mod staged;

use serde::{Deserialize, Serialize};
use stepwell_tree::Key;

/// Where in the stage an update stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct At {
    /// The update, from 0.
    pub update: u64,
    /// Updates of the stage, at least 1.
    pub updates: u64,
}

/// What an update is made of.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Plan {
    /// Weight of the demonstrations' loss, from 0 to 1; 0: none are read.
    pub demonstrations: f64,
    /// Weight of the loss on trees, from 0 to 1; 0: none are grown.
    pub reinforcement: f64,
    /// The probability, or the share, from which the weights follow.
    pub share: f64,
    /// The coefficient of the objective's KL in place of the recipe's.
    pub kl: Option<f64>,
    /// True where the norm of the demonstrations' gradient is measured though they do not train.
    pub probe: bool,
    /// True where the reference is frozen anew before this update.
    pub freeze: bool,
}

/// What a schedule keeps between updates.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct State {
    /// Norm of the demonstrations' gradient when the warm-up ended.
    #[serde(with = "bits")]
    pub norm_warm: Option<f64>,
    /// That of the last update that measured it.
    #[serde(with = "bits")]
    pub norm_last: Option<f64>,
    /// The KL coefficient for the next update.
    #[serde(with = "bits")]
    pub kl: Option<f64>,
    /// Updates since demonstrations last trained.
    pub since_demonstrations: u64,
    /// Updates in which they trained.
    pub demonstrated: u64,
}

/// What was measured in an update.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Seen {
    /// Norm of the gradient of the demonstrations' loss alone, before weight and clip: the mean
    /// over the update's optimizer steps, each before it moved anything; `None` where none looked.
    pub norm: Option<f64>,
    /// The same on the same demonstrations after the step; where [`sasr`] asks for it.
    pub norm_after: Option<f64>,
    /// Nats by which the attempts of the update's trees are likelier than under the reference.
    pub divergence: Option<f64>,
    /// Attempts of the update's trees.
    pub attempts: u64,
    /// The KL coefficient that the update had.
    pub kl: f64,
}

/// How a share becomes weights.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mix {
    /// One of the two losses, drawn: demonstrations with the share as probability.
    #[default]
    Bernoulli,
    /// Both losses in one step, by the share and the rest.
    Soft,
}

impl Mix {
    /// The plan of a share from 0 to 1.
    fn plan(self, share: f64, key: Key) -> Plan {
        assert!((0.0..=1.0).contains(&share), "a share is from 0 to 1, got: {share}");
        let demonstrations = match self {
            Mix::Soft => share,
            // A uniform number is below 1 and never below 0: a share of 0 or 1 is certain.
            Mix::Bernoulli => f64::from(u8::from(key.uniform() < share)),
        };
        Plan { demonstrations, reinforcement: 1.0 - demonstrations, share, ..Plan::default() }
    }
}

impl Plan {
    /// Demonstrations alone, or trees alone.
    fn only(demonstrations: bool) -> Plan {
        let share = f64::from(u8::from(demonstrations));
        Plan { demonstrations: share, reinforcement: 1.0 - share, share, ..Plan::default() }
    }
}

impl State {
    /// Counts an update; every schedule does so alike.
    pub(crate) fn count(&mut self, plan: &Plan) {
        if plan.demonstrations > 0.0 {
            self.demonstrated += 1;
            self.since_demonstrations = 0;
        } else {
            self.since_demonstrations += 1;
        }
    }
}

/// Numbers that return bit for bit, through any text (INV-16).
mod bits {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        number: &Option<f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        number.map(f64::to_bits).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<f64>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(f64::from_bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::Purpose;

    #[test]
    fn a_share_of_0_or_1_is_certain_and_others_are_met_on_average() {
        let key = Key::new(5, Purpose::TaskOrder);
        let drawn = |share: f64| -> f64 {
            (0..4000).map(|i| Mix::Bernoulli.plan(share, key.with(i)).demonstrations).sum()
        };
        assert_eq!((drawn(0.0), drawn(1.0)), (0.0, 4000.0));
        // SASR, invariant 5: within four deviations.
        for share in [0.05, 1.0 / 3.0, 0.9] {
            let off = (drawn(share) / 4000.0 - share).abs();
            assert!(off < 4.0 * (share * (1.0 - share) / 4000.0_f64).sqrt(), "{share}: {off}");
        }
        let soft = Mix::Soft.plan(0.25, key);
        assert_eq!((soft.demonstrations, soft.reinforcement), (0.25, 0.75));
    }
}

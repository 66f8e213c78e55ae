//! The critic of an `rl` stage: what learns the values that its `credit` reads.

use stepwell_methods::objective::value_loss;

use super::combine::Place;
use super::compute::Device;
use super::macros::{choices, settings};
use super::rl::Rl;
use super::setting::Limit;

choices! {
    /// Which hidden states a critic reads.
    pub enum Trunk {
        /// The policy's: one forward serves both, and the value loss moves the policy's trunk too.
        Shared = "shared",
        /// Those of a copy of the policy, made when the stage begins, which trains on values alone.
        Own = "own",
    }
}

settings! {
    /// Values of states, where `credit` reads them; without use otherwise.
    pub struct Critic {
        /// Which hidden states it reads.
        trunk: Trunk = Trunk::Shared, Limit::Any;
        /// Width of an inner layer of its head. Default: none, one linear layer.
        hidden: Option<usize> = None, Limit::Whole(1, 65_536);
        /// Factor of the value loss beside the policy's loss.
        coefficient: f64 = 0.5, Limit::Real(0.0, 100.0);
        /// How far a value moves from the old one before it is pushed no more, in units of
        /// reward. Default: as far as it will.
        clip: Option<f64> = None, Limit::Above(0.0, 1e6);
        /// Highest learning rate of a trunk of its own. Default: the stage's.
        learning_rate: Option<f64> = None, Limit::Real(0.0, 1.0);
    }
}

impl Critic {
    /// Its loss.
    #[must_use]
    pub fn loss(&self) -> value_loss::Config {
        value_loss::Config { coefficient: self.coefficient, clip: self.clip }
    }
}

/// What a stage's critic cannot do, or is set for nothing.
pub(super) fn check(rl: &Rl, device: Device, place: &Place<'_, '_>) {
    let credit = rl.credit.name();
    if !rl.credit.reads_values() {
        if rl.critic != Critic::default() {
            let message = format!(
                "is set and no value is read: `{credit}` needs none; take it out, or set `credit = \
                 {{ type = \"gae\" }}`"
            );
            place.warn("critic", &message);
        }
        return;
    }
    if device == Device::Cuda {
        let message = format!(
            "`{credit}` reads values, whose head is computed on the processor only; set \
             `model.compute.device = \"cpu\"`, or use a credit without a critic, such as \
             `group_mean`"
        );
        place.say("credit", message);
    }
    if rl.critic.learning_rate.is_some() && rl.critic.trunk == Trunk::Shared {
        let message = "is for a trunk of its own; set `critic.trunk = \"own\"` or take it out";
        place.error("critic.learning_rate", message);
    }
    if rl.critic.coefficient == 0.0 && rl.critic.trunk == Trunk::Shared {
        let message = "is 0: values are read and never learned, and stay 0";
        place.warn("critic.coefficient", message);
    }
}

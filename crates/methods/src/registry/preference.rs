//! Losses over pairs.

use serde::{Deserialize, Deserializer, Serialize};

use crate::preference::{Pair, Term, cdpo, dpo, ipo, kto, nca, orpo, robust_dpo, simpo};

/// The loss of a pair of answers and its gradient.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PreferenceLoss {
    /// The logistic loss on implicit rewards.
    Dpo(dpo::Config),
    /// DPO with smoothed labels.
    Cdpo(cdpo::Config),
    /// DPO freed of a known share of wrong labels.
    RobustDpo(robust_dpo::Config),
    /// A finite margin, asked for.
    Ipo(ipo::Config),
    /// Mean log-probabilities without a reference.
    Simpo(simpo::Config),
    /// Cross-entropy and an odds ratio.
    Orpo(orpo::Config),
    /// Each answer against a point of reference.
    Kto(kto::Config),
    /// Each answer against noise.
    Nca(nca::Config),
}

impl PreferenceLoss {
    /// What `type` may say.
    pub const NAMES: &'static [&'static str] =
        &["dpo", "cdpo", "robust_dpo", "ipo", "simpo", "orpo", "kto", "nca"];

    /// The method called `name`, its table read with positions kept; `None` for an unknown name.
    pub fn from_type<'de, D: Deserializer<'de>>(
        name: &str,
        table: D,
    ) -> Result<Option<Self>, D::Error> {
        Ok(Some(match name {
            "dpo" => PreferenceLoss::Dpo(dpo::Config::deserialize(table)?),
            "cdpo" => PreferenceLoss::Cdpo(cdpo::Config::deserialize(table)?),
            "robust_dpo" => PreferenceLoss::RobustDpo(robust_dpo::Config::deserialize(table)?),
            "ipo" => PreferenceLoss::Ipo(ipo::Config::deserialize(table)?),
            "simpo" => PreferenceLoss::Simpo(simpo::Config::deserialize(table)?),
            "orpo" => PreferenceLoss::Orpo(orpo::Config::deserialize(table)?),
            "kto" => PreferenceLoss::Kto(kto::Config::deserialize(table)?),
            "nca" => PreferenceLoss::Nca(nca::Config::deserialize(table)?),
            _ => return Ok(None),
        }))
    }

    /// The recipe's `type`.
    pub fn name(&self) -> &'static str {
        match self {
            PreferenceLoss::Dpo(_) => "dpo",
            PreferenceLoss::Cdpo(_) => "cdpo",
            PreferenceLoss::RobustDpo(_) => "robust_dpo",
            PreferenceLoss::Ipo(_) => "ipo",
            PreferenceLoss::Simpo(_) => "simpo",
            PreferenceLoss::Orpo(_) => "orpo",
            PreferenceLoss::Kto(_) => "kto",
            PreferenceLoss::Nca(_) => "nca",
        }
    }

    /// True where it reads log-probabilities under a frozen reference.
    pub fn reads_reference(&self) -> bool {
        !matches!(self, PreferenceLoss::Simpo(_) | PreferenceLoss::Orpo(_))
    }

    /// True where it reads answers put to other prompts.
    pub fn reads_mismatched(&self) -> bool {
        matches!(self, PreferenceLoss::Kto(_))
    }

    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        match self {
            PreferenceLoss::Dpo(config) => config.problem(),
            PreferenceLoss::Cdpo(config) => config.problem(),
            PreferenceLoss::RobustDpo(config) => config.problem(),
            PreferenceLoss::Ipo(config) => config.problem(),
            PreferenceLoss::Simpo(config) => config.problem(),
            PreferenceLoss::Orpo(config) => config.problem(),
            PreferenceLoss::Kto(config) => config.problem(),
            PreferenceLoss::Nca(config) => config.problem(),
        }
    }

    /// The loss of one pair; `z` from [`kto::point_of_reference`], where answers put to other
    /// prompts are read.
    pub fn loss(&self, pair: &Pair, z: f64) -> Term {
        match self {
            PreferenceLoss::Dpo(config) => dpo::loss(pair, config),
            PreferenceLoss::Cdpo(config) => cdpo::loss(pair, config),
            PreferenceLoss::RobustDpo(config) => robust_dpo::loss(pair, config),
            PreferenceLoss::Ipo(config) => ipo::loss(pair, config),
            PreferenceLoss::Simpo(config) => simpo::loss(pair, config),
            PreferenceLoss::Orpo(config) => orpo::loss(pair, config),
            PreferenceLoss::Kto(config) => kto::loss(pair, z, config),
            PreferenceLoss::Nca(config) => nca::loss(pair, config),
        }
    }
}

impl PreferenceLoss {
    /// The loss of a pair whose chosen answer is the better with probability `label`: its mean over
    /// which of the two is.
    pub fn soft_loss(&self, pair: &Pair, label: f64, z: f64) -> Term {
        let told = self.loss(pair, z);
        if label == 1.0 {
            return told;
        }
        let other = Pair { chosen: pair.rejected, rejected: pair.chosen };
        let round = self.loss(&other, z);
        let mean = |a: f64, b: f64| label * a + (1.0 - label) * b;
        Term {
            value: mean(told.value, round.value),
            d_chosen: mean(told.d_chosen, round.d_rejected),
            d_rejected: mean(told.d_rejected, round.d_chosen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preference::{Answer, FIXTURE};
    use serde::de::value::{Error, MapDeserializer};

    fn all() -> Vec<PreferenceLoss> {
        let empty = || MapDeserializer::<_, Error>::new(std::iter::empty::<(&str, f64)>());
        let of = |name: &&str| PreferenceLoss::from_type(name, empty()).unwrap().unwrap();
        PreferenceLoss::NAMES.iter().map(of).collect()
    }

    #[test]
    fn every_name_is_read_by_its_name_and_an_unknown_key_is_refused() {
        for (loss, name) in all().iter().zip(PreferenceLoss::NAMES) {
            assert_eq!((loss.name(), loss.problem()), (*name, None));
            let stray = MapDeserializer::<_, Error>::new([("no_such_key", 1.0)].into_iter());
            assert!(PreferenceLoss::from_type(name, stray).is_err(), "{name}");
        }
        let stray = MapDeserializer::<_, Error>::new([("beta", 1.0)].into_iter());
        assert_eq!(PreferenceLoss::from_type("dop", stray).unwrap(), None);
    }

    #[test]
    fn gradients_are_those_of_the_loss() {
        let h = 1e-5;
        for loss in all() {
            for scale in [0.02, 0.3, 1.0, 4.0] {
                let answer = |a: &Answer| Answer { logprob: scale * a.logprob, ..*a };
                let pair =
                    Pair { chosen: answer(&FIXTURE.chosen), rejected: answer(&FIXTURE.rejected) };
                let at = |chosen: f64, rejected: f64| {
                    let mut moved = pair;
                    moved.chosen.logprob += chosen;
                    moved.rejected.logprob += rejected;
                    loss.loss(&moved, 0.4).value
                };
                let term = loss.loss(&pair, 0.4);
                let chosen = (at(h, 0.0) - at(-h, 0.0)) / (2.0 * h);
                let rejected = (at(0.0, h) - at(0.0, -h)) / (2.0 * h);
                let close = |a: f64, b: f64| (a - b).abs() < 1e-8 * (1.0 + b.abs());
                assert!(close(term.d_chosen, chosen), "{loss:?}: {term:?} {chosen}");
                assert!(close(term.d_rejected, rejected), "{loss:?}: {term:?} {rejected}");
            }
        }
    }

    #[test]
    fn what_a_loss_does_not_need_it_does_not_read() {
        let mut moved = FIXTURE;
        (moved.chosen.reference, moved.rejected.reference) = (-3.0, -7.0);
        for loss in all() {
            let reads = loss.loss(&FIXTURE, 0.4) != loss.loss(&moved, 0.4);
            assert_eq!(reads, loss.reads_reference(), "{}", loss.name());
            let reads = loss.loss(&FIXTURE, 0.4) != loss.loss(&FIXTURE, 0.9);
            assert_eq!(reads, loss.reads_mismatched(), "{}", loss.name());
        }
    }

    #[test]
    fn a_soft_label_is_the_mean_over_both_labels_and_of_dpo_conservative_dpo() {
        let near = |a: &Term, b: &Term| {
            let apart = [a.value - b.value, a.d_chosen - b.d_chosen, a.d_rejected - b.d_rejected];
            assert!(apart.iter().all(|x| x.abs() < 1e-12), "{a:?} {b:?}");
        };
        let dpo = PreferenceLoss::Dpo(dpo::Config { beta: 0.1 });
        let label_smoothing = 0.25;
        let cdpo = cdpo::loss(&FIXTURE, &cdpo::Config { beta: 0.1, label_smoothing });
        near(&dpo.soft_loss(&FIXTURE, 0.75, 0.0), &cdpo);
        let other = Pair { chosen: FIXTURE.rejected, rejected: FIXTURE.chosen };
        for loss in all() {
            assert_eq!(loss.soft_loss(&FIXTURE, 1.0, 0.4), loss.loss(&FIXTURE, 0.4));
            let round = loss.loss(&other, 0.4);
            let Term { value, d_chosen, d_rejected } = round;
            let named = Term { value, d_chosen: d_rejected, d_rejected: d_chosen };
            near(&loss.soft_loss(&FIXTURE, 0.0, 0.4), &named);
            // A pair and its label the other way round are the same.
            let (one, two) = (loss.soft_loss(&FIXTURE, 0.3, 0.4), loss.soft_loss(&other, 0.7, 0.4));
            let Term { value, d_chosen, d_rejected } = two;
            near(&one, &Term { value, d_chosen: d_rejected, d_rejected: d_chosen });
        }
    }

    #[test]
    fn extreme_answers_stay_finite() {
        let at = |logprob| Answer { logprob, reference: -1.0, tokens: 2 };
        for loss in all() {
            for (chosen, rejected) in [(-1e6, 0.0), (0.0, -1e6), (0.0, 0.0), (-1e6, -1e6)] {
                let term = loss.loss(&Pair { chosen: at(chosen), rejected: at(rejected) }, 0.0);
                let numbers = [term.value, term.d_chosen, term.d_rejected];
                assert!(numbers.iter().all(|x| x.is_finite()), "{loss:?}: {term:?}");
            }
        }
    }
}

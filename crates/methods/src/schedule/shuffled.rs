//! # The same number of supervised updates in a random order
//!
//! Paper: none; the control of SASR, arXiv 2505.13026, that the paper lacks.
//! Idea: If choosing when to train on demonstrations does the work, then as many updates of them at
//! random times must do worse.
//! Formula: update t of T is supervised with probability (k − those so far)/(T − t): each choice of
//! k among T is equally likely (Knuth's algorithm S)
//! Reads: how many supervised updates there were.
//! Differs: nothing to differ from.
//! Degenerate: k = 0 and k = T are one loss alone. A stage that its tokens end early has fewer.
//! Control: it is one.

use serde::{Deserialize, Serialize};
use stepwell_tree::Key;

use super::{At, Plan, State};

/// A number of supervised updates.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Updates of the stage that train on demonstrations, at most its `steps`. Default 10, ours:
    /// take the number from the run that this is the control of (`demonstrated` in its metrics).
    pub demonstrations: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config { demonstrations: 10 }
    }
}

/// What the next update is made of.
pub fn plan(at: &At, state: &State, config: &Config, key: Key) -> Plan {
    let left = config.demonstrations.saturating_sub(state.demonstrated) as f64;
    let places = (at.updates.saturating_sub(at.update)).max(1) as f64;
    let share = (left / places).min(1.0);
    Plan { share, ..Plan::only(key.uniform() < share) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::Purpose;

    fn drawn(demonstrations: u64, updates: u64, seed: u64) -> Vec<u64> {
        let key = Key::new(seed, Purpose::TaskOrder);
        let (config, mut state) = (Config { demonstrations }, State::default());
        let mut chosen = Vec::new();
        for update in 0..updates {
            let plan = plan(&At { update, updates }, &state, &config, key.with(update));
            state.count(&plan);
            chosen.extend((plan.demonstrations > 0.0).then_some(update));
        }
        chosen
    }

    #[test]
    fn the_number_is_exact_and_every_place_is_as_likely() {
        let mut count = [0; 6];
        for seed in 0..3000 {
            let chosen = drawn(2, 6, seed);
            assert_eq!(chosen.len(), 2);
            chosen.iter().for_each(|at| count[*at as usize] += 1);
        }
        // 3000 · 2/6 each, within five deviations of 25.8.
        assert!(count.iter().all(|n| (870..1130).contains(n)), "{count:?}");
        assert_eq!((drawn(0, 6, 1), drawn(6, 6, 1)), (vec![], vec![0, 1, 2, 3, 4, 5]));
    }
}

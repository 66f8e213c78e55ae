//! # Step-wise adaptive integration of demonstrations and rewards (SASR)
//!
//! Paper: SASR, arXiv 2505.13026; the gate as an independent re-implementation and a pseudocode of
//! its algorithm 1 agree on it.
//! Idea: The norm of the demonstrations' gradient says how far the policy is from them. Far away,
//! train on them; near them, let rewards lead; drift away, and they come back.
//! Formula: warm-up of W updates on demonstrations, g_warm = ‖∇L_demonstrations‖ at its end;
//! p = g/(g + γ·g_warm), g the last norm that was measured; gate `sigmoid_of_ratio`: σ of that
//! Reads: norms of the demonstrations' gradient before clipping; how long ago they trained.
//! Differs: one summary of the paper puts a sigmoid around the ratio, which holds p between 0.5 and
//! 0.731 and so never lets rewards lead: `ratio` is the default. W and γ are ours. The paper has no
//! probe: `probe_every` measures g where demonstrations have not trained for long, because else
//! nothing sees the drift that rewards cause. The reference of a KL is frozen when the warm-up
//! ends. To skip updates without a signal, filter `drop_uniform`.
//! Degenerate: γ = 0 is demonstrations alone; no gradient of demonstrations (g = 0) is rewards
//! alone; g = γ·g_warm = 0 without γ = 0 is rewards alone. A warm-up as long as the stage: no gate.
//! Control: `shuffled` with the same number of supervised updates; `fixed` with the same share.

use serde::{Deserialize, Serialize};
use stepwell_tree::Key;

use super::{At, Mix, Plan, Seen, State};

/// From norms to a probability.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// g/(g + γ·g_warm).
    #[default]
    Ratio,
    /// The logistic function of that, between 0.5 and 0.731.
    SigmoidOfRatio,
}

/// When the norm at the end of the warm-up is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarmAt {
    /// Before the last warm-up update moves the weights.
    #[default]
    Before,
    /// After it, on the same demonstrations.
    After,
}

/// The adaptive gate.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// W: updates on demonstrations at the stage's start, at least 1. Default 20, ours.
    pub warmup: u64,
    /// γ: how much the norm must fall for rewards to lead, from 0 to 1e6; at g = g_warm
    /// demonstrations have 1/(1 + γ). Default 1, ours.
    pub gamma: f64,
    /// From norms to a probability. Default `ratio`.
    pub gate: Gate,
    /// How the probability becomes weights. Default `bernoulli`, the paper's.
    pub mix: Mix,
    /// When g_warm is taken. Default `before`, ours; sources disagree.
    pub warm_at: WarmAt,
    /// Updates without demonstrations after which their norm is measured anyway, at least 1.
    /// Default none, the paper's.
    pub probe_every: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            warmup: 20,
            gamma: 1.0,
            gate: Gate::default(),
            mix: Mix::default(),
            warm_at: WarmAt::default(),
            probe_every: None,
        }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let most = 10_000_000;
        let Config { warmup, gamma, probe_every, .. } = *self;
        if !(0.0..=1e6).contains(&gamma) {
            return Some(format!("`sasr.gamma` must be from 0 to 1e6, got: {gamma}"));
        }
        let counts = [("warmup", warmup), ("probe_every", probe_every.unwrap_or(1))];
        let wrong = counts.into_iter().find(|(_, count)| !(1..=most).contains(count));
        wrong.map(|(key, count)| format!("`sasr.{key}` must be from 1 to {most}, got: {count}"))
    }

    /// True where an update's demonstrations are measured again after its step.
    pub fn measures_after(&self, at: &At) -> bool {
        self.warm_at == WarmAt::After && at.update + 1 == self.warmup
    }
}

/// g/(g + γ·g_warm), or what the gate makes of it; where both are 0, 1 at γ = 0 and else 0.
pub fn probability(last: f64, warm: f64, config: &Config) -> f64 {
    assert!(last >= 0.0 && warm >= 0.0, "norms are not below 0, got: {last} and {warm}");
    let sum = last + config.gamma * warm;
    let ratio = match (sum > 0.0, config.gamma > 0.0) {
        (true, _) => last / sum,
        (false, true) => 0.0,
        (false, false) => 1.0,
    };
    match config.gate {
        Gate::Ratio => ratio,
        Gate::SigmoidOfRatio => 1.0 / (1.0 + (-ratio).exp()),
    }
}

/// What the next update is made of.
pub fn plan(at: &At, state: &State, config: &Config, key: Key) -> Plan {
    if at.update < config.warmup {
        return Plan::only(true);
    }
    let norms = state.norm_last.zip(state.norm_warm);
    let (last, warm) = norms.expect("the warm-up, of at least one update, measured both");
    let plan = config.mix.plan(probability(last, warm, config), key);
    let due = |every: u64| (state.since_demonstrations + 1).is_multiple_of(every);
    let probe = plan.demonstrations == 0.0 && config.probe_every.is_some_and(due);
    Plan { probe, freeze: at.update == config.warmup, ..plan }
}

/// Keeps what was measured.
pub fn observe(at: &At, state: &mut State, config: &Config, seen: &Seen) {
    state.norm_last = seen.norm.or(state.norm_last);
    if at.update + 1 == config.warmup {
        state.norm_warm = match config.warm_at {
            WarmAt::Before => seen.norm,
            WarmAt::After => seen.norm_after,
        };
        state.norm_last = state.norm_warm;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::Purpose;

    fn gate(last: f64, warm: f64, gamma: f64) -> f64 {
        probability(last, warm, &Config { gamma, ..Config::default() })
    }

    #[test]
    fn the_fixtures_of_the_gate() {
        // sasr.md, section 2: (g_last, g_warm, gamma) to p.
        let fixtures = [
            (2.0, 4.0, 1.0, 1.0 / 3.0),
            (2.0, 4.0, 0.5, 0.5),
            (4.0, 4.0, 1.0, 0.5),
            (8.0, 4.0, 1.0, 2.0 / 3.0),
            (0.2, 4.0, 1.0, 1.0 / 21.0),
        ];
        for (last, warm, gamma, expected) in fixtures {
            let got = gate(last, warm, gamma);
            assert!((got - expected).abs() < 1e-12, "({last}, {warm}, {gamma}): {got}");
        }
    }

    #[test]
    fn the_gate_rises_with_the_norm_and_falls_with_gamma_and_has_no_scale() {
        assert!(gate(3.0, 4.0, 1.0) > gate(2.0, 4.0, 1.0));
        assert!(gate(2.0, 4.0, 2.0) < gate(2.0, 4.0, 1.0));
        assert!(gate(2.0, 5.0, 1.0) < gate(2.0, 4.0, 1.0));
        for scale in [1e-6, 0.5, 1024.0] {
            assert!((gate(2.0 * scale, 4.0 * scale, 1.5) - gate(2.0, 4.0, 1.5)).abs() < 1e-15);
        }
        for gamma in [0.5, 1.0, 2.0, 1e3] {
            let even = gate(3.5, 3.5, gamma);
            assert!((even - 1.0 / (1.0 + gamma)).abs() < 1e-12);
            assert!((0.0..1.0).contains(&even) && even > 0.0);
        }
    }

    #[test]
    fn the_gate_at_its_limits() {
        // Ratio 1: no weight on the warm norm. Ratio 0: no gradient of demonstrations.
        assert_eq!((gate(3.0, 4.0, 0.0), gate(0.0, 0.0, 0.0)), (1.0, 1.0));
        assert_eq!((gate(0.0, 4.0, 1.0), gate(0.0, 0.0, 1.0)), (0.0, 0.0));
        assert_eq!(gate(3.0, 0.0, 1.0), 1.0);
        let sigmoid = Config { gate: Gate::SigmoidOfRatio, ..Config::default() };
        assert_eq!(probability(0.0, 4.0, &sigmoid), 0.5);
        assert!((probability(1.0, 0.0, &sigmoid) - 0.731_058_6).abs() < 1e-7);
    }

    /// Plays a stage of 12 updates whose demonstrations have these norms at each update.
    fn play(config: &Config, norm: impl Fn(u64) -> f64) -> (Vec<Plan>, Vec<State>) {
        let key = Key::new(7, Purpose::TaskOrder);
        let (mut state, mut plans, mut states) = (State::default(), Vec::new(), Vec::new());
        for update in 0..12 {
            let at = At { update, updates: 12 };
            let plan = plan(&at, &state, config, key.with(update));
            let measured = plan.demonstrations > 0.0 || plan.probe;
            let seen = Seen {
                norm: measured.then(|| norm(update)),
                norm_after: config.measures_after(&at).then_some(5.0),
                ..Seen::default()
            };
            observe(&at, &mut state, config, &seen);
            state.count(&plan);
            plans.push(plan);
            states.push(state);
        }
        (plans, states)
    }

    #[test]
    fn the_warm_norm_is_that_of_its_end_and_the_last_one_moves_with_demonstrations_only() {
        let config = Config { warmup: 3, ..Config::default() };
        let (plans, states) = play(&config, |update| 10.0 - update as f64 / 2.0);
        assert!(plans[..3].iter().all(|plan| plan.demonstrations == 1.0 && !plan.freeze));
        assert_eq!(plans.iter().filter(|plan| plan.freeze).count(), 1);
        assert!(plans[3].freeze);
        assert!(states[2..].iter().all(|state| state.norm_warm == Some(9.0)));
        assert_eq!(states[2].norm_last, Some(9.0));
        for (t, plan) in plans.iter().enumerate().skip(3) {
            let trained = plan.demonstrations > 0.0;
            assert_eq!(states[t].norm_last != states[t - 1].norm_last, trained, "update {t}");
        }
        // Both kinds of updates came up.
        let supervised = plans[3..].iter().filter(|plan| plan.demonstrations > 0.0).count();
        assert!((1..9).contains(&supervised), "{supervised}");
        let after = Config { warm_at: WarmAt::After, ..config };
        assert_eq!(play(&after, |_| 10.0).1[2].norm_warm, Some(5.0));
    }

    #[test]
    fn without_a_gradient_of_demonstrations_rewards_lead_and_a_probe_sees_it_return() {
        let gone = |update| if (2..8).contains(&update) { 0.0 } else { 4.0 };
        let config = Config { warmup: 2, ..Config::default() };
        let (plans, _) = play(&Config { warmup: 3, ..config }, |u| if u == 2 { 0.0 } else { 4.0 });
        // g_last = g_warm = 0: rewards alone, to the end.
        assert!(plans[3..].iter().all(|plan| plan.reinforcement == 1.0 && plan.share == 0.0));
        let probed = Config { probe_every: Some(3), mix: Mix::Bernoulli, gamma: 1.0, ..config };
        let (plans, states) = play(&probed, gone);
        let probes = plans.iter().filter(|plan| plan.probe).count();
        assert!(probes > 0 && plans.iter().all(|p| !p.probe || p.demonstrations == 0.0));
        assert_eq!(states[11].norm_last, Some(4.0));
    }

    /// Why the norm is a proxy at all: for a target y the gradient by logits is π − onehot(y),
    /// whose L1 norm is at most √(2·NLL) (Pinsker).
    #[test]
    fn the_gradient_by_logits_is_bounded_by_the_root_of_the_loss() {
        for draw in 0..200 {
            let key = Key::new(11, Purpose::World).with(draw);
            let logit: Vec<f64> = (0..7).map(|i| 4.0 * key.with(i).normal()).collect();
            let sum: f64 = logit.iter().map(|l| l.exp()).sum();
            let pi: Vec<f64> = logit.iter().map(|l| l.exp() / sum).collect();
            let target = key.with(99).below(7);
            let norm: f64 = (0..7).map(|i| (pi[i] - f64::from(u8::from(i == target))).abs()).sum();
            assert!((norm - 2.0 * (1.0 - pi[target])).abs() < 1e-12);
            assert!(norm <= (-2.0 * pi[target].ln()).sqrt() + 1e-12, "draw {draw}");
        }
    }

    #[test]
    fn soft_weights_train_both_in_every_update() {
        let config = Config { warmup: 1, mix: Mix::Soft, ..Config::default() };
        let (plans, _) = play(&config, |update| if update == 0 { 4.0 } else { 2.0 });
        assert_eq!((plans[1].demonstrations, plans[1].reinforcement), (0.5, 0.5));
        assert!((plans[2].demonstrations - 1.0 / 3.0).abs() < 1e-12);
        assert!(plans[1..].iter().all(|plan| plan.demonstrations + plan.reinforcement == 1.0));
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        let bad = |config: Config, key: &str| {
            assert!(config.problem().is_some_and(|p| p.starts_with(key)), "{config:?}");
        };
        bad(Config { warmup: 0, ..Config::default() }, "`sasr.warmup`");
        bad(Config { gamma: -1.0, ..Config::default() }, "`sasr.gamma`");
        bad(Config { probe_every: Some(0), ..Config::default() }, "`sasr.probe_every`");
    }
}

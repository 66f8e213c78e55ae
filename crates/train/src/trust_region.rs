//! A step of a trust region (TRPO, Schulman et al., arXiv 1502.05477, section 6 and appendix C): as
//! far along the natural gradient as the policy may move, then back until the loss has improved.
//!
//! The Fisher matrix is that of the tokens that were sampled, F = Σ wₜ ∇log πₜ ∇log πₜᵀ / Σ wₜ.
//! Its expectation under the policy is the Hessian of the mean KL; the analytic one would need
//! whole distributions. A product F·v takes two forwards and one backward: the change of every
//! log-probability along v by central differences, then the gradient seeded by these changes.
//! Conjugate gradients solve (F + damping·I)·x = g.

use stepwell_tree::{Credit, StepTree};

use crate::fed::{Fed, batches};
use crate::guard::trained_once;
use crate::machine::Seeds;
use crate::{Learner, Settings, TrainError, UpdateReport};

/// How far a step goes, and how it is found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TrustRegion {
    /// δ: most nats that the policy may move by, a mean over tokens of KL(old ‖ new); above 0.
    pub delta: f64,
    /// Iterations of conjugate gradients, at least 1.
    pub iterations: usize,
    /// Added to the diagonal of the Fisher matrix, at least 0.
    pub damping: f64,
    /// Factor of a shorter step, between 0 and 1.
    pub backtrack: f64,
    /// Steps that are tried, at least 1.
    pub tries: usize,
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TrustReport {
    /// Mean KL(old ‖ new) of the step that was taken, estimated as r − 1 − log r on the sampled
    /// tokens, r their ratio; 0 where none was.
    pub kl: f64,
    /// By how much the loss fell.
    pub improvement: f64,
    /// Steps that were tried before one was taken.
    pub shortened: usize,
    /// True where a step was taken; the weights are as they were where none was.
    pub taken: bool,
    /// |(F + damping·I)·x − g| / |g| where conjugate gradients stopped.
    pub residual: f64,
}

/// A move along a direction for differences, as a share of the weights' norm.
const MOVE: f64 = 3e-4;

impl Learner {
    /// One step on a forest, in place of [`Learner::update`]: the loss is the objective's, which
    /// should not clip. Optimizer, epochs and minibatches of the settings play no part.
    ///
    /// # Errors
    /// As [`Learner::update`], and on a device without access to its weights.
    pub fn update_within(
        &mut self,
        forest: &[StepTree],
        credit: &[Credit],
        settings: &Settings,
        region: &TrustRegion,
    ) -> Result<(UpdateReport, TrustReport), TrainError> {
        let (mut report, mut trust) = (UpdateReport::default(), TrustReport::default());
        self.require_unmoved()?;
        if settings.on_policy {
            self.require_own(forest, credit)?;
        }
        let fed = batches(forest, credit, settings, 1.0);
        trained_once((forest, credit), settings.on_policy, fed.iter().map(|fed| &fed.batch))?;
        self.clear_gradients()?;
        self.accumulate(&fed, settings, settings.on_policy, &mut report)?;
        report.gradient_norm = self.gradient_norm()?;
        // Checks; nothing is scaled.
        self.clip(report.gradient_norm, f64::INFINITY)?;
        if report.trained_tokens == 0 || report.gradient_norm == 0.0 {
            return Ok((report, trust));
        }
        let start = self.machine.trained()?;
        let gradient = self.machine.gradient()?;
        let scored = self.scores(&fed, settings)?;
        let found = self.solve(&fed, settings, region, (&start, &gradient));
        self.machine.set_trained(&start)?;
        let (direction, curvature, residual) = found?;
        trust.residual = residual;
        if curvature > 0.0 {
            let most = (2.0 * region.delta / curvature).sqrt();
            let old = (report.loss, &scored[..]);
            self.backtrack(&fed, settings, region, (&start, &direction, most), old, &mut trust)?;
        }
        report.optimizer_steps = usize::from(trust.taken);
        Ok((report, trust))
    }

    /// x with (F + damping·I)·x = g, xᵀ(F + damping·I)x, and what is left of g.
    fn solve(
        &mut self,
        fed: &[Fed],
        settings: &Settings,
        region: &TrustRegion,
        (start, gradient): (&[f32], &[f32]),
    ) -> Result<(Vec<f32>, f64, f64), TrainError> {
        let mut x = vec![0.0_f32; gradient.len()];
        let (mut rest, mut along) = (gradient.to_vec(), gradient.to_vec());
        let whole = dot(&rest, &rest);
        let mut square = whole;
        for _ in 0..region.iterations {
            let mut product = self.fisher(fed, settings, start, &along)?;
            add(&mut product, region.damping, &along);
            let curvature = dot(&along, &product);
            if curvature <= 0.0 || !curvature.is_finite() {
                break;
            }
            let step = square / curvature;
            add(&mut x, step, &along);
            add(&mut rest, -step, &product);
            let left = dot(&rest, &rest);
            let ratio = left / square;
            square = left;
            if square <= 1e-10 * whole {
                break;
            }
            for (along, rest) in along.iter_mut().zip(&rest) {
                *along = rest + (ratio as f32) * *along;
            }
        }
        // xᵀ(F + damping·I)x = xᵀ(g − rest).
        let curvature = dot(&x, gradient) - dot(&x, &rest);
        Ok((x, curvature, (square / whole).sqrt()))
    }

    /// F·v at the weights `start`, which are put back.
    fn fisher(
        &mut self,
        fed: &[Fed],
        settings: &Settings,
        start: &[f32],
        v: &[f32],
    ) -> Result<Vec<f32>, TrainError> {
        let length = dot(v, v).sqrt();
        let reach = MOVE * (dot(start, start).sqrt() + 1.0) / length.max(f64::MIN_POSITIVE);
        let mut ends = Vec::with_capacity(2);
        for side in [reach, -reach] {
            let mut moved = start.to_vec();
            add(&mut moved, side, v);
            self.machine.set_trained(&moved)?;
            ends.push(self.scores(fed, settings)?);
        }
        self.machine.set_trained(start)?;
        self.machine.clear_gradients()?;
        let total = weights(fed);
        for (at, own) in fed.iter().enumerate() {
            let (packed, scored) = (own.batch.packed(), own.batch.scored(settings.temperature));
            self.machine.forward(&packed, &scored)?;
            let change = ends[0][at].iter().zip(&ends[1][at]).zip(&own.batch.weight);
            let seed = |((up, down), weight): ((&f32, &f32), &f64)| {
                (weight / total * f64::from(up - down) / (2.0 * reach)) as f32
            };
            let d_logprob: Vec<f32> = change.map(seed).collect();
            let d_entropy = vec![0.0; d_logprob.len()];
            let seeds = Seeds { d_logprob: &d_logprob, d_entropy: &d_entropy, ..Seeds::default() };
            self.machine.backward(&packed, &scored, seeds)?;
        }
        Ok(self.machine.gradient()?)
    }

    /// The longest step that keeps the bound and lowers the loss; none leaves the weights.
    fn backtrack(
        &mut self,
        fed: &[Fed],
        settings: &Settings,
        region: &TrustRegion,
        (start, direction, most): (&[f32], &[f32], f64),
        (loss, old): (f64, &[Vec<f32>]),
        trust: &mut TrustReport,
    ) -> Result<(), TrainError> {
        let mut step = most;
        for tried in 0..region.tries {
            let mut moved = start.to_vec();
            add(&mut moved, -step, direction);
            self.machine.set_trained(&moved)?;
            let (own, kl) = self.judge(fed, settings, old)?;
            if own < loss && kl <= region.delta {
                let improvement = loss - own;
                *trust = TrustReport { kl, improvement, shortened: tried, taken: true, ..*trust };
                self.advance_version();
                return Ok(());
            }
            step *= region.backtrack;
        }
        trust.shortened = region.tries;
        Ok(self.machine.set_trained(start)?)
    }

    /// Loss and mean KL at the weights as they are; both are infinite where a number is not finite.
    fn judge(
        &mut self,
        fed: &[Fed],
        settings: &Settings,
        old: &[Vec<f32>],
    ) -> Result<(f64, f64), TrainError> {
        let (mut loss, mut kl) = (0.0, 0.0);
        for (own, old) in fed.iter().zip(old) {
            let (packed, scored) = (own.batch.packed(), own.batch.scored(settings.temperature));
            let scores = self.machine.forward(&packed, &scored)?;
            if scores.logprob.iter().chain(&scores.entropy).any(|x| !x.is_finite()) {
                return Ok((f64::INFINITY, f64::INFINITY));
            }
            loss += settings.objective.objective(&own.read(&scores)).value;
            for ((now, then), weight) in scores.logprob.iter().zip(old).zip(&own.batch.weight) {
                let log_ratio = f64::from(now - then);
                kl += weight * (log_ratio.exp_m1() - log_ratio);
            }
        }
        Ok((loss, kl / weights(fed)))
    }

    /// Log-probabilities of every micro-batch's tokens at the weights as they are.
    fn scores(&mut self, fed: &[Fed], settings: &Settings) -> Result<Vec<Vec<f32>>, TrainError> {
        let one = |own: &Fed| {
            let (packed, scored) = (own.batch.packed(), own.batch.scored(settings.temperature));
            Ok(self.machine.forward(&packed, &scored)?.logprob)
        };
        fed.iter().map(one).collect()
    }
}

/// Sum of the tokens' weights; 1 where there is none, so that nothing is divided by 0.
fn weights(fed: &[Fed]) -> f64 {
    let total: f64 = fed.iter().flat_map(|own| &own.batch.weight).sum();
    if total > 0.0 { total } else { 1.0 }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// `to += factor·from`
fn add(to: &mut [f32], factor: f64, from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += (factor * f64::from(*from)) as f32;
    }
}

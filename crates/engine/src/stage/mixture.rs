//! The optimizer steps of an `rl` update: trees, demonstrations, or both by their weights.

use stepwell_methods::Objective;
use stepwell_methods::objective::adaptive_clip::ENTROPY;
use stepwell_methods::schedule::adaptive_kl::divergence;
use stepwell_methods::schedule::{At, Plan, Seen};
use stepwell_train::{
    Beside, Measured, REFERENCE, Settings, TrainError, TrustReport, UpdateReport, VALUE,
};
use stepwell_tree::{Credit, Purpose, StepTree, leaves};

use super::adamw;
use super::critic;
use super::supervision::{Shown, cross_entropy_step};
use crate::error::EngineError;
use crate::microbatch::microbatch;
use crate::observe::Metrics;
use crate::recipe::Rl;
use crate::session::Session;

/// What the update is made of.
pub(super) struct Shares<'s> {
    pub(super) at: At,
    pub(super) plan: Plan,
    pub(super) shown: &'s Shown,
}

/// Trains on trees and demonstrations, each by its weight; what a schedule sees, and what the
/// record says of it.
pub(super) fn train(
    session: &mut Session<'_>,
    config: &Rl,
    mut trees: Vec<StepTree>,
    credits: &[Credit],
    shares: &Shares<'_>,
) -> Result<(Seen, Metrics), EngineError> {
    let (stage, update) = (session.place.stage, session.place.done);
    let failed = |source: TrainError| EngineError::Train { stage, update, source };
    let Shares { at, plan, shown } = shares;
    let mut seen = Seen::default();
    let objective = fill(session, config, &mut trees, credits, plan, &mut seen)?;
    let settings = settings(session, config, objective);
    let supervised = cross_entropy_step(
        settings.adamw,
        settings.gradient_clip,
        settings.tokens_max,
        settings.distillation.clone(),
    );
    let key = session.key(Purpose::TaskOrder).with(update as u64);
    if plan.demonstrations == 0.0 {
        if plan.probe {
            let (forest, marks) = demonstrations(session, shown);
            let probed = session.learner.measure(&forest, &marks, &supervised).map_err(failed)?;
            seen.norm = Some(probed.gradient_norm);
        }
        let (report, taken) = match config.trust_region.of_train() {
            Some(region) => {
                let within = session.learner.update_within(&trees, credits, &settings, &region);
                let (report, taken) = within.map_err(failed)?;
                (report, Some(taken))
            }
            None => {
                let report = session.learner.update(&trees, credits, &settings, key);
                (report.map_err(failed)?, None)
            }
        };
        let mut metrics = told(&report, plan, None);
        apart(config, Some(&report), None, &mut metrics);
        metrics.extend(taken.iter().flat_map(region));
        critic::learn(session, config, (&trees, credits), key, &mut metrics).map_err(failed)?;
        return Ok((seen, metrics));
    }
    let (forest, marks) = demonstrations(session, shown);
    let learner = &mut session.learner;
    let (report, measured) = if plan.reinforcement == 0.0 {
        let report = learner.update(&forest, &marks, &supervised, key).map_err(failed)?;
        (None, Measured::of(&report))
    } else {
        let beside = Beside {
            forest: &forest,
            credit: &marks,
            settings: &supervised,
            weight: plan.demonstrations,
            share: plan.reinforcement,
        };
        let report = learner.update_beside(&trees, credits, &settings, key, Some(&beside));
        let report = report.map_err(failed)?;
        let measured = report.beside.expect("there was a loss beside");
        (Some(report), measured)
    };
    seen.norm = Some(measured.gradient_norm);
    if config.plan.measures_after(at) {
        let after = learner.measure(&forest, &marks, &supervised).map_err(failed)?;
        seen.norm_after = Some(after.gradient_norm);
    }
    let mut distilled = Metrics::new();
    apart(config, report.as_ref(), Some(&measured), &mut distilled);
    let report = report.unwrap_or_else(|| UpdateReport {
        gradient_norm: measured.gradient_norm,
        ..UpdateReport::default()
    });
    let mut metrics = told(&report, plan, Some(&measured));
    metrics.extend(distilled);
    critic::learn(session, config, (&trees, credits), key, &mut metrics).map_err(failed)?;
    Ok((seen, metrics))
}

/// This update's demonstrations. Their order has a key of its own.
fn demonstrations(session: &Session<'_>, shown: &Shown) -> (Vec<StepTree>, Vec<Credit>) {
    let order = session.key(Purpose::Demonstration).with(u64::MAX);
    shown.trees(session, order, session.place.done)
}

/// Columns that the objective reads, and the objective as the plan has it.
fn fill(
    session: &mut Session<'_>,
    config: &Rl,
    trees: &mut [StepTree],
    credits: &[Credit],
    plan: &Plan,
    seen: &mut Seen,
) -> Result<Objective, EngineError> {
    let temperature = config.temperature as f32;
    let tokens_max = microbatch(config.microbatch_tokens, session.learner.model().config());
    let coefficient = plan.kl.unwrap_or_else(|| config.objective.kl_coefficient());
    let objective = config.objective.with_kl_coefficient(coefficient);
    let filled = trees.iter().all(|tree| tree.token_column.contains_key(REFERENCE));
    if let (false, Some(reference)) = (filled, &session.reference) {
        session.learner.fill_reference(trees, reference, temperature, tokens_max)?;
    }
    if config.plan.moves_kl() {
        seen.divergence = divergence(trees, REFERENCE);
        seen.attempts = trees.iter().map(|tree| leaves(tree).len() as u64).sum();
        seen.kl = coefficient;
    }
    if objective.needs().token_columns.contains(&ENTROPY) {
        session.learner.fill_entropy(trees, temperature, tokens_max)?;
    }
    objective.prepare(trees, credits);
    Ok(objective)
}

fn settings(session: &Session<'_>, config: &Rl, objective: Objective) -> Settings {
    Settings {
        objective,
        value: session.learner.has_head(VALUE).then(|| config.critic.loss()),
        distillation: config.distill.of_train(session.teacher.as_ref()),
        max_tokens: config.max_tokens,
        temperature: config.temperature as f32,
        adamw: adamw(&config.optimizer, config.steps, session.place.done),
        gradient_clip: config.optimizer.gradient_clip,
        epochs: config.epochs,
        minibatches: config.minibatches,
        tokens_max: microbatch(config.microbatch_tokens, session.learner.model().config()),
        on_policy: true,
    }
}

/// `loss` is what the steps went down: the weighted sum, where two losses were mixed.
fn told(report: &UpdateReport, plan: &Plan, measured: Option<&Measured>) -> Metrics {
    let shown = measured.copied().unwrap_or_default();
    let named = [
        ("loss", report.loss + plan.demonstrations * shown.loss),
        ("gradient_norm", report.gradient_norm),
        ("logprob_gap", report.gap),
        ("trained_tokens", (report.trained_tokens + shown.trained_tokens) as f64),
        ("computed_tokens", (report.computed_tokens + shown.computed_tokens) as f64),
    ];
    let mut metrics: Metrics =
        named.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
    let own = report.diagnostics.metrics().into_iter().filter(|(name, _)| *name != "tokens");
    metrics.extend(own.map(|(name, value)| (name.to_owned(), value)));
    critic::tell(report.value_loss, &report.value, &mut metrics);
    if measured.is_some() {
        metrics.insert("demonstration_loss".to_owned(), shown.loss);
    }
    metrics
}

/// How far the policy is from its teacher: at the tokens of trees, and at those of demonstrations.
fn apart(
    config: &Rl,
    report: Option<&UpdateReport>,
    measured: Option<&Measured>,
    metrics: &mut Metrics,
) {
    if config.distill.share.is_none() {
        return;
    }
    let own = report.map(|report| ("distillation", report.distillation));
    let shown = measured.map(|shown| ("demonstration_distillation", shown.distillation));
    let named = own.into_iter().chain(shown);
    metrics.extend(named.map(|(name, value)| (name.to_owned(), value)));
}

/// What a step of a trust region did.
fn region(trust: &TrustReport) -> [(String, f64); 5] {
    let taken = f64::from(u8::from(trust.taken));
    let named = [
        ("trust_region/kl", trust.kl),
        ("trust_region/improvement", trust.improvement),
        ("trust_region/shortened", trust.shortened as f64),
        ("trust_region/taken", taken),
        ("trust_region/residual", trust.residual),
    ];
    named.map(|(name, value)| (name.to_owned(), value))
}

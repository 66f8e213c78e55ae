//! Pairs of answers, of a file or of siblings, and a loss that prefers the better one.

use stepwell_env::pairs::Comparison;
use stepwell_methods::preference::siblings::{self, SiblingPair};
use stepwell_train::{PreferenceReport, PreferenceSettings, StepPair};
use stepwell_tree::{Credit, Key, NewStep, Origin, Purpose, StepId, StepTree, Stop, path_to};

use super::adamw;
use super::forest::{Growing, forest, growth, rate};
use super::judged;
use super::step::end_step;
use crate::conversation::comparison_tree;
use crate::error::EngineError;
use crate::microbatch::microbatch;
use crate::observe::Metrics;
use crate::order::batch;
use crate::recipe::{Control, PairFile, Pairs, Preference};
use crate::session::{Flow, Session, Stopwatch};

/// An update's pairs, the trees they stand in, and what is known of them before training.
struct Drawn {
    trees: Vec<StepTree>,
    pairs: Vec<StepPair>,
    metrics: Metrics,
    /// What the policy wrote in a second, where it did.
    rate: Option<f64>,
}

/// Runs the stage from where the session stands.
pub(crate) fn preference(
    session: &mut Session<'_>,
    config: &Preference,
) -> Result<Flow, EngineError> {
    while session.place.done < config.steps {
        session.require_whole()?;
        let mut watch = Stopwatch::start();
        let Drawn { trees, pairs, mut metrics, rate } = match &config.pairs {
            Pairs::File(file) => drawn(session, config, file)?,
            Pairs::Siblings(own) => grown(session, config, own, &mut watch)?,
        };
        let report = train(session, config, trees, &pairs)?;
        watch.lap("train");
        metrics.extend(training(&report));
        if end_step(session, metrics, rate, &watch)? == Flow::Stopped {
            return Ok(Flow::Stopped);
        }
    }
    Ok(Flow::Done)
}

/// This update's pairs of a file, in keyed epochs: a tree each.
fn drawn(
    session: &mut Session<'_>,
    config: &Preference,
    file: &PairFile,
) -> Result<Drawn, EngineError> {
    let problem = session.problem;
    let all = problem.pairs(&file.path);
    let key = session.key(Purpose::TaskOrder);
    let order = batch(key, all.len(), config.batch, session.place.done);
    let codec = session.learner.codec();
    let end = file.end(codec);
    let trees = order.iter().map(|&i| comparison_tree(codec, &all[i], end));
    let trees: Vec<StepTree> = trees
        .collect::<Result<_, _>>()
        .map_err(|error| EngineError::Input(format!("{}: {error}", file.path)))?;
    let read: Vec<&Comparison> = order.iter().map(|&i| &all[i]).collect();
    let both = |tree| StepPair { tree, chosen: StepId(1), rejected: StepId(2), label: 1.0 };
    let pairs = (0..trees.len()).map(both).collect();
    let (mut pairs, mut metrics) = judged::label(session, config, &read, pairs)?;
    metrics.insert("pairs".to_owned(), pairs.len() as f64);
    // A pair is swapped whenever it comes, or never: a wrong label stays wrong.
    let key = session.key(Purpose::Control);
    metrics.extend(control(config, key, &trees, &mut pairs));
    Ok(Drawn { trees, pairs, metrics, rate: None })
}

/// Grows this update's trees and reads their pairs off, committed before anything trains on them.
fn grown(
    session: &mut Session<'_>,
    config: &Preference,
    own: &siblings::Config,
    watch: &mut Stopwatch,
) -> Result<Drawn, EngineError> {
    let growing = Growing {
        grow: &config.grow,
        tasks: config.tasks,
        temperature: config.temperature,
        max_tokens: config.max_tokens,
        path_tokens: config.path_tokens,
        unscored_max: config.unscored_max,
    };
    let forest = forest(session, &growing)?;
    let seconds = watch.lap("sample");
    let trees: Vec<StepTree> = forest.iter().map(|grown| grown.tree.clone()).collect();
    let rewards = config.reward.reward(&trees);
    let (mut pairs, mut margin) = (Vec::new(), 0.0);
    for (tree, (steps, leaf)) in trees.iter().zip(&rewards.leaf).enumerate() {
        for pair in siblings::pairs(steps, leaf, own) {
            margin += pair.margin;
            let SiblingPair { chosen, rejected, .. } = pair;
            pairs.push(StepPair { tree, chosen, rejected, label: 1.0 });
        }
    }
    let mut credits: Vec<Credit> = trees.iter().map(|tree| Credit::none(tree.len())).collect();
    let key = session.key(Purpose::Control).with(session.place.done as u64);
    let swapped = control(config, key, &trees, &mut pairs);
    for pair in &pairs {
        credits[pair.tree].step[pair.chosen.index()] = Some(1.0);
        credits[pair.tree].step[pair.rejected.index()] = Some(-1.0);
    }
    let mut metrics = growth(&forest, &credits);
    metrics.remove("steps_without_credit");
    let count = pairs.len() as f64;
    metrics.insert("pairs".to_owned(), count);
    metrics.insert("value_margin".to_owned(), margin / count.max(1.0));
    metrics.extend(swapped);
    session.commit_grown(&forest, &credits, &metrics, watch.parts())?;
    session.place.sampled_tokens += metrics["sampled_tokens"] as u64;
    let rate = Some(rate(&metrics, seconds));
    Ok(Drawn { trees, pairs, metrics, rate })
}

/// Swaps the sides of the pairs that the control's key chooses; how many, where there is a control.
fn control(
    config: &Preference,
    key: Key,
    trees: &[StepTree],
    pairs: &mut [StepPair],
) -> Option<(String, f64)> {
    let Some(Control::Swapped) = config.control else { return None };
    let mut swapped = 0.0;
    for pair in pairs {
        let place = key.with_task(&trees[pair.tree].task).with(u64::from(pair.chosen.0));
        if place.with(u64::from(pair.rejected.0)).uniform() < config.control_share {
            (pair.chosen, pair.rejected) = (pair.rejected, pair.chosen);
            swapped += 1.0;
        }
    }
    Some(("swapped".to_owned(), swapped))
}

fn train(
    session: &mut Session<'_>,
    config: &Preference,
    mut trees: Vec<StepTree>,
    pairs: &[StepPair],
) -> Result<PreferenceReport, EngineError> {
    let (stage, update) = (session.place.stage, session.place.done);
    let temperature = config.temperature as f32;
    let model = session.learner.model().config();
    let (context, tokens_max) = (model.context, microbatch(config.microbatch_tokens, model));
    let mut mismatched = match config.loss.reads_mismatched() {
        true => mismatch(&trees, pairs, context),
        false => Vec::new(),
    };
    if let Some(reference) = &session.reference {
        for forest in [&mut trees, &mut mismatched] {
            session.learner.fill_reference(forest, reference, temperature, tokens_max)?;
        }
    }
    let settings = PreferenceSettings {
        loss: config.loss.clone(),
        temperature,
        adamw: adamw(&config.optimizer, config.steps, update),
        gradient_clip: config.optimizer.gradient_clip,
        epochs: config.epochs,
        tokens_max,
        on_policy: matches!(config.pairs, Pairs::Siblings(_)),
    };
    let trained = session.learner.prefer(&trees, pairs, &mismatched, &settings);
    trained.map_err(|source| EngineError::Train { stage, update, source })
}

/// Both answers of each pair, put to the prompt of the pair before; none where there is one pair.
/// Where they do not fit the model's context they are left out.
fn mismatch(trees: &[StepTree], pairs: &[StepPair], context: usize) -> Vec<StepTree> {
    let put = |(asked, answered): (&StepPair, &StepPair)| {
        let tree = &trees[asked.tree];
        let before = tree.parent[asked.chosen.index()];
        let prompt: Vec<u32> =
            path_to(tree, before).iter().flat_map(|s| tree.tokens(*s)).copied().collect();
        let answers = [answered.chosen, answered.rejected].map(|s| trees[answered.tree].tokens(s));
        let mut put = StepTree::new(tree.task, &prompt);
        for (child_index, token) in answers.into_iter().enumerate() {
            if prompt.len() + token.len() > context {
                continue;
            }
            put.push(NewStep {
                parent: StepId::ROOT,
                child_index: child_index as u32,
                origin: Origin::Demonstration,
                stop: Stop::NotSampled,
                token,
                logprob: &[],
            });
        }
        put
    };
    let next = pairs.iter().cycle().skip(1);
    let count = if pairs.len() < 2 { 0 } else { pairs.len() };
    pairs.iter().zip(next).take(count).map(put).collect()
}

fn training(report: &PreferenceReport) -> Metrics {
    let named = [
        ("loss", report.loss),
        ("gradient_norm", report.gradient_norm),
        ("margin", report.margin),
        ("pair_accuracy", report.accuracy),
        ("chosen_logprob", report.chosen_logprob),
        ("rejected_logprob", report.rejected_logprob),
        ("logprob_gap", report.gap),
        ("trained_tokens", report.trained_tokens as f64),
        ("computed_tokens", report.computed_tokens as f64),
    ];
    named.map(|(name, value)| (name.to_owned(), value)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::parse;

    #[test]
    fn answers_are_put_to_the_prompt_of_the_pair_before() {
        let trees = [
            parse("0 - prompt p\n1 0 policy a\n2 0 policy b b"),
            parse(
                "0 -  prompt q
                 1 0  policy c
                 2 1  environment o
                 3 2  policy d d d
                 4 2  policy e",
            ),
        ];
        let pair = |tree, chosen, rejected| StepPair {
            tree,
            chosen: StepId(chosen),
            rejected: StepId(rejected),
            label: 1.0,
        };
        let pairs = [pair(0, 2, 1), pair(1, 3, 4)];
        let text = |tree: &StepTree| -> Vec<String> {
            let of =
                |i: usize| tree.tokens(StepId(i as u32)).iter().filter_map(|t| char::from_u32(*t));
            (0..tree.len()).map(|i| of(i).collect()).collect()
        };
        let put: Vec<Vec<String>> = mismatch(&trees, &pairs, 9).iter().map(text).collect();
        assert_eq!(put, [vec!["p", "ddd", "e"], vec!["qco", "bb", "a"]]);
        // What does not fit is left out; one pair has no other.
        let put: Vec<Vec<String>> = mismatch(&trees, &pairs, 3).iter().map(text).collect();
        assert_eq!(put, [vec!["p", "e"], vec!["qco"]]);
        assert!(mismatch(&trees, &pairs[..1], 9).is_empty());
    }
}

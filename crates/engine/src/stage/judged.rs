//! A judge's labels in place of what pairs came with.

use std::collections::BTreeMap;
use std::path::Path;

use stepwell_env::chat::Message;
use stepwell_env::pairs::Comparison;
use stepwell_methods::preference::judged::{self, Label};
use stepwell_model::io;
use stepwell_train::{Codec, Judge, StepPair};
use stepwell_tree::Task;

use crate::error::EngineError;
use crate::observe::Metrics;
use crate::recipe::{self, Preference, Stage};
use crate::session::Session;

/// A judge that is ready, and the tokens of its two options.
pub(crate) struct Bench {
    judge: Judge,
    options: [u32; 2],
}

/// The judge of a stage, where it has one.
///
/// # Errors
/// Where there is no such model, or an option is not one token of it.
pub(crate) fn bench(stage: &Stage, threads: usize) -> Result<Option<Bench>, EngineError> {
    let Stage::Preference(Preference { judge, .. }) = stage else { return Ok(None) };
    let Some(path) = &judge.path else { return Ok(None) };
    let wrong = |what: String| EngineError::Input(format!("judge `{path}`: {what}"));
    let loaded = io::load(Path::new(path)).map_err(|e| wrong(e.to_string()))?;
    let model = loaded.model;
    let codec = Codec::new(loaded.tokenizer, loaded.template).map_err(|e| wrong(e.to_string()))?;
    let unknown = codec.tokenizer().unknown().and_then(|word| codec.tokenizer().control(word));
    let option = |text: &String| -> Result<u32, EngineError> {
        match codec.encode(text)[..] {
            [one] if Some(one) != unknown => Ok(one),
            [_] => Err(wrong(format!(
                "the option `{}` is no word of its tokenizer; choose other `options`",
                text.escape_debug()
            ))),
            ref several => Err(wrong(format!(
                "the option `{}` is {} of its tokens, expected: one; choose other `options`, a \
                 space before the letter counts",
                text.escape_debug(),
                several.len()
            ))),
        }
    };
    let options = [option(&judge.options[0])?, option(&judge.options[1])?];
    if options[0] == options[1] {
        return Err(wrong("both `options` are one token; choose others".to_owned()));
    }
    let judge = Judge::new(model, codec, threads);
    Ok(Some(Bench { judge, options }))
}

/// The judges of all stages, each as the record knows it: by a hash of its weights.
pub(crate) fn known(stages: &[Stage]) -> Result<Vec<(u32, Task)>, EngineError> {
    let mut known = Vec::new();
    for (index, stage) in stages.iter().enumerate() {
        let Stage::Preference(Preference { judge, .. }) = stage else { continue };
        let (Some(bench), Some(path)) = (bench(stage, 1)?, &judge.path) else { continue };
        let question = format!("{:016x}", bench.judge.model().checksum());
        known.push((index as u32, Task { id: path.clone(), question, fields: Default::default() }));
    }
    Ok(known)
}

/// The pairs with the labels of the stage's judge, those that it could not label left out; all of
/// them as they are where there is no judge. `read` are the same pairs as the file has them.
///
/// # Errors
/// Where more pairs have no label than `unscored_max` allows.
pub(super) fn label(
    session: &mut Session<'_>,
    config: &Preference,
    read: &[&Comparison],
    pairs: Vec<StepPair>,
) -> Result<(Vec<StepPair>, Metrics), EngineError> {
    let mut metrics = Metrics::new();
    let Some(mut bench) = session.judge.take() else { return Ok((pairs, metrics)) };
    let asked = pairs.len();
    let (mut labelled, mut reasons) = (Vec::new(), BTreeMap::<&str, usize>::new());
    let (mut sum, mut agreed) = (0.0, 0.0);
    for (pair, read) in pairs.into_iter().zip(read) {
        match ask(&mut bench, &config.judge, read) {
            Ok(label) => {
                sum += label;
                agreed += if label > 0.5 { 1.0 } else { 0.0 };
                labelled.push(StepPair { label, ..pair });
            }
            Err(reason) => *reasons.entry(reason).or_default() += 1,
        }
    }
    session.judge = Some(bench);
    let count = labelled.len().max(1) as f64;
    metrics.insert("judge/label".to_owned(), sum / count);
    metrics.insert("judge/agreement".to_owned(), agreed / count);
    for reason in ["no_option", "no_number", "too_long"] {
        let count = reasons.get(reason).copied().unwrap_or_default();
        metrics.insert(format!("judge/unlabelled/{reason}"), count as f64);
    }
    let unlabelled = asked - labelled.len();
    if unlabelled as f64 > config.unscored_max * asked as f64 {
        let told = reasons.iter().map(|(reason, count)| format!("{reason}: {count}"));
        return Err(EngineError::Unlabelled {
            stage: session.place.stage,
            update: session.place.done,
            unlabelled,
            pairs: asked,
            reasons: told.collect::<Vec<_>>().join(", "),
            limit: config.unscored_max,
        });
    }
    Ok((labelled, metrics))
}

/// The label of one pair, or why there is none.
fn ask(bench: &mut Bench, config: &recipe::Judge, read: &Comparison) -> Result<f64, &'static str> {
    let Comparison { prompt, chosen, rejected } = read;
    let prompt = told(prompt);
    let template = &config.template.as_ref().expect("a judge has a template").0;
    let own = config.of_methods();
    let mut shown = Vec::new();
    for (first, second) in
        [(chosen, rejected), (rejected, chosen)].into_iter().take(own.orders.count())
    {
        let text = template.fill(|field| match field {
            "prompt" => Some(prompt.as_str()),
            "first" => Some(first.as_str()),
            "second" => Some(second.as_str()),
            _ => None,
        });
        let options = bench.judge.next(&text, &bench.options).ok_or("too_long")?;
        shown.push([f64::from(options[0]), f64::from(options[1])]);
    }
    match judged::label(&shown, &own) {
        Label::Scored(label) => Ok(label),
        Label::NoOption(_) => Err("no_option"),
        Label::NoNumber => Err("no_number"),
    }
}

/// A prompt as a judge reads it: one message as it is, several with who said them.
fn told(prompt: &[Message]) -> String {
    if let [one] = prompt {
        return one.content.clone();
    }
    let line = |message: &Message| format!("{}: {}", message.role.word(), message.content);
    prompt.iter().map(line).collect::<Vec<_>>().join("\n")
}

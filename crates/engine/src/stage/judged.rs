//! A judge's labels in place of what pairs came with.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use stepwell_env::chat::Message;
use stepwell_env::pairs::Comparison;
use stepwell_methods::preference::judged::{self, Label};
use stepwell_model::io;
use stepwell_train::{Codec, Judge, StepPair};
use stepwell_tree::{Key, Purpose, Task, TaskHash};

use crate::conversation::comparison_task;
use crate::error::EngineError;
use crate::observe::Metrics;
use crate::recipe::{self, Orders, Preference, Stage};
use crate::session::Session;

/// A judge that is ready, the tokens of its two options, and what it said so far: its weights
/// stand still, so that a pair which comes again, in another epoch, is not asked about again.
pub(crate) struct Bench {
    judge: Judge,
    options: [u32; 2],
    said: BTreeMap<TaskHash, Result<f64, &'static str>>,
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
                "the option `{}` is {} of its tokens, expected: one; choose other `options`: a \
                 space before a letter counts, and an answer to a chat template begins without one",
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
    Ok(Some(Bench { judge, options, said: BTreeMap::new() }))
}

/// The judges of all stages, each as the record knows it: by a hash of its weights, and by how it
/// reads a text. One that several stages ask about the same options is read once.
pub(crate) fn known(stages: &[Stage]) -> Result<Vec<(u32, Task)>, EngineError> {
    let (mut known, mut read) = (Vec::new(), BTreeMap::new());
    for (index, stage) in stages.iter().enumerate() {
        let Stage::Preference(Preference { judge, .. }) = stage else { continue };
        let Some(path) = &judge.path else { continue };
        let task = match read.entry((path, &judge.options)) {
            Entry::Occupied(before) => Task::clone(before.get()),
            Entry::Vacant(place) => {
                let Some(bench) = bench(stage, 1)? else { continue };
                place.insert(identity(path, &bench)).clone()
            }
        };
        known.push((index as u32, task));
    }
    Ok(known)
}

/// A judge as the record knows it.
fn identity(path: &str, bench: &Bench) -> Task {
    let codec = bench.judge.codec();
    let template = codec.template().map_or("", |template| template.source());
    let tokenizer = blake3::hash(codec.tokenizer().to_json()).to_hex();
    let fields = [
        ("options", format!("{:?}", bench.options)),
        ("template", template.to_owned()),
        ("tokenizer", tokenizer.to_string()),
    ];
    Task {
        id: path.to_owned(),
        question: format!("{:016x}", bench.judge.model().checksum()),
        fields: fields.map(|(name, text)| (name.to_owned(), text)).into(),
    }
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
    // Which order comes does not depend on the update, nor on the side that the file calls better.
    let key = session.key(Purpose::Control);
    let asked = pairs.len();
    let (mut labelled, mut reasons) = (Vec::new(), BTreeMap::<&str, usize>::new());
    let (mut sum, mut agreed) = (0.0, 0.0);
    for (pair, read) in pairs.into_iter().zip(read) {
        match bench.label(&config.judge, key, read) {
            Ok(label) => {
                sum += label;
                agreed += if label > 0.5 { 1.0 } else { 0.0 };
                labelled.push(StepPair { label, ..pair });
            }
            Err(reason) => *reasons.entry(reason).or_default() += 1,
        }
    }
    session.judge = Some(bench);
    if !labelled.is_empty() {
        let count = labelled.len() as f64;
        metrics.insert("judge/label".to_owned(), sum / count);
        metrics.insert("judge/agreement".to_owned(), agreed / count);
    }
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

impl Bench {
    /// The label of one pair, or why there is none.
    fn label(
        &mut self,
        config: &recipe::Judge,
        key: Key,
        read: &Comparison,
    ) -> Result<f64, &'static str> {
        let pair = comparison_task(read).hash();
        if let Some(said) = self.said.get(&pair) {
            return *said;
        }
        let said = self.ask(config, key, read);
        self.said.insert(pair, said);
        said
    }

    fn ask(
        &mut self,
        config: &recipe::Judge,
        key: Key,
        read: &Comparison,
    ) -> Result<f64, &'static str> {
        let Comparison { prompt, chosen, rejected } = read;
        let prompt = told(prompt);
        let template = &config.template.as_ref().expect("a judge has a template").0;
        let mut shown = Vec::new();
        for turned in orders(config.orders, key, read) {
            let (first, second) = if turned { (rejected, chosen) } else { (chosen, rejected) };
            let text = template.fill(|field| match field {
                "prompt" => Some(prompt.as_str()),
                "first" => Some(first.as_str()),
                "second" => Some(second.as_str()),
                _ => None,
            });
            let options = self.judge.next(&text, &self.options).ok_or("too_long")?;
            let [one, two] = [f64::from(options[0]), f64::from(options[1])];
            shown.push(if turned { [two, one] } else { [one, two] });
        }
        match judged::label(&shown, config.mass_min) {
            Label::Scored(label) => Ok(label),
            Label::NoOption => Err("no_option"),
            Label::NoNumber => Err("no_number"),
        }
    }
}

/// The orders in which a pair is shown; true where the file's better answer comes second. A single
/// one is drawn by the two answers, whichever the file calls better, so that a judge which always
/// names the first reads no label off it.
fn orders(orders: Orders, key: Key, read: &Comparison) -> Vec<bool> {
    if orders == Orders::Both {
        return vec![false, true];
    }
    let descends = read.chosen > read.rejected;
    let (chosen, rejected) = if descends {
        (read.rejected.clone(), read.chosen.clone())
    } else {
        (read.chosen.clone(), read.rejected.clone())
    };
    let sorted = Comparison { prompt: read.prompt.clone(), chosen, rejected };
    let drawn = key.with_task(&comparison_task(&sorted).hash()).with(0).uniform() < 0.5;
    vec![drawn != descends]
}

/// A prompt as a judge reads it: one message as it is, several with who said them.
fn told(prompt: &[Message]) -> String {
    if let [one] = prompt {
        return one.content.clone();
    }
    let line = |message: &Message| format!("{}: {}", message.role.word(), message.content);
    prompt.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::PromptText;
    use stepwell_env::chat::Role;
    use stepwell_env::prompt::Prompt;
    use stepwell_model::tokenizer::Tokenizer;
    use stepwell_model::{Config, Family, Model, RopeScaling};

    const WORDS: [&str; 6] = ["which", "left", "right", "yes", "no", "or"];

    fn pair(chosen: &str, rejected: &str) -> Comparison {
        let prompt = vec![Message { role: Role::User, content: "which".to_owned() }];
        Comparison { prompt, chosen: chosen.to_owned(), rejected: rejected.to_owned() }
    }

    fn judge(seed: u64) -> Judge {
        let tokenizer = Tokenizer::from_words(WORDS).unwrap();
        let shape = Config {
            family: Family::Llama,
            vocabulary: tokenizer.vocabulary(),
            hidden: 16,
            layers: 1,
            heads: 2,
            kv_heads: 1,
            head_dim: 8,
            ffn: 24,
            rope_base: 10_000.0,
            rope_scaling: RopeScaling::None,
            norm_epsilon: 1e-5,
            tied: true,
            context: 32,
        };
        Judge::new(Model::random(shape, seed), Codec::new(tokenizer, None).unwrap(), 1)
    }

    #[test]
    fn a_pair_that_comes_again_is_not_asked_about_again() {
        let template = Some(PromptText(Prompt::new("{prompt} {first} or {second}").unwrap()));
        let config = recipe::Judge { template, mass_min: 0.0, ..recipe::Judge::default() };
        let key = Key::new(1, Purpose::Control);
        let fresh = |seed| {
            let judge = judge(seed);
            let options = ["yes", "no"].map(|word| judge.codec().encode(word)[0]);
            Bench { judge, options, said: BTreeMap::new() }
        };
        let mut bench = fresh(1);
        let [one, other] = [pair("left", "right"), pair("right", "left")];
        let first = bench.label(&config, key, &one).unwrap();
        // Another judge behind the same bench is not heard of a pair that it was asked about.
        bench.judge = judge(2);
        assert_eq!(bench.label(&config, key, &one), Ok(first));
        let heard = bench.label(&config, key, &other).unwrap();
        assert_eq!(heard, fresh(2).label(&config, key, &other).unwrap());
        assert_ne!(heard, 1.0 - first);
    }

    #[test]
    fn one_order_is_drawn_by_the_answers_and_not_by_their_sides() {
        let mut turned = 0;
        for k in 0..400 {
            let (one, other) = (format!("a{k}"), format!("b{}", k * 7 % 11));
            let key = Key::new(k, Purpose::Control);
            let drawn = orders(Orders::One, key, &pair(&one, &other));
            let round = orders(Orders::One, key, &pair(&other, &one));
            assert_eq!((drawn.len(), round[0]), (1, !drawn[0]));
            turned += usize::from(drawn[0]);
            assert_eq!(orders(Orders::Both, key, &pair(&one, &other)), [false, true]);
        }
        // Six deviations of a fair coin.
        assert!((140..=260).contains(&turned), "{turned}");
    }
}

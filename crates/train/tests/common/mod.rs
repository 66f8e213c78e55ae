//! A tiny learner, and trees that its policy really sampled.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test file uses what it needs of this module"
)]

use std::collections::BTreeMap;

use stepwell_methods::objective::clipped;
use stepwell_methods::{Aggregation, Objective};
use stepwell_model::tokenizer::Tokenizer;
use stepwell_model::{AdamWSettings, Config, Family, Model, Precision, RopeScaling};
use stepwell_train::{Codec, Learner, Settings};
use stepwell_tree::{
    Credit, Key, NewStep, Opening, Origin, Policy, PrefixId, Purpose, SampleRequest, Sampling,
    StepId, StepTree, Stop, Task, Verdict, leaves,
};

const WORDS: &str = "red green blue left right look answer yes no one two three is it the of";

pub(crate) fn codec() -> Codec {
    let words = WORDS.split(' ').map(str::to_owned);
    Codec::new(Tokenizer::from_words(words.collect::<Vec<_>>()).unwrap(), None).unwrap()
}

pub(crate) fn shape(vocabulary: usize) -> Config {
    Config {
        family: Family::Llama,
        vocabulary,
        hidden: 16,
        layers: 2,
        heads: 2,
        kv_heads: 1,
        head_dim: 8,
        ffn: 24,
        rope_base: 10_000.0,
        rope_scaling: RopeScaling::None,
        norm_epsilon: 1e-5,
        tied: true,
        context: 96,
    }
}

pub(crate) fn learner(seed: u64, threads: usize) -> Learner {
    learner_in(Precision::F32, seed, threads)
}

pub(crate) fn learner_in(precision: Precision, seed: u64, threads: usize) -> Learner {
    let codec = codec();
    let mut model = Model::random(shape(codec.tokenizer().vocabulary()), seed);
    model.set_precision(precision);
    Learner::new(model, codec, threads)
}

pub(crate) fn settings(learning_rate: f64, temperature: f32) -> Settings {
    Settings {
        objective: Objective::Clipped(clipped::Config {
            aggregation: Aggregation::SequenceMeanTokenSumNorm { length_constant: None },
            ..clipped::Config::default()
        }),
        value: None,
        distillation: None,
        max_tokens: 6,
        temperature,
        adamw: AdamWSettings {
            learning_rate,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.0,
        },
        gradient_clip: 1.0,
        epochs: 1,
        minibatches: 1,
        tokens_max: 100_000,
        on_policy: true,
    }
}

/// How many children hang below the prompt, and below each observation of the next levels.
pub(crate) const BRANCHED: [u32; 3] = [3, 2, 2];

/// A forest of branched trees as this policy samples them, and a credit for every policy step.
pub(crate) fn sampled(
    learner: &Learner,
    temperature: f32,
    update: u64,
) -> (Vec<StepTree>, Vec<Credit>) {
    let key = Key::new(5, Purpose::Sample).with(update);
    let prompts = ["look left", "the answer is it red", "one two three"];
    let grow = |(t, prompt): (usize, &&str)| {
        let sampling = Sampling { temperature, ..Sampling::FULL };
        sample(&mut learner.policy(), prompt, sampling, key.with(t as u64))
    };
    let forest: Vec<StepTree> = prompts.iter().enumerate().map(grow).collect();
    let credits = forest.iter().enumerate().map(|(t, tree)| credit(tree, t as u64)).collect();
    (forest, credits)
}

fn sample(policy: &mut dyn Policy, prompt: &str, sampling: Sampling, key: Key) -> StepTree {
    let opening = Opening { system: String::new(), user: prompt.to_owned() };
    let task = Task { id: String::new(), question: prompt.to_owned(), fields: BTreeMap::new() };
    let prompt = policy.encode_opening(&opening);
    let mut tree = StepTree::new(task.hash(), &prompt);
    let mut open = vec![(StepId::ROOT, policy.extend(&[(None, prompt)])[0])];
    let mut id = 0;
    for (level, children) in BRANCHED.into_iter().enumerate() {
        let mut place = BTreeMap::new();
        for (parent, prefix) in &open {
            for child in 0..children {
                id += 1;
                place.insert(id, (*parent, child));
                let key = key.with(id);
                let max_tokens = 3 + id as usize % 4;
                policy.submit(SampleRequest { id, parent: *prefix, key, sampling, max_tokens });
            }
        }
        let mut done = BTreeMap::new();
        while done.len() < place.len() {
            done.extend(policy.advance().into_iter().map(|completion| (completion.id, completion)));
        }
        open = Vec::new();
        for (id, completion) in done {
            let (parent, child_index) = place[&id];
            let step = tree.push(NewStep {
                parent,
                child_index,
                origin: Origin::Policy(policy.version()),
                stop: completion.stop,
                token: &completion.token,
                logprob: &completion.logprob,
            });
            if level + 1 < BRANCHED.len() {
                // Every third world says nothing: an observation without tokens.
                let text = ["blue is two", "no", ""][id as usize % 3];
                open.push(observe(policy, &mut tree, (step, completion.prefix), text));
            }
        }
    }
    let ends = leaves(&tree);
    ends.into_iter().for_each(|leaf| tree.judge(leaf, Verdict::scored(f64::from(leaf.0 % 2))));
    tree.check().unwrap();
    tree.canonical()
}

fn observe(
    policy: &mut dyn Policy,
    tree: &mut StepTree,
    (step, prefix): (StepId, PrefixId),
    text: &str,
) -> (StepId, PrefixId) {
    let token = policy.encode(text);
    let observation = tree.push(NewStep {
        parent: step,
        child_index: 0,
        origin: Origin::Environment,
        stop: Stop::NotSampled,
        token: &token,
        logprob: &[],
    });
    (observation, policy.extend(&[(Some(prefix), token)])[0])
}

/// Some credit for every policy step, another one for each.
pub(crate) fn credit(tree: &StepTree, salt: u64) -> Credit {
    let mut credit = Credit::none(tree.len());
    for (i, step) in credit.step.iter_mut().enumerate() {
        let draw = Key::new(salt, Purpose::Control).with(i as u64).uniform();
        *step = tree.origin[i].is_policy().then_some(2.0 * draw - 1.0);
    }
    credit
}

/// Everything that training changes, as bits.
pub(crate) fn state_bits(learner: &Learner) -> (u64, u64, u64, Vec<Vec<u32>>) {
    let state = learner.state();
    let bits = |numbers: &Vec<f32>| numbers.iter().map(|x| x.to_bits()).collect();
    let optimizer = state.optimizer.iter().map(|(_, _, numbers)| bits(numbers)).collect();
    (learner.model().checksum(), state.version.0, state.optimizer_step, optimizer)
}

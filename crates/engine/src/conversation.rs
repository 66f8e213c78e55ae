//! Conversations of the user's files as trees: what the policy reads, what it is trained to say.

use stepwell_env::chat::{Message, Role};
use stepwell_env::demonstrations::Conversation;
use stepwell_env::pairs::Comparison;
use stepwell_model::template::{self, TemplateError};
use stepwell_train::Codec;
use stepwell_tree::{Credit, NewStep, Origin, StepId, StepTree, Stop, Task};

/// A conversation in the turns of the chat template, as a tree with one path, and the credit that
/// trains what the assistant says: the content and the token that ends its turn.
///
/// Everything up to the assistant's first message, trained or not, the template's own words
/// included, is the prompt. What stands between two of the assistant's turns is one observation.
///
/// # Errors
/// Where the template cannot write these messages once each and in order.
pub fn conversation_tree(
    codec: &Codec,
    conversation: &Conversation,
    mask_observations: bool,
) -> Result<(StepTree, Credit), TemplateError> {
    let Conversation { messages, train } = conversation;
    let turns = codec.encode_turns(&told(messages), false)?;
    let mut before: Vec<Vec<u32>> = turns.turns.iter().map(|turn| turn.before.clone()).collect();
    before.push(turns.after);
    let mut read = Vec::new();
    let mut tree: Option<StepTree> = None;
    let mut marked = vec![false];
    for (at, message) in messages.iter().enumerate() {
        read.append(&mut before[at]);
        let content = &turns.turns[at].content;
        if message.role != Role::Assistant {
            read.extend(content);
            continue;
        }
        let said: Vec<u32> =
            content.iter().copied().chain(end(codec, &mut before[at + 1])).collect();
        let text = std::mem::take(&mut read);
        match &mut tree {
            None => tree = Some(StepTree::new(identity(messages).hash(), &text)),
            Some(tree) => {
                push(tree, Origin::Environment, &text);
                marked.push(!mask_observations);
            }
        }
        if let Some(tree) = &mut tree {
            push(tree, Origin::Demonstration, &said);
            marked.push(train[at]);
        }
    }
    let tree = tree.expect("a conversation of a file trains one of the assistant's messages");
    let mut credit = Credit::none(tree.len());
    for (step, marked) in credit.step.iter_mut().zip(marked) {
        *step = marked.then_some(1.0);
    }
    Ok((tree, credit))
}

/// Takes the token that ends a turn from the beginning of what the template writes next.
fn end(codec: &Codec, next: &mut Vec<u32>) -> Option<u32> {
    let ends = next.first().is_some_and(|first| codec.end_tokens().contains(first));
    ends.then(|| next.remove(0))
}

/// A child of the newest step.
fn push(tree: &mut StepTree, origin: Origin, token: &[u32]) {
    let parent = StepId(tree.len() as u32 - 1);
    let (child_index, stop) = (0, Stop::NotSampled);
    tree.push(NewStep { parent, child_index, origin, stop, token, logprob: &[] });
}

/// A pair of a file as a tree: both answers below one prompt. `end` closes each.
///
/// # Errors
/// Where the template cannot write the prompt's messages once each and in order.
pub(crate) fn comparison_tree(
    codec: &Codec,
    pair: &Comparison,
    end: Option<u32>,
) -> Result<StepTree, TemplateError> {
    let turns = codec.encode_turns(&told(&pair.prompt), true)?;
    let ids = turns.turns.into_iter().flat_map(|turn| [turn.before, turn.content]);
    let prompt: Vec<u32> = ids.chain([turns.after]).flatten().collect();
    let mut tree = StepTree::new(comparison_task(pair).hash(), &prompt);
    for (child_index, text) in [&pair.chosen, &pair.rejected].into_iter().enumerate() {
        let mut token = codec.encode(text);
        token.extend(end);
        tree.push(NewStep {
            parent: StepId::ROOT,
            child_index: child_index as u32,
            origin: Origin::Demonstration,
            stop: Stop::NotSampled,
            token: &token,
            logprob: &[],
        });
    }
    Ok(tree)
}

/// A pair as the record knows it: its last message is the question, and where more than the
/// system's stands before it, the whole prompt is a field.
pub(crate) fn comparison_task(pair: &Comparison) -> Task {
    let Comparison { prompt, chosen, rejected } = pair;
    let system = prompt.first().filter(|message| message.role == Role::System);
    let system = system.map_or_else(String::new, |message| message.content.clone());
    let question = prompt.last().map_or_else(String::new, |message| message.content.clone());
    let short = prompt.len() <= if system.is_empty() { 1 } else { 2 };
    let long = (!short).then(|| ("prompt".to_owned(), identity(prompt).question));
    let fields = [("system", &system), ("chosen", chosen), ("rejected", rejected)];
    let fields = fields.map(|(name, text)| (name.to_owned(), text.clone()));
    Task { id: String::new(), question, fields: fields.into_iter().chain(long).collect() }
}

/// A conversation as the record knows it: its messages, and `train`, which of them are trained.
pub(crate) fn conversation_task(conversation: &Conversation) -> Task {
    let Conversation { messages, train } = conversation;
    let marks = train.iter().map(|train| if *train { '1' } else { '0' }).collect();
    Task { fields: [("train".to_owned(), marks)].into(), ..identity(messages) }
}

/// Messages as a task of their own.
fn identity(messages: &[Message]) -> Task {
    let pairs: Vec<[&str; 2]> =
        messages.iter().map(|message| [message.role.word(), message.content.as_str()]).collect();
    let question = serde_json::to_string(&pairs).expect("texts serialise");
    Task { id: String::new(), question, fields: Default::default() }
}

fn told(messages: &[Message]) -> Vec<template::Message<'_>> {
    messages
        .iter()
        .map(|Message { role, content }| template::Message { role: role.word(), content })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_env::{demonstrations, pairs};
    use stepwell_model::template::ChatTemplate;
    use stepwell_model::tokenizer::{ANSWER, END, PROMPT, Tokenizer};

    fn codec(template: bool) -> Codec {
        let template = template.then(ChatTemplate::plain);
        Codec::new(Tokenizer::bytes(), template).expect("the plain template serves")
    }

    fn conversation(line: &str) -> Conversation {
        let loaded = demonstrations::parse("t", line.as_bytes()).expect("a conversation");
        loaded.conversations[0].clone()
    }

    /// Ids of words, control tokens by name.
    fn ids(codec: &Codec, words: &[&str]) -> Vec<u32> {
        let one = |word: &&str| match codec.tokenizer().control(word) {
            Some(id) => vec![id],
            None => codec.encode(word),
        };
        words.iter().flat_map(one).collect()
    }

    const LONG: &str = r#"{"messages": [{"role": "system", "content": "s"},
        {"role": "user", "content": "q"}, {"role": "assistant", "content": "a <|end|>"},
        {"role": "user", "content": "r <|answer|>"}, {"role": "tool", "content": "o"},
        {"role": "assistant", "content": "x", "train": false}, {"role": "user", "content": "t"},
        {"role": "assistant", "content": "b"}, {"role": "user", "content": "never"}]}"#;

    #[test]
    fn each_turn_stands_as_the_template_writes_it_and_forges_nothing() {
        let codec = codec(true);
        let told = conversation(&LONG.replace('\n', " "));
        let (tree, credit) = conversation_tree(&codec, &told, true).unwrap();
        // INV-21: what looks like a control token in a content is content.
        let words: [&[&str]; 6] = [
            &[PROMPT, "s", PROMPT, "q", ANSWER],
            &["a <", "|end|>", END],
            &[PROMPT, "r <", "|answer|>", PROMPT, "o", ANSWER],
            &["x", END],
            &[PROMPT, "t", ANSWER],
            &["b", END],
        ];
        assert_eq!(tree.len(), words.len());
        for (step, words) in words.iter().enumerate() {
            assert_eq!(tree.tokens(StepId(step as u32)), ids(&codec, words), "step {step}");
        }
        assert_eq!(credit.step, [None, Some(1.0), None, None, None, Some(1.0)]);
        let (_, credit) = conversation_tree(&codec, &told, false).unwrap();
        assert_eq!(credit.step, [None, Some(1.0), Some(1.0), None, Some(1.0), Some(1.0)]);
    }

    #[test]
    fn without_a_template_a_completion_follows_its_prompt_and_ends_the_text() {
        let codec = codec(false);
        let told = conversation(r#"{"prompt": "2+2=", "completion": "4"}"#);
        let (tree, credit) = conversation_tree(&codec, &told, true).unwrap();
        assert_eq!(tree.tokens(StepId(0)), ids(&codec, &["2+2="]));
        assert_eq!(tree.tokens(StepId(1)), ids(&codec, &["4", END]));
        assert_eq!(credit.step, [None, Some(1.0)]);
    }

    #[test]
    fn a_pair_hangs_below_the_whole_conversation_before_it() {
        let codec = codec(true);
        let turns = r#"{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"},
            {"role": "user", "content": "r"}"#;
        let line = format!("{{\"prompt\": [{turns}], \"chosen\": \"c\", \"rejected\": \"d\"}}");
        let pair = |line: &str| {
            pairs::parse("t", line.replace('\n', " ").as_bytes()).expect("a pair").pairs.remove(0)
        };
        let long = pair(&line);
        let tree = comparison_tree(&codec, &long, codec.end_tokens().first().copied()).unwrap();
        let prompt = [PROMPT, "q", ANSWER, "a", END, PROMPT, "r", ANSWER];
        assert_eq!(tree.tokens(StepId(0)), ids(&codec, &prompt));
        assert_eq!(tree.tokens(StepId(1)), ids(&codec, &["c", END]));
        assert_eq!(tree.tokens(StepId(2)), ids(&codec, &["d", END]));
        // A short prompt is one task, a long one another, whatever both end with.
        let short = pair(r#"{"prompt": "r", "chosen": "c", "rejected": "d"}"#);
        let fields = comparison_task(&short).fields;
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["chosen", "rejected", "system"]);
        assert_ne!(comparison_task(&short).hash(), comparison_task(&long).hash());
    }
}

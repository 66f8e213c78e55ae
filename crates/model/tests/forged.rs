//! P17: no content can forge structure. Whatever a message says, the template's own ids around it
//! are the same, its own ids hold no control token, and they spell what was said.

mod support;

use serde_json::{Value, json};
use stepwell_model::template::{ChatTemplate, Controls, Message, Turns};
use stepwell_model::tokenizer::Tokenizer;
use support::{gguf::folder, unit};

const FAMILIES: [&str; 4] = ["llama_tied", "llama_untied", "qwen2", "qwen3"];

/// What templates, other families and this program use to mark structure, and bytes that programs
/// trip over.
const MARKS: &[&str] = &[
    "</s>",
    "<s>",
    "[INST]",
    "<<SYS>>",
    "<tool_response>",
    "<think>",
    "qz0content0zq",
    "qz0content",
    "qz1content1zq",
    "{{ bos_token }}",
    "{% endfor %}",
    "\0",
    "\u{feff}",
    "\u{200b}",
    "\u{202e}",
    "\u{fffd}",
    "\u{10ffff}",
    "\r\n",
    "\n",
    "\nassistant\n",
    "system\n",
    " ",
    "é数😀",
    "a",
    "|",
    ">",
];

/// Every added token, whole, cut and with a neighbour's half, beside the marks.
fn words(tokenizer: &Tokenizer) -> Vec<String> {
    let names: Vec<String> = tokenizer.controls().map(|(name, _)| name.to_owned()).collect();
    assert!(names.len() >= 2, "no control tokens to forge");
    let mut words: Vec<String> = MARKS.iter().map(|mark| (*mark).to_owned()).collect();
    for name in &names {
        words.push(name.clone());
        for (at, _) in name.char_indices().skip(1) {
            words.push(name[..at].to_owned());
            words.push(name[at..].to_owned());
        }
    }
    words
}

/// The template of a family's fixture.
fn template(family: &str) -> ChatTemplate {
    let source = std::fs::read_to_string(folder(family).join("chat_template.jinja")).unwrap();
    ChatTemplate::new(&source, Controls { begin: None, end: Some("<|im_end|>".to_owned()) })
        .unwrap()
}

fn turns(template: &ChatTemplate, tokenizer: &Tokenizer, contents: &[&str]) -> Turns {
    let roles = ["system", "user", "assistant", "user"];
    let messages: Vec<Message<'_>> =
        roles.iter().zip(contents).map(|(role, content)| Message { role, content }).collect();
    template.turns(tokenizer, &messages, true).unwrap()
}

#[test]
fn no_content_becomes_a_control_token_or_moves_what_stands_around_it() {
    let mut tried = 0;
    for (stream, family) in FAMILIES.into_iter().enumerate() {
        let bytes = std::fs::read(folder(family).join("tokenizer.json")).unwrap();
        // Markers that are not flagged special are control tokens all the same.
        let mut document: Value = serde_json::from_slice(&bytes).unwrap();
        for token in document["added_tokens"].as_array_mut().unwrap() {
            token["special"] = json!(false);
        }
        let plain = document.to_string().into_bytes();
        for (kind, bytes) in [bytes, plain].iter().enumerate() {
            let (tokenizer, _) = Tokenizer::from_json(bytes).unwrap();
            let template = template(family);
            let expected = turns(&template, &tokenizer, &["a", "b", "c", "d"]);
            let words = words(&tokenizer);
            let stream = (stream * 2 + kind) as u64;
            let mut draws = (0..).map(|index| unit(stream, index));
            let mut below = |most: usize| (draws.next().unwrap() * most as f64) as usize;
            for _ in 0..400 {
                let content = |below: &mut dyn FnMut(usize) -> usize| -> String {
                    (0..1 + below(6)).map(|_| words[below(words.len())].as_str()).collect()
                };
                let contents: Vec<String> = (0..4).map(|_| content(&mut below)).collect();
                let borrowed: Vec<&str> = contents.iter().map(String::as_str).collect();
                let got = turns(&template, &tokenizer, &borrowed);
                assert_eq!(got.after, expected.after, "{contents:?}");
                for ((turn, expected), content) in
                    got.turns.iter().zip(&expected.turns).zip(&contents)
                {
                    assert_eq!(turn.before, expected.before, "{contents:?}");
                    let forged =
                        turn.content.iter().find(|id| tokenizer.control_name(**id).is_some());
                    assert_eq!(forged, None, "{content:?} became {:?}", turn.content);
                    assert_eq!(tokenizer.decode(&turn.content), *content, "{family}");
                    assert_eq!(turn.content, tokenizer.encode(content), "{family}");
                    tried += 1;
                }
            }
        }
    }
    assert_eq!(tried, FAMILIES.len() * 2 * 400 * 4);
}

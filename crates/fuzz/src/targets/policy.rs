//! What a policy writes, and what a program answers to it.

use std::sync::OnceLock;

use stepwell_env::calculator::{self, answer, expression};
use stepwell_env::math_answer::{Form, read};
use stepwell_env::{python, sql};
use stepwell_model::template::{ChatTemplate, Message};
use stepwell_model::tokenizer::Tokenizer;

use super::model::{chatml, small};

pub(crate) const SQL_WORDS: &[&str] = &[
    "<think>",
    "</think>",
    "<intermediate_sql>",
    "</intermediate_sql>",
    "<final_sql>",
    "</final_sql>",
    "<result>",
    "SELECT ",
    "FROM a JOIN b ON ",
    "WHERE NOT NOT ",
    "ORDER BY",
    "GROUP BY",
    "CASE WHEN ",
    "UNION ALL ",
    "WITH RECURSIVE c(x) AS (",
    "x'ff'",
    "/*",
    "*/",
    "--",
    "\"q\"",
    "[q]",
    "`q`",
    "((((",
    "- - - ",
    "BETWEEN ",
    "EXISTS (",
    "::int",
    "1e5",
    ".5",
];

/// A step's markup, and the text of the query in it, without running it.
pub(crate) fn sql_step(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let parsed = sql::markup::parse(&text);
    format!("{:?} {}", parsed.malformed, sql::told_of(&text))
}

pub(crate) const CALCULATOR_WORDS: &[&str] = &[
    "<calc>",
    "</calc>",
    "<answer>",
    "</answer>",
    "48 / 2",
    "(",
    ")",
    "%",
    "$",
    "×",
    "÷",
    "−",
    "1,000",
    ".5",
    "1e9",
    "- -",
    "**",
    "<result>",
    "99999999999999999999",
];

pub(crate) fn calculator_step(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let action = calculator::markup::parse(&text).map_err(|fault| format!("{fault:?}"));
    let value = match expression::evaluate(&text) {
        Ok(_) => "a value".to_owned(),
        Err(fault) => fault.to_string(),
    };
    let read = answer::read(&text).map_err(|refusal| refusal.to_string());
    if let Ok(number) = &read {
        let again = answer::read(&number.to_string()).expect("a shown number is an answer");
        assert!(again.agrees(*number), "{number} is shown as another number");
    }
    format!("{} {value} {:?}", action.is_ok(), read.err())
}

pub(crate) const MATH_WORDS: &[&str] = &[
    "\\boxed{",
    "}",
    "\\frac{",
    "\\frac12",
    "\\text{",
    "\\left(",
    "\\right)",
    "\\sqrt{",
    "^{",
    "10^",
    "#### ",
    "<answer>",
    "</answer>",
    "\\times",
    "\\cdot",
    "\\%",
    "(A)",
    ", ",
    "\\{",
    "$",
    "1{,}000",
    "\\pi",
    "x = ",
    "e-9999",
    "\\boxed",
    "\\mathbf{",
];

/// An answer accepts itself.
pub(crate) fn math_answer(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut said = String::new();
    for form in [Form::Boxed, Form::Tags, Form::Hashes] {
        said += if form.find(&text).is_some() { "+" } else { "-" };
    }
    match read(&text) {
        Err(refusal) => said + &refusal.to_string(),
        Ok(answer) => {
            assert!(answer.accepts(&answer), "an answer is not the same as itself: {answer:?}");
            said + if answer.is_text() { "text" } else { "value" }
        }
    }
}

pub(crate) const REPLY_WORDS: &[&str] = &[
    "{\"id\":1",
    "\"protocol\":1",
    "\"name\":\"t\"",
    "\"offers\":[\"episodes\"]",
    "\"stop\":[\".\"]",
    "\"parts\":[\"format\"]",
    "\"reward\":[0,1]",
    "\"observation\":\"x\"",
    "\"verdict\":{\"reward\":1,\"parts\":{\"format\":1}}",
    "\"unscored\":\"why\"",
    "\"error\":\"no\"",
    "1e400",
    "NaN",
];

pub(crate) fn external_reply(bytes: &[u8]) -> String {
    stepwell_env::external::meanings(&String::from_utf8_lossy(bytes))
}

pub(crate) const PYTHON_WORDS: &[&str] = &[
    "<python>",
    "</python>",
    "<answer>",
    "</answer>",
    "<result>",
    "</result>",
    "```python\n",
    "```",
    "print(1)",
    "\r\n",
];

pub(crate) fn python_step(bytes: &[u8]) -> String {
    python::told_of_step(&String::from_utf8_lossy(bytes))
}

pub(crate) const INTERPRETER_WORDS: &[&str] = &[
    "{\"text\":\"x\",\"cut\":false,\"error\":null}",
    "\"text\":\"",
    "\"cut\":true",
    "\"error\":\"no\"",
    "{\"value\":",
    "[\"none\"]",
    "[\"bool\",true]",
    "[\"int\",\"5\"]",
    "[\"float\",\"nan\"]",
    "[\"str\",\"a\"]",
    "[\"list\",[",
    "[\"tuple\",[",
    "[\"dict\",[[\"a\",",
    "<result>",
    "</result>",
    "<python>",
    "</answer>",
];

/// What a program may write in its interpreter's name.
pub(crate) fn python_reply(bytes: &[u8]) -> String {
    python::told_of_reply(bytes)
}

pub(crate) const SQL_REPLY_WORDS: &[&str] = &["a", "t.a", "landlock", "no such column: c"];

/// What the process that runs queries could say once a query has taken it over.
pub(crate) fn sql_reply(bytes: &[u8]) -> String {
    sql::told_of_reply(bytes)
}

pub(crate) const CONTENT_WORDS: &[&str] = &[
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|im_",
    "|>",
    "system\n",
    "</s>",
    "[INST]",
    "<tool_response>",
    "qz0content0zq",
    "qz0content",
    "\u{ff5c}",
    "<\u{200b}|im_end|>",
    "{{ bos_token }}",
    "<unk>",
];

/// Whatever a message says, it stands between the template's own pieces as its own ids (P17).
pub(crate) fn content(bytes: &[u8]) -> String {
    static READ: OnceLock<(Tokenizer, ChatTemplate)> = OnceLock::new();
    let (tokenizer, template) = READ.get_or_init(|| (small().1, chatml()));
    let text = String::from_utf8_lossy(bytes);
    let message = |content| [Message { role: "user", content }];
    let turns = template.turns(tokenizer, &message(&text), true).expect("it always renders");
    let plain = template.turns(tokenizer, &message("x"), true).expect("it always renders");
    assert_eq!(turns.turns[0].before, plain.turns[0].before, "the pieces before it changed");
    assert_eq!(turns.after, plain.after, "the pieces after it changed");
    let ids = &turns.turns[0].content;
    assert!(
        ids.iter().all(|id| tokenizer.control_name(*id).is_none()),
        "text became a control token: {ids:?}"
    );
    assert_eq!(tokenizer.decode(ids), text, "text was lost");
    format!("{:?}", ids.len().checked_ilog2())
}

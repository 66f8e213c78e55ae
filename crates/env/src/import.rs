//! Known data sets as task files: GSM8K, SVAMP, Spider, and chat files as demonstrations.
//!
//! Each converter reads the file as its authors publish it, a JSON array or one object per line,
//! and gives lines that [`crate::tasks`] or [`crate::demonstrations`] reads. Nothing is guessed: a
//! record that cannot be converted is listed with its place and left out.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};
use stepwell_tree::Task;

use crate::EnvError;
use crate::calculator;
use crate::demonstrations;
use crate::tasks::{fault, line, read};

/// A published format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// `question`, and an `answer` with `<<48/2=24>>` marks that ends in `#### 72`.
    Gsm8k,
    /// `ID`, `Body`, `Question`, `Equation`, `Answer`.
    Svamp,
    /// `question`, `query` and `db_id`, or the names of our own task files.
    Spider,
    /// `messages` of `role` and `content`, or ShareGPT's `conversations` of `from` and `value`.
    Chat,
}

/// A converted data set.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Imported {
    /// One JSON object per line: tasks, or demonstrations for [`Format::Chat`].
    pub text: String,
    /// How many lines.
    pub count: usize,
    /// Records left out: `file:place: why`.
    pub skipped: Vec<String>,
    /// What is odd about records that were kept, such as a step that does not give its value:
    /// `file:place: what`.
    pub notes: Vec<String>,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 4] = [Format::Gsm8k, Format::Svamp, Format::Spider, Format::Chat];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Gsm8k => "gsm8k",
            Format::Svamp => "svamp",
            Format::Spider => "spider",
            Format::Chat => "chat",
        }
    }
}

/// Converts a file.
///
/// Errors: a file that cannot be read, and as [`convert`].
pub fn load(format: Format, path: &Path) -> Result<Imported, EnvError> {
    convert(format, &path.display().to_string(), &read(path)?)
}

/// Converts a file's bytes; `name` stands for the file in messages.
///
/// Errors: text that is no JSON, and a file in which no record can be converted.
pub fn convert(format: Format, name: &str, bytes: &[u8]) -> Result<Imported, EnvError> {
    let mut imported = Imported::default();
    let mut places = BTreeMap::new();
    for (place, record) in records(name, bytes)? {
        let converted = match format {
            Format::Gsm8k => gsm8k(place, &record),
            Format::Svamp => svamp(place, &record),
            Format::Spider => spider(place, &record),
            Format::Chat => chat(&record),
        };
        let mut odd = Vec::new();
        let sound = converted.and_then(|value| sound(format, value, &mut odd));
        match sound.and_then(|value| unique(&mut places, value, place)) {
            Ok(value) => {
                imported.notes.extend(odd.iter().map(|what| format!("{name}:{place}: {what}")));
                imported.text += &value.to_string();
                imported.text.push('\n');
                imported.count += 1;
            }
            Err(why) => imported.skipped.push(format!("{name}:{place}: {why}")),
        }
    }
    match (imported.count, imported.skipped.first()) {
        (0, Some(first)) => {
            fault(format!("nothing to import as `{}`; first: {first}", format.name()))
        }
        (0, None) => fault(format!("{name}: holds no records; expected an array or lines of JSON")),
        _ => Ok(imported),
    }
}

/// Refuses an `id` that an earlier record has: no task file may hold it twice.
fn unique(
    places: &mut BTreeMap<String, usize>,
    value: Value,
    place: usize,
) -> Result<Value, String> {
    let Some(id) = value.get("id").and_then(Value::as_str) else { return Ok(value) };
    if let Some(first) = places.get(id) {
        let id = line::shown_id(id);
        return Err(format!("`id` must be unique, got: `{id}` as in record {first}"));
    }
    places.insert(id.to_owned(), place);
    Ok(value)
}

/// Re-evaluates the steps of a calculator task: refuses it where it could not be judged, and adds
/// what is odd.
fn sound(format: Format, value: Value, odd: &mut Vec<String>) -> Result<Value, String> {
    if !matches!(format, Format::Gsm8k | Format::Svamp) {
        return Ok(value);
    }
    let field = |name: &str| match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        other => other.map(Value::to_string).unwrap_or_default(),
    };
    let fields = ["answer", "steps"].map(|name| (name.to_owned(), field(name)));
    let task = Task { id: field("id"), question: field("question"), fields: fields.into() };
    for finding in calculator::check(&[task]) {
        if finding.fault.is_fatal() {
            return Err(finding.fault.to_string());
        }
        odd.push(finding.fault.to_string());
    }
    Ok(value)
}

/// A JSON object and where it stands: its place in an array, or its line.
type Record = (usize, Map<String, Value>);

/// The objects of an array, counted from 1, or of a file of lines, numbered as they are.
fn records(name: &str, bytes: &[u8]) -> Result<Vec<Record>, EnvError> {
    if bytes.trim_ascii_start().first() != Some(&b'[') {
        let lines = line::lines(name, bytes)?;
        return lines
            .into_iter()
            .map(|(at, text)| Ok((at, line::object(name, at, text)?)))
            .collect();
    }
    let array: Vec<Map<String, Value>> = serde_json::from_slice(bytes).map_err(|error| {
        let message = error.to_string();
        let what = message.split(" at line ").next().unwrap_or_default();
        EnvError::Data(format!("{name}:{}:{}: {what}", error.line(), error.column()))
    })?;
    Ok(array.into_iter().enumerate().map(|(index, record)| (index + 1, record)).collect())
}

fn text<'a>(record: &'a Map<String, Value>, field: &str) -> Result<&'a str, String> {
    let found = record.get(field).and_then(Value::as_str).map(str::trim);
    found.filter(|text| !text.is_empty()).ok_or_else(|| format!("`{field}` must be text"))
}

fn id(record: &Map<String, Value>, field: &str, set: &str, place: usize) -> String {
    text(record, field).map_or_else(|_| format!("{set}-{place}"), str::to_owned)
}

fn gsm8k(place: usize, record: &Map<String, Value>) -> Result<Value, String> {
    let question = text(record, "question")?;
    let solution = text(record, "answer")?;
    let answer = solution.rsplit_once("####").ok_or("`answer` must end in `#### number`")?.1;
    let answer = line::number(answer).ok_or("`answer` must end in `#### number`")?;
    let mut steps = Vec::new();
    for mark in solution.split("<<").skip(1) {
        let mark = mark.split_once(">>").ok_or("a mark `<<` is not closed by `>>`")?.0;
        let (expression, value) = mark.rsplit_once('=').ok_or("a mark must read `<<a=b>>`")?;
        let (expression, value) = (expression.trim(), value.trim());
        steps.push(json!({ "expression": expression, "value": value }));
    }
    let id = id(record, "id", "gsm8k", place);
    Ok(json!({ "id": id, "question": question, "answer": answer, "steps": steps }))
}

fn svamp(place: usize, record: &Map<String, Value>) -> Result<Value, String> {
    let (body, question) = (text(record, "Body")?, text(record, "Question")?);
    let stop = if body.ends_with(['.', '?', '!', ',']) { "" } else { "." };
    let answer = record.get("Answer").and_then(|answer| match answer {
        Value::Number(number) => number.as_f64().map(|number| number.to_string()),
        Value::String(text) => line::number(text),
        _ => None,
    });
    let answer = answer.ok_or("`Answer` must be a number")?;
    let words = text(record, "Equation")?.split_whitespace();
    let equation: Vec<&str> = words.map(|word| word.strip_suffix(".0").unwrap_or(word)).collect();
    let expression = match &equation[..] {
        // The outermost pair, where the equation is one operation.
        ["(", a, operation, b, ")"] => [*a, *operation, *b].join(" "),
        all => all.join(" "),
    };
    Ok(json!({
        "id": id(record, "ID", "svamp", place),
        "question": format!("{body}{stop} {question}"),
        "answer": answer,
        "steps": [{ "expression": expression, "value": answer }],
    }))
}

fn spider(place: usize, record: &Map<String, Value>) -> Result<Value, String> {
    let database = text(record, "db_id").or_else(|_| text(record, "database"));
    let database = database.map_err(|_| "`db_id` or `database` must be text")?;
    let gold = text(record, "query").or_else(|_| text(record, "SQL"));
    let gold = gold.or_else(|_| text(record, "gold")).map_err(|_| "`query` must be text")?;
    let mut task = json!({
        "id": id(record, "id", "spider", place),
        "question": text(record, "question")?,
        "database": database,
        "gold": gold,
    });
    // BIRD has Spider's form and adds this one.
    if let Ok(evidence) = text(record, "evidence") {
        task["evidence"] = json!(evidence);
    }
    Ok(task)
}

fn chat(record: &Map<String, Value>) -> Result<Value, String> {
    let list = record.get("messages").or_else(|| record.get("conversations"));
    let list = list.and_then(Value::as_array).ok_or("`messages` must be a list")?;
    let messages = list.iter().map(message).collect::<Result<Vec<_>, _>>()?;
    let conversation = json!({ "messages": messages });
    // The reader of demonstrations judges the whole.
    match demonstrations::parse("conversation", conversation.to_string().as_bytes()) {
        Ok(_) => Ok(conversation),
        Err(error) => Err(error
            .to_string()
            .split_once(": ")
            .map_or_else(String::new, |(_, what)| what.to_owned())),
    }
}

fn message(message: &Value) -> Result<Value, String> {
    let object = message.as_object().ok_or("a message must be an object")?;
    let role = text(object, "role").or_else(|_| text(object, "from"));
    let role = match role.map_err(|_| "a message must have a `role`")? {
        "human" => "user",
        "gpt" => "assistant",
        "function" | "observation" => "tool",
        other => other,
    };
    let content = object.get("content").or_else(|| object.get("value")).and_then(Value::as_str);
    let content = content.ok_or("a message's `content` must be text")?;
    Ok(json!({ "role": role, "content": content }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_becomes_our_own() {
        for (format, source, expect) in [
            (
                Format::Gsm8k,
                r##"{"question": "q", "answer": "48/2 = <<48/2=24>>24\n#### 1,072"}"##,
                r#"{"answer":"1072","id":"gsm8k-1","question":"q",
                    "steps":[{"expression":"48/2","value":"24"}]}"#,
            ),
            (
                Format::Svamp,
                r#"[{"ID": "chal-1", "Body": "A costs 76 dollars", "Question": "How much?",
                     "Equation": "( 76.0 - 25.0 )", "Answer": 51.0, "Type": "Subtraction"}]"#,
                r#"{"answer":"51","id":"chal-1","question":"A costs 76 dollars. How much?",
                    "steps":[{"expression":"76 - 25","value":"51"}]}"#,
            ),
            (
                Format::Spider,
                r#"[{"db_id": "d", "query": "SELECT 1", "question": "q", "sql": {}}]"#,
                r#"{"database":"d","gold":"SELECT 1","id":"spider-1","question":"q"}"#,
            ),
            (
                Format::Spider,
                r#"[{"id": "x", "database": "d", "gold": "SELECT 1", "question": "q",
                     "hardness": "easy"}]"#,
                r#"{"database":"d","gold":"SELECT 1","id":"x","question":"q"}"#,
            ),
            (
                Format::Chat,
                r#"[{"conversations": [{"from": "human", "value": "q"},
                                       {"from": "gpt", "value": "a"}]}]"#,
                r#"{"messages":[{"content":"q","role":"user"},
                    {"content":"a","role":"assistant"}]}"#,
            ),
        ] {
            let imported = convert(format, "f", source.as_bytes()).unwrap();
            let expect: String = expect.lines().map(str::trim_start).collect();
            assert_eq!(imported.text, expect + "\n", "{format:?}");
            assert_eq!((imported.count, imported.skipped.len()), (1, 0));
        }
    }

    #[test]
    fn steps_are_evaluated_again_and_odd_ones_are_noted() {
        let line =
            |solution: &str| format!("{{\"question\": \"q\", \"answer\": \"{solution}\"}}\n");
        let lines = line("<<10/3=3.33>> <<3.33*3=9.99>>\\n#### 9.99")
            + &line("<<48/2=25>> <<25+1=26>>\\n#### 26")
            + &line("<<two+2=4>>\\n#### 4")
            + &line("<<2+2=4>>\\n#### 5")
            + &line("<<2+2=4>>\\n#### 99999999999999999999999999999999999")
            + &line("no marks\\n#### 5");
        let imported = convert(Format::Gsm8k, "g", lines.as_bytes()).unwrap();
        assert_eq!(imported.count, 5);
        assert_eq!(imported.skipped, ["g:5: the answer is not a number: number too large"]);
        let expect = [
            "g:2: the gold step `48/2` gives 24, stated: 25",
            "g:3: the gold step `two+2` cannot be read: unknown character t",
            "g:4: no gold step gives the answer",
        ];
        assert_eq!(imported.notes, expect);
        // Every line that was written is a task file's.
        let options = crate::tasks::Options::default();
        let schema = calculator::schema();
        let loaded = crate::tasks::parse("t", imported.text.as_bytes(), &schema, &options).unwrap();
        assert_eq!(loaded.tasks.len(), 5);
    }

    #[test]
    fn what_cannot_be_converted_is_listed() {
        let line = |answer| format!("{{\"question\": \"q\", \"answer\": \"{answer}\"}}\n");
        let lines = line("no end") + &line("#### 7");
        let imported = convert(Format::Gsm8k, "g.jsonl", lines.as_bytes()).unwrap();
        assert_eq!(imported.skipped, ["g.jsonl:1: `answer` must end in `#### number`"]);
        let error = convert(Format::Chat, "g.jsonl", lines.as_bytes()).unwrap_err().to_string();
        let expect = "nothing to import as `chat`; first: g.jsonl:1: `messages` must be a list";
        assert_eq!(error, expect);
        let error = convert(Format::Spider, "s.json", b"[{\"a\": 1}, 2]").unwrap_err().to_string();
        assert_eq!(error, "s.json:1:12: invalid type: integer `2`, expected a map");
    }
}

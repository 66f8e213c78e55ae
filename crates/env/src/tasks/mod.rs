//! Task files: one JSON object per line, with messages that name file, line and column.
//!
//! Every environment reads its tasks here and states its fields as a [`Schema`]. A file is read
//! whole, checked whole and refused whole: a run never trains on the half that could be read.

pub(crate) mod line;
mod overlap;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use stepwell_tree::{Task, TaskHash};

use crate::EnvError;

pub use overlap::{Overlap, overlap};

/// Bytes of a task file.
pub const FILE_BYTES_MAX: u64 = 4 << 30;
/// Bytes of one line.
pub const LINE_BYTES_MAX: usize = 8 << 20;

/// Bytes of a name that may be a misspelt one.
const NEAR_BYTES_MAX: usize = 100;

/// What a field holds. Everything is stored as text in [`Task::fields`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A JSON string, not empty.
    Text,
    /// Text that is not empty, or a finite number as it is written.
    Scalar,
    /// A finite number, or a string that holds one (`1,000` is one, `NaN` is not).
    Number,
    /// A list of objects, each with these text fields; stored as JSON.
    List(&'static [&'static str]),
    /// Any JSON value but null; stored as JSON.
    Json,
}

/// One field beside `id` and `question`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its name in the file.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// True where every task has it.
    pub required: bool,
}

impl Field {
    /// A field that every task has.
    pub fn required(name: &'static str, kind: Kind) -> Field {
        Field { name, kind, required: true }
    }

    /// A field that a task may have.
    pub fn optional(name: &'static str, kind: Kind) -> Field {
        Field { name, kind, required: false }
    }
}

/// The fields of an environment's tasks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schema {
    fields: Vec<Field>,
    /// True where tasks may have any other fields too.
    open: bool,
}

impl Schema {
    /// `id` and `question`, and these.
    pub fn new(fields: &[Field]) -> Schema {
        let own = [Field::required("id", Kind::Text), Field::required("question", Kind::Text)];
        Schema { fields: own.into_iter().chain(fields.iter().copied()).collect(), open: false }
    }

    /// `id`, `question` and any other fields: texts as they are, all else as its JSON.
    pub fn open() -> Schema {
        Schema { open: true, ..Schema::new(&[]) }
    }
}

/// How strictly a file is read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Fields that are allowed beside the schema's and left out of the task.
    pub extra: Vec<String>,
    /// Turns warnings into errors.
    pub strict: bool,
}

/// A task file, read.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Loaded {
    /// `[T]` the tasks in file order.
    pub tasks: Vec<Task>,
    /// `[T]` the line of each, from 1.
    pub line: Vec<usize>,
    /// What is odd but allowed; each names file and line.
    pub warnings: Vec<String>,
    /// BLAKE3 of the file's bytes: [`changed`] compares it later.
    pub digest: [u8; 32],
}

/// Reads a task file.
///
/// Errors: no file, no tasks, a line that is no JSON object, a field that is missing, unknown or of
/// another kind, an `id` that occurs twice; with `strict` also the same task twice and a gold
/// answer that stands in its own question.
pub fn load(path: &Path, schema: &Schema, options: &Options) -> Result<Loaded, EnvError> {
    let bytes = read(path)?;
    parse(&path.display().to_string(), &bytes, schema, options)
}

/// Reads task lines from memory; `name` stands for the file in messages.
pub fn parse(
    name: &str,
    bytes: &[u8],
    schema: &Schema,
    options: &Options,
) -> Result<Loaded, EnvError> {
    let digest = *blake3::hash(bytes).as_bytes();
    let mut loaded = Loaded { tasks: Vec::new(), line: Vec::new(), warnings: Vec::new(), digest };
    let mut seen_id = BTreeMap::<String, usize>::new();
    let mut seen_hash = BTreeMap::<TaskHash, usize>::new();
    for (number, text) in line::lines(name, bytes)? {
        let task = line::task(name, number, text, schema, options)?;
        if let Some(first) = seen_id.insert(task.id.clone(), number) {
            let id = line::shown_id(&task.id);
            return fault(format!(
                "{name}:{number}: `id` must be unique, got: `{id}` as in line {first}"
            ));
        }
        if let Some(first) = seen_hash.insert(task.hash(), number) {
            let text = format!("{name}:{number}: the same task as line {first}; drop one of them");
            warn(&mut loaded, options, text)?;
        }
        if let Some(answer) = leaked(&task) {
            let answer = line::shown_id(answer);
            let text =
                format!("{name}:{number}: leak: the answer `{answer}` stands in the question");
            warn(&mut loaded, options, text)?;
        }
        loaded.tasks.push(task);
        loaded.line.push(number);
    }
    if loaded.tasks.is_empty() {
        return fault(format!("{name}: holds no tasks; expected one JSON object per line"));
    }
    Ok(loaded)
}

/// BLAKE3 of a file's bytes, for [`changed`].
pub fn digest(path: &Path) -> Result<[u8; 32], EnvError> {
    Ok(*blake3::hash(&read(path)?).as_bytes())
}

/// Says so where a task file is no longer the one that was read.
pub fn changed(path: &Path, digest: &[u8; 32]) -> Result<(), EnvError> {
    let now = blake3::hash(&read(path)?);
    if now.as_bytes() == digest {
        return Ok(());
    }
    let short =
        |bytes: &[u8]| bytes[..4].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (before, now) = (short(digest), short(now.as_bytes()));
    let path = path.display();
    fault(format!("{path}: changed since the run began (hash {before} -> {now}); restore the file"))
}

/// The candidate nearest to a misspelt name, where one is near.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A name of megabytes is a slip of nothing, and comparing it would take hours.
    if name.len() > NEAR_BYTES_MAX {
        return None;
    }
    let near = candidates.map(|candidate| (distance(name, candidate), candidate)).min()?;
    (near.0 <= 1 + name.len() / 4).then_some(near.1)
}

/// Edit distance (Levenshtein), over bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The answer that its own question gives away: at least three characters, as whole words.
fn leaked(task: &Task) -> Option<&str> {
    let answer = task.field("answer").or_else(|| task.field("gold"))?;
    let long = answer.len() >= 3 && !answer.bytes().all(|byte| byte.is_ascii_digit());
    let border = |letter: Option<char>| letter.is_none_or(|letter| !letter.is_alphanumeric());
    let whole = |(at, _): (usize, &str)| {
        let question = &task.question;
        border(question[..at].chars().next_back())
            && border(question[at + answer.len()..].chars().next())
    };
    (long && task.question.match_indices(answer).any(whole)).then_some(answer)
}

fn warn(loaded: &mut Loaded, options: &Options, text: String) -> Result<(), EnvError> {
    if options.strict {
        return fault(text);
    }
    loaded.warnings.push(text);
    Ok(())
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, EnvError> {
    let unreadable = |error: std::io::Error| EnvError::Unreadable {
        path: path.to_owned(),
        cause: error.to_string(),
    };
    let name = path.display();
    if path.extension().is_some_and(|ending| ending == "gz" || ending == "zst") {
        return fault(format!("{name}: compressed files are not read; unpack it first"));
    }
    let about = path.metadata().map_err(unreadable)?;
    // A pipe or a device could block forever or never end.
    if !about.is_file() {
        let what = if about.is_dir() { "a folder" } else { "a pipe or a device" };
        return fault(format!("{name}: cannot be read: it is {what}; name a regular file"));
    }
    let large = |bytes: u64| {
        fault(format!("{name}: {bytes} bytes, at most {FILE_BYTES_MAX}; split the file"))
    };
    if about.len() > FILE_BYTES_MAX {
        return large(about.len());
    }
    let mut bytes = Vec::with_capacity(about.len() as usize);
    // The file may grow between the question and the read.
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX { large(bytes.len() as u64) } else { Ok(bytes) }
}

pub(crate) fn fault<T>(text: String) -> Result<T, EnvError> {
    Err(EnvError::Data(text))
}

//! The user's data.

use stepwell_env::import::{Format, convert};
use stepwell_env::tasks::{Options, Schema, parse};
use stepwell_env::{calculator, demonstrations, math_answer, pairs, python, sql};

pub(crate) const TASK_WORDS: &[&str] = &[
    "{\"id\": \"",
    "\"question\": ",
    "\"answer\": ",
    "\"gold\": ",
    "\"database\": ",
    "\"steps\": [{\"expression\": \"1+1\", \"value\": \"2\"}]",
    "\"evidence\": ",
    "1,000",
    "\\frac{1}{2}",
    "null",
    "\u{ff11}",
    "}\n",
];

/// The same bytes as a file of each environment.
pub(crate) fn tasks(bytes: &[u8]) -> String {
    let options = Options { extra: vec!["note".to_owned()], strict: false };
    let mut said = String::new();
    for schema in [
        sql::schema(),
        calculator::schema(),
        python::schema(),
        math_answer::schema(),
        Schema::open(),
    ] {
        match parse("t", bytes, &schema, &options) {
            Err(error) => {
                let error = error.to_string();
                assert!(error.len() < 2000, "{} bytes of error", error.len());
                said += &error;
            }
            Ok(loaded) => {
                assert_eq!(loaded.tasks.len(), loaded.line.len());
                for finding in calculator::check(&loaded.tasks) {
                    said += &finding.fault.to_string();
                }
                said += &format!("{:?}", math_answer::check(&loaded.tasks).len());
                said += loaded.warnings.first().map_or("", String::as_str);
            }
        }
    }
    said
}

pub(crate) const CHAT_WORDS: &[&str] = &[
    "{\"messages\": [",
    "{\"role\": \"user\", \"content\": \"",
    "{\"role\": \"assistant\", \"content\": \"a\"}",
    "{\"role\": \"system\", \"content\": \"s\"}",
    "\"train\": false",
    "\"prompt\": ",
    "\"completion\": ",
    "\"chosen\": ",
    "\"rejected\": ",
    "]}\n",
];

pub(crate) fn demonstrations(bytes: &[u8]) -> String {
    match demonstrations::parse("c", bytes) {
        Err(error) => error.to_string(),
        Ok(loaded) => {
            assert_eq!(loaded.conversations.len(), loaded.line.len());
            loaded.conversations.iter().map(|told| told.inline().segments.len()).sum::<usize>();
            "read".to_owned()
        }
    }
}

pub(crate) fn pairs(bytes: &[u8]) -> String {
    match pairs::parse("p", bytes) {
        Err(error) => error.to_string(),
        Ok(loaded) => {
            assert!(loaded.pairs.iter().all(|pair| pair.chosen != pair.rejected));
            "read".to_owned()
        }
    }
}

pub(crate) const IMPORT_WORDS: &[&str] = &[
    "\"question\": ",
    "\"answer\": \"<<48/2=24>>24\\n#### 24\"",
    "####",
    "<<",
    ">>",
    "=",
    "\"Body\": ",
    "\"Question\": ",
    "\"Equation\": \"( 76.0 - 25.0 )\"",
    "\"Answer\": 51.0",
    "\"db_id\": ",
    "\"query\": ",
    "\"conversations\": [{\"from\": \"human\", \"value\": \"q\"}]",
    "[{",
    "}]",
];

/// What is converted is a file that reads.
pub(crate) fn import(bytes: &[u8]) -> String {
    let mut said = String::new();
    let odd = Options::default();
    for format in Format::ALL {
        match convert(format, "f", bytes) {
            Err(error) => said += &error.to_string(),
            Ok(imported) => {
                let text = imported.text.as_bytes();
                let of_tasks = |schema: Schema| match parse("t", text, &schema, &odd) {
                    Ok(loaded) => loaded.tasks.len(),
                    Err(error) => panic!("{}: {error}", format.name()),
                };
                let read = match format {
                    Format::Chat => {
                        demonstrations::parse("c", text).expect("it reads").conversations.len()
                    }
                    Format::Spider => of_tasks(sql::schema()),
                    Format::Gsm8k | Format::Svamp => of_tasks(calculator::schema()),
                };
                assert_eq!(read, imported.count, "{}: lines are lost", format.name());
                said += imported.skipped.first().map_or("", String::as_str);
                said += imported.notes.first().map_or("", String::as_str);
            }
        }
    }
    said
}

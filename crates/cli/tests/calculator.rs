//! Word problems through the binary: a run on generated ones, data sets as task files, a run on
//! files of one's own.

mod support;

use std::fs;
use std::path::Path;

use stepwell_store::RunReader;
use support::refused::refused;
use support::{contents, run};

const WORLD: &str = include_str!("support/calculator.toml");

/// Three problems as GSM8K publishes them; the third's mark is wrong.
const GSM8K: &str = r##"{"question": "Ann sold 48 clips in April and half as many in May. How many did she sell?", "answer": "She sold 48/2 = <<48/2=24>>24 clips in May.\nIn all she sold 48+24 = <<48+24=72>>72 clips.\n#### 72"}
{"question": "Bo earns $12 an hour. How much does he earn in 50 minutes?", "answer": "A minute pays 12/60 = $<<12/60=0.2>>0.2.\nHe earned 0.2 x 50 = $<<0.2*50=10>>10.\n#### 10"}
{"question": "Cy has 7 pens and loses 2. How many are left?", "answer": "There are <<7-2=6>>6 left.\n#### 6"}
"##;

/// Two problems as SVAMP publishes them.
const SVAMP: &str = r#"[
{"ID": "chal-1", "Body": "Each pack costs 76 dollars. There is a discount of 25 dollars on each pack", "Question": "How much does each pack cost now?", "Equation": "( 76.0 - 25.0 )", "Answer": 51.0, "Type": "Subtraction"},
{"ID": "chal-2", "Body": "Dan has 3 boxes of 4 pens and 5 more pens.", "Question": "How many pens does he have?", "Equation": "( ( 3.0 * 4.0 ) + 5.0 )", "Answer": 17.0, "Type": "Addition"}
]"#;

fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("world.toml"), WORLD).unwrap();
    fs::write(here.join("train.json"), GSM8K).unwrap();
    fs::write(here.join("SVAMP.json"), SVAMP).unwrap();
    folder
}

#[test]
fn a_run_on_word_problems_is_trained_drawn_judged_and_resumed() {
    let folder = workplace();
    let here = folder.path();
    let said = run(here, &["train", "world.toml", "--run", "r"]).fine();
    for words in ["stage 2/3 rl step 4/4  reward ", "question ", "3 evaluate"] {
        assert!(said.out.contains(words), "no `{words}` in:\n{}", said.out);
    }
    assert_eq!(said.err, "");
    let reader = RunReader::open(&here.join("r")).unwrap();
    reader.verify().unwrap();
    let names = reader.metric_names().unwrap();
    for part in ["format", "called", "steps", "grounded"] {
        assert!(names.contains(&format!("part/{part}")), "{part} is not in {names:?}");
    }
    // Another number of threads, a stop in the middle of nothing: the same bits.
    run(here, &["train", "world.toml", "--run", "s", "--threads", "1"]).fine();
    run(here, &["resume", "s"]).fine();
    let checkpoints = |name: &str| contents(&here.join(name).join("checkpoints"));
    assert!(checkpoints("r") == checkpoints("s"), "threads changed the weights");
    let head = |name: &str| RunReader::open(&here.join(name)).unwrap().head().unwrap();
    assert_eq!(head("r"), head("s"));

    let drawn = run(here, &["inspect", "r"]).fine().out;
    assert!(drawn.contains("├─ #1 (") && drawn.contains("credit="), "{drawn}");
    let eval = |more: &[&str]| run(here, &[&["eval", "r"], more].concat()).fine().out;
    let greedy = eval(&["--decoding", "greedy"]);
    assert!(greedy.contains("guess level by construction"), "{greedy}");
    assert!(eval(&["--shuffled-results"]).contains("results shuffled"));
    eval(&["--decoding", "tree_vote", "--leaves", "3"]);
    run(here, &["export", "r", "--format", "jsonl", "trees.jsonl"]).fine();
    let text = fs::read_to_string(here.join("trees.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 12);

    let shown = run(here, &["recipe", "show", "world.toml"]).fine().out;
    fs::write(here.join("shown.toml"), &shown).unwrap();
    assert_eq!(run(here, &["recipe", "show", "shown.toml"]).fine().out, shown);
    let checked = run(here, &["recipe", "check", "world.toml"]).fine().out;
    assert!(checked.contains("12 train, 4 development, 8 held_out"), "{checked}");
}

#[test]
fn data_sets_become_task_files_whose_steps_are_checked() {
    let folder = workplace();
    let here = folder.path();
    let said = run(here, &["import", "gsm8k", "train.json", "g.jsonl"]).fine();
    assert_eq!(said.err, "note: train.json:3: the gold step `7-2` gives 5, stated: 6\n");
    assert!(said.out.contains("3 lines, 0 records left out"), "{}", said.out);
    assert!(said.out.contains("tasks check g.jsonl --environment calculator"), "{}", said.out);
    let text = fs::read_to_string(here.join("g.jsonl")).unwrap();
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first["answer"], "72");
    assert_eq!(first["steps"][1], serde_json::json!({"expression": "48+24", "value": "72"}));

    let words = ["tasks", "check", "g.jsonl", "--environment", "calculator"];
    let said = run(here, &words).fine();
    let expect = "gsm8k-3: the gold step `7-2` gives 5, stated: 6\n\
                  g.jsonl: 3 tasks; 0 cannot be judged, 1 only weakly\n";
    assert_eq!(said.out, expect);
    assert_eq!(run(here, &[&words[..], &["--strict"]].concat()).code, Some(1));

    run(here, &["import", "svamp", "SVAMP.json", "s.jsonl"]).fine();
    let said = run(here, &["tasks", "check", "s.jsonl", "--environment", "calculator"]).fine();
    assert_eq!(said.out, "s.jsonl: 2 tasks; 0 cannot be judged, 0 only weakly\n");
}

#[test]
fn the_words_of_a_check_fit_its_environment() {
    let folder = workplace();
    let here = folder.path();
    run(here, &["import", "svamp", "SVAMP.json", "s.jsonl"]).fine();
    let refused = |words: &[&str], expected: &str| drop(refused(here, words, 2, expected));
    refused(&["tasks", "check", "s.jsonl"], "add `--databases FOLDER`; for word problems");
    let both = ["--environment", "calculator", "--databases", "."];
    refused(&[&["tasks", "check", "s.jsonl"][..], &both].concat(), "leave `--databases` out");
    refused(&["tasks", "check", "s.jsonl", "--environment", "chess"], "possible values");
    let python = ["tasks", "check", "s.jsonl", "--environment", "python"];
    refused(&python, "s.jsonl:1: unknown field `answer`");
}

/// The recipe over files of one's own.
fn over_files(here: &Path) -> String {
    let world =
        &WORLD[WORLD.find("[environment.world]").unwrap()..WORLD.find("[[stage]]").unwrap()];
    let files = "[environment.files]\ntrain = \"g.jsonl\"\nheld_out = \"s.jsonl\"\n\n";
    let recipe = WORLD.replace(world, files);
    let recipe = recipe.replace("demonstrations = \"scripted\"", "data = \"talks.jsonl\"");
    let recipe =
        recipe.replace("evaluate_every = 4\n", "").replace("context = 96", "context = 200");
    let talk = "{\"messages\": [{\"role\": \"user\", \"content\": \"Question: 2 and 2?\"}, \
                {\"role\": \"assistant\", \"content\": \"<calc>2 + 2</calc>\"}, \
                {\"role\": \"tool\", \"content\": \" <result>4</result>\"}, \
                {\"role\": \"assistant\", \"content\": \"<answer>4</answer>\"}]}\n";
    fs::write(here.join("talks.jsonl"), talk).unwrap();
    fs::write(here.join("files.toml"), &recipe).unwrap();
    recipe
}

#[test]
fn own_files_are_trained_on() {
    let folder = workplace();
    let here = folder.path();
    run(here, &["import", "gsm8k", "train.json", "g.jsonl"]).fine();
    run(here, &["import", "svamp", "SVAMP.json", "s.jsonl"]).fine();
    over_files(here);
    let said = run(here, &["train", "files.toml", "--run", "r"]).fine();
    assert!(said.err.contains("knows the words of your prompts only"), "{}", said.err);
    assert!(run(here, &["inspect", "r", "--task", "gsm8k-1"]).fine().out.contains("Ann sold 48"));
    let words = ["eval", "r", "--shuffled-results", "--decoding", "greedy"];
    assert!(run(here, &words).fine().out.contains("results shuffled"));
}

#[test]
fn faulty_task_files_are_refused_before_anything_is_written() {
    let folder = imported();
    let here = folder.path();
    over_files(here);
    let task =
        |answer: &str| format!("{{\"id\": \"a\", \"question\": \"q\", \"answer\": {answer}}}\n");
    let steps = |steps: &str| {
        let good = task("1");
        good.replace('}', &format!(", \"steps\": {steps}}}"))
    };
    for (row, text, expected) in [
        ("20", "\n".to_owned(), "s.jsonl: holds no tasks"),
        ("22", task("null"), "s.jsonl:1: `answer` must be a number, got: null"),
        ("28", task("\"NaN\""), "`answer` is not a number the grader accepts: `NaN`"),
        ("28 huge", task("1e300"), "`answer` is not a number the grader accepts: `1e+300`"),
        ("24", task("1").replace("\"answer\"", "\"anser\""), "did you mean `answer`?"),
        ("sql", task("1").replace('}', ", \"gold\": \"SELECT 1\"}"), "unknown field `gold`"),
        ("steps", steps("[\"1+1\"]"), "`steps` must list objects with the texts `expression`"),
        ("26", fs::read_to_string(here.join("g.jsonl")).unwrap(), "3 eval tasks also"),
    ] {
        fs::write(here.join("s.jsonl"), text).unwrap();
        println!("row {row}");
        refused(here, &["train", "files.toml"], 2, expected);
    }
}

/// A workplace with both data sets imported.
fn imported() -> tempfile::TempDir {
    let folder = workplace();
    run(folder.path(), &["import", "gsm8k", "train.json", "g.jsonl"]).fine();
    run(folder.path(), &["import", "svamp", "SVAMP.json", "s.jsonl"]).fine();
    folder
}

//! Data in the field's formats, and a chat template of one's own, from a recipe to a run.

mod common;

use std::fs;
use std::path::Path;

use common::runs::{Watch, end, finish, recipe, start};
use stepwell_engine::EngineError;
use stepwell_engine::problem::Problem;
use stepwell_engine::run;
use stepwell_store::RunReader;
use stepwell_tree::Opening;

const TEMPLATE: &str = "{% for m in messages %}{% if m.role == 'assistant' %}A: {{ m.content }}\
                        <|end|>{% else %}[{{ m.role }}] {{ m.content }}{% endif %}{% endfor %}\
                        {% if add_generation_prompt %}A: {% endif %}\n";

const TALKS: &str = r#"{"prompt": "2 + 3?\n", "completion": "5"}
{"prompt": [{"role": "user", "content": "2 + 3?\n"}, {"role": "assistant", "content": "5"}, {"role": "user", "content": "2 + 6?\n"}], "completion": [{"role": "assistant", "content": "8"}]}
"#;

const PAIRS: &str = r#"{"prompt": "2 + 3?\n", "chosen": "5", "rejected": "4"}
{"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "r"}, {"role": "assistant", "content": "5"}], "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "r"}, {"role": "assistant", "content": "4"}]}
"#;

fn text(folder: &Path) -> String {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let tasks = file("tasks.jsonl", "{\"id\":\"a\",\"question\":\"2 + 3?\",\"answer\":\"5\"}\n");
    format!(
        r#"
seed = 3
[model]
chat_template = "{}"
[model.scratch]
hidden = 24
layers = 1
heads = 2
context = 120
tokenizer = "bytes"
[environment]
type = "math_answer"
form = "tags"
prompt = "Sum:\n{{question}} {{own}}"
files = {{ train = "{tasks}", held_out = "{tasks}", allow_overlap = true }}
[[stage]]
[stage.sft]
data = "{}"
turns = "template"
steps = 30
batch = 4
learning_rate = 1e-2
[[stage]]
[stage.preference]
steps = 4
batch = 2
learning_rate = 1e-3
checkpoint_every = 1
pairs = {{ type = "file", path = "{}" }}
"#,
        file("own.jinja", TEMPLATE),
        file("talks.jsonl", TALKS),
        file("pairs.jsonl", PAIRS),
    )
}

fn refused(text: &str) -> String {
    let recipe = recipe(text);
    let learner = Problem::build(&recipe).and_then(|problem| {
        let learner = problem.learner(&recipe, 1)?;
        problem.require_fit(&recipe, &learner)
    });
    match learner {
        Err(EngineError::Input(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_run_trains_on_completions_and_long_pairs_under_its_own_template() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let text = text(here);
    let (whole, stopped) = (here.join("whole"), here.join("stopped"));
    assert_eq!(start(&text, &whole, 2).unwrap().steps, 34);
    let mut watch = Watch { stop_after: Some(31), ..Watch::default() };
    run::start(&recipe(&text), &stopped, 1, &mut watch).unwrap();
    // Another template is another run.
    fs::write(here.join("own.jinja"), TEMPLATE.replace("A: ", "B: ")).unwrap();
    let error = run::resume(&stopped, 1, &mut Watch::default()).unwrap_err().to_string();
    assert!(error.contains("`chat_template`"), "{error}");
    fs::write(here.join("own.jinja"), TEMPLATE).unwrap();
    // So are other conversations.
    let marked = TALKS.replace("\"content\": \"5\"}", "\"content\": \"6\"}");
    assert_ne!(marked, TALKS);
    fs::write(here.join("talks.jsonl"), marked).unwrap();
    let error = run::resume(&stopped, 1, &mut Watch::default()).unwrap_err().to_string();
    assert!(error.contains("`demonstrations`"), "{error}");
    fs::write(here.join("talks.jsonl"), TALKS).unwrap();
    assert_eq!(finish(&stopped, 2).unwrap(), end(&whole));
    let series = RunReader::open(&whole).unwrap().metric_series("loss").unwrap();
    let loss: Vec<f64> = series[..30].iter().map(|point| point.value).collect();
    assert!(loss[29] < loss[0] / 2.0, "{loss:?}");
}

#[test]
fn the_template_stands_around_contents_that_forge_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(&text(folder.path()));
    let learner = Problem::build(&recipe).unwrap().learner(&recipe, 1).unwrap();
    let codec = learner.codec();
    let opening = |system: &str, user: &str| {
        let opening = Opening { system: system.to_owned(), user: user.to_owned() };
        codec.encode_opening(&opening)
    };
    assert_eq!(opening("s", "q"), codec.encode("[system] s[user] qA: "));
    // INV-21.
    for forged in ["<|end|>", "<|answer|>", "{{ messages }}", "{% endfor %}", "qz0content0zq"] {
        assert_eq!(opening("", forged), codec.encode(&format!("[user] {forged}A: ")), "{forged}");
    }
}

#[test]
fn the_prompt_is_the_recipes_own_and_writes_back() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(&text(folder.path()));
    let problem = Problem::build(&recipe).unwrap();
    let user = problem.environment.opening(&problem.train[0]).user;
    assert!(user.starts_with("Sum:\n2 + 3? 2 + 3?\n\n"), "{user}");
    let again = stepwell_engine::recipe::Recipe::parse(&recipe.to_toml(), "again").unwrap();
    assert_eq!(again.recipe, recipe);
}

#[test]
fn what_is_wrong_with_a_template_or_a_row_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let good = text(here);
    let path = |name: &str| here.join(name).display().to_string();
    for (template, expected) in [
        (
            "{% for m in messages %}",
            ":1:22: syntax error: unexpected end of input, expected end of block",
        ),
        ("{{ messages[0].nope }}", ":1:4: `messages[0].nope` is undefined"),
        ("{{ nope }}", ":1:4: `nope` is undefined"),
        ("constant", ": message 1 (user) is written 0 times, expected once; use another template"),
    ] {
        fs::write(here.join("own.jinja"), template).unwrap();
        let why = refused(&good);
        let prefix = format!("`model.chat_template`: {}", path("own.jinja"));
        let rest = why.strip_prefix(&prefix);
        assert!(rest.is_some_and(|rest| rest.starts_with(expected)), "{why}\n{expected}");
    }
    fs::remove_file(here.join("own.jinja")).unwrap();
    let why = refused(&good);
    assert!(why.contains("own.jinja: cannot be read") && why.ends_with("check the path"), "{why}");

    let good = text(here);
    let refuses = "{% if messages | length > 2 %}{{ raise_exception('two at most') }}{% endif %}";
    fs::write(here.join("own.jinja"), refuses.to_owned() + TEMPLATE).unwrap();
    let why = refused(&good);
    assert!(why.starts_with(&(path("talks.jsonl") + ":2: chat_template:1:")), "{why}");
    assert!(why.contains("two at most"), "{why}");
    fs::write(here.join("own.jinja"), TEMPLATE).unwrap();

    let long = format!("{{\"prompt\": \"q\", \"completion\": \"{}\"}}\n", "x".repeat(200));
    fs::write(here.join("talks.jsonl"), TALKS.to_owned() + &long).unwrap();
    let expected = format!(
        "stage[0].sft: {}:3: the conversation has 212 tokens, expected at most the model's \
         context: 120; 1 of 3 are too long; shorten them or take a model with a longer context",
        path("talks.jsonl")
    );
    assert_eq!(refused(&good), expected);
}

/// The recipe with demonstrations beside trees in place of both its stages.
fn beside(folder: &Path) -> String {
    let text = text(folder);
    let stages = text.find("[[stage]]").unwrap();
    let talks = folder.join("talks.jsonl").display().to_string();
    format!(
        "{}[[stage]]\n[stage.rl]\nsteps = 3\ntasks = 1\nmax_tokens = 8\nbatch = 2\n\
         checkpoint_every = 1\nturns = \"template\"\ndata = \"{talks}\"\n\
         plan = {{ type = \"fixed\", share = 0.5, mix = \"soft\" }}\n\
         grow = {{ type = \"independent\", attempts = 2 }}\nreward = {{ type = \"outcome\" }}\n\
         credit = {{ type = \"reinforce\" }}\n",
        &text[..stages]
    )
}

#[test]
fn conversations_beside_trees_are_checked_and_watched_as_those_of_their_own_stage() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (text, file) = (beside(here), here.join("talks.jsonl"));
    let long = format!("{{\"prompt\": \"q\", \"completion\": \"{}\"}}\n", "x".repeat(200));
    fs::write(&file, TALKS.to_owned() + &long).unwrap();
    let why = refused(&text);
    let expected = format!("stage[0].rl: {}:3: the conversation has 212 tokens", file.display());
    assert!(why.starts_with(&expected), "{why}");

    fs::write(&file, TALKS).unwrap();
    let path = here.join("run");
    let mut watch = Watch { stop_after: Some(1), ..Watch::default() };
    run::start(&recipe(&text), &path, 1, &mut watch).unwrap();
    fs::write(&file, TALKS.replace("2 + 6", "2 + 7")).unwrap();
    let error = run::resume(&path, 1, &mut Watch::default()).unwrap_err().to_string();
    assert!(error.contains("`demonstrations`"), "{error}");
    fs::write(&file, TALKS).unwrap();
    assert_eq!(finish(&path, 1).unwrap(), {
        let whole = here.join("whole");
        start(&text, &whole, 2).unwrap();
        end(&whole)
    });
}

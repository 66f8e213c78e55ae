//! What the author of a run writes.

use stepwell_engine::recipe::{Recipe, RecipeError};
use stepwell_env::prompt::Prompt;

pub(crate) const WORDS: &[&str] = &[
    "[[stage]]",
    "[stage.rl]",
    "[stage.sft]",
    "[stage.evaluate]",
    "[stage.preference]",
    "[stage.estimator]",
    "[stage.offline]",
    "[model.scratch]",
    "[environment]",
    "[environment.world]",
    "seed = ",
    "credit = { type = \"",
    "grow = { type = \"branch\", attempts = ",
    "objective = ",
    "learning_rate = ",
    "\"\"\"",
    "'''",
    "inf",
    "nan",
    "0x",
    "1979-05-27T07:32:00Z",
    " = ",
    "stage[1].rl.",
    "#",
];

fn first(errors: &[RecipeError]) -> String {
    errors.first().map(|error| error.message.clone()).unwrap_or_default()
}

/// A recipe that reads is written out and read again, and is the same.
pub(crate) fn recipe(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match Recipe::parse(&text, "recipe.toml") {
        Err(errors) => {
            assert!((1..=101).contains(&errors.len()), "{} errors", errors.len());
            first(&errors)
        }
        Ok(checked) => {
            let written = checked.recipe.to_toml();
            let again = Recipe::parse(&written, "written").expect("what is written reads");
            assert_eq!(again.recipe, checked.recipe, "what is written reads as another recipe");
            let shown = checked.recipe.to_commented_toml();
            assert!(Recipe::parse(&shown, "shown").is_ok(), "what is shown does not read");
            first(&checked.warnings)
        }
    }
}

const GOOD: &str = include_str!("../../../engine/tests/bad_inputs/good.toml");

/// A line is an override of a good recipe.
pub(crate) fn overrides(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let sets: Vec<String> = text.lines().take(8).map(str::to_owned).collect();
    match Recipe::parse_with(GOOD, "good.toml", &sets) {
        Ok(_) => "fine".to_owned(),
        Err(errors) => first(&errors),
    }
}

pub(crate) fn prompt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match Prompt::new(&text) {
        Err(why) => why,
        Ok(prompt) => {
            // Fields are put in once: what they hold is never read as a template.
            let filled = |value| prompt.fill(|_| Some(value)).len();
            let fields = prompt.fields().count();
            let twice = filled("") + "{question}x".len() * fields;
            assert_eq!(filled("{question}x"), twice, "a field was read again");
            assert_eq!(prompt.source(), text, "the prompt is another one");
            format!("{fields} fields")
        }
    }
}

//! Prompts of the user's own: `prompt = "Question: {question}"`.

use serde::{Serialize, Serializer};
use stepwell_env::prompt::Prompt;
use toml::de::DeValue;

use super::setting::{Limit, Setting, shown};

/// A text with fields in braces, over one line or several.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PromptText(pub Prompt);

impl Serialize for PromptText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.source())
    }
}

impl Setting for PromptText {
    fn read(value: &DeValue<'_>, _: &Limit) -> Result<Self, String> {
        let DeValue::String(text) = value else {
            return Err(format!("must be text in quotes, got: {}", shown(value)));
        };
        let odd = |letter: char| letter.is_control() && letter != '\n' && letter != '\t';
        if text.chars().any(odd) {
            return Err(format!("must not hold control characters, got: {}", shown(value)));
        }
        let prompt = Prompt::new(text)?;
        if prompt.fields().next().is_none() {
            return Err(format!(
                "names no field, so all tasks would read the same; write one as `{{question}}`, \
                 got: {}",
                shown(value)
            ));
        }
        Ok(PromptText(prompt))
    }

    fn text(&self) -> Option<String> {
        Some(toml::Value::from(self.0.source()).to_string())
    }
}

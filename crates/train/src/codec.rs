//! Text to tokens and back: the tokenizer, and the chat template where the model has one.

use stepwell_model::template::{ChatTemplate, Message, TemplateError};
use stepwell_model::tokenizer::{StopMatcher, Tokenizer};
use stepwell_tree::Opening;

/// What turns an environment's texts into the model's tokens.
pub struct Codec {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
}

impl Codec {
    /// A codec whose template has been tried.
    ///
    /// # Errors
    /// Where the template cannot write a system and a user message once each and in order.
    pub fn new(
        tokenizer: Tokenizer,
        template: Option<ChatTemplate>,
    ) -> Result<Self, TemplateError> {
        let codec = Codec { tokenizer, template };
        for system in ["", "rules"] {
            let opening = Opening { system: system.to_owned(), user: "question".to_owned() };
            codec.try_opening(&opening)?;
        }
        Ok(codec)
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The chat template, where there is one.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// The prompt as tokens. Without a template: its texts, one after the other.
    pub fn encode_opening(&self, opening: &Opening) -> Vec<u32> {
        self.try_opening(opening).expect("the template was tried when the codec was made")
    }

    fn try_opening(&self, opening: &Opening) -> Result<Vec<u32>, TemplateError> {
        let system = Message { role: "system", content: &opening.system };
        let user = Message { role: "user", content: &opening.user };
        let messages = if opening.system.is_empty() { vec![user] } else { vec![system, user] };
        match &self.template {
            Some(template) => template.apply(&self.tokenizer, &messages, true),
            None => Ok(messages.iter().flat_map(|m| self.tokenizer.encode(m.content)).collect()),
        }
    }

    /// Content as tokens; no text becomes a control token.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode(text)
    }

    /// Tokens as text.
    pub fn decode(&self, token: &[u32]) -> String {
        self.tokenizer.decode(token)
    }

    /// Tokens that end a text.
    pub fn end_tokens(&self) -> &[u32] {
        self.tokenizer.end_of_text()
    }

    /// True where the last of a step's tokens completed a stop string.
    pub fn stopped(&self, token: &[u32], stops: &StopMatcher) -> bool {
        stops.matched(&self.tokenizer, token)
    }
}

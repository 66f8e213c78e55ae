//! Text to tokens and back: the tokenizer, and the chat template where the model has one.

use stepwell_model::template::{ChatTemplate, Message, TemplateError, Turn, Turns};
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

    /// A conversation as tokens, cut where its contents begin and end; with `generation`, up to
    /// where the assistant's next words go. Without a template: the contents, one after the other,
    /// what the assistant said closed by the token that ends a text.
    ///
    /// # Errors
    /// Where the template cannot write these messages once each and in order.
    pub fn encode_turns(
        &self,
        messages: &[Message<'_>],
        generation: bool,
    ) -> Result<Turns, TemplateError> {
        if let Some(template) = &self.template {
            return template.turns(&self.tokenizer, messages, generation);
        }
        let mut end = Vec::new();
        let turn = |message: &Message<'_>| {
            let content = self.tokenizer.encode(message.content);
            let said: Option<&u32> =
                self.end_tokens().first().filter(|_| message.role == "assistant");
            let after = said.copied().into_iter().collect();
            Turn { before: std::mem::replace(&mut end, after), content }
        };
        let turns = messages.iter().map(turn).collect();
        Ok(Turns { turns, after: end })
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

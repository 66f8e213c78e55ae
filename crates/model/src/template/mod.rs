//! Chat templates: Jinja programs that say where messages stand between control tokens.
//!
//! The template never sees a message. It renders with a sentinel in the place of each content;
//! the result is cut at the sentinels, the template's own pieces are encoded with control tokens
//! on and the contents with control tokens off (P17, INV-21). A template that drops, repeats or
//! reorders a message is refused, because it would train on something else than was said.

mod error;
mod methods;
#[cfg(test)]
mod tests;

use minijinja::{Environment, UndefinedBehavior, context, syntax::SyntaxConfig};
use serde_json::Value;

pub use self::error::TemplateError;
use self::error::explain;
use crate::tokenizer::{ANSWER, END, PROMPT, Piece, Tokenizer};

/// Steps and, at 64 bytes a step, bytes that one rendering may use.
pub const FUEL: u64 = 100_000;
/// Longest rendered template without contents.
pub const OUTPUT_BYTES_MAX: usize = 4 << 20;
/// Bytes of a template.
pub const SOURCE_BYTES_MAX: usize = 1 << 20;
/// Depth of macros and includes, and of nested expressions.
pub const RECURSION_MAX: usize = 100;

/// One message of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// `system`, `user`, `assistant` or `tool`: the names every template knows.
    pub role: &'a str,
    /// What was said; never interpreted.
    pub content: &'a str,
}

/// A conversation as ids, cut where the contents begin and end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// `[M]` each message.
    pub turns: Vec<Turn>,
    /// The template's own ids after the last content.
    pub after: Vec<u32>,
}

/// One message as ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// The template's own, from the content before to this one.
    pub before: Vec<u32>,
    /// The content's; none of them is a control token.
    pub content: Vec<u32>,
}

/// Names that templates use for the ends of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Controls {
    /// `bos_token`.
    pub begin: Option<String>,
    /// `eos_token`.
    pub end: Option<String>,
}

impl Controls {
    /// From `tokenizer_config.json`, where a token is a string or an object with `content`.
    pub(crate) fn from_config(config: Option<&Value>) -> Self {
        let name = |field: &str| {
            let token = config?.get(field)?;
            token.as_str().or_else(|| token.get("content")?.as_str()).map(str::to_owned)
        };
        Self { begin: name("bos_token"), end: name("eos_token") }
    }
}

/// A template that parsed.
#[derive(Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    controls: Controls,
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate").field("source", &self.source).finish_non_exhaustive()
    }
}

impl PartialEq for ChatTemplate {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.controls == other.controls
    }
}

impl ChatTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// If it is not Jinja or too long.
    pub fn new(source: &str, controls: Controls) -> Result<Self, TemplateError> {
        if source.len() > SOURCE_BYTES_MAX {
            return Err(TemplateError::Long { got: source.len() });
        }
        let mut environment = Environment::new();
        // As transformers sets Jinja up; but undefined values are errors where they are printed.
        let mut syntax = SyntaxConfig::builder();
        let syntax = syntax.trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|wrong| explain(source, &wrong))?);
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment.set_fuel(Some(if stepwell_mutant::planted(27) { 1000 * FUEL } else { FUEL }));
        environment.set_recursion_limit(RECURSION_MAX);
        environment.set_debug(true);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        methods::install(&mut environment);
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|wrong| explain(source, &wrong))?;
        Ok(Self { environment, source: source.to_owned(), controls })
    }

    /// The template of tokenizers that this program makes: `<|prompt|>` before what the policy
    /// reads, `<|answer|>` before what it writes.
    ///
    /// # Panics
    /// Never: the source is a constant.
    #[must_use]
    pub fn plain() -> Self {
        let controls = Controls { begin: None, end: Some(END.to_owned()) };
        match Self::new(&plain_source(), controls) {
            Ok(template) => template,
            Err(wrong) => panic!("the plain template is a constant: {wrong}"),
        }
    }

    /// The Jinja text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Names of the ends of a text.
    #[must_use]
    pub fn controls(&self) -> &Controls {
        &self.controls
    }

    /// The ids of a conversation; with `generation`, up to where the assistant's next words go.
    ///
    /// # Errors
    /// If the template fails, or does not write every content once and in order.
    pub fn apply(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message<'_>],
        generation: bool,
    ) -> Result<Vec<u32>, TemplateError> {
        let Turns { turns, after } = self.turns(tokenizer, messages, generation)?;
        let ids = turns.into_iter().flat_map(|turn| [turn.before, turn.content]);
        Ok(ids.chain([after]).flatten().collect())
    }

    /// The same, cut where the contents begin and end.
    ///
    /// # Errors
    /// As [`ChatTemplate::apply`].
    pub fn turns(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message<'_>],
        generation: bool,
    ) -> Result<Turns, TemplateError> {
        let rendered = self.render(messages, generation)?;
        let pieces = self.cut(&rendered, messages)?;
        let mut own = pieces.into_iter().map(|piece| encode_template_text(tokenizer, piece));
        let mut next = || own.next().expect("there is a piece before each content and after all");
        let turn = |message: &Message<'_>| Turn {
            before: next(),
            content: tokenizer.encode(message.content),
        };
        let turns = messages.iter().map(turn).collect();
        Ok(Turns { turns, after: next() })
    }

    /// Renders with sentinels in the place of contents.
    fn render(&self, messages: &[Message<'_>], generation: bool) -> Result<String, TemplateError> {
        let list: Vec<minijinja::Value> = messages
            .iter()
            .enumerate()
            .map(|(number, message)| {
                context! { role => message.role, content => self.sentinel(number) }
            })
            .collect();
        let given = context! {
            messages => list,
            add_generation_prompt => generation,
            bos_token => self.controls.begin.clone().unwrap_or_default(),
            eos_token => self.controls.end.clone().unwrap_or_default(),
            tools => (),
            documents => (),
        };
        let template =
            self.environment.get_template(NAME).map_err(|wrong| explain(&self.source, &wrong))?;
        let rendered = template.render(given).map_err(|wrong| explain(&self.source, &wrong))?;
        if rendered.len() > OUTPUT_BYTES_MAX { Err(TemplateError::Output) } else { Ok(rendered) }
    }

    /// A word that the template cannot contain. Contents are never rendered, so nothing else can
    /// hold it either, and it needs no randomness.
    fn sentinel(&self, number: usize) -> String {
        let mut salt = 0_u32;
        while self.source.contains(&format!("qz{salt}content")) {
            salt += 1;
        }
        format!("qz{salt}content{number}zq")
    }

    fn cut<'r>(
        &self,
        rendered: &'r str,
        messages: &[Message<'_>],
    ) -> Result<Vec<&'r str>, TemplateError> {
        let mut pieces = Vec::with_capacity(messages.len() + 1);
        let mut end = 0;
        for (number, message) in messages.iter().enumerate() {
            let sentinel = self.sentinel(number);
            let times = rendered.matches(&sentinel).count();
            let Some(at) = rendered.find(&sentinel).filter(|_| times == 1) else {
                let role = message.role.to_owned();
                return Err(TemplateError::Count { message: number + 1, role, times });
            };
            if at < end {
                return Err(TemplateError::Order { message: number + 1 });
            }
            pieces.push(&rendered[end..at]);
            end = at + sentinel.len();
        }
        pieces.push(&rendered[end..]);
        Ok(pieces)
    }

    /// Tries the template on a conversation of two turns: every content once and in order, at
    /// most one start of text, and the first turn's ids a prefix of the second's.
    ///
    /// # Errors
    /// What is wrong, for a note to the user: a template that is not append-only still serves
    /// for single turns.
    pub fn check(&self, tokenizer: &Tokenizer) -> Result<(), TemplateError> {
        let turns = [("user", "first"), ("assistant", "second"), ("user", "third")];
        let messages = turns.map(|(role, content)| Message { role, content });
        let one = self.apply(tokenizer, &messages[..1], true)?;
        let two = self.apply(tokenizer, &messages, true)?;
        if let Some(at) = (0..one.len()).find(|at| two.get(*at) != Some(&one[*at])) {
            return Err(TemplateError::Rewrites { turn: 2, at });
        }
        if let Some(name) = &self.controls.begin
            && let Some(id) = tokenizer.control(name)
        {
            let times = two.iter().filter(|other| **other == id).count();
            // Families whose start and separator are one token (ChatML's `<|im_start|>`) repeat it.
            if times > 1 && two.get(1) == Some(&id) {
                return Err(TemplateError::Begin { name: name.clone(), times });
            }
        }
        Ok(())
    }
}

const NAME: &str = "chat_template";

fn plain_source() -> String {
    format!(
        "{{% for message in messages %}}{{% if message['role'] == 'assistant' %}}{ANSWER}\
         {{{{ message['content'] }}}}{END}{{% else %}}{PROMPT}{{{{ message['content'] }}}}\
         {{% endif %}}{{% endfor %}}{{% if add_generation_prompt %}}{ANSWER}{{% endif %}}"
    )
}

/// The template's own text: control tokens where their names stand, the longest first.
fn encode_template_text(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let mut pieces = Vec::new();
    let (mut begin, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        let found = tokenizer.controls().filter(|(name, _)| rest.starts_with(name));
        if let Some((name, _)) = found.max_by_key(|(name, _)| name.len()) {
            pieces.push(Piece::Text(&text[begin..at]));
            pieces.push(Piece::Control(name));
            at += name.len();
            begin = at;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    pieces.push(Piece::Text(&text[begin..]));
    let kept = pieces.into_iter().filter(|piece| *piece != Piece::Text(""));
    let encoded = tokenizer.encode_pieces(&kept.collect::<Vec<_>>());
    encoded.expect("the names come from the tokenizer itself")
}

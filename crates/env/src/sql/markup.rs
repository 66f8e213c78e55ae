//! The markup of ReEx-SQL: what a step of the policy says, and what is wrong with it.
//!
//! ```text
//! attempt  = { step, <result> from the executor }, last step
//! step     = [ think ], "<intermediate_sql>", query, "</intermediate_sql>"
//! last     = [ think ], "<final_sql>", query, "</final_sql>"
//! think    = "<think>", text, "</think>"
//! ```
//!
//! Blank text may stand between the parts; no tag may stand inside one; the attempt thinks at
//! least once. The parser is total and linear: each byte is looked at once.

/// Every tag as it is written: a vocabulary over words holds these.
pub const TAGS: [&str; 8] = [
    "<think>",
    "</think>",
    "<intermediate_sql>",
    "</intermediate_sql>",
    "<result>",
    "</result>",
    "<final_sql>",
    "</final_sql>",
];

/// The names of the tags, in the order of [`Tag`].
const NAMES: [&str; 4] = ["think", "intermediate_sql", "final_sql", "result"];

/// Every tag, opening and closing: words that any tokenizer for this markup should know.
pub fn tags() -> impl Iterator<Item = String> {
    NAMES.iter().flat_map(|name| [format!("<{name}>"), format!("</{name}>")])
}

/// What a policy may write between angle brackets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tag {
    Think,
    Query,
    Final,
    Result,
}

/// What a step asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Run this and go on.
    Query(String),
    /// This is the answer.
    Final(String),
    /// Neither was closed.
    None,
}

/// The first thing wrong with a step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Malformed {
    /// Text between the parts.
    TextOutsideTags,
    /// The policy wrote a `<result>` or `</result>` itself. It is never taken for the executor's.
    SpoofedResult,
    /// A tag inside a part, a closing tag without its opening, or a part that is never closed.
    BadNesting,
    /// A second `<think>` before the same query.
    RepeatedThink,
    /// Anything after the query that ends the step.
    TextAfterAction,
    /// The attempt ended without a final query.
    NoFinal,
    /// The attempt never thought.
    NoThink,
}

/// A step, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parsed {
    /// What it asks for, even where its form is wrong: form and result are judged apart.
    pub action: Action,
    /// True where a whole `<think>` part stands in it.
    pub thinks: bool,
    /// What is wrong with its form.
    pub malformed: Option<Malformed>,
}

/// Reads one step: everything the policy wrote since the last observation.
pub fn parse(step: &str) -> Parsed {
    let mut reader = Reader::default();
    let mut rest = 0;
    for (at, _) in step.match_indices('<') {
        let Some((tag, closing, length)) = tag_at(&step[at..]) else { continue };
        reader.text(&step[rest..at]);
        rest = at + length;
        if closing {
            if let Some(action) = reader.close(tag, &step[..at]) {
                reader.after(&step[rest..]);
                return reader.end(action);
            }
        } else {
            reader.open(tag, rest);
        }
    }
    reader.text(&step[rest..]);
    if reader.inside.is_some() {
        reader.complain(Malformed::BadNesting);
    }
    reader.end(Action::None)
}

/// The tag that starts here: which, whether it closes, and its length in bytes.
fn tag_at(text: &str) -> Option<(Tag, bool, usize)> {
    let inner = text.strip_prefix('<')?;
    let (inner, closing) = inner.strip_prefix('/').map_or((inner, false), |inner| (inner, true));
    let tags = [Tag::Think, Tag::Query, Tag::Final, Tag::Result];
    let (tag, name) = tags
        .into_iter()
        .zip(NAMES)
        .find(|(_, name)| inner.strip_prefix(name).is_some_and(|after| after.starts_with('>')))?;
    Some((tag, closing, name.len() + 2 + usize::from(closing)))
}

/// The state between two tags.
#[derive(Default)]
struct Reader {
    /// The part that is open.
    inside: Option<Tag>,
    /// Where the newest opening of each kind of query ends: its text starts there.
    query_begin: Option<usize>,
    final_begin: Option<usize>,
    thinks: bool,
    malformed: Option<Malformed>,
}

impl Reader {
    fn complain(&mut self, what: Malformed) {
        self.malformed.get_or_insert(what);
    }

    fn text(&mut self, text: &str) {
        if self.inside.is_none() && !text.trim().is_empty() {
            self.complain(Malformed::TextOutsideTags);
        }
    }

    fn open(&mut self, tag: Tag, end: usize) {
        match tag {
            Tag::Result => return self.complain(Malformed::SpoofedResult),
            Tag::Query => self.query_begin = Some(end),
            Tag::Final => self.final_begin = Some(end),
            Tag::Think if self.thinks => self.complain(Malformed::RepeatedThink),
            Tag::Think => {}
        }
        if self.inside.is_some() {
            self.complain(Malformed::BadNesting);
        }
        self.inside = Some(tag);
    }

    /// Closes a part. A query that ends the step is returned; one that was never opened is empty.
    fn close(&mut self, tag: Tag, before: &str) -> Option<Action> {
        if tag == Tag::Result {
            self.complain(Malformed::SpoofedResult);
            return None;
        }
        if self.inside != Some(tag) {
            self.complain(Malformed::BadNesting);
        }
        self.inside = None;
        let sql =
            |begin: Option<usize>| begin.map_or("", |begin| before[begin..].trim()).to_owned();
        match tag {
            Tag::Query => Some(Action::Query(sql(self.query_begin))),
            Tag::Final => Some(Action::Final(sql(self.final_begin))),
            Tag::Think | Tag::Result => {
                self.thinks = true;
                None
            }
        }
    }

    /// What follows the query that ends the step.
    fn after(&mut self, text: &str) {
        if text.contains("<result>") || text.contains("</result>") {
            self.complain(Malformed::SpoofedResult);
        } else if !text.trim().is_empty() {
            self.complain(Malformed::TextAfterAction);
        }
    }

    fn end(self, action: Action) -> Parsed {
        Parsed { action, thinks: self.thinks, malformed: self.malformed }
    }
}

/// Keeps text of a database from looking like markup when the policy reads it back.
pub(crate) fn neutral(text: &str) -> String {
    NAMES.iter().fold(text.to_owned(), |text, name| {
        let opened = text.replace(&format!("<{name}>"), &format!("< {name} >"));
        opened.replace(&format!("</{name}>"), &format!("< /{name} >"))
    })
}

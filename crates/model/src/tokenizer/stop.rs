//! Tells when a step has written one of the environment's stop strings.

use super::Tokenizer;

/// Stop strings, ready to be looked for after every token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopMatcher {
    stops: Vec<String>,
}

impl StopMatcher {
    /// A matcher for these strings; empty ones are left out, because they would end every step.
    #[must_use]
    pub fn new(stops: &[String]) -> Self {
        Self { stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect() }
    }

    /// The strings.
    #[must_use]
    pub fn stops(&self) -> &[String] {
        &self.stops
    }

    /// Whether the last of a step's ids completed a stop string. Ask after every token.
    ///
    /// The whole step is decoded only if the last token holds the last character of a stop
    /// string, which is rare; so the usual cost is one token's decoding.
    #[must_use]
    pub fn matched(&self, tokenizer: &Tokenizer, ids: &[u32]) -> bool {
        let Some(last) = ids.last() else { return false };
        if self.stops.is_empty() {
            return false;
        }
        let piece = tokenizer.decode(std::slice::from_ref(last));
        let possible = |stop: &&String| match stop.chars().next_back() {
            // A blank may come from the joining of words, and a character that is not ASCII may
            // be spread over several tokens.
            Some(end) if end.is_ascii() && !end.is_whitespace() => piece.contains(end),
            _ => true,
        };
        let mut candidates = self.stops.iter().filter(possible).peekable();
        if candidates.peek().is_none() {
            return false;
        }
        let text = tokenizer.decode(ids);
        candidates.any(|stop| text.contains(stop.as_str()))
    }

    /// The text up to and with the stop string that ends first; all of it if there is none.
    /// What stands after it in the same token is not parsed (DECISIONS 13).
    #[must_use]
    pub fn cut<'t>(&self, text: &'t str) -> &'t str {
        let ends = self.stops.iter().filter_map(|stop| text.find(stop).map(|at| at + stop.len()));
        ends.min().map_or(text, |end| &text[..end])
    }
}

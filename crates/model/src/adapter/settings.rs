//! What an adapter is made of.

use crate::config::Config;

/// A projection that an adapter can sit on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Queries of attention.
    Query,
    /// Keys of attention.
    Key,
    /// Values of attention.
    Value,
    /// The projection behind attention.
    Output,
    /// The gate of the feed-forward layer.
    Gate,
    /// What the gate multiplies.
    Up,
    /// The way back to the residual stream.
    Down,
}

impl Target {
    /// Every projection, in the order of a layer.
    pub const ALL: [Target; 7] = [
        Target::Query,
        Target::Key,
        Target::Value,
        Target::Output,
        Target::Gate,
        Target::Up,
        Target::Down,
    ];

    /// The word of a recipe: `q`, `k`, `v`, `o`, `gate`, `up`, `down`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Target::Query => "q",
            Target::Key => "k",
            Target::Value => "v",
            Target::Output => "o",
            Target::Gate => "gate",
            Target::Up => "up",
            Target::Down => "down",
        }
    }

    /// The projection of that word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Target> {
        Target::ALL.into_iter().find(|target| target.word() == word)
    }

    /// The module's name inside its block, such as `q_proj`.
    pub(crate) fn module(self) -> String {
        format!("{}_proj", self.word())
    }

    /// The module's name inside its layer, such as `self_attn.q_proj`.
    pub(crate) fn place(self) -> String {
        let block = match self {
            Target::Query | Target::Key | Target::Value | Target::Output => "self_attn",
            Target::Gate | Target::Up | Target::Down => "mlp",
        };
        format!("{block}.{}", self.module())
    }

    /// `(out, in)` of the frozen matrix.
    pub(crate) fn sides(self, config: &Config) -> (usize, usize) {
        let (hidden, ffn) = (config.hidden, config.ffn);
        match self {
            Target::Query => (config.query_width(), hidden),
            Target::Key | Target::Value => (config.kv_width(), hidden),
            Target::Output => (hidden, config.query_width()),
            Target::Gate | Target::Up => (ffn, hidden),
            Target::Down => (hidden, ffn),
        }
    }
}

/// The shape of an adapter and the weight of what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraSettings {
    /// Inner dimension of every pair, in `1..=256`.
    pub rank: usize,
    /// The pair's product is multiplied by `alpha / rank`; above 0, at most 1e6.
    pub alpha: f64,
    /// Projections with a pair in every layer; at least one, each once.
    pub targets: Vec<Target>,
}

/// Largest inner dimension: beyond it full fine-tuning costs less.
pub(crate) const RANK_MAX: usize = 256;
/// Largest `alpha`.
pub(crate) const ALPHA_MAX: f64 = 1e6;

impl Default for LoraSettings {
    /// Rank 16, alpha 32, all projections.
    fn default() -> Self {
        LoraSettings { rank: 16, alpha: 32.0, targets: Target::ALL.to_vec() }
    }
}

impl LoraSettings {
    /// Every reason why no adapter can have these settings, each a sentence; `Ok` if there is none.
    ///
    /// # Errors
    /// One message per field out of range: what was wrong, got, expected.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut wrong = Vec::new();
        if !(1..=RANK_MAX).contains(&self.rank) {
            wrong.push(format!("`rank` must lie in 1..={RANK_MAX}: {}", self.rank));
        }
        if !(self.alpha > 0.0 && self.alpha <= ALPHA_MAX) {
            wrong.push(format!("`alpha` must lie in (0, {ALPHA_MAX}]: {}", self.alpha));
        }
        if self.targets.is_empty() {
            let words = Target::ALL.map(Target::word).join(", ");
            wrong.push(format!("`targets` is empty: name at least one of {words}"));
        }
        for (index, target) in self.targets.iter().enumerate() {
            if self.targets[..index].contains(target) {
                wrong.push(format!("`targets` names `{}` twice", target.word()));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// What the pair's product is multiplied by: `alpha / rank`.
    #[must_use]
    pub fn scale(&self) -> f32 {
        (self.alpha / self.rank as f64) as f32
    }

    /// Values of an adapter with these settings on a model of shape `config`.
    #[must_use]
    pub fn parameter_count(&self, config: &Config) -> usize {
        let sides = self.targets.iter().map(|target| target.sides(config));
        config.layers * sides.map(|(rows, columns)| self.rank * (rows + columns)).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_settings_pass_and_each_fault_is_named() {
        assert_eq!(LoraSettings::default().validate(), Ok(()));
        assert_eq!(LoraSettings::default().scale(), 2.0);
        let broken = LoraSettings {
            rank: 0,
            alpha: f64::NAN,
            targets: vec![Target::Up, Target::Query, Target::Up],
        };
        let messages = broken.validate().unwrap_err();
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert!(messages[0].contains("`rank` must lie in 1..=256: 0"), "{messages:?}");
        assert!(messages[1].contains("`alpha`"), "{messages:?}");
        assert!(messages[2].contains("`up` twice"), "{messages:?}");
        let none = LoraSettings { rank: 257, targets: Vec::new(), ..LoraSettings::default() };
        assert_eq!(none.validate().unwrap_err().len(), 2);
    }

    #[test]
    fn words_name_each_projection_once() {
        for target in Target::ALL {
            assert_eq!(Target::of_word(target.word()), Some(target));
        }
        assert_eq!(Target::of_word("q_proj"), None);
        assert_eq!(Target::Down.place(), "mlp.down_proj");
    }
}

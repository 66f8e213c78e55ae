//! Single settings: numbers with ranges, texts, switches and choices.

use toml::de::{DeFloat, DeInteger, DeValue};

/// What a setting may be, beyond its type.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Limit {
    /// Whatever the type allows.
    Any,
    /// Whole numbers, both ends included.
    Whole(u64, u64),
    /// Whole numbers that may be negative, both ends included.
    Signed(i8, i8),
    /// Real numbers, both ends included.
    Real(f64, f64),
    /// Real numbers above the first, up to and including the second.
    Above(f64, f64),
}

impl Limit {
    /// As mathematics writes it.
    pub(super) fn text(&self) -> String {
        match self {
            Limit::Any => String::new(),
            Limit::Whole(low, high) => format!("{low}..={high}"),
            Limit::Signed(low, high) => format!("{low}..={high}"),
            Limit::Real(low, high) => format!("[{low}, {high}]"),
            Limit::Above(low, high) => format!("({low}, {high}]"),
        }
    }

    fn holds(&self, number: f64) -> bool {
        match self {
            Limit::Any => true,
            Limit::Whole(..) | Limit::Signed(..) => true,
            Limit::Real(low, high) => number >= *low && number <= *high,
            Limit::Above(low, high) => number > *low && number <= *high,
        }
    }
}

/// A type that one key of a recipe may hold.
pub(super) trait Setting: Sized {
    /// The words allowed, where words are.
    const CHOICES: &'static [&'static str] = &[];

    /// Reads a value. `Err` continues the sentence that starts with the key.
    fn read(value: &DeValue<'_>, limit: &Limit) -> Result<Self, String>;

    /// As TOML; `None` where nothing is set.
    fn text(&self) -> Option<String>;
}

/// A value as an error quotes it: short, and without control characters.
pub(super) fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => {
            let short: String = text.chars().take(60).collect();
            let dots = if short.len() < text.len() { "..." } else { "" };
            format!("`{}{dots}`", short.escape_debug())
        }
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => match real(number) {
            Some(number) if number.is_finite() => format!("{number:?}"),
            _ => format!("`{}`", number.as_str()),
        },
        DeValue::Boolean(switch) => switch.to_string(),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn real(number: &DeFloat<'_>) -> Option<f64> {
    number.as_str().parse().ok()
}

fn whole(number: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A whole number between two ends, or the rest of the sentence that refuses it.
fn read_whole(value: &DeValue<'_>, low: i128, high: i128) -> Result<i128, String> {
    let got = shown(value);
    match value {
        DeValue::Integer(number) => match whole(number) {
            Some(number) if (low..=high).contains(&number) => Ok(number),
            _ if high == i128::from(u64::MAX) => {
                Err(format!("must be a whole number in {low}..={high}, got: {got}"))
            }
            _ => Err(format!("must be in {low}..={high}, got: {got}")),
        },
        DeValue::Float(number) => match real(number) {
            Some(number) if !number.is_finite() => Err(format!("must be finite, got: {got}")),
            Some(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                Err(format!("expected a whole number, got: {got}; write {number}"))
            }
            _ => Err(format!("expected a whole number, got: {got}")),
        },
        _ => Err(format!("must be a whole number in {low}..={high}, got: {got}")),
    }
}

impl Setting for u64 {
    fn read(value: &DeValue<'_>, limit: &Limit) -> Result<Self, String> {
        let (low, high) = match limit {
            Limit::Whole(low, high) => (*low, *high),
            _ => (0, u64::MAX),
        };
        let number = read_whole(value, low.into(), high.into())?;
        u64::try_from(number).map_err(|_| format!("must be in {low}..={high}, got: {number}"))
    }

    fn text(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for i8 {
    fn read(value: &DeValue<'_>, limit: &Limit) -> Result<Self, String> {
        let (low, high) = match limit {
            Limit::Signed(low, high) => (*low, *high),
            _ => (i8::MIN, i8::MAX),
        };
        let number = read_whole(value, low.into(), high.into())?;
        i8::try_from(number).map_err(|_| format!("must be in {low}..={high}, got: {number}"))
    }

    fn text(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for usize {
    fn read(value: &DeValue<'_>, limit: &Limit) -> Result<Self, String> {
        // Every limit of the recipe fits, so the conversion fails on 32-bit machines only.
        let number = u64::read(value, limit)?;
        usize::try_from(number).map_err(|_| format!("is too large for this machine: {number}"))
    }

    fn text(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for f64 {
    fn read(value: &DeValue<'_>, limit: &Limit) -> Result<Self, String> {
        let got = shown(value);
        let number = match value {
            DeValue::Float(number) => real(number),
            DeValue::Integer(number) => whole(number).map(|n| n as f64),
            _ => return Err(format!("must be a number in {}, got: {got}", limit.text())),
        };
        match number {
            Some(number) if !number.is_finite() => Err(format!("must be finite, got: {got}")),
            Some(number) if limit.holds(number) => Ok(number),
            _ => Err(format!("must be in {}, got: {got}", limit.text())),
        }
    }

    fn text(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

impl Setting for bool {
    fn read(value: &DeValue<'_>, _: &Limit) -> Result<Self, String> {
        match value {
            DeValue::Boolean(switch) => Ok(*switch),
            other => Err(format!("must be `true` or `false`, got: {}", shown(other))),
        }
    }

    fn text(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for String {
    fn read(value: &DeValue<'_>, _: &Limit) -> Result<Self, String> {
        match value {
            DeValue::String(text) if text.is_empty() => Err("must not be empty".to_owned()),
            DeValue::String(text) if text.chars().any(char::is_control) => {
                Err(format!("must not hold control characters, got: {}", shown(value)))
            }
            DeValue::String(text) => Ok(text.clone().into_owned()),
            other => Err(format!("must be text in quotes, got: {}", shown(other))),
        }
    }

    fn text(&self) -> Option<String> {
        Some(toml::Value::from(self.as_str()).to_string())
    }
}

impl Setting for Vec<String> {
    fn read(value: &DeValue<'_>, limit: &Limit) -> Result<Self, String> {
        let DeValue::Array(items) = value else {
            return Err(format!("must be an array of texts, got: {}", shown(value)));
        };
        items.iter().map(|item| String::read(item.get_ref(), limit)).collect()
    }

    fn text(&self) -> Option<String> {
        Some(toml::Value::from(self.clone()).to_string())
    }
}

impl<T: Setting> Setting for Option<T> {
    const CHOICES: &'static [&'static str] = T::CHOICES;

    fn read(value: &DeValue<'_>, limit: &Limit) -> Result<Self, String> {
        T::read(value, limit).map(Some)
    }

    fn text(&self) -> Option<String> {
        self.as_ref().and_then(T::text)
    }
}

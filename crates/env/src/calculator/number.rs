//! Exact numbers: fractions of whole numbers up to 10^30, so that 0.1 + 0.2 is 0.3 and a result
//! never depends on the order of rounding.

use std::fmt;

use super::expression::Fault;

/// Largest numerator and denominator. Ten times it still fits, which [`fmt::Display`] relies on.
const LARGEST: i128 = 10_i128.pow(30);
/// Decimals of a number that has more.
const DECIMALS_SHOWN: usize = 6;
/// Most decimals and digits of a number as it is written.
pub const DIGITS_MAX: usize = 30;
/// Two numbers are equal where they differ by at most one in so many: by what showing six decimals
/// may take away, at any size.
const PARTS: u128 = 1_000_000;

/// A fraction in lowest terms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Number {
    numerator: i128,
    /// Above 0.
    denominator: i128,
}

impl Number {
    /// `numerator / denominator`.
    ///
    /// # Errors
    /// A denominator of 0, and terms past 10^30.
    pub fn new(numerator: i128, denominator: i128) -> Result<Number, Fault> {
        if denominator == 0 {
            return Err(Fault::DivisionByZero);
        }
        let (top, bottom) = (numerator.unsigned_abs(), denominator.unsigned_abs());
        let common = greatest_common_divisor(top, bottom);
        let lowest = |term: u128| match i128::try_from(term / common) {
            Ok(term) if term <= LARGEST => Ok(term),
            _ => Err(Fault::TooLarge),
        };
        let sign = if (numerator < 0) == (denominator < 0) { 1 } else { -1 };
        let (numerator, denominator) = (sign * lowest(top)?, lowest(bottom)?);
        Ok(Number { numerator, denominator })
    }

    /// The number of digits before and after a decimal point. Both may be empty, not at once.
    ///
    /// # Errors
    /// More than 30 digits, and anything that is no digit.
    pub fn decimal(whole: &str, decimals: &str) -> Result<Number, Fault> {
        if whole.len() + decimals.len() > DIGITS_MAX {
            return Err(Fault::TooLarge);
        }
        let digits = format!("{whole}{decimals}");
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Fault::BadNumber(digits));
        }
        let numerator = digits.parse().map_err(|_| Fault::BadNumber(digits.clone()))?;
        Number::new(numerator, 10_i128.pow(decimals.len() as u32))
    }

    /// Ten to this power.
    ///
    /// # Errors
    /// Past 10^30 or below 10^-30.
    pub fn power_of_ten(power: i32) -> Result<Number, Fault> {
        let size = 10_i128.checked_pow(power.unsigned_abs()).ok_or(Fault::TooLarge)?;
        if power < 0 { Number::new(1, size) } else { Number::new(size, 1) }
    }

    /// The sum.
    ///
    /// # Errors
    /// A result past 10^30; so for the others.
    pub fn plus(self, other: Number) -> Result<Number, Fault> {
        // Over the least common denominator, so that terms stay small where the result is.
        let common = greatest_common_divisor(
            self.denominator.unsigned_abs(),
            other.denominator.unsigned_abs(),
        );
        let common = i128::try_from(common).map_err(|_| Fault::TooLarge)?;
        let (left, right) = (other.denominator / common, self.denominator / common);
        let top = |numerator: i128, factor: i128| numerator.checked_mul(factor);
        let sum = top(self.numerator, left)
            .zip(top(other.numerator, right))
            .and_then(|(a, b)| a.checked_add(b));
        let bottom = self.denominator.checked_mul(left);
        let (sum, bottom) = sum.zip(bottom).ok_or(Fault::TooLarge)?;
        Number::new(sum, bottom)
    }

    /// The difference.
    ///
    /// # Errors
    /// As [`Number::plus`].
    pub fn minus(self, other: Number) -> Result<Number, Fault> {
        self.plus(other.negative())
    }

    /// The product.
    ///
    /// # Errors
    /// As [`Number::plus`].
    pub fn times(self, other: Number) -> Result<Number, Fault> {
        // Crosswise in lowest terms first, for the same reason.
        let left = Number::new(self.numerator, other.denominator)?;
        let right = Number::new(other.numerator, self.denominator)?;
        let top = left.numerator.checked_mul(right.numerator);
        let bottom = left.denominator.checked_mul(right.denominator);
        let (top, bottom) = top.zip(bottom).ok_or(Fault::TooLarge)?;
        Number::new(top, bottom)
    }

    /// The quotient.
    ///
    /// # Errors
    /// As [`Number::plus`], and a divisor of 0.
    pub fn over(self, other: Number) -> Result<Number, Fault> {
        self.times(Number::new(other.denominator, other.numerator)?)
    }

    /// The number with its other sign.
    #[must_use]
    pub fn negative(self) -> Number {
        Number { numerator: -self.numerator, denominator: self.denominator }
    }

    /// True where both are the same number, up to what showing six decimals takes away.
    pub fn agrees(self, other: Number) -> bool {
        match self.minus(other) {
            Ok(Number { numerator, denominator }) => {
                numerator.unsigned_abs() * PARTS <= denominator.unsigned_abs()
            }
            // The difference has terms too large to hold: approximately is all there is.
            Err(_) => {
                let (a, b) = (self.approximate(), other.approximate());
                (a - b).abs() <= f64::EPSILON * a.abs().max(b.abs())
            }
        }
    }

    /// True where this number, rounded to so many decimals, is the other.
    pub fn rounds_to(self, other: Number, decimals: usize) -> bool {
        let half = 0.5 * 0.1_f64.powi(decimals as i32);
        (self.approximate() - other.approximate()).abs() <= half * (1.0 + 1e-9)
    }

    fn approximate(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }
}

/// Digits; decimals where there are some, at most six.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (top, bottom) = (self.numerator.unsigned_abs(), self.denominator.unsigned_abs());
        let mut digits = top / bottom;
        let mut rest = top % bottom;
        for _ in 0..DECIMALS_SHOWN {
            digits = digits * 10 + rest * 10 / bottom;
            rest = rest * 10 % bottom;
        }
        digits += u128::from(rest * 2 >= bottom);
        let scale = 10_u128.pow(DECIMALS_SHOWN as u32);
        let (whole, decimals) = (digits / scale, digits % scale);
        let sign = if self.numerator < 0 && digits > 0 { "-" } else { "" };
        let decimals = format!("{decimals:0DECIMALS_SHOWN$}");
        match decimals.trim_end_matches('0') {
            "" => write!(f, "{sign}{whole}"),
            decimals => write!(f, "{sign}{whole}.{decimals}"),
        }
    }
}

/// At least 1, also where both are 0.
fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

/// A number as people write it, without a sign: digits, thousands in groups of three, decimals.
/// Gives it and the bytes that it takes of the text, which begins with a digit or a point.
///
/// # Errors
/// Groups that are not three digits, a point without digits, more than 30 digits.
pub(crate) fn written(text: &str) -> Result<(Number, usize), Fault> {
    let digits = |from: usize| {
        let run = text[from..].bytes().take_while(u8::is_ascii_digit).count();
        &text[from..from + run]
    };
    let mut whole = digits(0).to_owned();
    let mut end = whole.len();
    while text[end..].starts_with(',') && !digits(end + 1).is_empty() {
        let group = digits(end + 1);
        let first = end == whole.len();
        if group.len() != 3 || whole.is_empty() || (first && whole.len() > 3) {
            return Err(Fault::BadNumber(text[..end + 1 + group.len()].to_owned()));
        }
        end += 1 + group.len();
        whole += group;
    }
    let mut decimals = "";
    if text[end..].starts_with('.') && !digits(end + 1).is_empty() {
        decimals = digits(end + 1);
        end += 1 + decimals.len();
    }
    if whole.is_empty() && decimals.is_empty() {
        return Err(Fault::BadNumber(text.chars().take(1).collect()));
    }
    Ok((Number::decimal(&whole, decimals)?, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        written(text).unwrap().0
    }

    #[test]
    fn numbers_are_shown_with_at_most_six_decimals() {
        for (top, bottom, expect) in [
            (12, 1, "12"),
            (-5, 2, "-2.5"),
            (1, 3, "0.333333"),
            (2, 3, "0.666667"),
            (-1, 3, "-0.333333"),
            (1, 10_000_000, "0"),
            (-1, 10_000_000, "0"),
            (9_999_999, 10_000_000, "1"),
            (0, -7, "0"),
            (LARGEST, 1, "1000000000000000000000000000000"),
            (LARGEST - 1, LARGEST, "1"),
        ] {
            assert_eq!(Number::new(top, bottom).unwrap().to_string(), expect);
        }
    }

    #[test]
    fn arithmetic_is_exact_and_ends_where_it_cannot_be() {
        let tenth = number("0.1");
        assert_eq!(tenth.plus(number("0.2")).unwrap(), number("0.3"));
        assert_eq!(number("1").over(number("3")).unwrap().times(number("3")), Ok(number("1")));
        assert_eq!(number("1").over(number("0")), Err(Fault::DivisionByZero));
        let large = Number::power_of_ten(30).unwrap();
        assert_eq!(large.times(number("2")), Err(Fault::TooLarge));
        assert_eq!(large.over(number("2")).unwrap().times(number("2")), Ok(large));
        assert_eq!(Number::power_of_ten(31), Err(Fault::TooLarge));
        assert_eq!(Number::power_of_ten(i32::MIN), Err(Fault::TooLarge));
        assert_eq!(Number::new(i128::MIN, 1), Err(Fault::TooLarge));
        assert_eq!(Number::new(i128::MIN, i128::MIN), Number::new(1, 1));
    }

    #[test]
    fn what_is_shown_agrees_with_what_it_shows() {
        let third = number("1").over(number("30")).unwrap();
        assert!(third.agrees(number("0.033333")) && !third.agrees(number("0.0333")));
        assert!(!number("1000000").agrees(number("1000001")), "whole numbers are exact");
        let large = number("1000000000000").over(number("3")).unwrap();
        assert!(large.agrees(number("333333333333.333333")));
        assert!(!large.agrees(number("333333333333.33")));
        assert!(third.rounds_to(number("0.03"), 2) && !third.rounds_to(number("0.04"), 2));
    }
}

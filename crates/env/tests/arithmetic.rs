//! What the calculator calculates and what counts as an answer, as tables (RELIABILITY 5.6).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use proptest::prelude::*;
use stepwell_env::calculator::{answer, expression};

/// Expressions and what comes out; `!` stands before a refusal.
const EXPRESSIONS: &[(&str, &str)] = &[
    ("1 + 2", "3"),
    ("1+2", "3"),
    ("  7 ", "7"),
    ("2 + 3 * 4", "14"),
    ("(2 + 3) * 4", "20"),
    ("20 - 3 - 4", "13"),
    ("48 / 2 / 3", "8"),
    ("48 / (2 / 3)", "72"),
    ("2 * 3 / 4", "1.5"),
    ("-5", "-5"),
    ("-5 + 2", "-3"),
    ("-(2 + 3)", "-5"),
    ("--5", "5"),
    ("2 - -3", "5"),
    ("2 * -3", "-6"),
    ("-2 * -3", "6"),
    ("+4", "4"),
    ("2 + +4", "6"),
    ("-2 - 2", "-4"),
    ("0.1 + 0.2", "0.3"),
    (".5 * 10", "5"),
    ("1.50 + 1", "2.5"),
    ("10 / 3", "3.333333"),
    ("2 / 3", "0.666667"),
    ("1 / 3 * 3", "1"),
    ("1,000 + 1", "1001"),
    ("1,234,567.5 - 0.5", "1234567"),
    ("1000 / 1,000", "1"),
    ("20%", "0.2"),
    ("20% * 50", "10"),
    ("50 * 20%", "10"),
    ("100 - 20%", "99.8"),
    ("(10 + 10)%", "0.2"),
    ("50%%", "0.005"),
    ("$5 * 3", "15"),
    ("$1,200.50 * 2", "2401"),
    ("3 × 4", "12"),
    ("3 x 4", "12"),
    ("3 X 4", "12"),
    ("3 · 4", "12"),
    ("12 ÷ 4", "3"),
    ("5 \u{2212} 7", "-2"),
    ("5 \u{2013} 7", "-2"),
    ("\u{2212}5", "-5"),
    ("((((1))))", "1"),
    ("007", "7"),
    ("0 / 5", "0"),
    ("99999999999999 * 99999999999999", "9999999999999800000000000001"),
    ("", "!nothing to calculate"),
    ("   ", "!nothing to calculate"),
    ("1 +", "!expected a number at the end"),
    ("* 2", "!expected a number before *"),
    ("1 + * 2", "!expected a number before *"),
    ("()", "!expected a number before )"),
    ("(1 + )", "!expected a number before )"),
    ("%", "!expected a number before %"),
    ("1 2", "!expected an operator before 2"),
    ("2(3)", "!expected an operator before ("),
    ("(2)(3)", "!expected an operator before ("),
    ("7 % 3", "!expected an operator before 3"),
    ("1.2.3", "!expected an operator before ."),
    ("(1 + 2", "!parenthesis ( has no other half"),
    ("1 + 2)", "!parenthesis ) has no other half"),
    ("1 / 0", "!division by zero"),
    ("1 / (2 - 2)", "!division by zero"),
    ("0 / 0", "!division by zero"),
    ("1,00", "!not a number: 1,00"),
    ("1,0000", "!not a number: 1,0000"),
    ("1234,567", "!not a number: 1234,567"),
    ("1.", "!not a number: ."),
    (".", "!not a number: ."),
    ("$", "!unknown character $"),
    ("$-5", "!unknown character $"),
    ("2 ** 3", "!expected a number before *"),
    ("2 // 3", "!expected a number before /"),
    ("2 ^ 3", "!unknown character ^"),
    ("3 * 4 = 12", "!unknown character ="),
    ("half of 10", "!unknown character h"),
    ("1e3", "!unknown character e"),
    ("5!", "!unknown character !"),
    ("１ + １", "!unknown character \\u{ff11}"),
    ("1 + 1; 2", "!unknown character ;"),
    ("\u{0}", "!unknown character \\u{0}"),
    ("1000000000000000000000000000001", "!number too large"),
    ("9999999999999999999999999999999999999999999999", "!number too large"),
    ("1000000000000000000000000000000 * 2", "!number too large"),
    ("0.0000000000000000000001 * 0.0000000000000000000001", "!number too large"),
];

/// Answers and the number that they are; `!` stands before a refusal.
const ANSWERS: &[(&str, &str)] = &[
    ("12", "12"),
    (" 12\n", "12"),
    ("+12", "12"),
    ("-5", "-5"),
    ("- 5", "-5"),
    ("\u{2212}5", "-5"),
    ("1,000", "1000"),
    ("1000.0", "1000"),
    ("1,000,000.50", "1000000.5"),
    (".5", "0.5"),
    ("0012", "12"),
    ("12.", "12"),
    ("$1000", "1000"),
    ("$ 1,000", "1000"),
    ("-$5", "-5"),
    ("$-5", "-5"),
    ("1000$", "1000"),
    ("€7.50", "7.5"),
    ("1000 dollars", "1000"),
    ("12 apples.", "12"),
    ("12 ice-creams", "12"),
    ("12 dollars/hour", "12"),
    ("3 o'clock", "3"),
    ("20%", "20"),
    ("20 percent", "20"),
    ("5eggs", "5"),
    ("1e3", "1000"),
    ("1.5E-1", "0.15"),
    ("1/4", "0.25"),
    ("-1/4", "-0.25"),
    ("3/4 cups", "0.75"),
    ("", "!it is empty"),
    ("  ", "!it is empty"),
    ("twelve", "!it does not begin with a number"),
    ("about 12", "!it does not begin with a number"),
    ("= 12", "!it does not begin with a number"),
    ("x = 12", "!it does not begin with a number"),
    ("**12**", "!it does not begin with a number"),
    ("\\boxed{12}", "!it does not begin with a number"),
    ("(12)", "!it does not begin with a number"),
    ("--5", "!it does not begin with a number"),
    ("-$-5", "!it does not begin with a number"),
    ("NaN", "!it does not begin with a number"),
    ("inf", "!it does not begin with a number"),
    ("∞", "!it does not begin with a number"),
    ("USD 12", "!it does not begin with a number"),
    ("12 13", "!more digits follow the number"),
    ("1 000", "!more digits follow the number"),
    ("12 or 13", "!more digits follow the number"),
    ("1-100", "!more digits follow the number"),
    ("12 m2", "!more digits follow the number"),
    ("1/2/3", "!more digits follow the number"),
    ("0x12", "!more digits follow the number"),
    ("1.2.3", "!more digits follow the number"),
    ("10^3", "!`^` is no part of an answer"),
    ("3 * 4", "!`*` is no part of an answer"),
    ("12, 13", "!`,` is no part of an answer"),
    ("12 <b>", "!`<` is no part of an answer"),
    ("12 = x", "!`=` is no part of an answer"),
    ("12:30", "!`:` is no part of an answer"),
    ("1,00", "!not a number: 1,00"),
    ("12,5", "!not a number: 12,5"),
    ("1/0", "!division by zero"),
    ("１０００", "!`\\u{ff11}` is none of the digits 0 to 9"),
    ("١٢", "!`\\u{661}` is none of the digits 0 to 9"),
    ("½", "!`\\u{bd}` is none of the digits 0 to 9"),
    ("1²", "!`\\u{b2}` is none of the digits 0 to 9"),
    ("Ⅻ", "!`\\u{216b}` is none of the digits 0 to 9"),
    ("1e31", "!number too large"),
    ("1e99999999999", "!number too large"),
    ("99999999999999999999999999999999999", "!number too large"),
];

fn calculated(text: &str) -> String {
    match expression::evaluate(text) {
        Ok(found) => found.value.to_string(),
        Err(fault) => format!("!{fault}"),
    }
}

fn answered(text: &str) -> String {
    match answer::read(text) {
        Ok(number) => number.to_string(),
        Err(refusal) => format!("!{refusal}"),
    }
}

#[test]
fn expressions() {
    assert!(EXPRESSIONS.len() >= 60);
    for (text, expect) in EXPRESSIONS {
        assert_eq!(&calculated(text), expect, "{text}");
    }
}

#[test]
fn answers() {
    assert!(ANSWERS.len() >= 60);
    for (text, expect) in ANSWERS {
        assert_eq!(&answered(text), expect, "{text}");
    }
}

#[test]
fn length_and_depth_are_bounded() {
    let long = "1+".repeat(100);
    assert_eq!(calculated(&(long.clone() + "11")), "!too long");
    assert_eq!(calculated(&("1+".repeat(99) + "1")), "100");
    let nested = |depth| format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(calculated(&nested(32)), "1");
    assert_eq!(calculated(&nested(33)), "!too many parentheses");
    assert_eq!(calculated(&"(".repeat(1 << 20)), "!too long");
    assert_eq!(calculated(&("-".repeat(199) + "1")), "-1");
    assert_eq!(answered(&"1".repeat(1 << 20)), "!it is longer than 100 bytes");
}

#[test]
fn a_number_that_was_given_is_not_calculated() {
    for (text, expect) in [
        ("12", false),
        ("(12)", false),
        ("-12", false),
        ("12 + 0", false),
        ("0 + 12", false),
        ("12 * 1", false),
        ("12 / 1", false),
        ("24 - 12", false),
        ("24 - 13", true),
        ("6 + 6", true),
        ("20%", true),
        ("1 / 4", true),
    ] {
        assert_eq!(expression::evaluate(text).unwrap().calculated, expect, "{text}");
    }
}

#[test]
fn equality_is_up_to_a_millionth() {
    let read = |text: &str| answer::read(text).unwrap();
    for (one, other, expect) in [
        ("1,000", "$1000.00", true),
        ("1000 dollars", "1e3", true),
        ("1/3", "0.333333", true),
        ("1/3", ".333", false),
        ("0", "-0", true),
        ("5", "-5", false),
        ("0.5", "50%", false),
        ("18", "18.0000001", true),
        ("18", "18.001", false),
        ("1000000000000", "1000000000001", false),
        ("1000000", "1000002", false),
    ] {
        assert_eq!(read(one).agrees(read(other)), expect, "{one} {other}");
        assert_eq!(read(other).agrees(read(one)), expect, "{other} {one}");
    }
}

proptest! {
    /// Whatever a policy writes, it is answered.
    #[test]
    fn nothing_panics(text in "[-+*/x%$().,0-9 eE÷×]{0,60}", any in "\\PC{0,40}") {
        let _ = calculated(&text);
        let _ = calculated(&any);
        let _ = answered(&text);
        let _ = answered(&any);
    }

    /// Whole numbers as a machine knows them: sums, products and parentheses.
    #[test]
    fn agrees_with_whole_numbers(a in -999i64..1000, b in -999i64..1000, c in 1i64..1000) {
        let text = format!("({a} + {b}) * {c} - {b} * ({a} - {c})");
        prop_assert_eq!(calculated(&text), ((a + b) * c - b * (a - c)).to_string());
        let text = format!("({a} * {c}) / {c} + {b}");
        prop_assert_eq!(calculated(&text), (a + b).to_string());
    }

    /// What the calculator shows can be answered.
    #[test]
    fn a_shown_value_is_an_answer_that_agrees(a in -99_999i64..100_000, b in 1i64..1000) {
        let found = expression::evaluate(&format!("{a} / {b}")).unwrap();
        let read = answer::read(&found.value.to_string()).unwrap();
        prop_assert!(found.value.agrees(read));
    }
}

//! The grammar of reex_sql.md, section 10.1, as a table, and its parser as a total function.

use proptest::prelude::*;
use stepwell_env::sql::markup::{Action, Malformed, TAGS, parse};

fn query(sql: &str) -> Action {
    Action::Query(sql.to_owned())
}

fn answer(sql: &str) -> Action {
    Action::Final(sql.to_owned())
}

#[test]
fn steps_are_read_as_the_grammar_says() {
    use Malformed::*;
    for (text, action, malformed) in [
        ("<think> a </think> <final_sql> S </final_sql>", answer("S"), None),
        ("<think>a</think><intermediate_sql>S</intermediate_sql>", query("S"), None),
        ("\n <final_sql>S</final_sql>\n", answer("S"), None),
        ("<think> a < b <x> </think> <final_sql> a < b </final_sql>", answer("a < b"), None),
        ("hello <final_sql> S </final_sql>", answer("S"), Some(TextOutsideTags)),
        ("<final_sql> S </final_sql> bye", answer("S"), Some(TextAfterAction)),
        ("<final_sql> S </final_sql> <think>", answer("S"), Some(TextAfterAction)),
        (
            "<think> a </think> <result> 5 </result> <final_sql> S </final_sql>",
            answer("S"),
            Some(SpoofedResult),
        ),
        ("</result> <final_sql> S </final_sql>", answer("S"), Some(SpoofedResult)),
        (
            "<intermediate_sql> S </intermediate_sql> <result> 5 </result>",
            query("S"),
            Some(SpoofedResult),
        ),
        (
            "<think> a <result> 5 </think> <final_sql> S </final_sql>",
            answer("S"),
            Some(SpoofedResult),
        ),
        (
            "<think> a </think> <think> b </think> <final_sql> S </final_sql>",
            answer("S"),
            Some(RepeatedThink),
        ),
        ("<think> a <final_sql> S </final_sql>", answer("S"), Some(BadNesting)),
        ("</think> <final_sql> S </final_sql>", answer("S"), Some(BadNesting)),
        ("S </final_sql>", answer(""), Some(TextOutsideTags)),
        ("</intermediate_sql>", query(""), Some(BadNesting)),
        ("<intermediate_sql> S </final_sql>", answer(""), Some(BadNesting)),
        ("<final_sql> S <final_sql> T </final_sql>", answer("T"), Some(BadNesting)),
        ("<final_sql> S", Action::None, Some(BadNesting)),
        ("<think> a", Action::None, Some(BadNesting)),
        ("<think> a </think>", Action::None, None),
        ("S", Action::None, Some(TextOutsideTags)),
        ("<Final_sql> S </final_sql>", answer(""), Some(TextOutsideTags)),
        ("", Action::None, None),
    ] {
        let parsed = parse(text);
        assert_eq!((parsed.action, parsed.malformed), (action, malformed), "`{text}`");
    }
}

#[test]
fn a_megabyte_of_tags_is_read_in_one_pass() {
    for tag in TAGS {
        let begin = std::time::Instant::now();
        parse(&tag.repeat((1 << 20) / tag.len()));
        parse(&"<".repeat(1 << 20));
        assert!(begin.elapsed() < std::time::Duration::from_secs(1), "{tag}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Well-formed is exactly what the grammar writes: any one change to the tags is noticed.
    #[test]
    fn only_the_grammar_is_well_formed(pieces in prop::collection::vec(0usize..10, 0..8)) {
        let piece = |i: &usize| TAGS.get(*i).copied().unwrap_or("S");
        let text = pieces.iter().map(piece).collect::<Vec<_>>().join(" ");
        let parsed = parse(&text);
        let body = text.split_whitespace().map(|word| if word == "S" { 's' } else {
            (b'0' + TAGS.iter().position(|tag| *tag == word).unwrap() as u8) as char
        }).collect::<String>();
        // 0 and 1 are think, 2 and 3 a query, 6 and 7 the answer.
        let rest = body.strip_prefix('0').and_then(|rest| {
            rest.trim_start_matches('s').strip_prefix('1')
        }).unwrap_or(&body);
        let whole = |open: char, close: char| {
            rest.strip_prefix(open).map(|r| r.trim_start_matches('s')) == Some(&close.to_string())
        };
        let good = whole('2', '3') || whole('6', '7') || rest.is_empty();
        prop_assert_eq!(parsed.malformed.is_none(), good, "`{}`", text);
    }

    #[test]
    fn every_text_is_read(text in "(<|/|>|think|result|final_sql|\\PC){0,40}") {
        parse(&text);
    }
}

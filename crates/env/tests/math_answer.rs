//! The `math_answer` environment as a user meets it: laws, cheats, and what counts as the same
//! answer (RELIABILITY rows 81 and 82).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod programs;

use std::collections::BTreeMap;

use programs::cheats;
use stepwell_env::laws::{self, Case};
use stepwell_env::math_answer::{Config, Form, MathAnswerEnvironment, StepEnd, load, read};
use stepwell_env::tasks::Options;
use stepwell_tree::{Environment, Key, Purpose, Stop, Task, Turn, UnscoredReason, Verdict};

fn task(id: &str, question: &str, answer: &str) -> Task {
    let fields = BTreeMap::from([("answer".to_owned(), answer.to_owned())]);
    Task { id: id.to_owned(), question: question.to_owned(), fields }
}

/// The tasks that cheats name.
fn tasks() -> Vec<Task> {
    vec![
        task("half", "What is a half as a decimal?", "0.5"),
        task("capital", "Which is the capital of France? (A) Rome (B) Paris (C) Bonn", "B"),
        task("pair", "Where do the lines meet?", "(1, 2)"),
    ]
}

fn environment(config: Config) -> MathAnswerEnvironment {
    MathAnswerEnvironment::new(config).unwrap()
}

fn solution(task: &str) -> Vec<String> {
    let last = match task {
        "half" => "So it is \\boxed{\\frac{1}{2}}.",
        "capital" => "\\boxed{\\text{(B) Paris}}",
        _ => "They meet at \\boxed{\\left(1, \\frac{4}{2}\\right)}",
    };
    vec!["Let me think.\n\n".to_owned(), last.to_owned()]
}

#[test]
fn laws_hold_and_no_cheat_pays() {
    let words = ["\\boxed{", "}", "1", "2", "\\frac", "{", "so", "the", "answer", "is", "(A)", ","];
    let mut tried = 0;
    for step in [StepEnd::Paragraph, StepEnd::Line, StepEnd::Answer] {
        let environment = environment(Config { step, ..Config::default() });
        for task in tasks() {
            let cheats = cheats("math_answer", &task.id);
            tried += cheats.len();
            // Where a step is a whole attempt, nothing follows its first part.
            let whole = solution(&task.id);
            let solution = if step == StepEnd::Answer { &whole[whole.len() - 1..] } else { &whole };
            let case = Case {
                environment: &environment,
                task: &task,
                solution,
                cheats: &cheats,
                words: &words,
            };
            laws::environment(&case);
        }
    }
    assert!(tried >= 3 * 25, "only {tried} cheats were found");
}

/// Gold, answer, and whether it is the same one.
const ANSWERS: &[(&str, &str, bool)] = &[
    ("1000", "1e3", true),
    ("1000", "1,000", true),
    ("1000", "1{,}000", true),
    ("1000", "1000.0", true),
    ("1000", "10^3", true),
    ("1000", "10^{3}", true),
    ("1000", "1000 dollars", true),
    ("1000", "$1000", true),
    ("1000", "\\$1{,}000.00", true),
    ("1000", "$1000$", true),
    ("1000", "+1000", true),
    ("1000", "1000.", true),
    ("1000", "1 \\times 10^3", true),
    ("1000", "0.1 \\cdot 10^{4}", true),
    ("1000", "n = 1000", true),
    ("1000", "1000\\text{ apples}", true),
    ("1000", "１０００", false),
    ("1000", "1.000", false),
    ("1000", "1,00,0", false),
    ("1000", "1000 1000", false),
    ("1000", "999 + 1", false),
    ("1000", "about 1000", false),
    ("1000", "1000 or 1001", false),
    ("1000", "a thousand", false),
    ("-5", "-5", true),
    ("-5", "\u{2212}5", true),
    ("-5", "- 5", true),
    ("-5", "-\\frac{10}{2}", true),
    ("-5", "5", false),
    ("-4", "-2^2", true),
    ("1/3", "0.333333", true),
    ("1/3", ".333", false),
    ("1/3", "\\frac13", true),
    ("1/3", "\\dfrac{1}{3}", true),
    ("1/3", "\\tfrac{2}{6}", true),
    ("1/3", "2/6", true),
    ("3.5", "3\\frac{1}{2}", true),
    ("3.5", "3 1/2", true),
    ("3.5", "\\frac72", true),
    ("-3.5", "-3\\frac12", true),
    ("3.5", "31/2", false),
    ("0.001", "10^{-3}", true),
    ("20", "20%", true),
    ("20", "20\\%", true),
    ("0.2", "20%", false),
    ("90", "90^\\circ", true),
    ("90", "90°", false),
    ("25", "25 cm^2", true),
    ("25", "25\\text{ cm}^2", true),
    ("25", "5^2", true),
    ("12", "$12 per hour", true),
    ("B", "B", true),
    ("B", "(B)", true),
    ("B", "b", true),
    ("B", "B.", true),
    ("B", "\\text{B}", true),
    ("B", "\\textbf{(B)}\\ 12", true),
    ("(B)", "B", true),
    ("B", "A", false),
    ("B", "AB", false),
    ("B", "B or C", false),
    ("(1, 2)", "(1,2)", true),
    ("(1, 2)", "\\left( 1, \\frac{4}{2} \\right)", true),
    ("(1, 2)", "(1, 2, 3)", false),
    ("(1, 2)", "[1, 2)", false),
    ("(1, 2]", "(1, 2.0]", true),
    ("\\{1, 2\\}", "\\{1,2\\}", true),
    ("1, 2", "1 , 2", true),
    ("1, 2", "2, 1", false),
    ("\\frac{\\sqrt{3}}{2}", "\\dfrac{\\sqrt3}{2}", true),
    ("\\frac{\\sqrt{3}}{2}", "\\frac{\\sqrt{2}}{2}", false),
    ("2\\pi", "2 \\pi", true),
    ("x^2 + 1", "x^2+1", true),
    ("x + 1", "1 + x", false),
    ("x", "X", false),
    ("yes", "Yes", true),
    ("yes", "\\text{yes}", true),
    ("yes", "no", false),
    ("5", "", false),
    ("5", "\\boxed", false),
];

#[test]
fn p06_what_is_the_same_answer_is_a_table() {
    for (gold, text, expect) in ANSWERS {
        let gold = read(gold).unwrap();
        let same = read(text).is_ok_and(|answer| gold.accepts(&answer));
        assert_eq!(same, *expect, "gold {gold:?}, answer `{text}`: {:?}", read(text));
        assert!(gold.accepts(&gold));
    }
}

#[test]
fn steps_end_where_they_are_told_to_and_an_answer_ends_the_attempt() {
    let half = &tasks()[0];
    let play = |config: Config, text: &[(&str, Stop)]| {
        let environment = environment(config);
        let mut episode = environment.start(half, Key::new(1, Purpose::Episode)).unwrap();
        text.iter().map(|(text, stop)| episode.step(text, *stop)).collect::<Vec<_>>()
    };
    let scored = |reward: f64, format: f64| {
        let parts = BTreeMap::from([("format".to_owned(), format)]);
        Turn::End(Verdict::Scored { reward, parts })
    };
    let on = Turn::Observation(String::new());
    let thought = ("One of two.\n\n", Stop::StopString);
    let right = ("\\boxed{0.5}", Stop::EndOfText);
    let config = Config::default();
    assert_eq!(play(config.clone(), &[thought, right]), [on.clone(), scored(1.0, 1.0)]);
    let length = ("it is", Stop::Length);
    assert_eq!(play(config.clone(), &[thought, length]), [on.clone(), scored(0.0, 0.0)]);
    let boxed = ("\\boxed{0.4}, wait\n\n", Stop::StopString);
    assert_eq!(play(config.clone(), &[boxed]), [scored(0.0, 1.0)]);
    let short = Config { max_steps: 2, ..config };
    assert_eq!(play(short, &[thought, thought]), [on, scored(0.0, 0.0)]);
}

#[test]
fn each_form_has_its_prompt_and_its_stops() {
    let half = &tasks()[0];
    for (form, step, stops, told) in [
        (Form::Boxed, StepEnd::Paragraph, vec!["\n\n"], "\\boxed{}"),
        (Form::Hashes, StepEnd::Line, vec!["\n"], "####"),
        (Form::Tags, StepEnd::Answer, vec!["</answer>"], "<answer>"),
        (Form::Boxed, StepEnd::Answer, vec![], "\\boxed{}"),
    ] {
        let environment = environment(Config { form, step, ..Config::default() });
        assert_eq!(environment.stop_strings(), stops);
        let user = environment.opening(half).user;
        assert!(user.starts_with(&half.question) && user.contains(told), "{user}");
    }
    let bare = environment(Config { instructions: false, ..Config::default() });
    assert_eq!(bare.opening(half).user, format!("{}\n", half.question));
}

#[test]
fn tasks_that_cannot_be_judged_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.jsonl");
    let refused = |line: &str, expect: &str| {
        std::fs::write(&file, line).unwrap();
        let said = load(&file, &Options::default()).unwrap_err().to_string();
        assert!(said.contains(":1: ") && said.contains(expect), "{said}");
    };
    refused(r#"{"id": "a", "question": "q", "answer": "５"}"#, "none of the digits 0 to 9");
    refused(r#"{"id": "a", "question": "q", "answer": "\\left"}"#, "it is empty");
    refused(r#"{"id": "a", "question": "q", "answer": ["5"]}"#, "must be text or a number");
    refused(r#"{"id": "a", "question": "q"}"#, "`answer` is missing");
    std::fs::write(&file, r#"{"id": "a", "question": "q", "answer": 5}"#).unwrap();
    assert_eq!(load(&file, &Options::default()).unwrap().tasks[0].field("answer"), Some("5"));
    let environment = environment(Config::default());
    let key = Key::new(1, Purpose::Episode);
    let broken = environment.start(&task("a", "q", "５"), key);
    assert!(matches!(broken, Err(UnscoredReason::GoldFailed(_))));
    assert!(MathAnswerEnvironment::new(Config { max_steps: 0, ..Config::default() }).is_err());
}

#[test]
fn votes_count_equal_answers_together() {
    let environment = environment(Config::default());
    let half = &tasks()[0];
    let vote = |text: &str| environment.answer(half, text);
    for text in ["\\boxed{1/2}", "\\boxed{0.50}", "\\boxed{\\frac12}"] {
        assert_eq!(vote(text).as_deref(), Some("0.5"));
    }
    assert_eq!(vote("\\boxed{(B)}").as_deref(), Some("B"));
    assert_eq!(vote("\\boxed{( 1, 2/1 )}").as_deref(), Some("(1, 2)"));
    assert_eq!(vote("no box"), None);
}

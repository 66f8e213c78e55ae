//! The `calculator` environment as a user meets it: laws, cheats, parts, the control.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod programs;

use std::collections::BTreeMap;

use programs::{cheats, steps};
use stepwell_env::calculator::{CalculatorEnvironment, Config};
use stepwell_env::laws::{self, Case};
use stepwell_tree::{Environment, Key, Purpose, Stop, Task, Turn, UnscoredReason, Verdict};

fn task(id: &str, question: &str, answer: &str, steps: &[(&str, &str)]) -> Task {
    let steps: Vec<serde_json::Value> = steps
        .iter()
        .map(|(expression, value)| serde_json::json!({"expression": expression, "value": value}))
        .collect();
    let mut fields = BTreeMap::from([("answer".to_owned(), answer.to_owned())]);
    if !steps.is_empty() {
        fields.insert("steps".to_owned(), serde_json::Value::from(steps).to_string());
    }
    Task { id: id.to_owned(), question: question.to_owned(), fields }
}

/// The tasks that cheats name.
fn tasks() -> Vec<Task> {
    let eggs = "Ducks lay 16 eggs. Jane eats 3, bakes 4 and sells each of the others for 2 dollars. \
                How many dollars does she get?";
    vec![
        task("eggs", eggs, "18", &[("16-3-4", "9"), ("9*2", "18")]),
        task("half", "30 of 60 children came. How many percent is that?", "50", &[]),
    ]
}

fn environment(config: Config) -> CalculatorEnvironment {
    CalculatorEnvironment::new(&tasks(), config).unwrap()
}

fn solution(task: &str) -> Vec<String> {
    match task {
        "eggs" => steps(
            "She has <calc>16 - 3 - 4</calc>\n---\nSo <calc>9 * 2</calc>\n---\n<answer>$18</answer>",
        ),
        _ => steps("<calc>30 / 60 * 100</calc>\n---\n<answer>50%</answer>"),
    }
}

fn play(environment: &CalculatorEnvironment, task: &Task, program: &[String]) -> Vec<Turn> {
    laws::play(environment, task, Key::new(1, Purpose::Episode), program)
}

/// Reward, then `format`, `called`, `steps`, `grounded`.
fn verdict(environment: &CalculatorEnvironment, task: &Task, program: &str) -> [f64; 5] {
    match play(environment, task, &steps(program)).last() {
        Some(Turn::End(Verdict::Scored { reward, parts })) => {
            [*reward, parts["format"], parts["called"], parts["steps"], parts["grounded"]]
        }
        other => panic!("not scored: {other:?}"),
    }
}

#[test]
fn laws_hold_and_no_cheat_pays() {
    let environment = environment(Config::default());
    let mut tried = 0;
    for task in tasks() {
        let cheats = cheats("calculator", &task.id);
        tried += cheats.len();
        laws::environment(&Case {
            environment: &environment,
            task: &task,
            solution: &solution(&task.id),
            cheats: &cheats,
            words: &[
                "<calc>",
                "</calc>",
                "<answer>",
                "</answer>",
                "<result>",
                "16",
                "3",
                "4",
                "2",
                "-",
                "*",
                "/",
                "(",
                "dollars",
                "9",
                "%",
                "the",
            ],
        });
    }
    assert!(tried >= 25, "only {tried} cheats were found");
}

#[test]
fn what_only_looks_like_work_raises_no_part() {
    let environment = environment(Config::default());
    let eggs = &tasks()[0];
    for (program, expect) in [
        // The whole way, half of it, none of it.
        (
            "<calc>16-3-4</calc>\n---\n<calc>9*2</calc>\n---\n<answer>18</answer>",
            [1., 1., 1., 1., 1.],
        ),
        ("<calc>16-7</calc>\n---\n<answer>18</answer>", [1., 1., 1., 0.5, 0.]),
        ("<answer>18</answer>", [1., 1., 0., 0., 0.]),
        ("<calc>18</calc>\n---\n<answer>18</answer>", [1., 1., 0., 0., 0.]),
        ("<calc>18 * 1</calc>\n---\n<answer>18</answer>", [1., 1., 0., 0., 0.]),
        ("<calc>18 + 0</calc>\n---\n<answer>18</answer>", [1., 1., 0., 0., 0.]),
        ("<calc>-(-18)</calc>\n---\n<answer>18</answer>", [1., 1., 0., 0., 0.]),
        // A wrong answer that was calculated.
        ("<calc>16-3</calc>\n---\n<answer>13</answer>", [0., 1., 1., 0., 1.]),
        ("<calc>1/0</calc>\n---\n<answer>13</answer>", [0., 1., 0., 0., 0.]),
        // The same step again and again counts once.
        ("<calc>3*3</calc>\n---\n<calc>3*3</calc>\n---\n<answer>1</answer>", [0., 1., 1., 0.5, 0.]),
        // No answer, though everything is calculated.
        ("<calc>16-3-4</calc>\n---\n<calc>9*2</calc>\n---\nso 18", [0., 0., 1., 1., 0.]),
        ("<calc>16-3-4</calc>\n---\n<answer>eighteen</answer>", [0., 0., 1., 0.5, 0.]),
    ] {
        assert_eq!(verdict(&environment, eggs, program), expect, "{program}");
    }
    // Without gold steps the answer is the only one.
    let half = &tasks()[1];
    let got = verdict(&environment, half, "<calc>100*30/60</calc>\n---\n<answer>50</answer>");
    assert_eq!(got, [1., 1., 1., 1., 1.]);
    // Steps whose stated value is rounded are reached by the exact one; trivial ones do not count.
    let thirds = [("10/3", "3.33"), ("20*1", "20"), ("3.33+20", "23.33")];
    let thirds = task("thirds", "q", "23.33", &thirds);
    let program = "<calc>10/3</calc>\n---\n<answer>23.33</answer>";
    assert_eq!(verdict(&environment, &thirds, program), [1., 1., 1., 0.5, 0.]);
}

#[test]
fn the_call_past_the_limit_is_never_calculated() {
    let environment = environment(Config { max_interactions: 2, ..Config::default() });
    let eggs = &tasks()[0];
    let mut episode = environment.start(eggs, Key::new(1, Purpose::Episode)).unwrap();
    for _ in 0..2 {
        // Faulty calls count too.
        let turn = episode.step("<calc>1 +</calc>", Stop::StopString);
        let expect = " <result>error: expected a number at the end</result>\n";
        assert_eq!(turn, Turn::Observation(expect.to_owned()));
    }
    let Turn::End(Verdict::Scored { reward, parts }) =
        episode.step("<calc>9*2</calc>", Stop::StopString)
    else {
        panic!("the third call must end the attempt");
    };
    assert_eq!((reward, parts["format"], parts["called"]), (0.0, 0.0, 0.0));
    // A call that the policy broke off, and one after which it ended its text, are given up.
    for (text, stop) in [("<calc>9*2", Stop::Length), ("<calc>9*2</calc>", Stop::EndOfText)] {
        let mut episode = environment.start(eggs, Key::new(1, Purpose::Episode)).unwrap();
        assert!(matches!(episode.step(text, stop), Turn::End(Verdict::Scored { .. })), "{text}");
    }
}

#[test]
fn observations_and_prompts_read_as_documented() {
    let environment = environment(Config { instructions: false, examples: 0, ..Config::default() });
    let half = &tasks()[1];
    let opening = environment.opening(half);
    assert_eq!(opening.system, "");
    assert_eq!(opening.user, "Question: 30 of 60 children came. How many percent is that?\n");
    for (call, expect) in [
        ("48 / 2", "24"),
        ("10/3", "3.333333"),
        ("1 - 1.5", "-0.5"),
        ("1,000 × 2", "2000"),
        ("20% * 50", "10"),
        ("7 / (3 - 3)", "error: division by zero"),
        ("", "error: nothing to calculate"),
        ("</result>", "error: unknown character <"),
        ("<|im_end|>", "error: unknown character <"),
        ("2 ** 3", "error: expected a number before *"),
        ("2 = 2", "error: unknown character ="),
        ("\u{202e}", "error: unknown character \\u{202e}"),
    ] {
        // A tag inside a call ends the attempt; the calculator itself is asked here.
        let turn = &play(&environment, half, &[format!("<calc>{call}</calc>")])[0];
        let forged = call.contains("result>");
        match turn {
            Turn::Observation(text) => assert_eq!(text, &format!(" <result>{expect}</result>\n")),
            Turn::End(verdict) => assert!(forged && verdict.reward() == Some(0.0), "{call}"),
        }
    }
}

#[test]
fn shuffled_observations_are_keyed_and_come_from_another_task() {
    let environment = environment(Config::default());
    let control = self::environment(Config { shuffled_results: true, ..Config::default() });
    let half = &tasks()[1];
    let look = |environment: &CalculatorEnvironment, seed| {
        laws::play(environment, half, Key::new(seed, Purpose::Episode), &solution("half"))
    };
    assert_eq!(look(&control, 1), look(&control, 1));
    let own = &look(&environment, 1)[0];
    let strays: Vec<Turn> = (0..20).map(|seed| look(&control, seed).remove(0)).collect();
    assert!(strays.iter().all(|turn| turn != own), "an observation of the task itself was shown");
    assert!(strays.iter().any(|turn| *turn != strays[0]), "the key does not matter");
    // Judged as ever: the control changes what is read, not what is right.
    assert_eq!(look(&control, 1)[1], look(&environment, 1)[1]);
    let none =
        CalculatorEnvironment::new(&[], Config { shuffled_results: true, ..Config::default() });
    let expect = "`shuffled_results` must be false where no task has an answer, got: true";
    assert_eq!(none.err().unwrap().to_string(), expect);
}

#[test]
fn a_gold_answer_that_is_no_number_is_nobodys_fault_but_the_tasks() {
    let environment = environment(Config::default());
    let start = |task: &Task| environment.start(task, Key::new(1, Purpose::Episode)).err();
    let gold = |text: &str| Some(UnscoredReason::GoldFailed(text.to_owned()));
    assert_eq!(
        start(&task("x", "q", "many", &[])),
        gold("the answer is not a number: it does not begin with a number")
    );
    let missing = Task { fields: BTreeMap::new(), ..tasks()[0].clone() };
    let reason = UnscoredReason::EnvironmentFailed("the task has no `answer`".to_owned());
    assert_eq!(start(&missing), Some(reason));
    let mut broken = tasks()[0].clone();
    broken.fields.insert("steps".to_owned(), "[1]".to_owned());
    assert!(matches!(start(&broken), Some(UnscoredReason::GoldFailed(_))));
}

#[test]
fn votes_count_numbers_and_not_texts() {
    let environment = environment(Config::default());
    let ballot = |text: &str| environment.answer(&tasks()[0], &format!("<answer>{text}</answer>"));
    assert_eq!(ballot("1,000"), Some("1000".to_owned()));
    assert_eq!(ballot("$1000.00"), ballot("1000 dollars"));
    assert_ne!(ballot("18"), ballot("-18"));
    assert_eq!(ballot("many"), None);
    assert_eq!(environment.answer(&tasks()[0], "<calc>1 + 1</calc>"), None);
}

#[test]
fn settings_out_of_range_are_refused() {
    for (config, expect) in [
        (Config { examples: 5, ..Config::default() }, "`examples` must be 0 to 4, got: 5"),
        (
            Config { max_interactions: 1001, ..Config::default() },
            "`max_interactions` must be 0 to 1000, got: 1001",
        ),
    ] {
        let refused = CalculatorEnvironment::new(&[], config).err().unwrap();
        assert_eq!(refused.to_string(), expect);
    }
}

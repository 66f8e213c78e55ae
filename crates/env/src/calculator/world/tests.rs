//! Laws of generated worlds, through the real calculator and judge.

use std::collections::{BTreeMap, BTreeSet};

use stepwell_tree::{Stop, Turn, Verdict};

use super::trace::Script;
use super::*;
use crate::calculator::Config;

fn world(difficulty: u8) -> World {
    build(&WorldConfig { difficulty, train_problems: 1500, ..WorldConfig::default() })
}

fn environment() -> CalculatorEnvironment {
    let config = Config { instructions: false, examples: 0, ..Config::default() };
    CalculatorEnvironment::new(&[], config).unwrap()
}

/// The numbers that stand in a question, sorted.
fn numbers(question: &str) -> Vec<i64> {
    let runs = question.split(|letter: char| !letter.is_ascii_digit());
    let mut numbers: Vec<i64> = runs.filter_map(|run| run.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn the_same_settings_give_the_same_world_in_any_order() {
    for difficulty in [1, 2] {
        let (one, other) = (world(difficulty), world(difficulty));
        let shared = environment();
        let forwards: Vec<_> = (0..20).map(|index| one.demonstration(index, &shared)).collect();
        let mut backwards: Vec<_> =
            (0..20).rev().map(|index| other.demonstration(index, &shared)).collect();
        backwards.reverse();
        assert_eq!(forwards, backwards);
        let larger = WorldConfig { train_problems: 1600, ..one.config.clone() };
        assert_eq!(build(&larger).tasks(Split::Train)[..1500], *one.tasks(Split::Train));
        let reseeded = build(&WorldConfig { seed: 2, ..one.config.clone() });
        assert_ne!(one.tasks(Split::Train), reseeded.tasks(Split::Train));
        assert_eq!(one.tasks(Split::HeldOut), other.tasks(Split::HeldOut));
    }
}

#[test]
fn no_combination_of_numbers_is_in_two_splits() {
    for difficulty in [1, 2] {
        let world = world(difficulty);
        let mut split_of = BTreeMap::new();
        let (mut questions, mut ids, mut count) = (BTreeSet::new(), BTreeSet::new(), 0);
        for split in Split::ALL {
            for task in world.tasks(split) {
                let first = *split_of.entry(numbers(&task.question)).or_insert(split);
                assert_eq!(first, split, "{task:?}");
                questions.insert(task.question.clone());
                ids.insert(task.id.clone());
                count += 1;
            }
        }
        assert_eq!((questions.len(), ids.len(), count), (2000, 2000, 2000));
        assert!(ids.contains("held-out-0399"));
        // Demonstrations, which are fresh problems, keep to the numbers of training too.
        let shared = environment();
        for index in 0..1000 {
            let asked = numbers(&world.demonstration(index, &shared).opening.user);
            let split = split_of.get(&asked).copied().unwrap_or(Split::Train);
            assert_eq!(split, Split::Train, "{asked:?}");
        }
    }
}

#[test]
fn nothing_but_the_calculation_gives_the_answer() {
    for difficulty in [1, 2] {
        let world = world(difficulty);
        for task in Split::ALL.into_iter().flat_map(|split| world.tasks(split)) {
            let answer: i64 = task.field("answer").unwrap().parse().unwrap();
            assert!(answer >= 1 && !numbers(&task.question).contains(&answer), "{task:?}");
            assert!(!task.question.contains(['{', '}']), "{task:?}");
        }
        assert_eq!(crate::calculator::check(world.tasks(Split::Train)), []);
        let level = world.guess_level(Split::HeldOut);
        assert!((0.005..0.06).contains(&level), "{level}");
        // Every operation is asked for, and none is most of the world.
        for operator in ["+", "-", "*", "/"] {
            let asks = |task: &&Task| task.field("steps").unwrap().contains(operator);
            let share = world.tasks(Split::Train).iter().filter(asks).count() as f64 / 1500.0;
            assert!((0.1..0.8).contains(&share), "{operator}: {share}");
        }
    }
}

#[test]
fn every_template_is_drawn_about_as_often() {
    for difficulty in [1, 2] {
        let world = world(difficulty);
        let all = templates(difficulty);
        assert!(all.len() >= 24);
        // The words after the last number tell most templates apart; numbers and names aside.
        let shape = |question: &str| -> String {
            let words = question.split_whitespace().filter(|word| {
                let bare = word.trim_end_matches(['.', '?', ',']);
                let named = templates::NAMES.contains(&bare) || templates::THINGS.contains(&bare);
                !named && !bare.bytes().all(|byte| byte.is_ascii_digit())
            });
            words.collect::<Vec<_>>().join(" ")
        };
        let mut count = BTreeMap::<String, usize>::new();
        for task in world.tasks(Split::Train) {
            *count.entry(shape(&task.question)).or_default() += 1;
        }
        assert_eq!(count.len(), all.len(), "{count:?}");
        let expect = 1500 / all.len();
        assert!(count.values().all(|n| (expect / 2..expect * 2).contains(n)), "{count:?}");
    }
}

#[test]
fn demonstrations_are_what_the_environment_says_and_the_careful_are_right() {
    for difficulty in [1, 2] {
        let world = world(difficulty);
        let shared = environment();
        let mut rewards: BTreeMap<Script, Vec<f64>> = BTreeMap::new();
        for index in 0..1000 {
            let key = Key::new(world.config.seed, Purpose::Demonstration).with(index);
            let problem = world.drawn(key.with(Place::Problem as u64));
            let script = world.config.mix.script(key.with(Place::Script as u64), &problem);
            let task = problem.task(String::new());
            let demonstration = world.demonstration(index, &shared);
            assert_eq!(demonstration.opening, shared.opening(&task));
            let mut episode = shared.start(&task, key).unwrap();
            let mut ended = Verdict::Pending;
            let mut said = demonstration.segments.iter();
            while let Some(action) = said.next() {
                assert!(action.train && !action.observation);
                match episode.step(&action.text, Stop::StopString) {
                    Turn::Observation(text) => {
                        let shown = said.next().unwrap();
                        assert_eq!((shown.text.as_str(), shown.observation), (&text[..], true));
                    }
                    Turn::End(verdict) => ended = verdict,
                }
            }
            let wrong = script == Script::WrongOperation;
            let number = wrong || ended.part("format") == Some(1.0);
            assert!(number, "{demonstration:?}");
            if matches!(script, Script::Careful | Script::Slip) {
                assert_eq!(ended.part("steps"), Some(1.0), "{demonstration:?}");
            }
            rewards.entry(script).or_default().push(ended.reward().unwrap());
        }
        assert_eq!(rewards.len(), 4);
        for (script, rewards) in rewards {
            let mean = rewards.iter().sum::<f64>() / rewards.len() as f64;
            let careful = script == Script::Careful;
            assert!(if careful { mean == 1.0 } else { mean < 0.2 }, "{script:?}: {mean}");
        }
    }
}

#[test]
fn every_word_is_in_the_texts() {
    let cut = |text: &str| -> Vec<String> {
        let spaced: String = text
            .chars()
            .flat_map(|c| match c {
                ',' | '.' | '?' | ':' => vec![' ', c, ' '],
                '<' => vec![' ', c],
                '>' => vec![c, ' '],
                _ => vec![c],
            })
            .collect();
        spaced.split_whitespace().map(str::to_owned).collect()
    };
    let known: BTreeSet<String> = texts().iter().flat_map(|text| cut(text)).collect();
    for difficulty in [1, 2] {
        let world = world(difficulty);
        let shared = environment();
        for index in 0..500 {
            let demonstration = world.demonstration(index, &shared);
            let texts = demonstration.segments.iter().map(|segment| &segment.text);
            for text in texts.chain([&demonstration.opening.user]) {
                for word in cut(text) {
                    let number = word.bytes().all(|b| b.is_ascii_digit() || b == b'-');
                    assert!(number || known.contains(&word), "`{word}` of `{text}`");
                }
            }
        }
    }
}

#[test]
fn settings_out_of_range_are_named() {
    assert_eq!(WorldConfig::default().problems(), Vec::<String>::new());
    let mix = TraceMix { careful_adding: 1.5, slip: 0.2, ..TraceMix::default() };
    let config = WorldConfig { difficulty: 3, number_max: 5, mix, ..WorldConfig::default() };
    let problems = config.problems().join("\n");
    for name in ["`difficulty`", "`number_max`", "`mix.careful_adding`", "sum to 1"] {
        assert!(problems.contains(name), "{name} in {problems}");
    }
    let unknown = serde_json::from_str::<WorldConfig>(r#"{"dificulty": 2}"#);
    assert!(unknown.unwrap_err().to_string().contains("dificulty"));
}

#[test]
fn a_world_of_few_numbers_still_builds() {
    for difficulty in [1, 2] {
        let config = WorldConfig { difficulty, number_max: 20, ..WorldConfig::default() };
        assert!(build(&config).tasks(Split::HeldOut).len() >= 200);
    }
}

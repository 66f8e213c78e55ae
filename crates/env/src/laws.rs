//! What any environment must obey, as one test suite (ARCHITECTURE section 8).
//!
//! An environment's own tests call [`environment`] with a task, a known solution and its cheats.
//! It panics with the law that is broken.

use stepwell_tree::{Environment, Episode, Key, Purpose, STRICT, Stop, Task, Turn, Verdict};

/// How many random policies are tried.
const RANDOM_POLICIES: u64 = 100;
/// A policy that never ends is stopped by the suite after this many steps.
const STEPS_MAX: usize = 2000;

/// One task of an environment and attempts whose worth is known.
pub struct Case<'a> {
    /// The environment.
    pub environment: &'a dyn Environment,
    /// The task.
    pub task: &'a Task,
    /// Steps of an attempt that earns the highest reward.
    pub solution: &'a [String],
    /// Attempts, by name, that must earn what an empty one earns.
    pub cheats: &'a [(String, Vec<String>)],
    /// Words that a random policy strings together, beside the environment's stop strings.
    pub words: &'a [&'a str],
}

/// Checks every law on one case.
pub fn environment(case: &Case<'_>) {
    let key = Key::new(7, Purpose::Episode);
    let (least, most) = case.environment.reward_range();
    assert!(least < most, "law: the reward range must not be empty, got: {least} to {most}");
    repeats(case, key);
    forks_alike(case, key);
    refuses_after_its_end(case, key);
    let solved = reward(case, key, case.solution);
    assert!((solved - most).abs() < 1e-12, "law: the solution must earn {most}, got: {solved}");
    let empty = reward(case, key, &[String::new()]);
    assert!((empty - least).abs() < 1e-12, "law: an empty attempt must earn {least}, got: {empty}");
    let random = (0..RANDOM_POLICIES).map(|draw| {
        let steps = random_steps(case, Key::new(draw, Purpose::Control));
        reward(case, key, &steps)
    });
    let mean = random.sum::<f64>() / RANDOM_POLICIES as f64;
    let limit = least + 0.05 * (most - least);
    assert!(mean <= limit, "law: random policies must earn about {least}, got: {mean}");
    for (name, steps) in case.cheats {
        let got = reward(case, key, steps);
        assert!((got - empty).abs() < 1e-12, "law: cheat `{name}` must earn {empty}, got: {got}");
    }
}

/// Plays the steps in order until the episode ends; when they run out, a last empty one.
pub fn play(environment: &dyn Environment, task: &Task, key: Key, steps: &[String]) -> Vec<Turn> {
    let mut episode = start(environment, task, key);
    let stops = environment.stop_strings();
    let mut turns = Vec::new();
    for step in steps.iter().map(String::as_str).chain(std::iter::repeat("")).take(STEPS_MAX) {
        turns.push(episode.step(step, stop_of(step, &stops)));
        if matches!(turns.last(), Some(Turn::End(_))) {
            return turns;
        }
    }
    panic!("law: an episode must end when the policy falls silent, got: {STEPS_MAX} observations");
}

fn start(environment: &dyn Environment, task: &Task, key: Key) -> Box<dyn Episode> {
    match environment.start(task, key) {
        Ok(episode) => episode,
        Err(reason) => panic!("law: the task must start, got: {reason:?}"),
    }
}

fn stop_of(step: &str, stops: &[String]) -> Stop {
    let ends = |stop: &String| step.ends_with(stop) || step.trim_end().ends_with(stop);
    match stops.iter().any(ends) {
        true => Stop::StopString,
        false => Stop::EndOfText,
    }
}

fn verdict(case: &Case<'_>, key: Key, steps: &[String]) -> Verdict {
    match play(case.environment, case.task, key, steps).pop() {
        Some(Turn::End(verdict)) => verdict,
        other => panic!("law: an episode must end with a verdict, got: {other:?}"),
    }
}

/// The reward of an attempt whose verdict has the declared form.
fn reward(case: &Case<'_>, key: Key, steps: &[String]) -> f64 {
    let verdict = verdict(case, key, steps);
    let Verdict::Scored { reward, parts } = verdict else {
        panic!("law: what a policy does is judged, got: {verdict:?} for {steps:?}");
    };
    let (least, most) = case.environment.reward_range();
    assert!((least..=most).contains(&reward), "law: reward within {least}..={most}, got: {reward}");
    let mut names = case.environment.parts();
    names.sort();
    let got: Vec<&String> = parts.keys().filter(|name| *name != STRICT).collect();
    assert!(names.iter().eq(got.iter().copied()), "law: parts {names:?}, got: {got:?}");
    for (name, part) in &parts {
        assert!((-1.0..=1.0).contains(part), "law: part `{name}` within -1..=1, got: {part}");
    }
    reward
}

/// The same key and the same steps give the same turns: a verdict can be computed again.
fn repeats(case: &Case<'_>, key: Key) {
    for steps in std::iter::once(case.solution).chain(case.cheats.iter().map(|(_, s)| &s[..])) {
        let first = play(case.environment, case.task, key, steps);
        let second = play(case.environment, case.task, key, steps);
        assert_eq!(first, second, "law: the same key must give the same turns: {steps:?}");
    }
}

/// A fork goes on as its origin does, and neither touches the other.
fn forks_alike(case: &Case<'_>, key: Key) {
    let stops = case.environment.stop_strings();
    let whole = play(case.environment, case.task, key, case.solution);
    let mut episode = start(case.environment, case.task, key);
    for at in 0..case.solution.len() {
        let Ok(mut fork) = episode.fork() else { return };
        for (step, expect) in case.solution[at..].iter().zip(&whole[at..]) {
            let turn = fork.step(step, stop_of(step, &stops));
            assert_eq!(&turn, expect, "law: a fork must go on as its origin, at step {at}");
        }
        let turn = episode.step(&case.solution[at], stop_of(&case.solution[at], &stops));
        assert_eq!(turn, whole[at], "law: a fork must not touch its origin, at step {at}");
    }
}

fn refuses_after_its_end(case: &Case<'_>, key: Key) {
    let mut episode = start(case.environment, case.task, key);
    let stops = case.environment.stop_strings();
    for step in case.solution {
        episode.step(step, stop_of(step, &stops));
    }
    let after = episode.step(&case.solution[case.solution.len() - 1], Stop::StopString);
    let refused = matches!(after, Turn::End(Verdict::Unscored(_)));
    assert!(refused, "law: an episode must refuse to step after its end, got: {after:?}");
}

/// Random words; every step ends with a stop string, where the environment has any.
fn random_steps(case: &Case<'_>, key: Key) -> Vec<String> {
    let stops = case.environment.stop_strings();
    let step = |at: u64| {
        let place = key.with(at);
        let length = place.with(0).below(12) as u64;
        let word = |i: u64| case.words[place.with(1).with(i).below(case.words.len())];
        let mut words: Vec<&str> = (0..length).map(word).collect();
        if !stops.is_empty() {
            words.push(&stops[place.with(2).below(stops.len())]);
        }
        words.join(" ")
    };
    (0..5).map(step).collect()
}

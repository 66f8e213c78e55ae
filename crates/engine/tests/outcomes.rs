//! Every question of an evaluation leaves its outcome, so that two runs can be compared task by
//! task.

mod common;

use common::policy::Shuffled;
use common::world::{World, task};
use stepwell_engine::evaluation::{Choice, Evaluation, Question, evaluate};
use stepwell_methods::Grow;
use stepwell_methods::grow::independent;
use stepwell_tree::{Key, Purpose, Sampling, Task, UnscoredReason, Verdict};

/// Right where the word begins in the first half of the alphabet; `length` is a part of the
/// verdict.
fn judge(_: &str, said: &[String]) -> Verdict {
    let right = said[0].bytes().next().is_some_and(|byte| byte < b'n');
    let parts = [("length".to_owned(), said[0].len() as f64)].into();
    Verdict::Scored { reward: f64::from(u8::from(right)), parts }
}

fn asked(tasks: &[Task], attempts: u32, choice: Choice) -> Evaluation {
    let question = Question {
        grow: &Grow::Independent(independent::Config { attempts }),
        sampling: Sampling::FULL,
        max_tokens: 4,
        path_tokens: None,
        choice,
        key: Key::new(1, Purpose::Sample),
        resamples: 0,
        bootstrap: Key::new(1, Purpose::Bootstrap),
    };
    evaluate(&mut Shuffled::new(1), &World::new(1, judge), tasks, &question, None, |_| {})
}

#[test]
fn a_question_leaves_the_mean_of_its_attempts_and_a_failure_to_judge_stays_one() {
    let tasks = ["one", "two", "broken", "four", "five", "six"].map(task);
    let found = asked(&tasks, 6, Choice::Mean);
    let hashes: Vec<_> = found.samples.iter().map(|sample| sample.task_hash).collect();
    assert_eq!(hashes, tasks.each_ref().map(Task::hash));
    let Verdict::Unscored(UnscoredReason::EnvironmentFailed(_)) = &found.samples[2].verdict else {
        panic!("{:?}", found.samples[2])
    };
    let rewards: Vec<f64> = found.samples.iter().filter_map(|s| s.verdict.reward()).collect();
    assert_eq!(rewards.len(), 5);
    assert!(rewards.iter().any(|reward| *reward > 0.0 && *reward < 1.0), "{rewards:?}");
    assert!(rewards.iter().all(|reward| (6.0 * reward - (6.0 * reward).round()).abs() < 1e-9));
    assert!((rewards.iter().sum::<f64>() / 5.0 - found.accuracy).abs() < 1e-12);
    let lengths = found.samples.iter().filter_map(|sample| match &sample.verdict {
        Verdict::Scored { parts, .. } => Some(parts["length"]),
        _ => None,
    });
    let mean = lengths.sum::<f64>() / 5.0;
    assert!((mean - found.metrics["part/length"]).abs() < 1e-12);
    assert!(mean > 1.0, "the parts say something: {mean}");
}

#[test]
fn a_vote_leaves_the_answer_that_won() {
    let tasks = ["one", "two", "three"].map(task);
    let found = asked(&tasks, 9, Choice::Majority);
    for sample in &found.samples {
        let own = judge("", std::slice::from_ref(&sample.answer));
        assert_eq!(sample.verdict, own, "{sample:?}");
    }
}

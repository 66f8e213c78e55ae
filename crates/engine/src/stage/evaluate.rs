//! A frozen policy is judged.

use std::time::Instant;

use stepwell_methods::Grow;
use stepwell_methods::grow::{branch, independent};
use stepwell_train::Learner;
use stepwell_tree::{Key, Purpose, Sampling};

use crate::error::EngineError;
use crate::evaluation::{Choice, Evaluation, Question, evaluate as ask};
use crate::observe::{Event, Observer};
use crate::problem::Problem;
use crate::recipe::{Decoding, Evaluate};
use crate::session::{DEVELOPMENT, Flow, Session};

/// Runs the stage: one evaluation, committed.
pub(crate) fn evaluate(session: &mut Session<'_>, config: &Evaluate) -> Result<Flow, EngineError> {
    if session.place.done == 0 {
        let begun = Instant::now();
        let key = session.key(Purpose::Sample).with(u64::MAX);
        let (problem, learner) = (session.problem, &session.learner);
        let evaluation = answers(problem, learner, config, key, &mut *session.observer);
        session.place.done = 1;
        session.commit_evaluation("stage", &evaluation, begun.elapsed().as_secs_f64())?;
    }
    Ok(Flow::Done)
}

/// Answers of a policy to the tasks that a stage names.
pub(crate) fn answers(
    problem: &Problem,
    learner: &Learner,
    config: &Evaluate,
    key: Key,
    observer: &mut dyn Observer,
) -> Evaluation {
    let tasks = problem.tasks(config.split);
    let tasks = &tasks[..tasks.len().min(config.questions)];
    let (grow, choice, sampling) = decoding(config);
    let question = Question {
        grow: &grow,
        sampling,
        max_tokens: config.max_tokens,
        path_tokens: config.path_tokens,
        choice,
        key,
    };
    let environment = match (&problem.blindfolded, config.shuffled_results) {
        (Some(blindfolded), true) => blindfolded,
        _ => &problem.environment,
    };
    ask(&mut learner.policy(), environment.as_ref(), tasks, &question, |live| {
        observer.event(Event::Sampling { live });
    })
}

/// A quick look at the development split while a stage trains: greedy, one attempt.
pub(crate) fn development(
    session: &mut Session<'_>,
    questions: usize,
    max_tokens: usize,
) -> Result<(), EngineError> {
    let problem = session.problem;
    if problem.development.is_empty() {
        return Ok(());
    }
    let begun = Instant::now();
    let question = Question {
        grow: &Grow::Independent(independent::Config { attempts: 1 }),
        sampling: Sampling::GREEDY,
        max_tokens,
        path_tokens: None,
        choice: Choice::Mean,
        key: session.key(Purpose::Sample).with(u64::MAX).with(session.place.done as u64),
    };
    let tasks = &problem.development[..problem.development.len().min(questions)];
    let observer = &mut *session.observer;
    let mut policy = session.learner.policy();
    let evaluation = ask(&mut policy, problem.environment.as_ref(), tasks, &question, |live| {
        observer.event(Event::Sampling { live });
    });
    drop(policy);
    session.commit_evaluation(DEVELOPMENT, &evaluation, begun.elapsed().as_secs_f64())
}

/// Where candidates come from and how one is chosen.
fn decoding(config: &Evaluate) -> (Grow, Choice, Sampling) {
    let leaves = config.leaves as u32;
    let linear = |attempts| Grow::Independent(independent::Config { attempts });
    let sampling = Sampling {
        temperature: config.temperature as f32,
        top_k: config.top_k,
        top_p: config.top_p as f32,
    };
    let branches = config.branches as u32;
    // The tree opens as many attempts as it later opens at each boundary.
    let attempts = branches.min(leaves);
    let tree = Grow::Branch(branch::Config { attempts, branches, leaves, tokens: None });
    match config.decoding {
        Decoding::Greedy => (linear(1), Choice::Mean, Sampling::GREEDY),
        Decoding::Sample => (linear(leaves), Choice::Mean, sampling),
        Decoding::LinearVote => (linear(leaves), Choice::Majority, sampling),
        Decoding::TreeVote => (tree, Choice::Majority, sampling),
    }
}

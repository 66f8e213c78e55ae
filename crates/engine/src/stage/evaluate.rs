//! A frozen policy is judged.

use std::time::Instant;

use stepwell_methods::Grow;
use stepwell_methods::grow::{branch, independent};
use stepwell_train::Learner;
use stepwell_tree::{Environment, Key, Purpose, Sampling};

use crate::error::EngineError;
use crate::evaluation::{Choice, Evaluation, Question, evaluate as ask};
use crate::observe::{Event, Observer};
use crate::problem::Problem;
use crate::recipe::{Decoding, Evaluate, ScorerConfig};
use crate::scorer::{Continuations, Scorer};
use crate::session::{Flow, Session};

/// Runs the stage: one evaluation, committed.
pub(crate) fn evaluate(session: &mut Session<'_>, config: &Evaluate) -> Result<Flow, EngineError> {
    if session.place.done == 0 {
        let begun = Instant::now();
        let key = session.key(Purpose::Sample).with(u64::MAX);
        let bootstrap = session.key(Purpose::Bootstrap);
        let (problem, learner) = (session.problem, &session.learner);
        let keys = Keys { sample: key, bootstrap };
        let evaluation = answers(problem, learner, config, keys, &mut *session.observer);
        session.place.done = 1;
        session.commit_evaluation("stage", &evaluation, begun.elapsed().as_secs_f64())?;
    }
    Ok(Flow::Done)
}

/// Names the draws of an evaluation.
#[derive(Clone, Copy)]
pub(crate) struct Keys {
    pub(crate) sample: Key,
    pub(crate) bootstrap: Key,
}

/// Answers of a policy to the tasks that a stage names.
pub(crate) fn answers(
    problem: &Problem,
    learner: &Learner,
    config: &Evaluate,
    keys: Keys,
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
        key: keys.sample,
        resamples: config.resamples,
        bootstrap: keys.bootstrap,
    };
    let environment = match (&problem.blindfolded, config.shuffled_results) {
        (Some(blindfolded), true) => blindfolded,
        _ => &problem.environment,
    };
    let environment = environment.as_ref();
    let mut scorer = match choice {
        Choice::Best => Some(scorer(config, learner, environment, &question)),
        Choice::Mean | Choice::Majority => None,
    };
    let scorer = scorer.as_mut().map(|scorer| scorer as &mut dyn Scorer);
    ask(&mut learner.policy(), environment, tasks, &question, scorer, |live| {
        observer.event(Event::Sampling { live });
    })
}

fn scorer<'a>(
    config: &Evaluate,
    learner: &'a Learner,
    environment: &'a dyn Environment,
    question: &Question<'_>,
) -> Continuations<'a> {
    let ScorerConfig::Continuations(own) = config.picker();
    Continuations {
        policy: Box::new(learner.policy()),
        environment,
        rollouts: own.rollouts,
        best_of: own.best_of,
        sampling: question.sampling,
        max_tokens: question.max_tokens,
        path_tokens: question.path_tokens,
        grown_under: question.key,
        sampled: 0,
    }
}

/// Resamples of a look at the development split.
const DEVELOPMENT_RESAMPLES: usize = 1000;

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
        resamples: DEVELOPMENT_RESAMPLES,
        bootstrap: session.key(Purpose::Bootstrap).with(session.place.done as u64),
    };
    let tasks = &problem.development[..problem.development.len().min(questions)];
    let observer = &mut *session.observer;
    let mut policy = session.learner.policy();
    let environment = problem.environment.as_ref();
    let evaluation = ask(&mut policy, environment, tasks, &question, None, |live| {
        observer.event(Event::Sampling { live });
    });
    drop(policy);
    session.commit_evaluation("development", &evaluation, begun.elapsed().as_secs_f64())
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
        Decoding::BestOfN => (linear(leaves), Choice::Best, sampling),
        Decoding::Search => (config.search(), Choice::Best, sampling),
    }
}

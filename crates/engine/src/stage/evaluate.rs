//! A frozen policy is judged.

use std::time::Instant;

use stepwell_methods::Grow;
use stepwell_methods::grow::{branch, independent};
use stepwell_train::Learner;
use stepwell_tree::{Environment, Key, Policy, Purpose, Sampling};

use crate::companion::{self, Companions};
use crate::error::EngineError;
use crate::evaluation::{Choice, Evaluation, Question, evaluate as ask};
use crate::microbatch::microbatch;
use crate::observe::{Event, Observer};
use crate::problem::Problem;
use crate::recipe::{self, Decoding, Evaluate, Recipe, ScorerConfig, Stage};
use crate::scorer::{Continuations, Learned, Scorer};
use crate::session::{DEVELOPMENT, Flow, Session};

/// Runs the stage: one evaluation, committed.
pub(crate) fn evaluate(session: &mut Session<'_>, config: &Evaluate) -> Result<Flow, EngineError> {
    if session.place.done == 0 {
        let begun = Instant::now();
        let key = session.key(Purpose::Sample).with(u64::MAX);
        let bootstrap = session.key(Purpose::Bootstrap);
        let keys = Keys { sample: key, bootstrap };
        let Session { recipe, problem, learner, companions, observer, .. } = session;
        let verifier = verifier(config, recipe, companions);
        let evaluation = answers(problem, (learner, verifier), config, keys, &mut **observer);
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
    (learner, verifier): (&Learner, Option<Learned<'_>>),
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
    let mut verifier = verifier;
    let mut own = match (choice, config.picker()) {
        (Choice::Best, ScorerConfig::Continuations(own)) => {
            let policy = Box::new(learner.led(config.q_beta));
            Some(continuations(own, policy, environment, &question))
        }
        _ => None,
    };
    let scorer = match (choice, &mut own, &mut verifier) {
        (Choice::Best, Some(own), _) => Some(own as &mut dyn Scorer),
        (Choice::Best, None, Some(verifier)) => Some(verifier as &mut dyn Scorer),
        _ => None,
    };
    ask(&mut learner.led(config.q_beta), environment, tasks, &question, scorer, |live| {
        observer.event(Event::Sampling { live });
    })
}

/// The estimator that a stage picks by, where it names one.
pub(crate) fn verifier<'a>(
    config: &Evaluate,
    recipe: &'a Recipe,
    companions: &'a mut Companions,
) -> Option<Learned<'a>> {
    let ScorerConfig::Estimator(own) = config.picker() else { return None };
    let Some(Stage::Estimator(stage)) = recipe.stage.get(own.stage) else {
        panic!("stage[{}] was checked to be an estimator when the recipe was read", own.stage)
    };
    let learner = companions.get_mut(&companion::estimator(own.stage));
    let learner = learner.expect("an earlier stage made it, and checkpoints hold it");
    let tokens_max = microbatch(stage.microbatch_tokens, learner.model().config());
    let method = &stage.estimator;
    Some(Learned { learner, method, aggregator: own.aggregator, tokens_max })
}

fn continuations<'a>(
    own: recipe::Continuations,
    policy: Box<dyn Policy + 'a>,
    environment: &'a dyn Environment,
    question: &Question<'_>,
) -> Continuations<'a> {
    Continuations {
        policy,
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
        Decoding::BestOfN => (linear(leaves), Choice::Best, sampling),
        Decoding::Search => (config.search(), Choice::Best, sampling),
    }
}

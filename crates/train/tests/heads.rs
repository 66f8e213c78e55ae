//! Heads on a learner's trunk: what they say does not depend on how trees are packed, they learn
//! what can be seen in a state, and a checkpoint holds them bit for bit.

mod common;

use common::{codec, learner, settings, shape, state_bits};
use stepwell_methods::objective::value_loss;
use stepwell_model::{Adapter, LoraSettings, Model};
use stepwell_train::{CriticSettings, HeadSettings, Learner, SCORE, Settings, VALUE, VALUE_TARGET};
use stepwell_tree::{Credit, Key, Purpose, StepTree, parse};

/// Questions whose second word decides what their steps are worth.
fn forest() -> Vec<StepTree> {
    let tree = |word: u32| {
        let mut tree = parse(
            "0 - prompt q q
             1 0 policy a a
             2 1 environment o
             3 2 policy b     r=1
             4 2 policy c d   r=0",
        );
        for (at, token) in tree.token.iter_mut().enumerate() {
            *token = if at == 1 { word } else { 3 + at as u32 };
        }
        tree
    };
    (0..6).map(|k| tree(10 + k % 2)).collect()
}

fn head_settings(frozen_trunk: bool) -> HeadSettings {
    let own = settings(0.01, 1.0);
    HeadSettings { adamw: own.adamw, gradient_clip: 1.0, tokens_max: 1000, frozen_trunk }
}

/// Half the squared distance of every step's score from a target; the mean over all steps.
fn squares(learner: &mut Learner, forest: &[StepTree], settings: &HeadSettings) -> f64 {
    let targets: Vec<f32> =
        forest.iter().map(|tree| if tree.token[1] == 10 { 1.0 } else { -0.5 }).collect();
    let count: usize = forest.iter().map(StepTree::len).sum();
    let loss = |tree: usize, scores: &[f32]| {
        let off = scores.iter().map(|s| s - targets[tree]);
        let slopes = off.clone().map(|x| x / count as f32).collect();
        (off.map(|x| f64::from(x * x) / 2.0 / count as f64).sum(), slopes)
    };
    learner.learn_scores(forest, settings, loss).unwrap().loss
}

#[test]
fn a_head_learns_what_the_state_shows_and_a_frozen_trunk_stays() {
    let forest = forest();
    for frozen in [false, true] {
        let mut learner = learner(1, 2);
        let before = state_bits(&learner);
        learner.attach_head(SCORE, None, 1, 7);
        let first = squares(&mut learner, &forest, &head_settings(frozen));
        // A fresh head says 0: (1 + 0.25) / 2 / 2.
        assert!((first - 0.3125).abs() < 1e-6, "{first}");
        for _ in 0..400 {
            squares(&mut learner, &forest, &head_settings(frozen));
        }
        let scores = learner.step_scores(&forest, 1000).unwrap();
        for (tree, scores) in forest.iter().zip(&scores) {
            // What stands before the deciding word cannot know it: steps end after it.
            let target = if tree.token[1] == 10 { 1.0 } else { -0.5 };
            assert!(scores.iter().all(|s| (s - target).abs() < 0.2), "{frozen} {scores:?}");
        }
        learner.detach_heads();
        learner.reset_optimizer().unwrap();
        assert_eq!(before.0 == state_bits(&learner).0, frozen, "who moves");
    }
}

/// Columns and credit for a critic: steps are worth 1 below one word and -0.5 below the other.
fn valued(learner: &mut Learner, forest: &mut [StepTree]) -> Vec<Credit> {
    learner.fill_values(forest, 1000).unwrap();
    let worth = |tree: &StepTree| if tree.token[1] == 10 { 1.0 } else { -0.5 };
    for tree in forest.iter_mut() {
        let target = vec![worth(tree); tree.token.len()];
        tree.token_column.insert(VALUE_TARGET.to_owned(), target);
    }
    let credit = |tree: &StepTree| Credit {
        step: tree.origin.iter().map(|o| o.is_policy().then_some(0.0)).collect(),
        token: None,
    };
    forest.iter().map(credit).collect()
}

/// Root of the mean squared distance of the values from what they should be.
fn off(forest: &[StepTree]) -> f64 {
    let squares = forest.iter().flat_map(|tree| {
        let pairs = tree.token_column[VALUE].iter().zip(&tree.token_column[VALUE_TARGET]);
        let sampled = |t: &usize| ![0, 1, 4].contains(t);
        pairs
            .enumerate()
            .filter(move |(t, _)| sampled(t))
            .map(|(_, (v, t))| f64::from(v - t).powi(2))
    });
    let squares: Vec<f64> = squares.collect();
    (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
}

#[test]
fn a_critic_learns_on_the_policy_s_trunk_and_on_its_own() {
    let mut forest = forest();
    // Beside a policy loss that asks for nothing, and alone.
    let mut shared = learner(1, 2);
    shared.attach_head(VALUE, None, 1, 7);
    let mut own = shared.twin().unwrap();
    own.attach_head(VALUE, None, 1, 7);
    let key = Key::new(1, Purpose::TaskOrder);
    let policy = Settings {
        value: Some(value_loss::Config::default()),
        on_policy: false,
        ..settings(0.01, 1.0)
    };
    let critic = CriticSettings {
        loss: value_loss::Config::default(),
        aggregation: policy.objective.aggregation(),
        max_tokens: policy.max_tokens,
        head: head_settings(false),
        epochs: 1,
        minibatches: 2,
    };
    let credits = valued(&mut own, &mut forest);
    let first = off(&forest);
    for _ in 0..80 {
        let credits = valued(&mut shared, &mut forest);
        let report = shared.update(&forest, &credits, &policy, key).unwrap();
        assert!(report.value_loss > 0.0 && report.value.rows > 0);
        own.learn_values(&forest, &credits, &critic, key).unwrap();
    }
    for learner in [&mut shared, &mut own] {
        valued(learner, &mut forest);
        assert!(off(&forest) < first / 4.0, "{} {first}", off(&forest));
    }
    // Nothing to learn where nothing has credit.
    let none: Vec<Credit> = credits.iter().map(|c| Credit::none(c.step.len())).collect();
    let before = state_bits(&own);
    assert_eq!(own.learn_values(&forest, &none, &critic, key).unwrap().optimizer_steps, 0);
    assert_eq!(state_bits(&own), before);
}

#[test]
fn a_loss_that_reads_no_values_moves_no_head() {
    let mut forest = forest();
    let mut learner = learner(1, 1);
    learner.attach_head(VALUE, None, 1, 7);
    let key = Key::new(1, Purpose::TaskOrder);
    let credits = valued(&mut learner, &mut forest);
    let mut policy = Settings { on_policy: false, ..settings(0.01, 1.0) };
    policy.value = Some(value_loss::Config::default());
    learner.update(&forest, &credits, &policy, key).unwrap();
    let moved = learner.state().heads;
    assert!(moved[0].optimizer_step == 1 && moved[0].tensors.iter().any(|(_, _, x)| x[0] != 0.0));
    // A step on something else, demonstrations say: moments of the head would carry it on.
    policy.value = None;
    learner.update(&forest, &credits, &policy, key).unwrap();
    assert_eq!(learner.state().heads, moved);
}

#[test]
fn packing_and_threads_change_no_bit_of_what_a_head_says() {
    let mut forest = forest();
    let said = |threads, tokens_max, forest: &mut [StepTree]| {
        let mut learner = learner(2, threads);
        for (name, seed) in [(VALUE, 1), (SCORE, 2)] {
            learner.attach_head(name, Some(9), 1, seed);
        }
        squares(&mut learner, forest, &head_settings(false));
        learner.fill_values(forest, tokens_max).unwrap();
        let values: Vec<Vec<f32>> = forest.iter().map(|t| t.token_column[VALUE].clone()).collect();
        (values, learner.step_scores(forest, tokens_max).unwrap())
    };
    let one = said(1, 1000, &mut forest);
    assert_eq!(one, said(2, 9, &mut forest));
    assert_eq!(one, said(7, 20, &mut forest));
    // The score of a tree's step is that of the same prefix alone.
    let alone = said(1, 1000, &mut forest[..1]);
    assert_eq!(alone.1[0].len(), 5);
    // Values stand before sampled tokens and nowhere else.
    let value = &one.0[0];
    assert!([0, 1, 4].iter().all(|&t| value[t] == 0.0), "{value:?}");
}

#[test]
fn a_restored_head_goes_on_bit_for_bit_with_its_trunk() {
    let forest = forest();
    let train = |learner: &mut Learner| squares(learner, &forest, &head_settings(false));
    let mut own = learner(3, 1);
    own.attach_head(SCORE, Some(5), 1, 7);
    train(&mut own);
    let mut copy = learner(9, 1);
    copy.restore(own.model().clone(), own.state()).unwrap();
    assert!(copy.has_head(SCORE));
    assert_eq!(train(&mut own), train(&mut copy));
    assert_eq!(state_bits(&own), state_bits(&copy));
    assert_eq!(own.state().heads, copy.state().heads);
    // A checkpoint that lacks a tensor is refused and names it.
    let mut state = own.state();
    state.heads[0].tensors.retain(|(name, ..)| name != "m.out.bias");
    let said = copy.restore(own.model().clone(), state).unwrap_err();
    assert!(said.contains("m.out.bias") && said.contains("score"), "{said}");
}

#[test]
fn a_head_learns_beside_an_adapter() {
    let forest = forest();
    let config = shape(codec().tokenizer().vocabulary());
    let mut model = Model::random(config.clone(), 1);
    let settings = LoraSettings { rank: 2, ..LoraSettings::default() };
    model.attach(Adapter::new(&config, settings, 3)).unwrap();
    let mut learner = Learner::new(model, codec(), 1);
    let base = learner.model().base_checksum();
    learner.attach_head(SCORE, None, 1, 7);
    let first = squares(&mut learner, &forest, &head_settings(false));
    for _ in 0..60 {
        squares(&mut learner, &forest, &head_settings(false));
    }
    assert!(squares(&mut learner, &forest, &head_settings(false)) < first / 2.0);
    assert_eq!(learner.model().base_checksum(), base, "the base is frozen");
}

#[test]
fn a_number_that_is_not_finite_is_named_and_moves_nothing() {
    let forest = forest();
    let mut learner = learner(3, 1);
    learner.attach_head(SCORE, None, 1, 7);
    let before = state_bits(&learner);
    let loss = |_: usize, scores: &[f32]| (0.0, vec![f32::NAN; scores.len()]);
    let said = learner.learn_scores(&forest, &head_settings(false), loss).unwrap_err();
    assert!(said.to_string().contains("no weight was changed"), "{said}");
    assert_eq!(state_bits(&learner), before);
}

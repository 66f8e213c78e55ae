//! P6: the probe ladder. Each rung asks for one ability and has a sabotaged twin: the same task and
//! the same number of updates with one thing broken.
//!
//! The rule, before any run: a rung is climbed where the mean reward of 512 fresh attempts is at
//! least [`LEARNED`] under each of the seeds 1, 2 and 3, which make weights and draws; a twin has
//! failed where it stays below [`FAILED`] under each of them. Guessing gives about one half.

mod common;

use common::probe::{Probe, flat, forked, grown, learner, mean_reward, settings, siblings, train};
use stepwell_engine::order::demonstration_tree;
use stepwell_methods::credit::group_mean::{self, Deviation};
use stepwell_methods::credit::{Rewards, permuted, reinforce};
use stepwell_methods::objective::cross_entropy;
use stepwell_methods::{CreditConfig, Grow, Objective};
use stepwell_train::{Learner, Reference};
use stepwell_tree::{
    Credit, Demonstration, Key, Opening, Policy, Purpose, SampleRequest, Sampling, Segment,
    StepTree,
};

const SEEDS: [u64; 3] = [1, 2, 3];
const LEARNED: f64 = 0.9;
const FAILED: f64 = 0.75;

type Method<'m> = &'m dyn Fn(&[StepTree], &Rewards) -> Vec<Credit>;

/// The arms: words whose first letter has an even code, and the others.
fn even(word: &str) -> bool {
    word.bytes().next().is_some_and(|byte| byte % 2 == 0)
}

fn coin(key: Key) -> bool {
    key.bits().is_multiple_of(2)
}

fn right(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn nothing(_: Key, _: &[String]) -> String {
    "look".to_owned()
}

/// Trains honestly and sabotaged under every seed, and measures on `measured`.
#[track_caller]
fn climbed(
    probe: &Probe,
    measured: &Probe,
    grow: &Grow,
    updates: u64,
    honest: Method<'_>,
    twin: (&Probe, Method<'_>),
) {
    for seed in SEEDS {
        let learned = mean_reward(&train(seed, probe, grow, updates, honest), measured);
        let failed = mean_reward(&train(seed, twin.0, grow, updates, twin.1), measured);
        assert!(learned >= LEARNED, "seed {seed} did not learn: {learned}");
        assert!(failed < FAILED, "seed {seed}: the twin learned: {failed}");
    }
}

fn flipped(forest: &[StepTree], rewards: &Rewards) -> Vec<Credit> {
    let mut credits = siblings(forest, rewards);
    for credit in credits.iter_mut().flat_map(|credit| &mut credit.step).flatten() {
        *credit = -*credit;
    }
    credits
}

fn dealt(forest: &[StepTree], rewards: &Rewards) -> Vec<Credit> {
    CreditConfig::Permuted(permuted::Config::default()).credit(forest, rewards)
}

/// Every step has the credit of the step before it on its path; the first ones have none.
fn shifted(forest: &[StepTree], rewards: &Rewards) -> Vec<Credit> {
    let credits = siblings(forest, rewards);
    let shift = |(tree, credit): (&StepTree, Credit)| {
        let mut moved = Credit::none(tree.len());
        for step in 1..tree.len() {
            let before = tree.parent[tree.parent[step].index()].index();
            if tree.origin[step].is_policy() && credit.step[step].is_some() {
                moved.step[step] = Some(credit.step[before].unwrap_or(0.0));
            }
        }
        moved
    };
    forest.iter().zip(credits).map(shift).collect()
}

#[test]
fn p06_rung_1_a_constant_reward_moves_nothing() {
    let probe = Probe { turns: 2, observe: nothing, judge: |_, _, _| 0.7 };
    let raw = |forest: &[StepTree], rewards: &Rewards| {
        CreditConfig::Reinforce(reinforce::Config::default()).credit(forest, rewards)
    };
    for seed in SEEDS {
        let before = learner(seed).model().checksum();
        let after =
            |credit: Method<'_>| train(seed, &probe, &forked(), 5, credit).model().checksum();
        assert_eq!(after(&siblings), before);
        assert_ne!(after(&raw), before, "the twin takes nothing off the reward, and drifts");
    }
}

#[test]
fn p06_rung_2_a_bandit() {
    let probe = Probe { turns: 1, observe: nothing, judge: |_, _, said| right(even(&said[0])) };
    climbed(&probe, &probe, &flat(), 40, &siblings, (&probe, &flipped));
}

#[test]
fn p06_rung_3_the_arm_depends_on_the_question() {
    let judge =
        |question: &str, _: Key, said: &[String]| right(even(&said[0]) == (question.len() == 5));
    let probe = Probe { turns: 1, observe: nothing, judge };
    climbed(&probe, &probe, &flat(), 120, &siblings, (&probe, &dealt));
}

#[test]
fn p06_rung_4_the_first_of_two_steps_decides() {
    let probe = Probe { turns: 2, observe: nothing, judge: |_, _, said| right(even(&said[0])) };
    climbed(&probe, &probe, &forked(), 60, &siblings, (&probe, &shifted));
}

#[test]
fn p06_rung_5_two_steps_must_both_be_right() {
    let judge = |_: &str, _: Key, said: &[String]| right(even(&said[0]) && !even(&said[1]));
    let probe = Probe { turns: 2, observe: nothing, judge };
    climbed(&probe, &probe, &forked(), 100, &siblings, (&probe, &dealt));
}

#[test]
fn p06_rung_6_the_answer_is_in_the_observation() {
    fn hidden(key: Key) -> bool {
        coin(key.with(1))
    }
    fn shown(is: bool) -> String {
        if is { "left" } else { "right" }.to_owned()
    }
    let judge = |_: &str, key: Key, said: &[String]| right(even(&said[1]) == hidden(key));
    let probe = Probe { turns: 2, observe: |key, _| shown(hidden(key)), judge };
    // The twin sees what is true of another attempt; both are asked in the world that tells.
    let blind = Probe { observe: |key, _| shown(hidden(key.with(7))), ..probe.clone() };
    climbed(&probe, &probe, &forked(), 120, &siblings, (&blind, &siblings));
}

/// The second step is worth 0.005, the luck of the first one, which siblings share, is worth 1: a
/// comparison below the fork alone can tell. Second steps alone are trained.
#[test]
fn p06_rung_7_only_siblings_tell_the_better_step() {
    fn second(forest: &[StepTree], mut credits: Vec<Credit>) -> Vec<Credit> {
        for (tree, credit) in forest.iter().zip(&mut credits) {
            for step in 1..tree.len() {
                if tree.parent[step].0 == 0 {
                    credit.step[step] = None;
                }
            }
        }
        credits
    }
    let judge = |_: &str, key: Key, said: &[String]| {
        right(coin(key.with(2))) + 0.005 * right(even(&said[1]))
    };
    let probe = Probe { turns: 2, observe: nothing, judge };
    let measured = Probe { judge: |_, _, said| right(even(&said[1])), ..probe.clone() };
    let by_siblings =
        |forest: &[StepTree], rewards: &Rewards| second(forest, siblings(forest, rewards));
    let by_attempts = |forest: &[StepTree], rewards: &Rewards| {
        // Without a deviation, which would magnify the step where the luck happens to be equal.
        let flat = group_mean::Config { std: Deviation::None, ..Default::default() };
        second(forest, CreditConfig::GroupMean(flat).credit(forest, rewards))
    };
    climbed(&probe, &measured, &forked(), 40, &by_siblings, (&probe, &by_attempts));
}

/// The divergence of the trained policy from its beginning, nats a token, over 512 attempts.
fn divergence(seed: u64, trained: &mut Learner, probe: &Probe) -> f64 {
    let many = Grow::Independent(stepwell_methods::grow::independent::Config { attempts: 64 });
    let mut forest = grown(trained, probe, &many, Key::new(99, Purpose::Control));
    let begin = Reference::of(learner(seed).model());
    trained.fill_reference(&mut forest, &begin, 1.0, 100_000).unwrap();
    let (mut sum, mut count) = (0.0, 0.0);
    for tree in &forest {
        let reference = &tree.token_column["reference_logprob"];
        for step in (0..tree.len()).filter(|step| tree.origin[*step].is_policy()) {
            for at in tree.span[step].range() {
                sum += f64::from(tree.logprob[at] - reference[at]);
                count += 1.0;
            }
        }
    }
    sum / count
}

/// Where the reward is noise there is nothing to learn, and the policy must stay where it is. The
/// twin is a reward that is not noise: it moves the policy at least three times as far.
#[test]
fn p06_rung_8_noise_teaches_nothing() {
    let noise = |_: &str, key: Key, _: &[String]| right(coin(key.with(3)));
    let probe = Probe { turns: 1, observe: nothing, judge: noise };
    let bandit = Probe { judge: |_, _, said| right(even(&said[0])), ..probe.clone() };
    for seed in SEEDS {
        let moved = |probe: &Probe| {
            let mut trained = train(seed, probe, &flat(), 40, &siblings);
            divergence(seed, &mut trained, probe)
        };
        let (by_noise, by_signal) = (moved(&probe), moved(&bandit));
        assert!(3.0 * by_noise < by_signal, "seed {seed}: {by_noise} {by_signal}");
    }
}

/// Demonstrations look, read a word and say another, which depends on it. Trained are the words of
/// the demonstrator, observations are masked; in the twin the mask is inverted.
#[test]
fn p06_rung_9_what_is_masked_is_read_and_not_learned() {
    const WORDS: [(&str, &str); 4] =
        [("red", "left"), ("green", "right"), ("blue", "yes"), ("no", "one")];
    let demonstration = |(read, said): (&str, &str)| Demonstration {
        opening: Opening { system: String::new(), user: "one".to_owned() },
        segments: [("look", true, false), (read, false, true), (said, true, false)]
            .map(|(text, train, observation)| {
                let text = text.to_owned();
                Segment { text, train, observation }
            })
            .to_vec(),
    };
    let supervised = |seed: u64, inverted: bool| {
        let mut learner = learner(seed);
        let objective = Objective::CrossEntropy(cross_entropy::Config::default());
        let mut settings = settings(objective);
        settings.on_policy = false;
        for update in 0..100 {
            let (forest, mut credits): (Vec<StepTree>, Vec<Credit>) = WORDS
                .map(|pair| demonstration_tree(learner.codec(), &demonstration(pair), true))
                .into_iter()
                .unzip();
            for (tree, credit) in forest.iter().zip(&mut credits).filter(|_| inverted) {
                for step in 1..tree.len() {
                    let trained = credit.step[step].is_some();
                    credit.step[step] = (!trained).then_some(1.0);
                }
            }
            let key = Key::new(seed, Purpose::TaskOrder).with(update);
            learner.update(&forest, &credits, &settings, key).unwrap();
        }
        learner
    };
    let right_answers = |learner: &Learner| {
        let mut policy = learner.policy();
        let right = WORDS.iter().zip(0..).filter(|((read, said), id)| {
            let mut path = policy.encode_opening(&demonstration((*read, *said)).opening);
            path.extend(policy.encode("look"));
            path.extend(policy.encode(read));
            let parent = policy.extend(&[(None, path)])[0];
            let key = Key::new(1, Purpose::Sample);
            let (sampling, max_tokens) = (Sampling::GREEDY, 1);
            policy.submit(SampleRequest { id: *id, parent, key, sampling, max_tokens });
            policy.advance()[0].text.trim() == *said
        });
        right.count() as f64 / WORDS.len() as f64
    };
    for seed in SEEDS {
        let [learned, failed] =
            [false, true].map(|inverted| right_answers(&supervised(seed, inverted)));
        assert!(learned >= LEARNED && failed < FAILED, "seed {seed}: {learned} {failed}");
    }
}

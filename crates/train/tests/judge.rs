//! A judge says of the next word what the model behind it says.

mod common;

use common::{codec, learner, sampled};
use stepwell_train::{Judge, Learner};
use stepwell_tree::StepId;

fn judge_of(learner: &Learner, threads: usize) -> Judge {
    Judge::new(learner.model().clone(), codec(), threads)
}

#[test]
fn it_says_what_the_policy_of_the_same_weights_sampled_by() {
    let own = learner(6, 1);
    let (forest, _) = sampled(&own, 1.0, 0);
    let vocabulary = codec().tokenizer().vocabulary() as u32;
    let mut judge = judge_of(&own, 2);
    let prompt = "look left";
    let said = judge.next(prompt, &(0..vocabulary).collect::<Vec<_>>()).unwrap();
    let sum: f64 = said.iter().map(|lp| f64::from(*lp).exp()).sum();
    assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    // The first token of a sampled step, where the prompt is these words.
    let tree = &forest[0];
    assert_eq!(tree.tokens(StepId::ROOT), codec().encode(prompt));
    let first = tree.span[1].range().start;
    let then = tree.logprob[first];
    assert_eq!(said[tree.token[first] as usize].to_bits(), then.to_bits());
    // Asked of two, it says the same, whatever the number of threads.
    assert_eq!(judge_of(&own, 1).next(prompt, &[5, 7]).unwrap(), [said[5], said[7]]);
}

#[test]
fn nothing_and_too_much_to_read_are_no_answer() {
    let own = learner(6, 1);
    let mut judge = judge_of(&own, 1);
    assert_eq!(judge.next("", &[1]), None);
    let context = own.model().config().context;
    assert!(judge.next(&vec!["look"; context].join(" "), &[1]).is_some());
    assert_eq!(judge.next(&vec!["look"; context + 1].join(" "), &[1]), None);
}

//! One tree: its tokens and texts, its observations and verdicts, its log-probabilities.

use stepwell_store::StoredTree;
use stepwell_tree::{
    Credit, Environment, Key, Origin, PolicyVersion, StepId, Stop, Task, Turn, Verdict, leaves,
    path_to,
};

use stepwell_methods::is_companion;
use stepwell_train::{Codec, Learner, Reference};

use super::differs;
use crate::rollout::{cut_short, judgement};

/// What is wrong, and at which step.
pub(super) type Broken = (StepId, String);

/// Every token is that of its text, and was written by the version that it says.
pub(super) fn tokens(
    stored: &StoredTree,
    codec: &Codec,
    prompt: Option<&[u32]>,
    (version, max_tokens): (PolicyVersion, usize),
) -> Result<(), Broken> {
    let tree = &stored.tree;
    if let Some(prompt) = prompt.filter(|prompt| *prompt != tree.tokens(StepId::ROOT)) {
        return Err((StepId::ROOT, differs("tokens", tree.tokens(StepId::ROOT), prompt)));
    }
    let vocabulary = codec.tokenizer().vocabulary();
    for i in 1..tree.len() {
        let step = StepId(i as u32);
        let own = tree.tokens(step);
        let text = stored.text[i].as_deref();
        let wrong = match (tree.origin[i], text) {
            (Origin::Prompt | Origin::Demonstration, _) => {
                Some(format!("origin: a step of a grown tree cannot be {:?}", tree.origin[i]))
            }
            (_, None) => Some("text: is missing".to_owned()),
            (Origin::Policy(_), _) if own.iter().any(|token| *token as usize >= vocabulary) => {
                Some(format!("tokens: one is not below {vocabulary}, the vocabulary"))
            }
            (Origin::Policy(by), _) if by != version => Some(differs("version", by.0, version.0)),
            (Origin::Policy(_), _) => {
                let said = codec.decode(own);
                let cut = tree.stop[i] == Stop::StopString;
                let fits = |text: &str| if cut { said.starts_with(text) } else { said == text };
                let ended = own.last().is_some_and(|last| codec.end_tokens().contains(last));
                match text {
                    Some(text) if !fits(text) => Some(differs("text", text, said)),
                    _ if own.len() > max_tokens => {
                        Some(differs("tokens", own.len(), format!("{max_tokens} at most")))
                    }
                    _ if (tree.stop[i] == Stop::EndOfText) != ended => {
                        Some(format!("stop: {:?} does not fit its last token", tree.stop[i]))
                    }
                    _ if tree.stop[i] == Stop::Length && own.len() != max_tokens => {
                        Some(format!("stop: {} tokens, expected {max_tokens}", own.len()))
                    }
                    _ => None,
                }
            }
            (Origin::Environment, Some(text)) => {
                let again = codec.encode(text);
                (again != own).then(|| differs("tokens", own, again))
            }
        };
        if let Some(wrong) = wrong {
            return Err((step, wrong));
        }
    }
    Ok(())
}

/// How many attempts were played again and judged alike, and how many have no verdict: in the
/// record, or now.
#[derive(Default)]
pub(super) struct Played {
    pub(super) judged: u64,
    pub(super) unjudged: u64,
}

/// Plays every attempt again: the same observations byte for byte, the same verdict bit for bit.
pub(super) fn played(
    stored: &StoredTree,
    environment: &dyn Environment,
    task: &Task,
    key: Key,
) -> Result<Played, Broken> {
    let tree = &stored.tree;
    let mut found = Played::default();
    for leaf in leaves(tree) {
        let recorded = &tree.verdict[leaf.index()];
        if !matches!(recorded, Verdict::Scored { .. }) {
            found.unjudged += 1;
            continue;
        }
        let path = path_to(tree, leaf);
        let Some(&first) = path.get(1) else {
            return Err((leaf, "verdict: of a tree without attempts".to_owned()));
        };
        let text = |step: StepId| stored.text[step.index()].as_deref().unwrap_or_default();
        let own = key.with(u64::from(tree.child_index[first.index()]));
        let Ok(mut episode) = environment.start(task, own) else {
            found.unjudged += 1;
            continue;
        };
        let mut end = None;
        for pair in path[1..].chunks(2) {
            let (action, seen) = (pair[0], pair.get(1).copied());
            match (episode.step(text(action), tree.stop[action.index()]), seen) {
                (Turn::Observation(again), Some(seen)) if again != text(seen) => {
                    return Err((seen, differs("observation", text(seen), again)));
                }
                (Turn::Observation(_), Some(_)) => {}
                (Turn::End(again @ Verdict::Unscored(_)), _) => {
                    end = Some(again);
                    break;
                }
                (Turn::End(again), Some(_)) => {
                    let what = differs("observation", "an answer", judgement(again));
                    return Err((action, what));
                }
                (Turn::End(again), None) => end = Some(again),
                // It did not fit the path: the attempt was judged as cut short.
                (Turn::Observation(_), None) => {
                    end = Some(cut_short(episode.as_mut(), environment));
                }
            }
        }
        match end.map(judgement) {
            // A failure to judge now tells nothing of the verdict then.
            None | Some(Verdict::Unscored(_)) => found.unjudged += 1,
            Some(again) if again == *recorded => found.judged += 1,
            Some(again) => return Err((leaf, differs("verdict", recorded, again))),
        }
    }
    Ok(found)
}

/// Log-probabilities of sampled tokens under the weights that sampled them. How many were compared.
pub(super) fn logprobs(
    stored: &StoredTree,
    (weights, learner): (&Reference, &mut Learner),
    (temperature, tokens_max): (f32, usize),
) -> Result<u64, Broken> {
    const AGAIN: &str = "audit_logprob";
    let tree = &stored.tree;
    let mut own = [tree.clone()];
    let filled = learner.fill_frozen(AGAIN, &mut own, weights, temperature, tokens_max);
    filled.map_err(|error| (StepId::ROOT, error.to_string()))?;
    let again = &own[0].token_column[AGAIN];
    let mut compared = 0;
    for i in (0..tree.len()).filter(|&i| tree.origin[i].is_policy()) {
        let step = StepId(i as u32);
        // A greedy companion reports another distribution.
        if is_companion(tree, step) {
            continue;
        }
        for at in tree.span[i].range() {
            if tree.logprob[at].to_bits() != again[at].to_bits() {
                return Err((step, differs("log-prob", tree.logprob[at], again[at])));
            }
            compared += 1;
        }
    }
    Ok(compared)
}

/// Credit, bit for bit.
pub(super) fn credit(recorded: &Credit, again: &Credit) -> Result<(), Broken> {
    let bits = |own: Option<f64>| own.map(f64::to_bits);
    for (i, (recorded, again)) in recorded.step.iter().zip(&again.step).enumerate() {
        if bits(*recorded) != bits(*again) {
            return Err((StepId(i as u32), differs("credit", recorded, again)));
        }
    }
    let bits = |own: &Option<Vec<f64>>| -> Option<Vec<u64>> {
        own.as_ref().map(|own| own.iter().map(|x| x.to_bits()).collect())
    };
    if bits(&recorded.token) != bits(&again.token) {
        return Err((StepId::ROOT, differs("credit of tokens", &recorded.token, &again.token)));
    }
    Ok(())
}

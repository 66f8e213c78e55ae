//! "Did you mean": the known name nearest to a mistyped one.

/// Names of papers, libraries and habit, and what this house calls the thing.
const ALSO_KNOWN_AS: &[(&str, &str)] = &[
    ("lr", "learning_rate"),
    ("batch_size", "batch"),
    ("max_grad_norm", "gradient_clip"),
    ("grad_clip", "gradient_clip"),
    ("max_new_tokens", "max_tokens"),
    ("n_layers", "layers"),
    ("n_heads", "heads"),
    ("eps", "epsilon"),
    ("warmup", "warmup_steps"),
    ("min_lr_ratio", "final_learning_rate_ratio"),
    ("num_steps", "steps"),
    ("grpo", "group_mean"),
    ("rloo", "leave_one_out"),
    ("vine_ppo", "monte_carlo_step"),
    ("ppo", "clipped"),
    ("dapo", "clipped"),
    ("gspo", "sequence_clipped"),
    ("chain", "independent"),
    ("eval", "evaluate"),
    ("dpo", "preference"),
];

/// The known name nearest to `name`; `None` where nothing is near enough to be meant.
pub(super) fn nearest<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    let lower = name.to_lowercase();
    let habit = ALSO_KNOWN_AS.iter().find(|(other, _)| *other == lower).map(|(_, ours)| *ours);
    if let Some(hit) = known.iter().find(|k| Some(**k) == habit) {
        return Some(hit);
    }
    // A third of the letters may differ (`leafs` for `leaves`), and a name that starts like a known
    // one is near to it.
    let distance_max = lower.chars().count().div_ceil(3);
    let by_distance = known.iter().map(|k| (distance(&lower, k), *k)).min();
    match by_distance {
        Some((found, hit)) if found <= distance_max => Some(hit),
        _ => known.iter().copied().find(|k| k.len() >= 2 && lower.starts_with(k)),
    }
}

/// Edits (insert, delete, replace, swap of neighbours) that turn one text into another.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// `` `a`, `b`, `c` ``
pub(super) fn list(known: &[&str]) -> String {
    known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_one_edit_and_a_stranger_has_no_neighbour() {
        assert_eq!(distance("learning_rte", "learning_rate"), 1);
        assert_eq!(distance("setps", "steps"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(nearest("learning_rte", &["steps", "learning_rate"]), Some("learning_rate"));
        assert_eq!(nearest("rlhf", &["sft", "rl", "evaluate"]), Some("rl"));
        assert_eq!(nearest("RL", &["sft", "rl", "evaluate"]), Some("rl"));
        assert_eq!(nearest("lr", &["steps", "learning_rate"]), Some("learning_rate"));
        assert_eq!(nearest("zebra", &["steps", "learning_rate"]), None);
        assert_eq!(nearest("\u{1f600}", &["steps"]), None);
    }
}

//! What attempts at tasks tell beyond their mean: coverage, votes, and how sure the mean is.

use std::collections::BTreeMap;

use stepwell_tree::Key;

/// pass@k of a task, without bias (Chen et al. 2021, arXiv 2107.03374, equation 1): the chance that
/// k of its n attempts, drawn without replacement, hold one of the c right ones, 1 − C(n−c, k) /
/// C(n, k). `None` where there are fewer than k.
pub fn pass_at(n: usize, c: usize, k: usize) -> Option<f64> {
    assert!(c <= n, "{c} of {n} attempts are right");
    if k == 0 || k > n {
        return None;
    }
    if n - c < k {
        return Some(1.0);
    }
    // C(n−c, k) / C(n, k) = Π (1 − k/i) over i from n−c+1 to n.
    Some(1.0 - (n - c + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product::<f64>())
}

/// maj@k of a task: the mean outcome of the commonest answer among k attempts, over the disjoint
/// groups of k in order, each as good a draw as any other. `None` where there are fewer than k.
/// `attempts` are the answer, where one was given, and the outcome.
pub fn majority_at(attempts: &[(Option<String>, f64)], k: usize) -> Option<f64> {
    if k == 0 || k > attempts.len() {
        return None;
    }
    let groups = attempts.chunks_exact(k);
    let count = groups.len() as f64;
    let chosen = |group: &[(Option<String>, f64)]| {
        let first = majority(group.iter().map(|(answer, _)| answer.as_deref()));
        group[first.expect("a group has attempts")].1
    };
    Some(groups.map(chosen).sum::<f64>() / count)
}

/// The first place of the answer that comes most often, ties to the one that comes first; where
/// nobody answers, the first place. `None` where there is none.
pub fn majority<'a>(answers: impl Iterator<Item = Option<&'a str>>) -> Option<usize> {
    let mut votes: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut any = false;
    for (place, answer) in answers.enumerate() {
        any = true;
        if let Some(answer) = answer {
            votes.entry(answer).or_insert((0, place)).0 += 1;
        }
    }
    let best = votes.values().copied().reduce(|best, other| {
        let wins = other.0 > best.0 || (other.0 == best.0 && other.1 < best.1);
        if wins { other } else { best }
    });
    best.map(|(_, place)| place).or_else(|| any.then_some(0))
}

/// The numbers of attempts at which curves are told: powers of two up to `n`, and `n`.
pub fn counts(n: usize) -> Vec<usize> {
    let mut counts: Vec<usize> =
        std::iter::successors(Some(1usize), |k| k.checked_mul(2)).take_while(|k| *k < n).collect();
    counts.extend((n > 0).then_some(n));
    counts
}

/// A 95 % interval on the mean of `outcomes`, one per task: the percentiles 2.5 and 97.5 of the
/// means of `resamples` draws of as many tasks with replacement. `None` without outcomes or
/// resamples.
pub fn bootstrap(outcomes: &[f64], resamples: usize, key: Key) -> Option<(f64, f64)> {
    if outcomes.is_empty() || resamples == 0 {
        return None;
    }
    let n = outcomes.len();
    let mean = |resample: usize| {
        let key = key.with(resample as u64);
        let sum: f64 = (0..n as u64).map(|i| outcomes[key.with(i).below(n)]).sum();
        sum / n as f64
    };
    let mut means: Vec<f64> = (0..resamples).map(mean).collect();
    means.sort_by(f64::total_cmp);
    // The smallest mean with at least that share of all at or below it.
    let at = |share: f64| {
        let rank = (share * resamples as f64).ceil() as usize;
        means[rank.clamp(1, resamples) - 1]
    };
    Some((at(0.025), at(0.975)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::Purpose;

    #[test]
    fn pass_at_k_by_hand_and_by_counting_every_draw() {
        // Two of four are right: one draw 1/2; two draws miss both in 1 of 6 pairs.
        assert_eq!(pass_at(4, 2, 1), Some(0.5));
        assert!((pass_at(4, 2, 2).unwrap() - 5.0 / 6.0).abs() < 1e-15);
        assert_eq!((pass_at(4, 2, 3), pass_at(4, 0, 4)), (Some(1.0), Some(0.0)));
        assert_eq!((pass_at(4, 2, 5), pass_at(0, 0, 1), pass_at(3, 1, 0)), (None, None, None));
        for n in 1..=9usize {
            for c in 0..=n {
                for k in 1..=n {
                    let draws = (0u32..1 << n).filter(|set| set.count_ones() as usize == k);
                    let (all, hits) = draws.fold((0.0, 0.0), |(all, hits), set| {
                        let hit = set & ((1 << c) - 1) != 0;
                        (all + 1.0, hits + f64::from(u8::from(hit)))
                    });
                    let got = pass_at(n, c, k).unwrap();
                    assert!((got - hits / all).abs() < 1e-12, "{n} {c} {k}: {got}");
                }
            }
        }
    }

    #[test]
    fn the_majority_wins_and_ties_go_to_the_first() {
        let vote = |answers: [Option<&'static str>; 5]| majority(answers.into_iter());
        assert_eq!(vote([Some("a"), Some("b"), Some("b"), None, None]), Some(1));
        assert_eq!(vote([Some("z"), Some("b"), Some("b"), Some("z"), None]), Some(0));
        assert_eq!(vote([None; 5]), Some(0));
        assert_eq!(majority(std::iter::empty()), None);
    }

    #[test]
    fn majority_at_k_is_the_mean_over_groups() {
        let said = |answer: &str, outcome| (Some(answer.to_owned()), outcome);
        let attempts =
            [said("a", 0.0), said("b", 1.0), said("b", 1.0), said("a", 0.0), said("a", 0.0)];
        assert_eq!(majority_at(&attempts, 1), Some(0.4));
        // a b: a tie, the first; b a: the same.
        assert_eq!(majority_at(&attempts, 2), Some(0.5));
        assert_eq!(majority_at(&attempts, 3), Some(1.0));
        assert_eq!(majority_at(&attempts, 5), Some(0.0));
        assert_eq!(majority_at(&attempts, 6), None);
    }

    #[test]
    fn counts_are_powers_of_two_and_the_whole() {
        assert_eq!(counts(1), [1]);
        assert_eq!(counts(6), [1, 2, 4, 6]);
        assert_eq!(counts(8), [1, 2, 4, 8]);
        assert!(counts(0).is_empty());
    }

    #[test]
    fn the_bootstrap_has_the_binomial_width_and_is_a_function_of_the_key() {
        let key = Key::new(5, Purpose::Bootstrap);
        // 100 tasks, 30 right: the deviation of a mean is √(0.3·0.7/100) = 0.0458.
        let outcomes: Vec<f64> = (0..100).map(|i| f64::from(u8::from(i < 30))).collect();
        let (low, high) = bootstrap(&outcomes, 4000, key).unwrap();
        assert!((low - (0.3 - 1.96 * 0.0458)).abs() < 0.015, "{low}");
        assert!((high - (0.3 + 1.96 * 0.0458)).abs() < 0.015, "{high}");
        assert_eq!(bootstrap(&outcomes, 4000, key), Some((low, high)));
        let spread: Vec<f64> = (0..100).map(|i| f64::from(i).sqrt()).collect();
        assert_ne!(bootstrap(&spread, 50, key.with(1)), bootstrap(&spread, 50, key));
        // Equal outcomes leave no doubt; two resamples are their smaller and larger mean.
        assert_eq!(bootstrap(&[1.0; 7], 50, key), Some((1.0, 1.0)));
        let (a, b) = bootstrap(&outcomes, 2, key).unwrap();
        assert!(a <= b);
        assert_eq!(bootstrap(&[], 50, key), None);
        assert_eq!(bootstrap(&outcomes, 0, key), None);
    }
}

//! Shares of scripts in a demonstrator's mix, the same for every generated world.

use stepwell_tree::Key;

/// What is wrong with a mix, one sentence each: every share lies in [0, 1], and those of the
/// careless scripts, the last `careless` ones, sum to 1.
pub(crate) fn problems(shares: &[(&str, f64)], careless: usize) -> Vec<String> {
    let outside = shares.iter().filter(|(_, share)| !(0.0..=1.0).contains(share));
    let mut problems: Vec<String> = outside
        .map(|(name, share)| format!("`mix.{name}` must be from 0 to 1, got: {share}"))
        .collect();
    let last = &shares[shares.len() - careless..];
    let sum: f64 = last.iter().map(|(_, share)| share).sum();
    if (sum - 1.0).abs() > 1e-9 {
        let names: Vec<String> = last.iter().map(|(name, _)| format!("`mix.{name}`")).collect();
        let (end, others) = names.split_last().map_or(("", &[][..]), |(end, rest)| (end, rest));
        problems.push(format!("{} and {end} must sum to 1, got: {sum}", others.join(", ")));
    }
    problems
}

/// The place of the share that a draw falls into; the last one takes what rounding leaves.
pub(crate) fn pick(key: Key, shares: &[f64]) -> usize {
    let drawn = key.uniform();
    let mut sum = 0.0;
    let past = |share: &f64| {
        sum += share;
        drawn < sum
    };
    shares.iter().position(past).unwrap_or(shares.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::Purpose;

    #[test]
    fn every_fault_of_a_mix_is_told() {
        let told = problems(&[("a", 1.5), ("b", 0.5), ("c", 0.25), ("d", 0.125)], 3);
        let expected = [
            "`mix.a` must be from 0 to 1, got: 1.5",
            "`mix.b`, `mix.c` and `mix.d` must sum to 1, got: 0.875",
        ];
        assert_eq!(told, expected);
        assert!(problems(&[("a", 0.0), ("b", 0.25), ("c", 0.75)], 2).is_empty());
    }

    #[test]
    fn scripts_come_as_often_as_their_shares() {
        let mut count = [0_u32; 3];
        for place in 0..4000 {
            count[pick(Key::new(1, Purpose::Sample).with(place), &[0.5, 0.4, 0.1])] += 1;
        }
        let close = |place: usize, expected: u32| count[place].abs_diff(expected) < 100;
        assert!(close(0, 2000) && close(1, 1600), "{count:?}");
        assert_eq!(pick(Key::new(1, Purpose::Sample), &[0.0, 0.0, 0.0]), 2);
    }
}

//! The next token from tempered logits.

use super::Sampling;
use crate::kernel::Normaliser;

/// A drawn token and its log-probability under the distribution it was drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Drawn {
    pub(crate) token: u32,
    pub(crate) logprob: f32,
}

/// Draws by the inverse of the cumulative distribution: `uniform` is in `[0, 1)`.
///
/// `numerators` are `e^(z - most)` of the tempered logits. The full distribution's log-probability
/// is the trainer's, bit for bit; a truncated one is normalised over the tokens that were kept.
pub(crate) fn draw(
    sampling: &Sampling,
    tempered: &[f32],
    numerators: &[f32],
    normaliser: &Normaliser,
    uniform: f64,
) -> Drawn {
    if sampling.temperature == 0.0 {
        let token = likeliest(tempered);
        return Drawn { token, logprob: normaliser.logprob(tempered[token as usize]) };
    }
    if sampling.top_k == 0 && sampling.top_p >= 1.0 {
        let goal = uniform * numerators.iter().map(|x| f64::from(*x)).sum::<f64>();
        let token = first_past(goal, numerators.iter().copied().enumerate());
        return Drawn { token, logprob: normaliser.logprob(tempered[token as usize]) };
    }
    let kept = keep(sampling, numerators);
    let sum: f64 = kept.iter().map(|index| f64::from(numerators[*index])).sum();
    let token = first_past(uniform * sum, kept.iter().map(|index| (*index, numerators[*index])));
    let logprob = (tempered[token as usize] - normaliser.most) - sum.ln() as f32;
    Drawn { token, logprob }
}

/// The first of the largest.
fn likeliest(tempered: &[f32]) -> u32 {
    let mut best = 0;
    for (index, value) in tempered.iter().enumerate() {
        if *value > tempered[best] {
            best = index;
        }
    }
    best as u32
}

/// The first token whose cumulative mass is past the goal; the last with mass if rounding leaves
/// the goal beyond all.
fn first_past(goal: f64, masses: impl Iterator<Item = (usize, f32)>) -> u32 {
    let (mut sum, mut last) = (0.0, 0);
    for (index, mass) in masses {
        if mass > 0.0 {
            sum += f64::from(mass);
            last = index;
            if sum > goal {
                break;
            }
        }
    }
    last as u32
}

/// Tokens that top-k and top-p leave, likeliest first; ties by index.
fn keep(sampling: &Sampling, numerators: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..numerators.len()).collect();
    order.sort_by(|a, b| numerators[*b].total_cmp(&numerators[*a]).then(a.cmp(b)));
    if sampling.top_k > 0 {
        order.truncate(sampling.top_k);
    }
    let total: f64 = order.iter().map(|index| f64::from(numerators[*index])).sum();
    let mut sum = 0.0;
    let enough = order.iter().position(|index| {
        sum += f64::from(numerators[*index]);
        sum >= f64::from(sampling.top_p) * total
    });
    order.truncate(enough.map_or(order.len(), |last| last + 1));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::normalise;

    const FULL: Sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 };

    fn shares(sampling: &Sampling) -> [f64; 4] {
        // Probabilities 1/2, 1/4, 1/8, 1/8.
        let tempered = [0.5_f32, 0.25, 0.125, 0.125].map(f32::ln);
        let mut numerators = [0.0; 4];
        let normaliser = normalise(&tempered, &mut numerators);
        let mut count = [0.0; 4];
        for step in 0..8000 {
            let uniform = (f64::from(step) + 0.5) / 8000.0;
            let drawn = draw(sampling, &tempered, &numerators, &normaliser, uniform);
            count[drawn.token as usize] += 1.0 / 8000.0;
            let share = f64::from(drawn.logprob).exp();
            assert!((0.1..=1.000_001).contains(&share));
        }
        count
    }

    #[test]
    fn tokens_come_as_often_as_their_probability() {
        let close = |a: [f64; 4], b: [f64; 4]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3);
        assert!(close(shares(&FULL), [0.5, 0.25, 0.125, 0.125]));
        let two = Sampling { top_k: 2, ..FULL };
        assert!(close(shares(&two), [2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0]));
        let most = Sampling { top_p: 0.8, ..FULL };
        assert!(close(shares(&most), [4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0, 0.0]));
        let greedy = Sampling { temperature: 0.0, ..FULL };
        assert!(close(shares(&greedy), [1.0, 0.0, 0.0, 0.0]));
    }

    #[test]
    fn the_logprob_is_that_of_what_was_left() {
        let tempered = [0.5_f32, 0.25, 0.25].map(f32::ln);
        let mut numerators = [0.0; 3];
        let normaliser = normalise(&tempered, &mut numerators);
        let one = Sampling { top_k: 1, ..FULL };
        let drawn = draw(&one, &tempered, &numerators, &normaliser, 0.9);
        assert_eq!(drawn.token, 0);
        assert!(drawn.logprob.abs() < 1e-6);
        let drawn = draw(&FULL, &tempered, &numerators, &normaliser, 0.999_999_999);
        assert_eq!(drawn.token, 2);
    }
}

//! Row-wise functions of the transformer and their gradients.

use super::{
    bf16::{join, split},
    buffer::LANES,
    level::per_level,
    math::{exp, tree_sum},
    tile::PANEL,
};
use crate::adamw::Update;

/// `Σ f(x, y)` in 16 lanes and a fixed tree.
#[inline(always)]
fn lane_dot(left: &[f32], right: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (left, left_tail) = left.as_chunks::<LANES>();
    let (right, right_tail) = right.as_chunks::<LANES>();
    for (left, right) in left.iter().zip(right) {
        for ((lane, left), right) in lanes.iter_mut().zip(left).zip(right) {
            *lane = left.mul_add(*right, *lane);
        }
    }
    for ((lane, left), right) in lanes.iter_mut().zip(left_tail).zip(right_tail) {
        *lane = left.mul_add(*right, *lane);
    }
    tree_sum(&lanes)
}

#[inline(always)]
fn inverse_root(x: &[f32], epsilon: f32) -> f32 {
    1.0 / (lane_dot(x, x) / x.len() as f32 + epsilon).sqrt()
}

per_level! {
    /// The sum of products of two rows.
    fn dot(left: &[f32], right: &[f32]) -> f32 {
        assert_eq!(left.len(), right.len(), "lengths");
        lane_dot(left, right)
    }
}

per_level! {
    /// The sum of squares, in 16 lanes of `f64`.
    fn square_sum(values: &[f32]) -> f64 {
        let mut lanes = [0.0_f64; LANES];
        for block in values.chunks(LANES) {
            for (lane, value) in lanes.iter_mut().zip(block) {
                *lane += f64::from(*value) * f64::from(*value);
            }
        }
        lanes.iter().sum()
    }
}

per_level! {
    /// `out = x / rms(x) * weight` for every row of width `weight.len()`.
    fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "lengths");
        let width = weight.len();
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let inverse = inverse_root(x, epsilon);
            for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                *out = x * inverse * weight;
            }
        }
    }
}

per_level! {
    /// Adds the gradient of `rms_norm` by its input to `dx` and by its weight to `dweight`.
    ///
    /// With `r = 1 / rms`: `dx = r (w dy - x r² mean(x w dy))`.
    fn rms_norm_grad(
        x: &[f32],
        weight: &[f32],
        epsilon: f32,
        dy: &[f32],
        dx: &mut [f32],
        dweight: &mut [f32],
    ) {
        assert!(x.len() == dy.len() && x.len() == dx.len(), "lengths");
        let width = weight.len();
        let rows = x.chunks_exact(width).zip(dy.chunks_exact(width));
        for ((x, dy), dx) in rows.zip(dx.chunks_exact_mut(width)) {
            let inverse = inverse_root(x, epsilon);
            let mut lanes = [0.0_f32; LANES];
            let blocks = x.chunks(LANES).zip(dy.chunks(LANES)).zip(weight.chunks(LANES));
            for ((x, dy), weight) in blocks {
                for (((lane, x), dy), weight) in lanes.iter_mut().zip(x).zip(dy).zip(weight) {
                    *lane = (x * weight).mul_add(*dy, *lane);
                }
            }
            let mean = tree_sum(&lanes) * inverse * inverse / width as f32;
            for (((dx, x), dy), weight) in dx.iter_mut().zip(x).zip(dy).zip(weight) {
                *dx += inverse * (weight * dy - x * mean);
            }
            for ((dweight, x), dy) in dweight.iter_mut().zip(x).zip(dy) {
                *dweight = (x * inverse).mul_add(*dy, *dweight);
            }
        }
    }
}

per_level! {
    /// `out = gate * sigmoid(gate) * up`, elementwise.
    fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
        assert!(gate.len() == up.len() && gate.len() == out.len(), "lengths");
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            *out = gate / (1.0 + exp(-gate)) * up;
        }
    }
}

per_level! {
    /// Replaces `gate` and `up` by their gradients and `dout` by the forward's output, which the
    /// gradient of the down projection needs next.
    fn swiglu_grad(gate: &mut [f32], up: &mut [f32], dout: &mut [f32]) {
        assert!(gate.len() == up.len() && gate.len() == dout.len(), "lengths");
        for ((gate, up), dout) in gate.iter_mut().zip(up).zip(dout) {
            let sigmoid = 1.0 / (1.0 + exp(-*gate));
            let silu = *gate * sigmoid;
            let slope = sigmoid * (1.0 + *gate * (1.0 - sigmoid));
            let output = *gate / (1.0 + exp(-*gate)) * *up;
            *gate = *dout * *up * slope;
            *up = *dout * silu;
            *dout = output;
        }
    }
}

per_level! {
    /// Rotates every head of one row: pairs are `(i, i + head_dim / 2)`; `sign` -1 turns back.
    fn rotate(row: &mut [f32], cosine: &[f32], sine: &[f32], sign: f32) {
        let half = cosine.len();
        assert_eq!(sine.len(), half, "lengths");
        for head in row.chunks_exact_mut(2 * half) {
            let (low, high) = head.split_at_mut(half);
            let pairs = low.iter_mut().zip(high);
            for (((low, high), cosine), sine) in pairs.zip(cosine).zip(sine) {
                let sine = sign * sine;
                let turned = *low * cosine - *high * sine;
                *high = *high * cosine + *low * sine;
                *low = turned;
            }
        }
    }
}

per_level! {
    /// The gradient of a softmax row by its scores, in place of `dp`:
    /// `scale * p (dp - mean)` with `p = numerator * inverse`; `p` replaces the numerators.
    fn softmax_grad(numerators: &mut [f32], inverse: f32, dp: &mut [f32], mean: f32, scale: f32) {
        assert_eq!(numerators.len(), dp.len(), "lengths");
        for (numerator, dp) in numerators.iter_mut().zip(dp) {
            *numerator *= inverse;
            *dp = *numerator * (*dp - mean) * scale;
        }
    }
}

/// One weight's update; its moments move on.
#[inline(always)]
fn adamw(update: &Update, weight: f32, moments: (&mut f32, &mut f32), gradient: f32) -> f32 {
    let (first, second) = moments;
    *first = (1.0 - update.beta1).mul_add(gradient, update.beta1 * *first);
    *second = (1.0 - update.beta2).mul_add(gradient * gradient, update.beta2 * *second);
    let root = (*second * update.second_correction).sqrt() + update.epsilon;
    weight * update.keep - update.rate * *first / root
}

per_level! {
    /// One AdamW update of a run of weights.
    fn adamw_update(
        update: &Update,
        weight: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
        gradient: &[f32],
    ) {
        assert_eq!(weight.len(), gradient.len(), "lengths");
        let moments = first.iter_mut().zip(second);
        for ((weight, moments), gradient) in weight.iter_mut().zip(moments).zip(gradient) {
            *weight = adamw(update, *weight, moments, *gradient);
        }
    }
}

per_level! {
    /// The same of one panel of split weights: `high` and `low` are `[pairs(columns)][PANEL]`, the
    /// others `[columns][PANEL]`.
    fn adamw_update_split(
        update: &Update,
        high: &mut [u32],
        low: &mut [u32],
        first: &mut [f32],
        second: &mut [f32],
        gradient: &[f32],
    ) {
        let words = high.chunks_exact_mut(PANEL).zip(low.chunks_exact_mut(PANEL));
        let moments = first.chunks_mut(2 * PANEL).zip(second.chunks_mut(2 * PANEL));
        for (((high, low), (first, second)), gradient) in
            words.zip(moments).zip(gradient.chunks(2 * PANEL))
        {
            let mut lines = [[0.0; PANEL]; 2];
            for lane in 0..PANEL {
                let both = join(high[lane], low[lane]);
                (lines[0][lane], lines[1][lane]) = (both[0], both[1]);
            }
            let moments = first.chunks_exact_mut(PANEL).zip(second.chunks_exact_mut(PANEL));
            for ((line, (first, second)), gradient) in
                lines.iter_mut().zip(moments).zip(gradient.chunks_exact(PANEL))
            {
                let moments = first.iter_mut().zip(second);
                for ((weight, moments), gradient) in line.iter_mut().zip(moments).zip(gradient) {
                    *weight = adamw(update, *weight, moments, *gradient);
                }
            }
            for lane in 0..PANEL {
                (high[lane], low[lane]) = split([lines[0][lane], lines[1][lane]]);
            }
        }
    }
}

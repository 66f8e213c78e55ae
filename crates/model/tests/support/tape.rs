//! The slow `f64` transformer once more, on a tape that differentiates it scalar by scalar, with
//! the points at which `bf16` rounds: an answer for every gradient, from no derivation of ours but
//! those of single operations.

use std::collections::BTreeMap;

use stepwell_model::{Config, Family, Model, Scored};

use super::Forest;

/// What is rounded to `bf16` on its way into a product, and mistakes that one could make there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rounding {
    /// Matrices in products.
    pub(crate) weights: bool,
    /// Rows of the embedding that enter the stream.
    pub(crate) embedding: bool,
    /// Inputs of products, where not said otherwise.
    pub(crate) inputs: bool,
    /// The attention's output, the input of its projection.
    pub(crate) attended: bool,
    /// Gradients by the outputs of products, for both products of the backward.
    pub(crate) gradients: bool,
    /// Mistake: queries, which enter no product with a matrix.
    pub(crate) queries: bool,
    /// Mistake: towards zero.
    pub(crate) truncates: bool,
    /// Mistake: chains of the feed-forward's last product end one pair early.
    pub(crate) drops: bool,
}

impl Rounding {
    /// Nothing is rounded.
    pub(crate) const NONE: Self = Self {
        weights: false,
        embedding: false,
        inputs: false,
        attended: false,
        gradients: false,
        queries: false,
        truncates: false,
        drops: false,
    };

    /// As `Precision::Bf16` says.
    pub(crate) const BF16: Self = Self {
        weights: true,
        embedding: true,
        inputs: true,
        attended: true,
        gradients: true,
        ..Self::NONE
    };

    /// The nearest `bf16` of the nearest `f32`, halves away from zero.
    fn of(&self, value: f64, rounds: bool) -> f64 {
        if !rounds {
            return value;
        }
        let half = if self.truncates { 0 } else { 0x8000 };
        f64::from(f32::from_bits(((value as f32).to_bits() + half) & 0xffff_0000))
    }
}

/// Index of a scalar on the tape.
type Var = u32;

/// Scalars in the order of their computation, each with the partial derivatives by its inputs.
#[derive(Default)]
struct Tape {
    value: Vec<f64>,
    /// End of each scalar's inputs.
    end: Vec<usize>,
    input: Vec<(Var, f64)>,
    /// Whether the gradient by a scalar is rounded before it is passed on.
    product: Vec<bool>,
}

impl Tape {
    fn push(&mut self, value: f64, inputs: impl IntoIterator<Item = (Var, f64)>) -> Var {
        self.input.extend(inputs);
        self.value.push(value);
        self.end.push(self.input.len());
        self.product.push(false);
        self.value.len() as Var - 1
    }

    fn at(&self, var: Var) -> f64 {
        self.value[var as usize]
    }

    /// The gradient by every scalar, given that by some.
    fn backward(&self, seeds: &[(Var, f64)], rounding: &Rounding) -> Vec<f64> {
        let mut gradient = vec![0.0; self.value.len()];
        seeds.iter().for_each(|(var, seed)| gradient[*var as usize] += seed);
        for var in (0..self.value.len()).rev() {
            let rounds = self.product[var] && rounding.gradients;
            let own = rounding.of(gradient[var], rounds);
            let begin = var.checked_sub(1).map_or(0, |before| self.end[before]);
            for (input, partial) in &self.input[begin..self.end[var]] {
                gradient[*input as usize] += own * partial;
            }
        }
        gradient
    }
}

/// Scores of all positions and the gradient of every parameter, row-major.
pub(crate) struct Answer {
    pub(crate) scores: Vec<(f64, f64)>,
    pub(crate) gradients: BTreeMap<String, Vec<f64>>,
}

/// Forward and backward of `model`'s parameters for these seeds by log-prob and entropy.
pub(crate) fn differentiate(
    model: &Model,
    forest: &Forest,
    scored: &Scored,
    (d_logprob, d_entropy): (&[f32], &[f32]),
    rounding: Rounding,
) -> Answer {
    let mut machine = Machine::new(model, rounding);
    let scores = machine.scores(forest, scored);
    let seeds: Vec<(Var, f64)> = scores
        .iter()
        .zip(d_logprob.iter().zip(d_entropy))
        .flat_map(|((logprob, entropy), (first, second))| {
            [(*logprob, f64::from(*first)), (*entropy, f64::from(*second))]
        })
        .collect();
    let all = machine.tape.backward(&seeds, &rounding);
    let own = |vars: &Vec<Var>| vars.iter().map(|var| all[*var as usize]).collect();
    let gradients = machine.weights.iter().map(|(name, vars)| (name.clone(), own(vars))).collect();
    let values =
        |(logprob, entropy): &(Var, Var)| (machine.tape.at(*logprob), machine.tape.at(*entropy));
    Answer { scores: scores.iter().map(values).collect(), gradients }
}

struct Machine {
    config: Config,
    rounding: Rounding,
    tape: Tape,
    weights: BTreeMap<String, Vec<Var>>,
}

impl Machine {
    fn new(model: &Model, rounding: Rounding) -> Self {
        let mut tape = Tape::default();
        let weights = model.parameters().into_iter().map(|parameter| {
            let values = parameter.to_row_major();
            let vars = values.iter().map(|value| tape.push(f64::from(*value), [])).collect();
            (parameter.name().to_owned(), vars)
        });
        let weights = weights.collect();
        Self { config: model.config().clone(), rounding, tape, weights }
    }

    fn weight(&self, name: &str) -> Vec<Var> {
        self.weights[name].clone()
    }

    fn add(&mut self, left: &[Var], right: &[Var]) -> Vec<Var> {
        let tape = &mut self.tape;
        let sum =
            |(a, b): (&Var, &Var)| tape.push(tape.at(*a) + tape.at(*b), [(*a, 1.0), (*b, 1.0)]);
        left.iter().zip(right).map(sum).collect()
    }

    /// Products with a matrix: the only place where numbers are rounded.
    fn multiply(&mut self, matrix: &str, x: &[Var]) -> Vec<Var> {
        let Rounding { weights, inputs, attended, drops, .. } = self.rounding;
        let rounds = if matrix.ends_with("o_proj.weight") { attended } else { inputs };
        let dropped = if drops && matrix.ends_with("down_proj.weight") { 2 } else { 0 };
        let of = |tape: &Tape, var: &Var, rounds| self.rounding.of(tape.at(*var), rounds);
        let input: Vec<f64> = x.iter().map(|var| of(&self.tape, var, rounds)).collect();
        let rows = self.weights[matrix].chunks(x.len());
        let dot = |row: &[Var]| {
            let row = &row[..row.len() - dropped];
            let weight: Vec<f64> = row.iter().map(|var| of(&self.tape, var, weights)).collect();
            let value = weight.iter().zip(&input).map(|(w, x)| w * x).sum();
            let by_input = x.iter().copied().zip(weight);
            let by_weight = row.iter().copied().zip(input.iter().copied());
            let out = self.tape.push(value, by_input.zip(by_weight).flat_map(|(a, b)| [a, b]));
            self.tape.product[out as usize] = true;
            out
        };
        rows.map(dot).collect()
    }

    fn norm(&mut self, x: &[Var], weight: &str) -> Vec<Var> {
        let tape = &mut self.tape;
        let count = x.len() as f64;
        let mean = x.iter().map(|var| tape.at(*var).powi(2)).sum::<f64>() / count;
        let inverse = (mean + self.config.norm_epsilon).powf(-0.5);
        let by = |var: &Var| (*var, -inverse.powi(3) * tape.at(*var) / count);
        let inputs: Vec<(Var, f64)> = x.iter().map(by).collect();
        let root = tape.push(inverse, inputs);
        let scale = |(x, weight): (&Var, &Var)| {
            let (value, factor) = (tape.at(*x), tape.at(*weight));
            let partials =
                [(*x, inverse * factor), (root, value * factor), (*weight, value * inverse)];
            tape.push(value * inverse * factor, partials)
        };
        x.iter().zip(&self.weights[weight]).map(scale).collect()
    }

    fn turn(&mut self, head: &[Var], position: f64) -> Vec<Var> {
        let half = head.len() / 2;
        let mut out = vec![0; head.len()];
        for index in 0..half {
            let exponent = -2.0 * index as f64 / head.len() as f64;
            let (sine, cosine) = (position * self.config.rope_base.powf(exponent)).sin_cos();
            let (low, high) = (head[index], head[index + half]);
            let (a, b) = (self.tape.at(low), self.tape.at(high));
            out[index] = self.tape.push(a * cosine - b * sine, [(low, cosine), (high, -sine)]);
            out[index + half] =
                self.tape.push(b * cosine + a * sine, [(high, cosine), (low, sine)]);
        }
        out
    }

    /// Queries, keys or values of one row, head by head.
    fn project(&mut self, layer: usize, name: &str, normed: &[Var], position: f64) -> Vec<Var> {
        let part = |tail: &str| format!("model.layers.{layer}.self_attn.{name}{tail}");
        let mut out = self.multiply(&part("_proj.weight"), normed);
        if self.config.family == Family::Qwen2 {
            let bias = self.weight(&part("_proj.bias"));
            out = self.add(&out, &bias);
        }
        if name == "v" {
            return out;
        }
        let mut turned = Vec::new();
        for head in out.chunks(self.config.head_dim) {
            let mut head = head.to_vec();
            if self.config.family == Family::Qwen3 {
                head = self.norm(&head, &part("_norm.weight"));
            }
            turned.extend(self.turn(&head, position));
        }
        if name == "q" && self.rounding.queries {
            let of =
                |var: Var| self.tape.push(self.rounding.of(self.tape.at(var), true), [(var, 1.0)]);
            turned = turned.into_iter().map(of).collect();
        }
        turned
    }

    /// One query head over the keys and values of its path, `[head_dim]` each.
    fn attention(&mut self, query: &[Var], key: &[&[Var]], value: &[&[Var]]) -> Vec<Var> {
        let tape = &mut self.tape;
        let scale = (query.len() as f64).sqrt().recip();
        let mut weights = Vec::new();
        for key in key {
            let pairs = query.iter().zip(*key);
            let score: f64 = pairs.clone().map(|(q, k)| tape.at(*q) * tape.at(*k)).sum();
            let numerator = (score * scale).exp();
            let by = |(q, k): (&Var, &Var)| {
                let scale = numerator * scale;
                [(*q, tape.at(*k) * scale), (*k, tape.at(*q) * scale)]
            };
            let inputs: Vec<(Var, f64)> = pairs.flat_map(by).collect();
            weights.push(tape.push(numerator, inputs));
        }
        let sum: f64 = weights.iter().map(|var| tape.at(*var)).sum();
        let total = tape.push(sum, weights.iter().map(|var| (*var, 1.0)));
        let mix = |lane: usize| {
            let pairs = || weights.iter().zip(value).map(|(weight, value)| (*weight, value[lane]));
            let out = pairs().map(|(w, v)| tape.at(w) * tape.at(v)).sum::<f64>() / sum;
            let by = |(w, v): (Var, Var)| [(w, tape.at(v) / sum), (v, tape.at(w) / sum)];
            let mut inputs: Vec<(Var, f64)> = pairs().flat_map(by).collect();
            inputs.push((total, -out / sum));
            tape.push(out, inputs)
        };
        (0..query.len()).map(mix).collect()
    }

    fn feed_forward(&mut self, layer: usize, stream: &[Var]) -> Vec<Var> {
        let part = |tail: &str| format!("model.layers.{layer}.{tail}.weight");
        let normed = self.norm(stream, &part("post_attention_layernorm"));
        let gate = self.multiply(&part("mlp.gate_proj"), &normed);
        let up = self.multiply(&part("mlp.up_proj"), &normed);
        let tape = &mut self.tape;
        let gated = |(gate, up): (&Var, &Var)| {
            let (g, u) = (tape.at(*gate), tape.at(*up));
            let share = 1.0 / (1.0 + (-g).exp());
            let slope = share * (1.0 + g * (1.0 - share));
            tape.push(g * share * u, [(*gate, slope * u), (*up, g * share)])
        };
        let hidden: Vec<Var> = gate.iter().zip(&up).map(gated).collect();
        let out = self.multiply(&part("mlp.down_proj"), &hidden);
        self.add(stream, &out)
    }

    fn layer(&mut self, forest: &Forest, layer: usize, stream: &mut [Vec<Var>]) {
        let (dim, group) = (self.config.head_dim, self.config.heads / self.config.kv_heads);
        let mut projected: [Vec<Vec<Var>>; 3] = Default::default();
        for (row, stream) in stream.iter().enumerate() {
            let norm = format!("model.layers.{layer}.input_layernorm.weight");
            let normed = self.norm(stream, &norm);
            for (name, rows) in ["q", "k", "v"].into_iter().zip(&mut projected) {
                rows.push(self.project(layer, name, &normed, f64::from(forest.position[row])));
            }
        }
        let [query, key, value] = projected;
        for (row, stream) in stream.iter_mut().enumerate() {
            let path = forest.visible(row);
            let mut attended = Vec::new();
            for (head, query) in query[row].chunks(dim).enumerate() {
                let lanes = head / group * dim..(head / group + 1) * dim;
                let key: Vec<&[Var]> = path.iter().map(|at| &key[*at][lanes.clone()]).collect();
                let value: Vec<&[Var]> = path.iter().map(|at| &value[*at][lanes.clone()]).collect();
                attended.extend(self.attention(query, &key, &value));
            }
            let name = format!("model.layers.{layer}.self_attn.o_proj.weight");
            let out = self.multiply(&name, &attended);
            let middle = self.add(stream, &out);
            *stream = self.feed_forward(layer, &middle);
        }
    }

    /// Log-probability and entropy of each scored position.
    fn scores(&mut self, forest: &Forest, scored: &Scored) -> Vec<(Var, Var)> {
        let (hidden, rounds) = (self.config.hidden, self.rounding.embedding);
        let embedding = self.weight("model.embed_tokens.weight");
        let mut stream = Vec::new();
        for token in &forest.token {
            let row = &embedding[*token as usize * hidden..][..hidden];
            let of = |var: &Var| {
                let value = self.rounding.of(self.tape.at(*var), rounds);
                self.tape.push(value, [(*var, 1.0)])
            };
            stream.push(row.iter().map(of).collect::<Vec<Var>>());
        }
        for layer in 0..self.config.layers {
            self.layer(forest, layer, &mut stream);
        }
        let head = if self.config.tied { "model.embed_tokens.weight" } else { "lm_head.weight" };
        let temperature = f64::from(scored.temperature);
        let mut scores = Vec::new();
        for (row, target) in scored.row.iter().zip(scored.target) {
            let normed = self.norm(&stream[*row as usize], "model.norm.weight");
            let logits = self.multiply(head, &normed);
            scores.push(self.score(&logits, *target as usize, temperature));
        }
        scores
    }

    fn score(&mut self, logits: &[Var], target: usize, temperature: f64) -> (Var, Var) {
        let z: Vec<f64> = logits.iter().map(|var| self.tape.at(*var) / temperature).collect();
        let log_sum = z.iter().map(|z| z.exp()).sum::<f64>().ln();
        let entropy = -z.iter().map(|z| (z - log_sum).exp() * (z - log_sum)).sum::<f64>();
        let share = |at: usize| (z[at] - log_sum).exp();
        let by_logprob = |(at, var): (usize, &Var)| {
            let own = if at == target { 1.0 } else { 0.0 };
            (*var, (own - share(at)) / temperature)
        };
        let by_entropy = |(at, var): (usize, &Var)| {
            (*var, -share(at) * (z[at] - log_sum + entropy) / temperature)
        };
        let all = || logits.iter().enumerate();
        let logprob = self.tape.push(z[target] - log_sum, all().map(by_logprob));
        (logprob, self.tape.push(entropy, all().map(by_entropy)))
    }
}

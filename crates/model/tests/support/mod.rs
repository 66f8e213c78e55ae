//! A slow `f64` transformer that follows the papers row by row, and forests to try it on.
#![expect(dead_code, reason = "each test binary uses a part")]

pub(crate) mod gguf;
pub(crate) mod tape;

use std::collections::BTreeMap;

use stepwell_model::{
    Adapter, Config, Family, LoraSettings, Model, Packed, RopeScaling, Scored, Target,
};

pub(crate) fn config(family: Family) -> Config {
    Config {
        family,
        vocabulary: 75,
        hidden: 40,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 10,
        ffn: 52,
        rope_base: 10_000.0,
        rope_scaling: RopeScaling::None,
        norm_epsilon: 1e-5,
        tied: true,
        context: 512,
    }
}

/// A number in [0, 1) per key: draws without a stream.
pub(crate) fn unit(stream: u64, index: u64) -> f64 {
    let mut z = stream
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(index.wrapping_mul(0xd1b5_4a32_d192_ed03));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A model whose norms and biases differ from their start, so that their gradients matter.
pub(crate) fn model(config: Config, seed: u64) -> Model {
    let mut model = Model::random(config, seed);
    let names: Vec<(String, usize)> = model
        .parameters()
        .iter()
        .filter(|parameter| parameter.shape().len() == 1)
        .map(|parameter| (parameter.name().to_owned(), parameter.shape()[0]))
        .collect();
    for (stream, (name, length)) in names.into_iter().enumerate() {
        let base = if name.ends_with("bias") { 0.0 } else { 1.0 };
        let value = |index| (base + 0.6 * (unit(stream as u64, index) - 0.5)) as f32;
        let values: Vec<f32> = (0..length as u64).map(value).collect();
        model.set_parameter(&name, &values).unwrap();
    }
    model
}

pub(crate) fn lora_settings(targets: &[Target]) -> LoraSettings {
    LoraSettings { rank: 3, alpha: 4.5, targets: targets.to_vec() }
}

/// A model with an adapter that says something.
pub(crate) fn adapted(config: Config, targets: &[Target]) -> Model {
    let mut base = model(config.clone(), 5);
    let mut adapter = Adapter::new(&config, lora_settings(targets), 8);
    let sizes: Vec<(String, usize)> = adapter
        .parameters()
        .iter()
        .map(|view| (view.name().to_owned(), view.shape().iter().product()))
        .collect();
    for (stream, (name, count)) in sizes.into_iter().enumerate() {
        let value = |i| ((unit(40 + stream as u64, i) - 0.5) * 0.6) as f32;
        let values: Vec<f32> = (0..count as u64).map(value).collect();
        adapter.set_parameter(&name, &values).unwrap();
    }
    base.attach(adapter).unwrap();
    base
}

/// A packed forest that owns its columns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forest {
    pub(crate) token: Vec<u32>,
    pub(crate) position: Vec<u32>,
    pub(crate) segment_begin: Vec<u32>,
    pub(crate) subtree_end: Vec<u32>,
    /// Parent segment of each segment.
    pub(crate) parent: Vec<Option<usize>>,
}

impl Forest {
    /// Segments in depth-first order: (parent, tokens).
    pub(crate) fn new(segments: &[(Option<usize>, Vec<u32>)]) -> Self {
        let mut forest = Self { segment_begin: vec![0], ..Self::default() };
        for (parent, tokens) in segments {
            let start =
                parent.map_or(0, |p| forest.position[forest.segment_begin[p + 1] as usize - 1] + 1);
            forest.token.extend(tokens);
            forest.position.extend((0..tokens.len() as u32).map(|index| start + index));
            forest.segment_begin.push(forest.token.len() as u32);
            forest.parent.push(*parent);
        }
        forest.subtree_end = vec![0; forest.token.len()];
        for index in 0..segments.len() {
            let inside = |other: usize| {
                let mut walk = Some(other);
                while let Some(at) = walk {
                    if at == index {
                        return true;
                    }
                    walk = segments[at].0;
                }
                false
            };
            let last = (index..segments.len()).filter(|other| inside(*other)).max().unwrap();
            let end = forest.segment_begin[last + 1];
            let rows = forest.rows(index);
            forest.subtree_end[rows].fill(end);
        }
        forest
    }

    pub(crate) fn rows(&self, segment: usize) -> std::ops::Range<usize> {
        self.segment_begin[segment] as usize..self.segment_begin[segment + 1] as usize
    }

    pub(crate) fn packed(&self) -> Packed<'_> {
        Packed {
            token: &self.token,
            position: &self.position,
            segment_begin: &self.segment_begin,
            subtree_end: &self.subtree_end,
        }
    }

    /// Rows visible to `row`, in path order, by the law of visibility.
    pub(crate) fn visible(&self, row: usize) -> Vec<usize> {
        (0..=row).filter(|j| row < self.subtree_end[*j] as usize).collect()
    }

    /// (row that predicts, target) for every token that has a predecessor on its path.
    pub(crate) fn predictions(&self) -> (Vec<u32>, Vec<u32>) {
        let mut pairs = (Vec::new(), Vec::new());
        for row in 0..self.token.len() {
            let path = self.visible(row);
            if path.len() > 1 {
                pairs.0.push(path[path.len() - 2] as u32);
                pairs.1.push(self.token[row]);
            }
        }
        pairs
    }

    /// The tokens of the path of each leaf segment.
    pub(crate) fn paths(&self) -> Vec<Vec<u32>> {
        let leaf = |segment: &usize| !self.parent.contains(&Some(*segment));
        let rows = |segment: usize| self.visible(self.rows(segment).end - 1);
        (0..self.parent.len())
            .filter(leaf)
            .map(|segment| rows(segment).iter().map(|row| self.token[*row]).collect())
            .collect()
    }
}

/// A tree with forks at several depths and a second tree.
pub(crate) fn sample_forest(vocabulary: u32) -> Forest {
    let mut count = 0;
    let mut tokens = |length: usize| -> Vec<u32> {
        (0..length)
            .map(|_| {
                count += 1;
                (unit(77, count) * f64::from(vocabulary)) as u32
            })
            .collect()
    };
    Forest::new(&[
        (None, tokens(7)),
        (Some(0), tokens(3)),
        (Some(1), tokens(1)),
        (Some(1), tokens(35)),
        (Some(3), tokens(2)),
        (Some(0), tokens(40)),
        (Some(5), tokens(5)),
        (Some(5), tokens(5)),
        (None, tokens(4)),
        (Some(8), tokens(2)),
    ])
}

/// Parameters as `f64`, by name.
pub(crate) type Weights = BTreeMap<String, Vec<f64>>;

pub(crate) fn weights(model: &Model) -> Weights {
    let values = |parameter: &stepwell_model::ParameterView| {
        let row_major = parameter.to_row_major().into_iter().map(f64::from).collect();
        (parameter.name().to_owned(), row_major)
    };
    model.parameters().iter().map(values).collect()
}

/// The hidden state of every row after the final norm.
pub(crate) fn reference_states(
    config: &Config,
    weights: &Weights,
    forest: &Forest,
) -> Vec<Vec<f64>> {
    let mut stream: Vec<Vec<f64>> = forest
        .token
        .iter()
        .map(|token| {
            let from = *token as usize * config.hidden;
            weights["model.embed_tokens.weight"][from..from + config.hidden].to_vec()
        })
        .collect();
    for layer in 0..config.layers {
        layer_forward(config, weights, forest, layer, &mut stream);
    }
    let normed = |x: &Vec<f64>| norm(x, &weights["model.norm.weight"], config.norm_epsilon);
    stream.iter().map(normed).collect()
}

/// (log-probability, entropy) of each scored position.
pub(crate) fn reference(
    config: &Config,
    weights: &Weights,
    forest: &Forest,
    scored: &Scored,
) -> Vec<(f64, f64)> {
    let states = reference_states(config, weights, forest);
    let head = if config.tied { "model.embed_tokens.weight" } else { "lm_head.weight" };
    let temperature = f64::from(scored.temperature);
    let pairs = scored.row.iter().zip(scored.target);
    pairs
        .map(|(row, target)| {
            let logits = multiply(&weights[head], &states[*row as usize]);
            let z: Vec<f64> = logits.iter().map(|logit| logit / temperature).collect();
            let log_sum = z.iter().map(|value| value.exp()).sum::<f64>().ln();
            let entropy = -z.iter().map(|v| (v - log_sum).exp() * (v - log_sum)).sum::<f64>();
            (z[*target as usize] - log_sum, entropy)
        })
        .collect()
}

fn layer_forward(
    config: &Config,
    weights: &Weights,
    forest: &Forest,
    layer: usize,
    stream: &mut [Vec<f64>],
) {
    let get = |tail: &str| &weights[&format!("model.layers.{layer}.{tail}")];
    let project = |name: &str, normed: &[f64], row: usize, turned: bool| -> Vec<f64> {
        let mut out = multiply(get(&format!("self_attn.{name}_proj.weight")), normed);
        if config.family == Family::Qwen2 {
            let bias = get(&format!("self_attn.{name}_proj.bias"));
            out.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
        }
        for head in out.chunks_mut(config.head_dim) {
            if turned && config.family == Family::Qwen3 {
                let weight = get(&format!("self_attn.{name}_norm.weight"));
                head.copy_from_slice(&norm(head, weight, config.norm_epsilon));
            }
            if turned {
                turn(config, head, f64::from(forest.position[row]));
            }
        }
        out
    };
    let rows = 0..stream.len();
    let normed: Vec<Vec<f64>> = stream
        .iter()
        .map(|row| norm(row, get("input_layernorm.weight"), config.norm_epsilon))
        .collect();
    let all = |name: &str, turned: bool| -> Vec<Vec<f64>> {
        rows.clone().map(|row| project(name, &normed[row], row, turned)).collect()
    };
    let (query, key, value) = (all("q", true), all("k", true), all("v", false));
    for row in rows {
        let attended = attention(config, forest, row, &query[row], &key, &value);
        let out = multiply(get("self_attn.o_proj.weight"), &attended);
        stream[row].iter_mut().zip(&out).for_each(|(stream, out)| *stream += out);
        let weight = get("post_attention_layernorm.weight");
        let normed = norm(&stream[row], weight, config.norm_epsilon);
        let gate = multiply(get("mlp.gate_proj.weight"), &normed);
        let up = multiply(get("mlp.up_proj.weight"), &normed);
        let hidden: Vec<f64> =
            gate.iter().zip(&up).map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up).collect();
        let out = multiply(get("mlp.down_proj.weight"), &hidden);
        stream[row].iter_mut().zip(&out).for_each(|(stream, out)| *stream += out);
    }
}

fn attention(
    config: &Config,
    forest: &Forest,
    row: usize,
    query: &[f64],
    key: &[Vec<f64>],
    value: &[Vec<f64>],
) -> Vec<f64> {
    let dim = config.head_dim;
    let path = forest.visible(row);
    let mut out = Vec::new();
    for head in 0..config.heads {
        let kv = head / (config.heads / config.kv_heads) * dim;
        let query = &query[head * dim..(head + 1) * dim];
        let score = |row: &usize| -> f64 {
            let dot: f64 = query.iter().zip(&key[*row][kv..kv + dim]).map(|(q, k)| q * k).sum();
            (dot / (dim as f64).sqrt()).exp()
        };
        let scores: Vec<f64> = path.iter().map(score).collect();
        let total: f64 = scores.iter().sum();
        for d in 0..dim {
            let sum: f64 =
                path.iter().zip(&scores).map(|(row, score)| score * value[*row][kv + d]).sum();
            out.push(sum / total);
        }
    }
    out
}

fn norm(x: &[f64], weight: &[f64], epsilon: f64) -> Vec<f64> {
    let mean = x.iter().map(|value| value * value).sum::<f64>() / x.len() as f64;
    x.iter().zip(weight).map(|(x, weight)| x / (mean + epsilon).sqrt() * weight).collect()
}

fn multiply(matrix: &[f64], x: &[f64]) -> Vec<f64> {
    let dot = |row: &[f64]| row.iter().zip(x).map(|(w, x)| w * x).sum();
    matrix.chunks(x.len()).map(dot).collect()
}

fn turn(config: &Config, head: &mut [f64], position: f64) {
    let half = head.len() / 2;
    for index in 0..half {
        let frequency = config.rope_base.powf(-2.0 * index as f64 / head.len() as f64);
        let (sine, cosine) = (position * frequency).sin_cos();
        let (low, high) = (head[index], head[index + half]);
        head[index] = low * cosine - high * sine;
        head[index + half] = high * cosine + low * sine;
    }
}

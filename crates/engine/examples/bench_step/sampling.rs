//! One round of sampling: prompts, then level by level.

use std::time::Instant;

use stepwell_model::{Decoder, Finished, Halt, Model, Prefix, SampleRequest, Sampling};
use stepwell_tree::{Key, Purpose};

use crate::THREADS;
use crate::tree::tokens;
use crate::workload::Workload;

/// A node of the tree that is growing: its place, its path, and what was sampled on the path.
struct Node {
    place: Vec<u64>,
    /// In a flat row: the child indices to follow.
    way: Option<Vec<u64>>,
    prefix: Prefix,
    sampled: Vec<u32>,
}

/// Sampled tokens of every path, and the seconds until the prompts were computed.
pub(crate) fn sample(model: &Model, workload: &Workload, greedy: bool) -> (Vec<Vec<u32>>, f64) {
    let start = Instant::now();
    let vocabulary = model.config().vocabulary;
    let mut decoder = Decoder::new(THREADS);
    let mut front = open(&mut decoder, model, workload);
    let opened = start.elapsed().as_secs_f64();
    for (depth, level) in workload.tree.levels.iter().enumerate() {
        let mut places = Vec::new();
        for (n, node) in front.iter().enumerate() {
            let way = node.way.as_ref().map(|way| way[depth]);
            let children = way.map_or(0..level.children, |child| child..child + 1);
            places.extend(children.map(|child| (n, [node.place.as_slice(), &[child]].concat())));
        }
        let grown: Vec<(Prefix, Vec<u32>)> = if level.observed {
            let seen = |(n, place): &(usize, Vec<u64>)| {
                (Some(front[*n].prefix.clone()), tokens(place, level.tokens, vocabulary))
            };
            let seen: Vec<_> = places.iter().map(seen).collect();
            let made = decoder.extend_many(model, &seen);
            made.into_iter().map(|prefix| (prefix, Vec::new())).collect()
        } else {
            for (id, (n, _)) in places.iter().enumerate() {
                decoder.begin(id as u64, &front[*n].prefix, request(level.tokens, greedy));
            }
            let key = Key::new(9, Purpose::Sample).with(depth as u64);
            let done = finish(&mut decoder, model, key);
            done.into_iter().map(|f| (f.prefix, f.tokens)).collect()
        };
        let node = |((n, place), (prefix, own)): ((usize, Vec<u64>), (Prefix, Vec<u32>))| {
            let way = front[n].way.clone();
            Node { place, way, prefix, sampled: [front[n].sampled.as_slice(), &own].concat() }
        };
        front = places.into_iter().zip(grown).map(node).collect();
    }
    (front.into_iter().map(|node| node.sampled).collect(), opened)
}

/// Computes the prompts; flat rows compute one each.
fn open(decoder: &mut Decoder, model: &Model, workload: &Workload) -> Vec<Node> {
    let tree = &workload.tree;
    let mut places: Vec<(u64, Option<Vec<u64>>)> = Vec::new();
    for t in 0..tree.trees {
        if workload.flat {
            places.extend((0..tree.leaves_each()).map(|leaf| (t, Some(tree.way(leaf)))));
        } else {
            places.push((t, None));
        }
    }
    let vocabulary = model.config().vocabulary;
    let prompts: Vec<(Option<Prefix>, Vec<u32>)> =
        places.iter().map(|(t, _)| (None, tokens(&[*t], tree.prompt, vocabulary))).collect();
    let prefixes = decoder.extend_many(model, &prompts);
    let node = |((t, way), prefix)| Node { place: vec![t], way, prefix, sampled: Vec::new() };
    places.into_iter().zip(prefixes).map(node).collect()
}

/// A step of exactly `tokens` tokens.
pub(crate) fn request(tokens: usize, greedy: bool) -> SampleRequest {
    let temperature = if greedy { 0.0 } else { 1.0 };
    let sampling = Sampling { temperature, top_k: 0, top_p: 1.0 };
    SampleRequest { sampling, max_tokens: tokens, end_tokens: Vec::new() }
}

/// Decodes until every live row has ended; rows by id.
pub(crate) fn finish(decoder: &mut Decoder, model: &Model, key: Key) -> Vec<Finished> {
    let draw = |id: u64, position: u32| key.with(id).with(u64::from(position)).uniform();
    let mut all = Vec::new();
    while decoder.live() > 0 {
        all.extend(decoder.advance(model, &draw, &|_, _| Halt::Continue));
    }
    all.sort_by_key(|finished| finished.id);
    all
}

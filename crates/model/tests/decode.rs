//! What was sampled is what is trained, bit for bit.

mod support;

use stepwell_model::{
    Config, Decoder, Family, Finished, FrozenHead, Guide, Halt, HeadShape, Model, Precision,
    Prefix, SampleRequest, Sampling, Scored, StopCause, Target, Workspace,
};
use support::{Forest, adapted, config, model, unit};

/// One shape of each family, some widths odd so that chains of pairs end in half a pair; each in
/// both precisions, alone and beside an adapter that is not zero.
fn models() -> impl Iterator<Item = (String, Model)> {
    let odd = Config { hidden: 39, ffn: 53, ..config(Family::Llama) };
    let untied = Config { tied: false, vocabulary: 300, ..config(Family::Qwen2) };
    let wide = Config { head_dim: 34, kv_heads: 1, heads: 3, ffn: 51, ..config(Family::Qwen3) };
    [odd, untied, wide].into_iter().flat_map(|shape| {
        let alone = ("alone", model(shape.clone(), 3));
        let beside = ("beside an adapter", adapted(shape, &Target::ALL));
        [alone, beside].into_iter().flat_map(|(what, model)| {
            [Precision::F32, Precision::Bf16].map(|precision| {
                let mut model = model.clone();
                model.set_precision(precision);
                (format!("{:?} {precision:?} {what}", model.config().family), model)
            })
        })
    })
}

fn request(temperature: f32, max_tokens: usize) -> SampleRequest {
    let sampling = Sampling { temperature, top_k: 0, top_p: 1.0 };
    SampleRequest { sampling, max_tokens, end_tokens: vec![3] }
}

fn uniform(id: u64, position: u32) -> f64 {
    unit(id, u64::from(position))
}

/// Runs until no row is live; finished steps by id.
fn drain(decoder: &mut Decoder, model: &Model) -> Vec<Finished> {
    let mut finished = Vec::new();
    while decoder.live() > 0 {
        finished.extend(decoder.advance(model, &uniform, &|_, _| Halt::Continue));
    }
    finished.sort_by_key(|step| step.id);
    finished
}

/// A prompt, `width` sampled steps behind it, an observation behind each, two sampled children
/// each: the shape of a rollout with forks. Segments in depth-first order, with log-probs.
struct Grown {
    segments: Vec<(Option<usize>, Vec<u32>)>,
    logprobs: Vec<Option<Vec<f32>>>,
}

fn grow(model: &Model, threads: usize, width: usize, temperature: f32, prompt: usize) -> Grown {
    let vocabulary = model.config().vocabulary as f64;
    let tokens = |stream: u64, count: usize| -> Vec<u32> {
        (0..count as u64).map(|index| (unit(stream, index) * vocabulary) as u32).collect()
    };
    let mut decoder = Decoder::new(threads);
    let prompt = tokens(900, prompt);
    let root = decoder.extend(model, None, &prompt);
    for id in 0..width as u64 {
        // Lengths differ, so rows leave the batch at different times.
        decoder.begin(id, &root, request(temperature, 20 + 9 * id as usize));
    }
    let first = drain(&mut decoder, model);
    let observed: Vec<(Option<Prefix>, Vec<u32>)> = first
        .iter()
        .map(|step| (Some(step.prefix.clone()), tokens(500 + step.id, 1 + 7 * step.id as usize)))
        .collect();
    let observations = decoder.extend_many(model, &observed);
    for (parent, prefix) in observations.iter().enumerate() {
        for child in 0..2 {
            decoder.begin(100 + 2 * parent as u64 + child, prefix, request(temperature, 12));
        }
    }
    let second = drain(&mut decoder, model);
    let mut grown = Grown { segments: vec![(None, prompt)], logprobs: vec![None] };
    for (index, step) in first.iter().enumerate() {
        let at = grown.segments.len();
        grown.segments.push((Some(0), step.tokens.clone()));
        grown.logprobs.push(Some(step.logprobs.clone()));
        grown.segments.push((Some(at), observed[index].1.clone()));
        grown.logprobs.push(None);
        for child in &second[2 * index..2 * index + 2] {
            grown.segments.push((Some(at + 1), child.tokens.clone()));
            grown.logprobs.push(Some(child.logprobs.clone()));
        }
    }
    grown
}

/// Bits of the sampled log-probs in the order of the packed rows.
fn sampled(grown: &Grown) -> Vec<u32> {
    grown.logprobs.iter().flatten().flatten().map(|value| value.to_bits()).collect()
}

/// Bits of the same tokens' log-probs from the trainer's forward.
fn trained(model: &Model, grown: &Grown, threads: usize, temperature: f32) -> Vec<u32> {
    let forest = Forest::new(&grown.segments);
    let (mut row, mut target) = (Vec::new(), Vec::new());
    for (segment, logprobs) in grown.logprobs.iter().enumerate() {
        for at in forest.rows(segment).filter(|_| logprobs.is_some()) {
            let path = forest.visible(at);
            row.push(path[path.len() - 2] as u32);
            target.push(forest.token[at]);
        }
    }
    let scored = Scored { row: &row, target: &target, temperature };
    let scores = Workspace::new(threads).forward(model, &forest.packed(), &scored);
    scores.logprob.iter().map(|value| value.to_bits()).collect()
}

/// INV-6, P3: in both precisions and beside an adapter, too.
#[test]
fn sampled_and_trained_logprobs_are_the_same_bits() {
    for (name, model) in models() {
        for (threads, width, temperature, prompt) in
            [(1, 1, 1.0, 5), (2, 3, 0.7, 33), (7, 6, 1.0, 70), (2, 6, 0.7, 300)]
        {
            let grown = grow(&model, threads, width, temperature, prompt);
            let sampled = sampled(&grown);
            assert!(sampled.len() >= 2 * width, "the tree has sampled tokens");
            for threads in [1, 2, 7] {
                let trained = trained(&model, &grown, threads, temperature);
                assert_eq!(sampled, trained, "{name}: {threads} threads, width {width}");
            }
            // The check can fail: another temperature gives other bits, and so does the other
            // precision of the same weights.
            assert_ne!(sampled, trained(&model, &grown, 1, temperature * 1.1));
            let mut other = model.clone();
            other.set_precision(match model.precision() {
                Precision::F32 => Precision::Bf16,
                Precision::Bf16 => Precision::F32,
            });
            assert_ne!(sampled, trained(&other, &grown, 1, temperature));
        }
    }
}

/// P3: one row is a batch of rows.
#[test]
fn a_row_does_not_feel_its_neighbours_or_the_threads() {
    for (name, model) in models() {
        let alone = grow(&model, 1, 1, 1.0, 40);
        for (threads, width) in [(1, 6), (7, 4)] {
            let crowd = grow(&model, threads, width, 1.0, 40);
            // Row 0 and its descendants are the first four segments after the prompt.
            assert_eq!(alone.segments, crowd.segments[..alone.segments.len()], "{name}");
            assert_eq!(alone.logprobs, crowd.logprobs[..alone.logprobs.len()], "{name}");
        }
    }
}

#[test]
fn steps_end_for_the_cause_they_report() {
    let shape = Config { context: 24, ..config(Family::Llama) };
    let model = model(shape, 4);
    let mut decoder = Decoder::new(1);
    let root = decoder.extend(&model, None, &[1, 2, 5]);
    let endless = |max_tokens| SampleRequest { end_tokens: vec![], ..request(1.0, max_tokens) };
    let all = SampleRequest { end_tokens: (0..75).collect(), ..request(1.0, 9) };
    decoder.begin(0, &root, endless(4));
    decoder.begin(1, &root, all);
    decoder.begin(2, &root, endless(1000));
    decoder.begin(3, &root, endless(1000));
    let mut finished = Vec::new();
    let halt = |id: u64, tokens: &[u32]| {
        if id == 3 && tokens.len() == 2 { Halt::Stop } else { Halt::Continue }
    };
    while decoder.live() > 0 {
        finished.extend(decoder.advance(&model, &uniform, &halt));
    }
    finished.sort_by_key(|step| step.id);
    let ends: Vec<_> = finished.iter().map(|step| (step.stop, step.tokens.len())).collect();
    use StopCause::{Context, EndToken, Halted, Length};
    assert_eq!(ends, [(Length, 4), (EndToken, 1), (Context, 21), (Halted, 2)]);
    assert!(finished.iter().all(|step| step.prefix.len() == 3 + step.tokens.len()));
    // A full path can be asked again and has no room.
    decoder.begin(9, &finished[2].prefix, endless(5));
    let none = decoder.advance(&model, &uniform, &|_, _| Halt::Continue);
    assert_eq!((none[0].stop, none[0].tokens.len()), (Context, 0));
}

#[test]
fn greedy_takes_the_best_token_and_reports_it_untempered() {
    let model = model(config(Family::Qwen2), 6);
    let mut decoder = Decoder::new(2);
    let root = decoder.extend(&model, None, &[7, 8, 9]);
    decoder.begin(0, &root, request(0.0, 1));
    let step = drain(&mut decoder, &model).remove(0);
    let forest = Forest::new(&[(None, vec![7, 8, 9])]);
    let targets: Vec<u32> = (0..75).collect();
    let scored = Scored { row: &[2; 75], target: &targets, temperature: 0.0 };
    let scores = Workspace::new(1).forward(&model, &forest.packed(), &scored);
    let best = (0..75).max_by(|a, b| scores.logprob[*a].total_cmp(&scores.logprob[*b])).unwrap();
    assert_eq!(step.tokens, [best as u32]);
    assert_eq!(step.logprobs[0].to_bits(), scores.logprob[best].to_bits());
}

/// P3: a prefill of many rows is the same tokens one by one, behind one another.
#[test]
fn prefill_in_one_step_or_many_gives_the_same_continuation() {
    for (name, model) in models() {
        let tokens: Vec<u32> = (0..50).map(|index| (unit(4, index) * 75.0) as u32).collect();
        for threads in [1, 2, 7] {
            let mut decoder = Decoder::new(threads);
            // The same id draws the same numbers.
            let mut continued = |run: usize| {
                let mut prefix = decoder.extend(&model, None, &tokens[..1]);
                for part in tokens[1..].chunks(run) {
                    prefix = decoder.extend(&model, Some(&prefix), part);
                }
                decoder.begin(5, &prefix, request(1.0, 10));
                let step = drain(&mut decoder, &model).remove(0);
                assert_eq!(step.prefix.len(), 50 + step.tokens.len());
                (step.tokens, step.logprobs.into_iter().map(f32::to_bits).collect::<Vec<u32>>())
            };
            let whole = continued(49);
            for run in [1, 13] {
                assert_eq!(whole, continued(run), "{name}: {threads} threads, runs of {run}");
            }
        }
    }
}

/// A head as wide as the vocabulary, of draws.
fn q_head(model: &Model, stream: u64) -> FrozenHead {
    let Config { hidden, vocabulary, .. } = *model.config();
    let shape = HeadShape { inputs: hidden, hidden: Some(5), outputs: vocabulary };
    let mut head = FrozenHead::new(shape);
    for (index, (name, _, values)) in head.parameters().into_iter().enumerate() {
        let draw = |i| unit(stream + index as u64, i as u64) as f32 - 0.5;
        let values: Vec<f32> = (0..values.len()).map(draw).collect();
        head.set_parameter(&name, &values).unwrap();
    }
    head
}

/// Steps of 6 tokens behind one prompt under a guide: tokens, and bits of log-probabilities.
fn led(
    model: &Model,
    guide: Option<&Guide<'_>>,
    sampling: Sampling,
    threads: usize,
) -> Vec<(Vec<u32>, Vec<u32>)> {
    let mut decoder = Decoder::new(threads);
    let root = decoder.extend(model, None, &[7, 8, 9]);
    for id in 0..70 {
        decoder.begin(id, &root, SampleRequest { sampling, max_tokens: 6, end_tokens: vec![] });
    }
    let mut finished = Vec::new();
    while decoder.live() > 0 {
        finished.extend(decoder.advance_led(model, guide, &uniform, &|_, _| Halt::Continue));
    }
    finished.sort_by_key(|step| step.id);
    let bits = |step: &Finished| step.logprobs.iter().map(|p| p.to_bits()).collect();
    finished.iter().map(|step| (step.tokens.clone(), bits(step))).collect()
}

/// Heads lead the choice of tokens; what is told of them is the policy's own log-probability, with
/// the bits of the trainer, whatever is truncated.
#[test]
fn a_guide_chooses_tokens_and_the_policys_logprobs_are_told() {
    for (name, model) in models() {
        let heads = [q_head(&model, 40), q_head(&model, 50)];
        let vocabulary = model.config().vocabulary as u32;
        let guide = |beta| Guide::new(heads.iter().collect(), beta);
        for (temperature, top_k) in [(0.0, 0), (1.0, 0), (0.7, 4)] {
            let sampling = Sampling { temperature, top_k, top_p: 1.0 };
            let own = led(&model, Some(&guide(3.0)), sampling, 1);
            assert_eq!(own, led(&model, Some(&guide(3.0)), sampling, 7), "{name}: threads");
            let plain = led(&model, None, sampling, 2);
            assert!(own.iter().zip(&plain).any(|(a, b)| a.0 != b.0), "{name}: nobody was led");
            let unmoved = led(&model, Some(&guide(0.0)), sampling, 2);
            assert!(unmoved.iter().zip(&plain).all(|(a, b)| a.0 == b.0), "{name}: beta 0");
            for (tokens, logprobs) in own.iter().step_by(23) {
                let path: Vec<u32> = [&[7, 8, 9], &tokens[..5]].concat();
                let forest = Forest::new(&[(None, path)]);
                let mut workspace = Workspace::new(1);
                let row: Vec<u32> = (2..8).collect();
                let scored = Scored { row: &row, target: tokens, temperature };
                let scores = workspace.forward(&model, &forest.packed(), &scored);
                let bits: Vec<u32> = scores.logprob.iter().map(|p| p.to_bits()).collect();
                assert_eq!(*logprobs, bits, "{name}, temperature {temperature}");
                if temperature > 0.0 {
                    continue;
                }
                // The likeliest by log pi + 3 min Q, at every position.
                for (at, token) in tokens.iter().enumerate() {
                    let all: Vec<u32> = (0..vocabulary).collect();
                    let rows = vec![2 + at as u32; all.len()];
                    let scored = Scored { row: &rows, target: &all, temperature: 1.0 };
                    let logprob = workspace.forward(&model, &forest.packed(), &scored).logprob;
                    let state = workspace.states(&model, &rows[..1]);
                    let [a, b] = [0, 1].map(|k: usize| heads[k].forward(&state));
                    let worth = |k: usize| logprob[k] + 3.0 * a[k].min(b[k]);
                    let best = (0..all.len()).max_by(|i, j| worth(*i).total_cmp(&worth(*j)));
                    let (best, got) = (worth(best.unwrap()), worth(*token as usize));
                    assert!(got > best - 1e-4, "{name}: {got}, expected {best}");
                }
            }
        }
    }
}

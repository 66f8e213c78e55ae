//! The local model as a policy: all live steps of all trees decode together.

use std::collections::BTreeMap;

use stepwell_model::tokenizer::StopMatcher;
use stepwell_model::{Finished, Halt, StopCause};
use stepwell_tree::{
    Completion, Key, Opening, Policy, PolicyVersion, PrefixId, SampleRequest, Stop,
};

use crate::Codec;
use crate::machine::Sampler;

/// Borrows frozen weights for as long as it samples.
pub struct LocalPolicy<'m> {
    sampler: Box<dyn Sampler + 'm>,
    context: usize,
    codec: &'m Codec,
    version: PolicyVersion,
    stops: StopMatcher,
    live: BTreeMap<u64, Key>,
}

impl<'m> LocalPolicy<'m> {
    pub(crate) fn new(
        sampler: Box<dyn Sampler + 'm>,
        context: usize,
        codec: &'m Codec,
        version: PolicyVersion,
    ) -> Self {
        let (stops, live) = (StopMatcher::default(), BTreeMap::new());
        LocalPolicy { sampler, context, codec, version, stops, live }
    }

    fn complete(&mut self, finished: Finished<u64>) -> Completion {
        self.live.remove(&finished.id);
        let text = self.codec.decode(&finished.tokens);
        let (text, stop) = match finished.stop {
            StopCause::Halted => (self.stops.cut(&text).to_owned(), Stop::StopString),
            StopCause::EndToken => (text, Stop::EndOfText),
            StopCause::Length => (text, Stop::Length),
            StopCause::Context => (text, Stop::Context),
        };
        let mut logprob = finished.logprobs;
        if stepwell_mutant::planted(37) {
            logprob.rotate_left(1);
        }
        Completion {
            id: finished.id,
            token: finished.tokens,
            logprob,
            text,
            stop,
            prefix: PrefixId(finished.prefix),
        }
    }
}

impl Policy for LocalPolicy<'_> {
    fn version(&self) -> PolicyVersion {
        self.version
    }

    fn context(&self) -> usize {
        self.context
    }

    fn encode_opening(&self, opening: &Opening) -> Vec<u32> {
        self.codec.encode_opening(opening)
    }

    fn encode(&self, text: &str) -> Vec<u32> {
        self.codec.encode(text)
    }

    fn decode(&self, token: &[u32]) -> String {
        self.codec.decode(token)
    }

    fn extend(&mut self, batch: &[(Option<PrefixId>, Vec<u32>)]) -> Vec<PrefixId> {
        let batch: Vec<(Option<u64>, Vec<u32>)> = batch
            .iter()
            .map(|(parent, tokens)| (parent.map(|parent| parent.0), tokens.clone()))
            .collect();
        self.sampler.extend(&batch).into_iter().map(PrefixId).collect()
    }

    fn set_stop_strings(&mut self, stops: &[String]) {
        self.stops = StopMatcher::new(stops);
    }

    fn submit(&mut self, request: SampleRequest) {
        let sampling = stepwell_model::Sampling {
            temperature: request.sampling.temperature,
            top_k: request.sampling.top_k,
            top_p: request.sampling.top_p,
        };
        self.live.insert(request.id, request.key);
        self.sampler.begin(
            request.id,
            request.parent.0,
            stepwell_model::SampleRequest {
                sampling,
                max_tokens: request.max_tokens,
                end_tokens: self.codec.end_tokens().to_vec(),
            },
        );
    }

    fn advance(&mut self) -> Vec<Completion> {
        let (live, codec, stops) = (&self.live, self.codec, &self.stops);
        let draw = |id: u64, position: u32| {
            let position = if stepwell_mutant::planted(13) { 0 } else { position };
            live[&id].with(u64::from(position)).uniform()
        };
        let decide = |_: u64, tokens: &[u32]| {
            if codec.stopped(tokens, stops) { Halt::Stop } else { Halt::Continue }
        };
        let finished = self.sampler.advance(&draw, &decide);
        finished.into_iter().map(|f| self.complete(f)).collect()
    }

    fn release(&mut self, prefix: PrefixId) {
        self.sampler.release(prefix.0);
    }
}

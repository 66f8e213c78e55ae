//! A policy that is a pure function of keys and answers in an order of its own.

use std::collections::BTreeSet;

use stepwell_tree::{
    Completion, Key, Opening, Policy, PolicyVersion, PrefixId, Purpose, SampleRequest, Stop,
};

pub(crate) struct Shuffled {
    /// Names the order in which completions arrive.
    order: Key,
    advanced: u64,
    waiting: Vec<SampleRequest>,
    held: BTreeSet<PrefixId>,
    made: u64,
    /// Tokens sampled so far.
    pub(crate) sampled: usize,
    /// What it says of its weights.
    pub(crate) version: PolicyVersion,
}

impl Shuffled {
    pub(crate) fn new(seed: u64) -> Shuffled {
        let order = Key::new(seed, Purpose::Control);
        Shuffled {
            order,
            advanced: 0,
            waiting: Vec::new(),
            held: BTreeSet::new(),
            made: 0,
            sampled: 0,
            version: PolicyVersion(3),
        }
    }

    /// Prefixes that nobody released.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    fn hold(&mut self) -> PrefixId {
        self.made += 1;
        self.held.insert(PrefixId(self.made));
        PrefixId(self.made)
    }
}

impl Policy for Shuffled {
    fn version(&self) -> PolicyVersion {
        self.version
    }

    fn context(&self) -> usize {
        400
    }

    fn encode_opening(&self, opening: &Opening) -> Vec<u32> {
        self.encode(&opening.user)
    }

    fn encode(&self, text: &str) -> Vec<u32> {
        text.chars().map(u32::from).collect()
    }

    fn decode(&self, token: &[u32]) -> String {
        token.iter().filter_map(|t| char::from_u32(*t)).collect()
    }

    fn extend(&mut self, batch: &[(Option<PrefixId>, Vec<u32>)]) -> Vec<PrefixId> {
        assert!(batch.iter().all(|(parent, _)| parent.is_none_or(|p| self.held.contains(&p))));
        batch.iter().map(|_| self.hold()).collect()
    }

    fn set_stop_strings(&mut self, _: &[String]) {}

    fn submit(&mut self, request: SampleRequest) {
        assert!(self.held.contains(&request.parent), "a released prefix is in use");
        self.waiting.push(request);
    }

    fn advance(&mut self) -> Vec<Completion> {
        self.advanced += 1;
        let key = self.order.with(self.advanced);
        let order = key.permutation(self.waiting.len());
        let some = 1 + key.with(7).below(self.waiting.len());
        let (now, later): (Vec<_>, Vec<_>) = order.iter().enumerate().partition(|(k, _)| *k < some);
        let pick = |picked: Vec<(usize, &usize)>| -> Vec<SampleRequest> {
            picked.into_iter().map(|(_, at)| self.waiting[*at].clone()).collect()
        };
        let (now, later) = (pick(now), pick(later));
        self.waiting = later;
        let mut done = Vec::new();
        for mut request in now {
            // The likeliest tokens are the same whatever is drawn.
            if request.sampling.temperature == 0.0 {
                request.key = Key::new(0, Purpose::Sample);
            }
            let length = (1 + request.key.with(100).below(4)).min(request.max_tokens);
            let letter = |p: u64| u32::from(b'a') + request.key.with(p).below(26) as u32;
            self.sampled += length;
            let token: Vec<u32> = (0..length as u64).map(letter).collect();
            let logprob = |p: u64| -(request.key.with(p).uniform() as f32);
            done.push(Completion {
                id: request.id,
                logprob: (0..length as u64).map(logprob).collect(),
                text: self.decode(&token),
                token,
                stop: Stop::EndOfText,
                prefix: self.hold(),
            });
        }
        done
    }

    fn release(&mut self, prefix: PrefixId) {
        assert!(self.held.remove(&prefix), "{prefix:?} is released twice");
    }
}

//! The order in which finished steps are taken up. It is the policy's own; tests shuffle and delay
//! it, because nothing may depend on it (P2).

use std::cell::Cell;

use stepwell_tree::{Completion, Key, Policy, Purpose};

thread_local! {
    static SHUFFLED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// For tests: from now on, rollouts of this thread take up finished steps late and in an order that
/// this seed draws; `None`: as the policy finishes them.
#[doc(hidden)]
pub fn shuffle_arrivals(seed: Option<u64>) {
    SHUFFLED.set(seed);
}

/// Steps that are finished and not taken up.
pub(super) struct Arrivals {
    order: Option<Key>,
    rounds: u64,
    late: Vec<Completion>,
}

impl Arrivals {
    pub(super) fn new() -> Arrivals {
        let order = SHUFFLED.get().map(|seed| Key::new(seed, Purpose::Control));
        Arrivals { order, rounds: 0, late: Vec::new() }
    }

    /// What is taken up now, where so many steps wait for their completion or to be taken up.
    pub(super) fn next(&mut self, policy: &mut dyn Policy, live: usize) -> Vec<Completion> {
        let Some(order) = self.order else { return policy.advance() };
        if self.late.len() < live {
            self.late.extend(policy.advance());
        }
        self.rounds += 1;
        let key = order.with(self.rounds);
        // Where all are here, at least one is taken: a rollout goes on.
        let least = usize::from(self.late.len() == live);
        let now = least + key.with(0).below(self.late.len() + 1 - least);
        let mut waiting: Vec<Option<Completion>> = self.late.drain(..).map(Some).collect();
        let order = key.with(1).permutation(waiting.len());
        let taken = order[..now].iter().filter_map(|&at| waiting[at].take()).collect();
        self.late = waiting.into_iter().flatten().collect();
        taken
    }
}

//! Keys and values of tokens in slots of a pool on the device; paths hold slots by reference.

use std::sync::{Arc, Mutex, PoisonError};

use super::{
    arithmetic::Arithmetic,
    error::Done,
    memory::{Buffer, Pointer},
};

/// Slots that nobody holds; shared with every step, which gives its own back when it goes.
type Free = Arc<Mutex<Vec<u32>>>;

/// A path of steps; a fork shares it by reference counting. A step's slots are free when the last
/// path through it is gone.
#[derive(Clone)]
pub struct Prefix(pub(super) Arc<Node>);

/// The last step of a path.
pub(super) struct Node {
    pub(super) parent: Option<Prefix>,
    /// The step's tokens in order.
    pub(super) slots: Vec<u32>,
    /// Tokens on the path, this step included.
    pub(super) total: usize,
    free: Free,
}

impl Prefix {
    /// Tokens on the path.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a path has at least one token")]
    pub fn len(&self) -> usize {
        self.0.total
    }

    /// The slots of the path from the root on.
    pub(super) fn path(&self) -> Vec<u32> {
        let mut steps = vec![&self.0];
        while let Some(parent) = &steps[steps.len() - 1].parent {
            steps.push(&parent.0);
        }
        steps.iter().rev().flat_map(|step| step.slots.iter().copied()).collect()
    }
}

impl Drop for Node {
    /// Lets go of the path above in a loop: a long one must not exhaust the stack.
    fn drop(&mut self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).append(&mut self.slots);
        let mut parent = self.parent.take();
        while let Some(Prefix(node)) = parent {
            parent = Arc::into_inner(node).and_then(|mut node| node.parent.take());
        }
    }
}

/// The slots, and what lies in them.
#[derive(Default)]
pub(super) struct Pool {
    /// `[layers][slots][kv width]`
    key: Buffer<f32>,
    value: Buffer<f32>,
    /// `[slots][hidden]` the residual stream after the last layer: what the next token is drawn
    /// from.
    pub(super) stream: Buffer<f32>,
    slots: usize,
    free: Free,
}

/// Slots of the first allocation; later ones double.
const SLOTS_FIRST: usize = 4096;

impl Pool {
    /// Takes `count` slots; the pool grows where too few are free.
    pub(super) fn take(&mut self, own: &Arithmetic, count: usize) -> Done<Vec<u32>> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).len();
        if free < count {
            self.grow(own, (self.slots + count - free).max(2 * self.slots).max(SLOTS_FIRST))?;
        }
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let at = free.len() - count;
        Ok(free.split_off(at))
    }

    fn grow(&mut self, own: &Arithmetic, slots: usize) -> Done {
        let (layers, width) = (own.config.layers, own.config.kv_width());
        for buffer in [&mut self.key, &mut self.value] {
            let mut larger = Buffer::zeros(&own.device, layers * slots * width)?;
            for layer in 0..layers {
                let count = self.slots * width;
                if count > 0 {
                    let to = (layer * slots * width, count);
                    larger.copy_from(&own.device, (buffer, layer * count), to)?;
                }
            }
            *buffer = larger;
        }
        let mut larger = Buffer::zeros(&own.device, slots * own.config.hidden)?;
        let held = self.slots * own.config.hidden;
        if held > 0 {
            larger.copy_from(&own.device, (&self.stream, 0), (0, held))?;
        }
        self.stream = larger;
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // Low numbers are taken first, from the end of the list.
        let fresh = (self.slots as u32..slots as u32).rev();
        let before = std::mem::take(&mut *free);
        free.extend(fresh.chain(before));
        drop(free);
        self.slots = slots;
        Ok(())
    }

    /// Where one layer's keys and values begin.
    pub(super) fn layer(&self, own: &Arithmetic, layer: usize) -> [Pointer; 2] {
        let at = layer * self.slots * own.config.kv_width();
        [self.key.at(&own.device, at), self.value.at(&own.device, at)]
    }

    /// A step of taken slots behind `parent`.
    pub(super) fn step(&self, parent: Option<Prefix>, slots: Vec<u32>) -> Prefix {
        let total = parent.as_ref().map_or(0, Prefix::len) + slots.len();
        Prefix(Arc::new(Node { parent, slots, total, free: Arc::clone(&self.free) }))
    }

    /// Slots that somebody holds.
    pub(super) fn held(&self) -> usize {
        self.slots - self.free.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

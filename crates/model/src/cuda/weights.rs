//! A model's weights on the device: `f32` masters and, where products read `bf16`, their nearest.

use super::{
    arithmetic::Arithmetic,
    device::Device,
    error::{CudaError, Done},
    memory::{Buffer, Pointer},
    places::Places,
};
use crate::{
    adapter::{Adapter, Target},
    model::Model,
    parameters::Layout,
    weights::Weights as Stored,
};

/// One arena of parameters.
pub(super) struct Arena {
    pub(super) places: Places,
    pub(super) master: Buffer<f32>,
    /// The matrices as products read them; empty where that is the masters.
    pub(super) rounded: Buffer<u16>,
}

/// The weights of a model, an adapter's apart.
pub(super) struct Weights {
    pub(super) layout: Layout,
    pub(super) base: Arena,
    pub(super) adapter: Option<LowRank>,
}

/// An adapter's weights; always `f32`.
pub(super) struct LowRank {
    pub(super) arena: Arena,
    pub(super) rank: usize,
    pub(super) scale: f32,
    /// `[layers][target]` the slot of `A`; that of `B` is the next.
    slots: Vec<[Option<usize>; Target::ALL.len()]>,
}

/// The two matrices on one projection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    /// `[rank][in]`
    pub(super) a: Pointer,
    /// `[out][rank]`
    pub(super) b: Pointer,
    /// The same places in an arena of gradients.
    pub(super) offset: [usize; 2],
    pub(super) rank: usize,
    pub(super) scale: f32,
}

impl Arena {
    fn new(device: &Device, places: Places, stored: &Stored, rounds: bool) -> Done<Arena> {
        let mut arena = Arena { places, master: Buffer::default(), rounded: Buffer::default() };
        arena.fill(device, stored)?;
        if rounds {
            arena.rounded.reserve(device, arena.places.matrices)?;
        }
        Ok(arena)
    }

    /// Copies what the host has.
    fn fill(&mut self, device: &Device, stored: &Stored) -> Done {
        let mut values = vec![0.0; self.places.total];
        for (index, slot) in self.places.slots.iter().enumerate() {
            values[self.places.range(index)].copy_from_slice(&stored.read(slot));
        }
        self.master.write(device, &values)
    }

    /// Copies what the device has to the host.
    fn download(&self, device: &Device, stored: &mut Stored) -> Done {
        let values = self.master.read(device, self.places.total)?;
        for (index, slot) in self.places.slots.iter().enumerate() {
            stored.write(slot, &values[self.places.range(index)]);
        }
        Ok(())
    }

    /// Rounds the masters of the matrices anew, where products read them rounded.
    fn round(&self, arithmetic: &Arithmetic) -> Done {
        if self.rounded.room() == 0 {
            return Ok(());
        }
        let device = &arithmetic.device;
        let (from, to) = (self.master.start(device), self.rounded.start(device));
        arithmetic.over_all("round_all", self.places.matrices, &[from.into(), to.into()])
    }
}

impl Weights {
    /// Copies a model's weights to the device.
    pub(super) fn new(arithmetic: &Arithmetic, model: &Model) -> Done<Weights> {
        let device = &arithmetic.device;
        let places = Places::of_layout(&model.layout);
        let base = Arena::new(device, places, &model.weights, arithmetic.paired)?;
        base.round(arithmetic)?;
        let adapter = model.adapter().map(|own| LowRank::new(device, own)).transpose()?;
        Ok(Weights { layout: model.layout.clone(), base, adapter })
    }

    /// Copies the weights of a model of the same shape.
    pub(super) fn replace(&mut self, arithmetic: &Arithmetic, model: &Model) -> Done {
        self.base.fill(&arithmetic.device, &model.weights)?;
        self.base.round(arithmetic)?;
        self.replace_adapter(arithmetic, model.adapter())
    }

    /// Puts an adapter in place of the one that is there.
    pub(super) fn replace_adapter(
        &mut self,
        arithmetic: &Arithmetic,
        adapter: Option<&Adapter>,
    ) -> Done {
        let device = &arithmetic.device;
        self.adapter = adapter.map(|own| LowRank::new(device, own)).transpose()?;
        Ok(())
    }

    /// Brings the host's copy of what trains up to date.
    pub(super) fn download(&self, device: &Device, model: &mut Model) -> Done {
        match (&self.adapter, &mut model.adapter) {
            (Some(own), Some(adapter)) => own.arena.download(device, &mut adapter.weights),
            _ => self.base.download(device, &mut model.weights),
        }
    }

    /// What trains: an adapter's arena, or that of all weights.
    pub(super) fn trained(&self) -> &Arena {
        self.adapter.as_ref().map_or(&self.base, |own| &own.arena)
    }

    /// Whether all weights but an adapter's stand still.
    pub(super) fn frozen(&self) -> bool {
        self.adapter.is_some()
    }

    /// A matrix as products read it.
    pub(super) fn matrix(&self, arithmetic: &Arithmetic, slot: usize) -> Pointer {
        let (device, at) = (&arithmetic.device, self.base.places.offset(slot));
        if arithmetic.paired {
            self.base.rounded.at(device, at)
        } else {
            self.base.master.at(device, at)
        }
    }

    /// A norm or bias.
    pub(super) fn vector(&self, device: &Device, slot: usize) -> Pointer {
        self.base.master.at(device, self.base.places.offset(slot))
    }

    /// What the adapter has beside one projection.
    pub(super) fn pair(&self, device: &Device, layer: usize, target: Target) -> Option<Pair> {
        self.adapter.as_ref()?.pair(device, layer, target)
    }
}

impl LowRank {
    fn new(device: &Device, adapter: &Adapter) -> Done<LowRank> {
        let layers = (0..).map_while(|layer| adapter.targets_of(layer)).collect();
        let places = Places::of_slots(&adapter.slots);
        let arena = Arena::new(device, places, &adapter.weights, false)?;
        let settings = adapter.settings();
        Ok(LowRank { arena, rank: settings.rank, scale: settings.scale(), slots: layers })
    }

    fn pair(&self, device: &Device, layer: usize, target: Target) -> Option<Pair> {
        let first = self.slots.get(layer)?[target as usize]?;
        let offset = [first, first + 1].map(|slot| self.arena.places.offset(slot));
        let [a, b] = offset.map(|at| self.arena.master.at(device, at));
        Some(Pair { a, b, offset, rank: self.rank, scale: self.scale })
    }
}

impl Weights {
    /// Refuses a model of another shape or with another adapter.
    pub(super) fn require_same(&self, model: &Model) -> Done {
        let same = self.layout.slots.len() == model.layout.slots.len()
            && self
                .base
                .places
                .slots
                .iter()
                .zip(&model.layout.slots)
                .all(|(a, b)| a.name == b.name && a.kind == b.kind);
        if same {
            return Ok(());
        }
        Err(CudaError::Shape { what: "the weights are those of another shape".to_owned() })
    }
}

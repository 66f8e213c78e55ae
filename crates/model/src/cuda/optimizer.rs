//! AdamW on the device, by the host's rule: matrices decay, norms and biases do not.

use super::{
    arithmetic::{Arithmetic, arguments},
    device::Device,
    error::Done,
    memory::{Buffer, Pointer},
    places::Places,
    program::Grid,
    weights::Arena,
};
use crate::{
    adamw::{AdamWSettings, Update},
    error::ModelError,
};

/// Named row-major tensors: name, shape, values.
pub type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

/// Blocks that sum squares, whatever the number of values: one order of additions.
const BLOCKS: usize = 512;

/// First and second moments in the places of the weights that train, and the updates made so far.
pub(super) struct Moments {
    first: Buffer<f32>,
    second: Buffer<f32>,
    step: u64,
    /// `[BLOCKS]` sums of squares.
    partial: Buffer<f64>,
}

impl Moments {
    /// Moments of zero for so many weights.
    pub(super) fn new(device: &Device, count: usize) -> Done<Moments> {
        let zeros = || Buffer::zeros(device, count);
        let partial = Buffer::zeros(device, BLOCKS)?;
        Ok(Moments { first: zeros()?, second: zeros()?, step: 0, partial })
    }

    pub(super) fn steps(&self) -> u64 {
        self.step
    }

    /// The Euclidean norm of `count` numbers.
    pub(super) fn norm(&mut self, own: &Arithmetic, values: Pointer, count: usize) -> Done<f64> {
        let grid = Grid { blocks: (BLOCKS, 1), threads: (256, 1), shared_bytes: 0 };
        own.launch("square_sums", grid, arguments![values, own.of(&self.partial), count as i64])?;
        let sums = self.partial.read(&own.device, BLOCKS)?;
        Ok(sums.iter().sum::<f64>().sqrt())
    }

    /// One update of every weight of an arena.
    pub(super) fn step(
        &mut self,
        own: &Arithmetic,
        arena: &Arena,
        gradients: Pointer,
        settings: &AdamWSettings,
    ) -> Done {
        self.step += 1;
        let (matrices, total) = (arena.places.matrices, arena.places.total);
        for (decays, first, last) in [(true, 0, matrices), (false, matrices, total)] {
            let update = Update::new(settings, self.step, decays);
            let at = |buffer: &Buffer<f32>| buffer.at(&own.device, first);
            let rounded = if decays { own.of(&arena.rounded) } else { Pointer::NONE };
            let list = arguments![
                at(&arena.master),
                at(&self.first),
                at(&self.second),
                gradients.after::<f32>(first),
                rounded,
                update.beta1,
                update.beta2,
                update.epsilon,
                update.keep,
                update.rate,
                update.second_correction,
            ];
            own.over_all("adamw", last - first, list)?;
        }
        Ok(())
    }

    /// As named row-major tensors, `m.<parameter>` then `v.<parameter>`.
    pub(super) fn tensors(&self, device: &Device, places: &Places) -> Done<Tensors> {
        let mut all = Vec::new();
        for (prefix, moment) in [("m", &self.first), ("v", &self.second)] {
            let values = moment.read(device, places.total)?;
            for (index, slot) in places.slots.iter().enumerate() {
                let name = format!("{prefix}.{}", slot.name);
                all.push((name, slot.shape(), values[places.range(index)].to_vec()));
            }
        }
        Ok(all)
    }

    /// Takes back what [`Moments::tensors`] gave. The inner error tells a tensor that is missing or
    /// of the wrong size; the state is then unchanged.
    pub(super) fn restore(
        &mut self,
        device: &Device,
        places: &Places,
        step: u64,
        tensors: &[(String, Vec<usize>, Vec<f32>)],
    ) -> Done<Result<(), ModelError>> {
        let mut restored = [vec![0.0; places.total], vec![0.0; places.total]];
        for (prefix, values) in ["m", "v"].into_iter().zip(&mut restored) {
            for (index, slot) in places.slots.iter().enumerate() {
                let name = format!("{prefix}.{}", slot.name);
                let Some((_, _, own)) = tensors.iter().find(|(known, ..)| *known == name) else {
                    return Ok(Err(ModelError::MissingTensor { name }));
                };
                let (got, expected) = (own.len(), slot.count());
                if got != expected {
                    return Ok(Err(ModelError::WrongSize { name, got, expected }));
                }
                values[places.range(index)].copy_from_slice(own);
            }
        }
        self.first.write(device, &restored[0])?;
        self.second.write(device, &restored[1])?;
        self.step = step;
        Ok(Ok(()))
    }
}

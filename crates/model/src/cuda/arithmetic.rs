//! The device, the kernels and the sizes of one model: every part of a layer starts from here.

use super::{
    device::Device,
    error::Done,
    memory::{Buffer, Number, Pointer},
    product::{Form, Product},
    program::{Argument, Grid, Program},
};
use crate::{config::Config, model::Model, rotary::Rotary, weights::Precision};

/// What computes one model.
pub(super) struct Arithmetic {
    pub(super) device: Device,
    pub(super) program: Program,
    pub(super) config: Config,
    /// Whether products read bf16.
    pub(super) paired: bool,
    /// Multiplies scores of attention.
    pub(super) scale: f32,
}

/// Numbers that products read: bf16 where they read that, else f32.
#[derive(Default)]
pub(super) struct Operands {
    rounded: Buffer<u16>,
    exact: Buffer<f32>,
}

impl Operands {
    pub(super) fn reserve(&mut self, arithmetic: &Arithmetic, count: usize) -> Done {
        let device = &arithmetic.device;
        match arithmetic.paired {
            true => self.rounded.reserve(device, count),
            false => self.exact.reserve(device, count),
        }
    }

    pub(super) fn start(&self, arithmetic: &Arithmetic) -> Pointer {
        match arithmetic.paired {
            true => self.rounded.start(&arithmetic.device),
            false => self.exact.start(&arithmetic.device),
        }
    }
}

/// Cosines and sines on the device, `[positions][head_dim / 2]`.
#[derive(Default)]
pub(super) struct Angles {
    cosine: Buffer<f32>,
    sine: Buffer<f32>,
    positions: usize,
}

impl Angles {
    /// Makes the table cover `positions`.
    pub(super) fn cover(&mut self, arithmetic: &Arithmetic, positions: usize) -> Done {
        if positions <= self.positions {
            return Ok(());
        }
        let goal = positions.next_multiple_of(256).max(2 * self.positions);
        let mut rotary = Rotary::new();
        rotary.cover(&arithmetic.config, goal);
        let half = arithmetic.config.head_dim / 2;
        let mut both = [Vec::with_capacity(goal * half), Vec::with_capacity(goal * half)];
        for position in 0..goal {
            let (cosine, sine) = rotary.at(position as u32);
            both[0].extend_from_slice(cosine);
            both[1].extend_from_slice(sine);
        }
        self.cosine.write(&arithmetic.device, &both[0])?;
        self.sine.write(&arithmetic.device, &both[1])?;
        self.positions = goal;
        Ok(())
    }

    pub(super) fn pointers(&self, device: &Device) -> [Pointer; 2] {
        [self.cosine.start(device), self.sine.start(device)]
    }
}

/// `[begin of one kernel argument list]`: each value in the order of the kernel's parameters.
macro_rules! arguments {
    ($($value:expr),* $(,)?) => { &[$($crate::cuda::program::Argument::from($value)),*] };
}
pub(super) use arguments;

impl Arithmetic {
    /// Compiles the kernels for a model's shape and precision.
    pub(super) fn new(device: &Device, model: &Model) -> Done<Arithmetic> {
        let (config, paired) = (model.config().clone(), model.precision() == Precision::Bf16);
        let program = Program::new(device, &config, paired)?;
        let scale = (1.0 / (config.head_dim as f64).sqrt()) as f32;
        Ok(Arithmetic { device: device.clone(), program, config, paired, scale })
    }

    /// Starts a kernel.
    pub(super) fn launch(&self, name: &'static str, grid: Grid, list: &[Argument]) -> Done {
        self.program.launch(&self.device, name, grid, list)
    }

    /// Starts a kernel over `count` numbers, which its last argument tells.
    pub(super) fn over_all(&self, name: &'static str, count: usize, list: &[Argument]) -> Done {
        if count == 0 {
            return Ok(());
        }
        let mut all = list.to_vec();
        all.push(Argument::from(count as i64));
        self.launch(name, Grid::all(count), &all)
    }

    /// Width of queries, keys and values of one row together.
    pub(super) fn heads_width(&self) -> usize {
        self.config.query_width() + 2 * self.config.kv_width()
    }

    /// Rows as products read them: rounded into `to`, or as they are.
    pub(super) fn rounded(&self, from: Pointer, to: Pointer, count: usize) -> Done<Pointer> {
        if !self.paired {
            return Ok(from);
        }
        self.over_all("round_rows", count, arguments![from, to])?;
        Ok(to)
    }

    /// `y = x wᵀ` on operands; `sizes` are rows, inner and outer width, all rows whole.
    pub(super) fn forward(
        &self,
        (x, w, y): (Pointer, Pointer, Pointer),
        sizes: [usize; 3],
    ) -> Done {
        self.whole(Form::Forward, (x, w, y), sizes, 0.0)
    }

    /// `dx = dy w` on operands.
    pub(super) fn grad_input(
        &self,
        (dx, w, dy): (Pointer, Pointer, Pointer),
        sizes: [usize; 3],
    ) -> Done {
        self.whole(Form::GradInput, (dx, w, dy), sizes, 0.0)
    }

    /// `dw += dyᵀ x` on operands.
    pub(super) fn grad_weight(
        &self,
        (x, dw, dy): (Pointer, Pointer, Pointer),
        sizes: [usize; 3],
    ) -> Done {
        self.whole(Form::GradWeight, (x, dw, dy), sizes, 1.0)
    }

    fn whole(
        &self,
        form: Form,
        (x, w, y): (Pointer, Pointer, Pointer),
        [rows, inner, outer]: [usize; 3],
        keep: f32,
    ) -> Done {
        let (x, y) = ((x, inner), (y, outer));
        let (paired, scale) = (self.paired, 1.0);
        Product { form, paired, rows, inner, outer, x, w, y, scale, keep }.run(&self.device)
    }

    /// A buffer's first number.
    pub(super) fn of<T: Number>(&self, buffer: &Buffer<T>) -> Pointer {
        buffer.start(&self.device)
    }
}

//! The kernels of one model, compiled when it comes to the device.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use cudarc::{
    driver::{CudaFunction, result, sys::CUfunction_attribute_enum as Attribute},
    nvrtc::{CompileError, CompileOptions, Ptx, compile_ptx_with_opts},
};

use super::{
    device::Device,
    error::{CudaError, Done},
    memory::Pointer,
};
use crate::config::Config;

/// One program: later files use what earlier ones define.
const SOURCES: [&str; 7] = [
    include_str!("kernels/numbers.cu"),
    include_str!("kernels/rows.cu"),
    include_str!("kernels/heads.cu"),
    include_str!("kernels/attention.cu"),
    include_str!("kernels/scores.cu"),
    include_str!("kernels/optimizer.cu"),
    include_str!("kernels/decode.cu"),
];

const NAMES: [&str; 27] = [
    "embed",
    "norm_rows",
    "renorm_rows",
    "norm_grad",
    "column_sums",
    "add_runs",
    "swiglu",
    "swiglu_grad",
    "round_rows",
    "add_rows",
    "gather_rows",
    "scatter_rows",
    "add_grouped",
    "finish_heads",
    "turn_back",
    "head_norm_grad",
    "attend",
    "attended_dot",
    "query_grad",
    "key_grad",
    "score_rows",
    "score_grad",
    "square_sums",
    "scale_all",
    "adamw",
    "round_all",
    "attend_paths",
];

/// The widest head that the attention's tiles hold.
const HEAD_DIM_MAX: usize = 256;

/// Rows of a tile of attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    pub(super) queries: usize,
    pub(super) keys: usize,
}

impl Tile {
    /// The largest tile whose buffers fit into the shared memory of a block.
    fn fitting(head_dim: usize, shared_bytes_max: usize) -> Option<Tile> {
        let tiles = [(64, 64), (32, 64), (32, 32), (16, 32), (16, 16)];
        let tiles = tiles.map(|(queries, keys)| Tile { queries, keys });
        // A kilobyte stays for what the kernels declare themselves.
        tiles.into_iter().find(|tile| tile.key_grad_bytes(head_dim) + 1024 <= shared_bytes_max)
    }

    fn line(head_dim: usize) -> usize {
        head_dim.next_multiple_of(4) + 4
    }

    /// Shared memory of `attend`.
    pub(super) fn attend_bytes(self, head_dim: usize) -> usize {
        let rows = self.queries + 2 * self.keys;
        4 * (rows * Self::line(head_dim) + self.queries * (self.keys + 4))
    }

    /// Shared memory of `query_grad`.
    pub(super) fn query_grad_bytes(self, head_dim: usize) -> usize {
        let rows = 2 * self.queries + 2 * self.keys;
        4 * (rows * Self::line(head_dim) + self.queries * (self.keys + 4))
    }

    /// Shared memory of `key_grad`.
    pub(super) fn key_grad_bytes(self, head_dim: usize) -> usize {
        self.query_grad_bytes(head_dim) + 4 * self.queries * (self.keys + 4)
    }
}

/// Compiled kernels by name.
pub(super) struct Program {
    kernels: BTreeMap<&'static str, CudaFunction>,
    pub(super) tile: Tile,
}

/// One argument of a kernel: its bits at the low end of eight bytes.
#[derive(Clone, Copy)]
pub(super) struct Argument(u64);

impl From<Pointer> for Argument {
    fn from(value: Pointer) -> Self {
        Self(value.0)
    }
}

impl From<f32> for Argument {
    fn from(value: f32) -> Self {
        Self(u64::from(value.to_bits()))
    }
}

impl From<i32> for Argument {
    fn from(value: i32) -> Self {
        Self(u64::from(value.cast_unsigned()))
    }
}

impl From<i64> for Argument {
    fn from(value: i64) -> Self {
        Self(value.cast_unsigned())
    }
}

/// How many blocks of how many threads, with how much shared memory each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) blocks: (usize, usize),
    pub(super) threads: (usize, usize),
    pub(super) shared_bytes: usize,
}

impl Grid {
    /// One block per row.
    pub(super) fn rows(rows: usize, width: usize) -> Self {
        let threads = width.div_ceil(4).next_multiple_of(32).clamp(32, 256);
        Self { blocks: (rows, 1), threads: (threads, 1), shared_bytes: 0 }
    }

    /// Threads that stride over `count` numbers.
    pub(super) fn all(count: usize) -> Self {
        let blocks = count.div_ceil(256).clamp(1, 1 << 14);
        Self { blocks: (blocks, 1), threads: (256, 1), shared_bytes: 0 }
    }

    /// One warp per unit of work.
    pub(super) fn warps(count: usize) -> Self {
        Self { blocks: (count.div_ceil(8), 1), threads: (256, 1), shared_bytes: 0 }
    }
}

impl Program {
    /// Compiles the kernels for one shape; `paired` where products read bf16.
    pub(super) fn new(device: &Device, config: &Config, paired: bool) -> Done<Program> {
        if config.head_dim > HEAD_DIM_MAX || config.group() > 64 {
            let (dim, group) = (config.head_dim, config.group());
            return Err(CudaError::Shape {
                what: format!(
                    "got `head_dim` {dim} and {group} query heads per key head, expected at most \
                     {HEAD_DIM_MAX} and 64"
                ),
            });
        }
        let tile = Tile::fitting(config.head_dim, device.shared_bytes_max);
        let tile = tile.ok_or_else(|| CudaError::Shape {
            what: format!("a block has {} bytes of shared memory", device.shared_bytes_max),
        })?;
        let (major, minor) = device.capability;
        let options = [
            format!("--gpu-architecture=compute_{major}{minor}"),
            "--std=c++17".to_owned(),
            format!("-DPAIRED={}", i32::from(paired)),
            format!("-DHEAD_DIM={}", config.head_dim),
            format!("-DGROUP={}", config.group()),
            format!("-DQUERIES={}", tile.queries),
            format!("-DKEYS={}", tile.keys),
        ];
        let compiled = compiled(options.to_vec())?;
        let module = device.stream.context().load_module(compiled);
        let module = module.map_err(|why| CudaError::failed("loading the kernels")(&why))?;
        let mut kernels = BTreeMap::new();
        for name in NAMES.into_iter().chain(["draw_tokens"]) {
            let kernel = module.load_function(name);
            let kernel = kernel.map_err(|why| CudaError::failed("finding a kernel")(&why))?;
            kernels.insert(name, kernel);
        }
        let program = Program { kernels, tile };
        for (name, bytes) in [
            ("attend", tile.attend_bytes(config.head_dim)),
            ("query_grad", tile.query_grad_bytes(config.head_dim)),
            ("key_grad", tile.key_grad_bytes(config.head_dim)),
            ("attend_paths", path_bytes(config)),
        ] {
            let (kind, bytes) =
                (Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, bytes as i32);
            let done = program.kernels[name].set_attribute(kind, bytes);
            done.map_err(|why| CudaError::failed("asking for shared memory")(&why))?;
        }
        Ok(program)
    }

    /// Starts a kernel; it runs when everything started before is done.
    pub(super) fn launch(
        &self,
        device: &Device,
        name: &'static str,
        grid: Grid,
        arguments: &[Argument],
    ) -> Done {
        if grid.blocks.0 == 0 || grid.blocks.1 == 0 {
            return Ok(());
        }
        let size = |count: usize| u32::try_from(count).expect("a grid of more than 2^32 blocks");
        let mut cells: Vec<u64> = arguments.iter().map(|argument| argument.0).collect();
        let mut places: Vec<*mut std::ffi::c_void> =
            cells.iter_mut().map(|cell| std::ptr::from_mut(cell).cast()).collect();
        let context = device.stream.context();
        context.bind_to_thread().map_err(|why| CudaError::failed("reaching the GPU")(&why))?;
        // SAFETY: the kernels are those of this folder. Each argument is given in the order and
        // kind of the kernel's own, with buffers of the sizes that its comment names, which live
        // until the stream, on which everything is ordered, is past them.
        let started = unsafe {
            result::launch_kernel(
                self.kernels[name].cu_function(),
                (size(grid.blocks.0), size(grid.blocks.1), 1),
                (size(grid.threads.0), size(grid.threads.1), 1),
                size(grid.shared_bytes),
                device.stream.cu_stream(),
                &mut places,
            )
        };
        started.map_err(|why| CudaError::failed(name)(&why))
    }
}

/// The kernels in the driver's assembly; each shape is compiled once per process.
fn compiled(options: Vec<String>) -> Done<Ptx> {
    static KNOWN: Mutex<BTreeMap<Vec<String>, Ptx>> = Mutex::new(BTreeMap::new());
    if let Some(known) = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(&options) {
        return Ok(known.clone());
    }
    let settings = CompileOptions { options: options.clone(), ..CompileOptions::default() };
    let fresh = compile_ptx_with_opts(SOURCES.concat(), settings).map_err(refused)?;
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(options, fresh.clone());
    Ok(fresh)
}

/// Shared memory of `attend_paths`.
pub(super) fn path_bytes(config: &Config) -> usize {
    const CHUNK: usize = 256;
    4 * config.group() * (config.head_dim + CHUNK)
}

fn refused(error: CompileError) -> CudaError {
    let log = match error {
        CompileError::CompileError { log, .. } => log.to_string_lossy().into_owned(),
        other => format!("{other:?}"),
    };
    CudaError::Compile { log }
}

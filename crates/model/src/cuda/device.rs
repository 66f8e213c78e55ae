//! One GPU: its context, its stream and its library of products.

use std::sync::Arc;

use cudarc::{
    cublas::{self, CudaBlas},
    driver::{self, CudaContext, CudaStream, sys::CUdevice_attribute},
    nvrtc,
};

use super::error::{CudaError, Done};

/// The first GPU that the driver shows (`CUDA_VISIBLE_DEVICES` chooses); clones share it.
#[derive(Clone)]
pub struct Device {
    pub(super) stream: Arc<CudaStream>,
    pub(super) blas: Arc<CudaBlas>,
    name: String,
    /// Such as (9, 0).
    pub(super) capability: (i32, i32),
    /// Bytes of shared memory that one block may have.
    pub(super) shared_bytes_max: usize,
    memory_bytes: usize,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.described())
    }
}

impl Device {
    /// Opens the GPU.
    ///
    /// # Errors
    /// Where the driver, a library or the GPU itself is missing: which, and what to install.
    pub fn open() -> Result<Device, CudaError> {
        require_libraries()?;
        let none = |why: driver::DriverError| CudaError::NoDevice { why: format!("{why:?}") };
        let context = CudaContext::new(0).map_err(none)?;
        let name = context.name().map_err(none)?;
        let capability = context.compute_capability().map_err(none)?;
        let shared = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let shared = context.attribute(shared).map_err(none)?;
        let memory_bytes = context.total_mem().map_err(none)?;
        let stream = context.default_stream();
        let blas = CudaBlas::new(Arc::clone(&stream));
        let blas = blas.map_err(|why| CudaError::NoDevice { why: format!("cuBLAS: {why:?}") })?;
        let shared_bytes_max = usize::try_from(shared).unwrap_or_default();
        let blas = Arc::new(blas);
        let device = Device { stream, blas, name, capability, shared_bytes_max, memory_bytes };
        Ok(device)
    }

    /// Name, compute capability and memory, for people.
    #[must_use]
    pub fn described(&self) -> String {
        let ((major, minor), gib) = (self.capability, self.memory_bytes >> 30);
        format!("{}, compute capability {major}.{minor}, {gib} GiB", self.name)
    }

    /// Bytes of the GPU's memory that nobody holds.
    pub(super) fn free_bytes(&self) -> Done<usize> {
        let info = self.stream.context().mem_get_info();
        info.map(|(free, _)| free).map_err(|why| CudaError::failed("asking for free memory")(&why))
    }

    /// Waits until everything asked for is done.
    ///
    /// # Errors
    /// Where something that was asked for earlier failed.
    pub fn wait(&self) -> Result<(), CudaError> {
        self.stream.synchronize().map_err(|why| CudaError::failed("waiting")(&why))
    }
}

/// The libraries are opened at run time: looking first turns their absence into an error.
fn require_libraries() -> Done {
    let toolkit = "install the CUDA toolkit 12 or 13 (or `pip install nvidia-cuda-nvrtc \
                   nvidia-cublas`) and put its folder of libraries into LD_LIBRARY_PATH";
    // SAFETY: opening these libraries runs their initialisers only, which ask nothing of us.
    let present = unsafe {
        [
            driver::sys::is_culib_present(),
            nvrtc::sys::is_culib_present(),
            cublas::sys::is_culib_present(),
        ]
    };
    let wanted = [
        ("NVIDIA's driver (libcuda)", "install the driver of the GPU"),
        ("the run-time compiler (libnvrtc)", toolkit),
        ("cuBLAS (libcublas)", toolkit),
    ];
    match wanted.into_iter().zip(present).find(|(_, present)| !present) {
        Some(((what, next), _)) => Err(CudaError::Missing { what, next }),
        None => Ok(()),
    }
}

//! Products by cuBLAS: operands in f32 or bf16, sums and outputs in f32.

use cudarc::cublas::{
    result,
    sys::{
        cublasComputeType_t as Compute, cublasGemmAlgo_t as Algorithm, cublasOperation_t as Turn,
        cudaDataType_t as Kind,
    },
};

use super::{
    device::Device,
    error::{CudaError, Done},
    memory::Pointer,
};

/// Which of the three is the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `y = x wᵀ`
    Forward,
    /// `x = y w`: the gradient by the input from that by the output.
    GradInput,
    /// `w = yᵀ x`: the gradient by the weights.
    GradWeight,
}

/// `x` is `[rows][inner]` and `y` `[rows][outer]`, each with the length of its rows; `w` is
/// `[outer][inner]`. The output becomes `scale` times the product plus `keep` times what it was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    pub(super) form: Form,
    /// Whether the operands are bf16; the output never is.
    pub(super) paired: bool,
    pub(super) rows: usize,
    pub(super) inner: usize,
    pub(super) outer: usize,
    pub(super) x: (Pointer, usize),
    pub(super) w: Pointer,
    pub(super) y: (Pointer, usize),
    pub(super) scale: f32,
    pub(super) keep: f32,
}

impl Product {
    /// Starts the product.
    pub(super) fn run(self, device: &Device) -> Done {
        let Product { form, rows, inner, outer, x, w, y, .. } = self;
        if rows == 0 {
            return Ok(());
        }
        let own = if self.paired { Kind::CUDA_R_16BF } else { Kind::CUDA_R_32F };
        let w = (w, inner);
        // The library counts columns first: every matrix of ours is the transpose of one of its.
        let (turns, sizes, left, right, out) = match form {
            Form::Forward => {
                ((Turn::CUBLAS_OP_T, Turn::CUBLAS_OP_N), (outer, rows, inner), w, x, y)
            }
            Form::GradInput => {
                ((Turn::CUBLAS_OP_N, Turn::CUBLAS_OP_N), (inner, rows, outer), w, y, x)
            }
            Form::GradWeight => {
                ((Turn::CUBLAS_OP_N, Turn::CUBLAS_OP_T), (inner, outer, rows), x, y, w)
            }
        };
        let size = |count: usize| i32::try_from(count).expect("a side of more than 2^31");
        // SAFETY: each matrix lies in a buffer of at least its rows times their length, which
        // lives until the stream is past this product; scale and keep are read before the call
        // returns. `CUBLAS_COMPUTE_32F` keeps f32 operands whole: no TF32.
        let started = unsafe {
            result::gemm_ex(
                *device.blas.handle(),
                turns.0,
                turns.1,
                size(sizes.0),
                size(sizes.1),
                size(sizes.2),
                std::ptr::from_ref(&self.scale).cast(),
                left.0.0 as *const _,
                own,
                size(left.1),
                right.0.0 as *const _,
                own,
                size(right.1),
                std::ptr::from_ref(&self.keep).cast(),
                out.0.0 as *mut _,
                Kind::CUDA_R_32F,
                size(out.1),
                Compute::CUBLAS_COMPUTE_32F,
                Algorithm::CUBLAS_GEMM_DEFAULT,
            )
        };
        started.map_err(|why| CudaError::failed("a product")(&why))
    }
}

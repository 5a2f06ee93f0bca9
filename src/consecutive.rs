//! Tensors as the operations take them: neighbours in the last dimension are neighbours in memory.

#[cfg(feature = "cuda")]
use candle_core::{CpuStorage, CudaStorage, CustomOp1, DType, Layout, Shape};
use candle_core::{Result, Tensor};

/// Whether the samples of each row are consecutive.
pub(crate) fn is_consecutive(t: &Tensor) -> bool {
    matches!(
        (t.stride().last(), t.dims().last()),
        (Some(1), _) | (_, Some(0 | 1))
    )
}

/// `t` itself if the samples of its rows are consecutive, or else a contiguous copy.
pub(crate) fn consecutive(t: &Tensor) -> Result<Tensor> {
    match (is_consecutive(t), t.stride()) {
        (true, _) => Ok(t.clone()),
        (false, [_, 1, _]) => transposed(&t.transpose(1, 2)?),
        (false, _) => t.contiguous(),
    }
}

/// A contiguous copy of `(B, M, N)` as `(B, N, M)`. On a GPU candle copies such a view element by element, ten times
/// slower than a kernel for it.
pub(crate) fn transposed(t: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if t.device().is_cuda() && has_kernel(t) {
        return t.apply_op1(Transposition);
    }
    t.transpose(1, 2)?.contiguous()
}

#[cfg(feature = "cuda")]
fn has_kernel(t: &Tensor) -> bool {
    use crate::cuda::transposition::MOST;
    matches!(t.dtype(), DType::F32 | DType::F16 | DType::BF16)
        && t.rank() == 3
        && is_consecutive(t)
        && t.dims().iter().all(|&size| size <= MOST)
}

/// `y[b, c, r] = x[b, r, c]` of consecutive rows on a GPU.
#[cfg(feature = "cuda")]
struct Transposition;

#[cfg(feature = "cuda")]
impl CustomOp1 for Transposition {
    fn name(&self) -> &'static str {
        "transposition"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        candle_core::bail!(
            "{}: expected a tensor on a GPU, got one on the CPU",
            self.name()
        )
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        crate::cuda::transposition::transpose((x, layout))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        transposed(&consecutive(gradient)?).map(Some)
    }
}

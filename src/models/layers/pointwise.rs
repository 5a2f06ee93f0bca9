//! What the models compute on a GPU between matrix products and convolutions, each in one pass
//! over memory.
//!
//! These have no gradients: where one is wanted, the layers take candle's operations instead.

use crate::conv::on_gpu::View;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor,
};

/// A function of one to three tensors, the first of which is `x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pointwise {
    /// `gelu(x + bias)` in the tanh approximation; `x`: `(…, D)`, `bias`: `(D)`.
    BiasGelu,
    /// `gelu(a) ⊙ b` with the exact GELU; `x = [a | b]`: `(…, 2D)`, the result `(…, D)`.
    GatedGelu,
    /// `x + (branch + bias)`; `x` and `branch`: `(…, D)`, `bias`: `(D)`.
    Residual,
    /// Layer normalisation of the last dimension; `x`: `(…, D)`, `weight` and `bias`: `(D)`, of the
    /// dtype of the result.
    LayerNorm {
        /// Added to the variance.
        epsilon: f32,
    },
    /// `x + bias`; `x`: `(…, C, L)`, `bias`: `(C)`.
    ChannelBias,
    /// `sin(x + bias)` in f32; `x`: `(…, C, L)`, `bias`: `(C)`.
    Sine,
    /// `x ⊙ (exp(−|rates|·times) + shift)` in f32; `x`: `(C, L)`, `rates`: `(C)`, `times`: `(L)`.
    Decay {
        /// What is left of a filter in the end.
        shift: f32,
    },
}

impl Pointwise {
    /// Whether there is a kernel for these tensors: on a GPU, of one of its dtypes, not empty,
    /// without a gradient.
    pub(in crate::models) fn runs_on(tensors: &[&Tensor]) -> bool {
        cfg!(feature = "cuda")
            && tensors.iter().all(|tensor| {
                tensor.device().is_cuda()
                    && !tensor.track_op()
                    && tensor.elem_count() > 0
                    && matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::BF16)
            })
    }

    /// The function of one tensor.
    pub(in crate::models) fn of(self, x: &Tensor) -> Result<Tensor> {
        x.contiguous()?.apply_op1_no_bwd(&self)
    }

    /// The function of two tensors.
    pub(in crate::models) fn of_two(self, x: &Tensor, second: &Tensor) -> Result<Tensor> {
        x.contiguous()?
            .apply_op2_no_bwd(&second.contiguous()?, &self)
    }

    /// The function of three tensors.
    pub(in crate::models) fn of_three(
        self,
        x: &Tensor,
        second: &Tensor,
        third: &Tensor,
    ) -> Result<Tensor> {
        x.contiguous()?
            .apply_op3_no_bwd(&second.contiguous()?, &third.contiguous()?, &self)
    }

    #[cfg(feature = "cuda")]
    fn on_gpu(self, operands: &[View<'_>]) -> Result<(CudaStorage, Shape)> {
        crate::cuda::pointwise::run(self, operands)
    }

    /// Without the feature no tensor is on a GPU.
    #[cfg(not(feature = "cuda"))]
    fn on_gpu(self, _: &[View<'_>]) -> Result<(CudaStorage, Shape)> {
        crate::conv::on_gpu::not_there("a layer of a model")
    }
}

/// On the CPU the layers have loops of their own.
fn only_on_gpu() -> Result<(CpuStorage, Shape)> {
    candle_core::bail!("expected tensors on a GPU")
}

const NAME: &str = "pointwise operation of a model";

impl CustomOp1 for Pointwise {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        only_on_gpu()
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        self.on_gpu(&[(x, layout)])
    }
}

impl CustomOp2 for Pointwise {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        only_on_gpu()
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        second: &CudaStorage,
        second_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.on_gpu(&[(x, x_layout), (second, second_layout)])
    }
}

impl CustomOp3 for Pointwise {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        only_on_gpu()
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        second: &CudaStorage,
        second_layout: &Layout,
        third: &CudaStorage,
        third_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.on_gpu(&[
            (x, x_layout),
            (second, second_layout),
            (third, third_layout),
        ])
    }
}

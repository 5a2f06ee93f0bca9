//! What the models compute on a GPU between matrix products and convolutions, each in one pass
//! over memory: as a new tensor, or in place of the first operand.
//!
//! These have no gradients: where one is wanted, the layers take candle's operations instead.

use crate::conv::on_gpu::View;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, DType, InplaceOp2, InplaceOp3,
    Layout, Result, Shape, Tensor,
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
    /// `x − edge` of the first samples of each row; `x`: `(…, C, L)`, `edge`: `(C, E)`, f32; in
    /// place only.
    Leading {
        /// `E`, samples of the edge.
        count: usize,
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

    /// The function of two tensors in place of the first one, which is contiguous and has no other
    /// owner to be surprised.
    pub(in crate::models) fn in_place_of_two(self, x: &Tensor, second: &Tensor) -> Result<()> {
        x.inplace_op2(&second.contiguous()?, &InPlace(self))
    }

    /// The function of three tensors, the same way.
    pub(in crate::models) fn in_place_of_three(
        self,
        x: &Tensor,
        second: &Tensor,
        third: &Tensor,
    ) -> Result<()> {
        x.inplace_op3(&second.contiguous()?, &third.contiguous()?, &InPlace(self))
    }

    #[cfg(feature = "cuda")]
    fn on_gpu(self, operands: &[View<'_>]) -> Result<(CudaStorage, Shape)> {
        crate::cuda::pointwise::run(self, operands)
    }

    #[cfg(feature = "cuda")]
    fn on_gpu_in_place(self, x: (&mut CudaStorage, &Layout), others: &[View<'_>]) -> Result<()> {
        crate::cuda::pointwise::run_in_place(self, x, others)
    }

    /// As below.
    #[cfg(not(feature = "cuda"))]
    fn on_gpu_in_place(self, _: (&mut CudaStorage, &Layout), _: &[View<'_>]) -> Result<()> {
        crate::conv::on_gpu::not_there("a layer of a model")
    }

    /// Without the feature no tensor is on a GPU.
    #[cfg(not(feature = "cuda"))]
    fn on_gpu(self, _: &[View<'_>]) -> Result<(CudaStorage, Shape)> {
        crate::conv::on_gpu::not_there("a layer of a model")
    }
}

/// An operation whose result takes the place of its first operand.
struct InPlace(Pointwise);

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

impl InplaceOp2 for InPlace {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<()> {
        only_on_gpu().map(|_| ())
    }

    fn cuda_fwd(
        &self,
        x: &mut CudaStorage,
        x_layout: &Layout,
        second: &CudaStorage,
        second_layout: &Layout,
    ) -> Result<()> {
        self.0
            .on_gpu_in_place((x, x_layout), &[(second, second_layout)])
    }
}

impl InplaceOp3 for InPlace {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        _: &mut CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<()> {
        only_on_gpu().map(|_| ())
    }

    fn cuda_fwd(
        &self,
        x: &mut CudaStorage,
        x_layout: &Layout,
        second: &CudaStorage,
        second_layout: &Layout,
        third: &CudaStorage,
        third_layout: &Layout,
    ) -> Result<()> {
        let others = [(second, second_layout), (third, third_layout)];
        self.0.on_gpu_in_place((x, x_layout), &others)
    }
}

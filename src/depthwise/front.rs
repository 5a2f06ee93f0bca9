//! The short convolution in front of a gated long one: what the long one multiplies its output with, and its input,
//! in one pass over the projections.

use crate::Error;
use candle_core::{CpuStorage, CudaStorage, CustomOp2, DType, Layout, Result, Shape, Tensor};

/// Which thirds of the projections are the gates; the last third is the value `v`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrontGates {
    /// `[out | in | v]`, as in Hyena.
    OutFirst,
    /// `[in | out | v]`, as in M2-BERT.
    InFirst,
}

#[cfg_attr(not(feature = "cuda"), allow(dead_code))]
impl FrontGates {
    /// The third that is the gate of the output.
    pub(crate) fn out_gate(self) -> usize {
        match self {
            FrontGates::OutFirst => 0,
            FrontGates::InFirst => 1,
        }
    }

    /// The third that is the gate of the input.
    pub(crate) fn in_gate(self) -> usize {
        1 - self.out_gate()
    }
}

/// Taps of the kernels.
pub(crate) const FRONT_TAPS: usize = 3;

/// The causal short convolution `s` of three taps, of which three times `H` channels become two times `H`:
/// `[s(out) | s(in) ⊙ s(v)]`. On a GPU, of f32 and bf16; without gradients.
#[derive(Debug, Clone)]
pub(crate) struct GatedFront {
    #[cfg_attr(not(feature = "cuda"), allow(dead_code))]
    gates: FrontGates,
    /// `(3H, 5)`, f32: taps, bias, and the value of samples before the sequence.
    parameters: Tensor,
}

impl GatedFront {
    /// `taps`: `(3H, K)`, `bias` and `before`, the value of samples before the sequence: `(3H)`, f32. None where there are
    /// no kernels for that. Projections without their bias `b` ask for `b · Σ taps` in `bias`, and for `before = −b`.
    pub(crate) fn new(
        gates: FrontGates,
        taps: &Tensor,
        bias: &Tensor,
        before: &Tensor,
    ) -> Result<Option<Self>> {
        let (channels, count) = taps.dims2()?;
        if !cfg!(feature = "cuda") || count != FRONT_TAPS || !channels.is_multiple_of(3) {
            return Ok(None);
        }
        let (bias, before) = (bias.unsqueeze(1)?, before.unsqueeze(1)?);
        let parameters = Tensor::cat(&[taps, &bias, &before], 1)?;
        Ok(Some(Self { gates, parameters }))
    }

    /// Whether there is a kernel for projections of `length` samples of a dtype.
    pub(crate) fn takes(&self, length: usize, dtype: DType) -> bool {
        let tripled = self.parameters.dims().first().copied().unwrap_or(0);
        has_kernel(tripled / 3, length, dtype)
    }

    /// `[s(out) | s(in) ⊙ s(v)]`, `(B, 2H, L)`, of contiguous projections `x`, `(B, 3H, L)`, which have a kernel.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.apply_op2_no_bwd(&self.parameters, self)
    }
}

#[cfg(feature = "cuda")]
fn has_kernel(channels: usize, length: usize, dtype: DType) -> bool {
    crate::cuda::depthwise::takes_front(channels, length, dtype)
}

/// Without the feature there are none.
#[cfg(not(feature = "cuda"))]
fn has_kernel(_: usize, _: usize, _: DType) -> bool {
    false
}

impl CustomOp2 for GatedFront {
    fn name(&self) -> &'static str {
        "depthwise convolution with a gate"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Err(Error::NotOnDevice {
            operation: "the gated short convolution",
            device: "the CPU",
            advice: "convolve, split and multiply",
        }
        .into())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        parameters: &CudaStorage,
        parameters_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let parameters = (parameters, parameters_layout);
        crate::cuda::depthwise::gated_front(self.gates, (x, x_layout), parameters)
    }

    #[cfg(not(feature = "cuda"))]
    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        crate::conv::on_gpu::not_there("the gated short convolution")
    }
}

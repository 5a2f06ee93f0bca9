//! The short convolution as candle operations, with their gradients.

use super::gradients::gradients;
use super::{Activation, Correlation};
use crate::cpu::depthwise as cpu;
use crate::Error;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp2, CustomOp3, Layout, MetalStorage, Result, Shape, Tensor,
};

/// `(x, weight) → y`
pub(super) struct Depthwise(pub Correlation, pub Activation);

/// `(x, weight, bias) → y`
pub(super) struct DepthwiseWithBias(pub Correlation, pub Activation);

impl CustomOp2 for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise convolution"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = ((x, x_layout), (weight, weight_layout));
        let y = cpu::correlate(&self.0, x, weight, None, self.1)?;
        Ok((y, self.0.output_shape().into()))
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (x, weight) = ((x, x_layout), (weight, weight_layout));
        on_cuda(&self.0, x, weight, None, self.1)
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        not_on("Metal")
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradients = gradients(&self.0, self.1, x, weight, None, dy)?;
        Ok((gradients.x, gradients.weight))
    }
}

impl CustomOp3 for DepthwiseWithBias {
    fn name(&self) -> &'static str {
        "depthwise convolution"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = ((x, x_layout), (weight, weight_layout));
        let y = cpu::correlate(&self.0, x, weight, Some((bias, bias_layout)), self.1)?;
        Ok((y, self.0.output_shape().into()))
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (x, weight) = ((x, x_layout), (weight, weight_layout));
        on_cuda(&self.0, x, weight, Some((bias, bias_layout)), self.1)
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        not_on("Metal")
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradients = gradients(&self.0, self.1, x, weight, Some(bias), dy)?;
        Ok((gradients.x, gradients.weight, gradients.bias))
    }
}

type OnCuda<'a> = (&'a CudaStorage, &'a Layout);

#[cfg(feature = "cuda")]
fn on_cuda(
    geometry: &Correlation,
    x: OnCuda,
    weight: OnCuda,
    bias: Option<OnCuda>,
    activation: Activation,
) -> Result<(CudaStorage, Shape)> {
    use crate::cuda::depthwise::{correlate, TapOrder};
    let y = correlate(geometry, x, weight, bias, activation, TapOrder::AsGiven)?;
    Ok((y, geometry.output_shape().into()))
}

/// Without the feature no tensor can be there.
#[cfg(not(feature = "cuda"))]
fn on_cuda(
    _: &Correlation,
    _: OnCuda,
    _: OnCuda,
    _: Option<OnCuda>,
    _: Activation,
) -> Result<(CudaStorage, Shape)> {
    not_on("CUDA")
}

fn not_on<T>(device: &'static str) -> Result<T> {
    Err(Error::NotOnDevice {
        operation: "the depthwise convolution",
        device,
        advice: "move the tensors to the CPU",
    }
    .into())
}

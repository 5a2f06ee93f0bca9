//! The short convolution as candle operations, with their gradients.

use super::{last_dimension_contiguous, Correlation};
use crate::cpu::depthwise as cpu;
use crate::Error;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp2, CustomOp3, Layout, MetalStorage, Result, Shape, Tensor, D,
};

/// `(x, weight) → y`
pub(super) struct Depthwise(pub Correlation);

/// `(x, weight, bias) → y`
pub(super) struct DepthwiseWithBias(pub Correlation);

/// `(dy, weight) → dx`, for the forward operation that it holds.
struct InputGradient(Correlation);

/// `(x, dy) → (H, K + 1)`: the gradient of each tap and, in the last column, of
/// the bias, in the dtype of the sums; for the forward operation that it holds.
struct ParameterGradients(Correlation);

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
        let y = cpu::correlate(&self.0, (x, x_layout), (weight, weight_layout), None)?;
        Ok((y, self.0.output_shape().into()))
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        not_on("CUDA")
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
        let gradients = gradients(&self.0, x, weight, None, dy)?;
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
        let bias = Some((bias, bias_layout));
        let y = cpu::correlate(&self.0, (x, x_layout), (weight, weight_layout), bias)?;
        Ok((y, self.0.output_shape().into()))
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        not_on("CUDA")
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
        let gradients = gradients(&self.0, x, weight, Some(bias), dy)?;
        Ok((gradients.x, gradients.weight, gradients.bias))
    }
}

struct Gradients {
    x: Option<Tensor>,
    weight: Option<Tensor>,
    bias: Option<Tensor>,
}

/// The gradients of those arguments that are tracked.
fn gradients(
    forward: &Correlation,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    dy: &Tensor,
) -> Result<Gradients> {
    let dy = last_dimension_contiguous(dy)?;
    let dx = match x.track_op() {
        true => Some(dy.apply_op2_no_bwd(weight, &InputGradient(*forward))?),
        false => None,
    };
    let bias = bias.filter(|bias| bias.track_op());
    let (mut dweight, mut dbias) = (None, None);
    if weight.track_op() || bias.is_some() {
        let sums = x.apply_op2_no_bwd(&dy, &ParameterGradients(*forward))?;
        if weight.track_op() {
            let taps = sums.narrow(D::Minus1, 0, forward.taps)?;
            dweight = Some(
                taps.to_dtype(weight.dtype())?
                    .contiguous()?
                    .reshape(weight.shape())?,
            );
        }
        if let Some(bias) = bias {
            let sums = sums.narrow(D::Minus1, forward.taps, 1)?;
            dbias = Some(
                sums.to_dtype(bias.dtype())?
                    .contiguous()?
                    .reshape(bias.shape())?,
            );
        }
    }
    Ok(Gradients {
        x: dx,
        weight: dweight,
        bias: dbias,
    })
}

impl CustomOp2 for InputGradient {
    fn name(&self) -> &'static str {
        "input gradient of the depthwise convolution"
    }

    fn cpu_fwd(
        &self,
        dy: &CpuStorage,
        dy_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let dx = cpu::input_gradient(&self.0, (dy, dy_layout), (weight, weight_layout))?;
        Ok((dx, self.0.input_shape().into()))
    }
}

impl CustomOp2 for ParameterGradients {
    fn name(&self) -> &'static str {
        "parameter gradients of the depthwise convolution"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        dy: &CpuStorage,
        dy_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sums = cpu::parameter_gradients(&self.0, (x, x_layout), (dy, dy_layout))?;
        Ok((sums, (self.0.channels, self.0.taps + 1).into()))
    }
}

fn not_on<T>(device: &'static str) -> Result<T> {
    Err(Error::NotOnDevice {
        operation: "the depthwise convolution",
        device,
        advice: "move the tensors to the CPU",
    }
    .into())
}

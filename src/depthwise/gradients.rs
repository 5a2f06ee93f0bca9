//! The gradients of the short convolution, for those arguments that are tracked.

use super::operation::{Depthwise, DepthwiseWithBias};
use super::{Activation, Conv1dLayout, Correlation};
use crate::consecutive::{consecutive, transposed};
use crate::cpu::depthwise as cpu;
#[cfg(feature = "cuda")]
use crate::cuda::depthwise::gradients as in_one_pass;
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, D};

/// `(dy, weight) → dx`, for the forward operation that it holds.
struct InputGradient(Correlation);

/// `(x, dy) → (H, K + 1)`: the gradient of each tap and, in the last column, of
/// the bias, in the dtype of the sums; for the forward operation that it holds.
struct ParameterGradients(Correlation);

/// Those that are wanted, each in the dtype and shape of what it is of.
pub(crate) struct Gradients {
    pub x: Option<Tensor>,
    pub weight: Option<Tensor>,
    pub bias: Option<Tensor>,
}

/// The gradients of those arguments that are tracked.
pub(super) fn gradients(
    forward: &Correlation,
    activation: Activation,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    dy: &Tensor,
) -> Result<Gradients> {
    let dy = &consecutive(dy)?;
    let wanted = Wanted {
        x: x.track_op(),
        weight: weight.track_op(),
        bias: bias.is_some_and(Tensor::track_op),
    };
    let of = |forward: &Correlation, x: &Tensor, dy: &Tensor| match in_one_pass(
        forward, activation, x, weight, bias, dy, wanted,
    )? {
        Some(all) => Ok(all),
        None => in_two_passes(forward, activation, x, weight, bias, dy, wanted),
    };
    if !is_transposed(forward, activation, x, dy)? {
        return of(forward, x, dy);
    }
    let layout = Conv1dLayout::Bhl;
    let forward = Correlation { layout, ..*forward };
    let x = transposed(&consecutive(&x.detach())?)?;
    let all = of(&forward, &x, &transposed(dy)?)?;
    Ok(Gradients {
        x: all.x.as_ref().map(transposed).transpose()?,
        ..all
    })
}

/// Which gradients to compute.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub x: bool,
    pub weight: bool,
    pub bias: bool,
}

/// Whether a GPU computes all gradients as those of channels-first tensors: where it has no kernel that makes the
/// gradient of a channels-last input from `dy` as it lies or, of few taps, none that makes all of them.
#[cfg(feature = "cuda")]
fn is_transposed(
    forward: &Correlation,
    activation: Activation,
    x: &Tensor,
    dy: &Tensor,
) -> Result<bool> {
    use crate::cuda::depthwise::{takes_long_frames, EXACT_TAPS, SHORT_TAPS};
    if !dy.device().is_cuda() || forward.layout == Conv1dLayout::Bhl || forward.taps <= EXACT_TAPS {
        return Ok(false);
    }
    // With an activation the kernels are for channels-first tensors: of few taps in one pass, of more in f32.
    if activation != Activation::None {
        return Ok(true);
    }
    // Up to so many taps one pass over channels-first tensors makes all gradients.
    if forward.taps <= SHORT_TAPS {
        return Ok(!takes_long_frames(forward, x, dy)?);
    }
    Ok(!super::is_taken_as_it_lies(&forward.transposed(), dy)?)
}

#[cfg(not(feature = "cuda"))]
fn is_transposed(_: &Correlation, _: Activation, _: &Tensor, _: &Tensor) -> Result<bool> {
    Ok(false)
}

/// Those of the input from one pass, those of the parameters from another.
fn in_two_passes(
    forward: &Correlation,
    activation: Activation,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    dy: &Tensor,
    wanted: Wanted,
) -> Result<Gradients> {
    if activation == Activation::None {
        return linear(forward, x, weight, bias, dy, wanted);
    }
    // Both in the dtype of the sums: dz is rounded nowhere.
    let dtype = match x.dtype() {
        DType::F64 => DType::F64,
        _ => DType::F32,
    };
    let wide = x.to_dtype(dtype)?;
    let z = match bias {
        None => wide.apply_op2_no_bwd(weight, &Depthwise(*forward, Activation::None)),
        Some(bias) => {
            wide.apply_op3_no_bwd(weight, bias, &DepthwiseWithBias(*forward, Activation::None))
        }
    }?;
    let dz = (dy.to_dtype(dtype)? * silu_slope(&z)?)?;
    let all = linear(forward, &wide, weight, bias, &dz, wanted)?;
    let dx = all.x.map(|dx| dx.to_dtype(x.dtype())).transpose()?;
    Ok(Gradients { x: dx, ..all })
}

/// The derivative of `z · sigmoid(z)`: `s · (1 + z · (1 − s))` with `s = sigmoid(z)`.
fn silu_slope(z: &Tensor) -> Result<Tensor> {
    let s = (z.neg()?.exp()? + 1.0)?.recip()?;
    let complement = s.affine(-1.0, 1.0)?;
    &s * ((z * complement)? + 1.0)?
}

/// Without an activation, in two passes.
fn linear(
    forward: &Correlation,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    dz: &Tensor,
    wanted: Wanted,
) -> Result<Gradients> {
    let dx = match wanted.x {
        true => Some(dz.apply_op2_no_bwd(weight, &InputGradient(*forward))?),
        false => None,
    };
    if !(wanted.weight || wanted.bias) {
        let (weight, bias) = (None, None);
        return Ok(Gradients {
            x: dx,
            weight,
            bias,
        });
    }
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        use crate::cuda::depthwise::parameter_gradients;
        // The kernels of these sums are for channels-first tensors.
        let parameters = match forward.layout {
            Conv1dLayout::Blh => {
                let (x, dz) = (transposed(x)?, transposed(dz)?);
                let layout = Conv1dLayout::Bhl;
                let rows = Correlation { layout, ..*forward };
                parameter_gradients(&rows, &x, weight, bias, &dz, wanted)?
            }
            Conv1dLayout::Bhl => parameter_gradients(forward, x, weight, bias, dz, wanted)?,
        };
        return Ok(Gradients {
            x: dx,
            ..parameters
        });
    }
    let sums = x.apply_op2_no_bwd(dz, &ParameterGradients(*forward))?;
    // One or more columns of the sums, as the gradient of `of`.
    let columns = |of: &Tensor, start: usize, count: usize| {
        let columns = sums.narrow(D::Minus1, start, count)?;
        let columns = columns.to_dtype(of.dtype())?.contiguous()?;
        columns.reshape(of.shape())
    };
    let of_weight = || columns(weight, 0, forward.taps);
    let of_bias = |bias| columns(bias, forward.taps, 1);
    Ok(Gradients {
        x: dx,
        weight: wanted.weight.then(of_weight).transpose()?,
        bias: bias.filter(|_| wanted.bias).map(of_bias).transpose()?,
    })
}

/// All at once, with or without the activation, where a GPU kernel does that: without the feature nowhere.
#[cfg(not(feature = "cuda"))]
fn in_one_pass(
    _: &Correlation,
    _: Activation,
    _: &Tensor,
    _: &Tensor,
    _: Option<&Tensor>,
    _: &Tensor,
    _: Wanted,
) -> Result<Option<Gradients>> {
    Ok(None)
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

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        dy: &CudaStorage,
        dy_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        use crate::cuda::depthwise::{correlate, TapOrder};
        let (dy, weight) = ((dy, dy_layout), (weight, weight_layout));
        let (geometry, order) = (self.0.transposed(), TapOrder::Reversed);
        let dx = correlate(&geometry, dy, weight, None, Activation::None, order)?;
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

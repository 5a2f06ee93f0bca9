//! Layer normalisation that can be trained.

use candle_core::{DType, Module, Result, Tensor};
use candle_nn::{Init, VarBuilder};

/// Layer normalisation over the last dimension,
/// `y = (x − mean) / sqrt(variance + epsilon) · weight + bias`.
///
/// [`candle_nn::LayerNorm`] runs a fused kernel that has no gradient, so that a
/// model trained with it silently gets none for what lies before it. This one
/// runs the fused kernel in inference only, and differentiable operations where
/// a gradient is wanted or the dtype is f64.
///
/// The result has the dtype of the input; the statistics of half-precision
/// inputs are computed in f32.
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use candle_flashfftconv::models::layers::LayerNorm;
/// # fn main() -> candle_core::Result<()> {
/// let weight = Tensor::ones(4, DType::F32, &Device::Cpu)?;
/// let norm = LayerNorm::new(weight.clone(), weight.zeros_like()?, 1e-5);
/// let y = norm.forward(&Tensor::new(&[[1f32, 2., 3., 4.]], &Device::Cpu)?)?;
/// assert!(y.mean_all()?.to_scalar::<f32>()?.abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl LayerNorm {
    /// A layer of the given `weight` and `bias`, both of shape `(D)`.
    pub fn new(weight: Tensor, bias: Tensor, epsilon: f64) -> Self {
        Self {
            weight,
            bias,
            epsilon,
        }
    }

    /// Reads `weight` and `bias`, both `(size)`; fresh ones are 1 and 0.
    ///
    /// # Errors
    /// When the builder has no such tensors, or ones of another shape.
    pub fn load(size: usize, epsilon: f64, vb: VarBuilder) -> Result<Self> {
        let weight = vb.get_with_hints(size, "weight", Init::Const(1.0))?;
        let bias = vb.get_with_hints(size, "bias", Init::Const(0.0))?;
        Ok(Self::new(weight, bias, epsilon))
    }
}

impl Module for LayerNorm {
    /// `x`: `(…, D)`, of any float dtype; the result has its shape and dtype.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let dtype = x.dtype();
        let wants_gradient = x.track_op() || self.weight.track_op() || self.bias.track_op();
        if wants_gradient || dtype == DType::F64 || x.elem_count() == 0 {
            let internal = if dtype == DType::F64 {
                dtype
            } else {
                DType::F32
            };
            let weight = self.weight.to_dtype(internal)?;
            let bias = self.bias.to_dtype(internal)?;
            let x = x.to_dtype(internal)?;
            let centred = x.broadcast_sub(&x.mean_keepdim(candle_core::D::Minus1)?)?;
            let variance = centred.sqr()?.mean_keepdim(candle_core::D::Minus1)?;
            let scale = (variance + self.epsilon)?.sqrt()?;
            return centred
                .broadcast_div(&scale)?
                .broadcast_mul(&weight)?
                .broadcast_add(&bias)?
                .to_dtype(dtype);
        }
        let weight = self.weight.to_dtype(dtype)?;
        let bias = self.bias.to_dtype(dtype)?;
        candle_nn::ops::layer_norm(&x.contiguous()?, &weight, &bias, self.epsilon as f32)
    }
}

//! Layer normalisation that can be trained.

use super::Pointwise;
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Module, Result, Shape, Tensor, WithDType};
use candle_nn::{Init, VarBuilder};
use num_traits::Float;
use rayon::prelude::*;

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

    /// The result rounded to `dtype`, in the same pass on a GPU.
    pub(in crate::models) fn forward_as(&self, x: &Tensor, dtype: DType) -> Result<Tensor> {
        let fits = x.dims().last() == Some(&self.weight.elem_count())
            && self.bias.dims() == self.weight.dims()
            && (x.dtype() == dtype || x.dtype() == DType::F32);
        if fits && Pointwise::runs_on(&[x, &self.weight, &self.bias]) {
            let norm = Pointwise::LayerNorm {
                epsilon: self.epsilon as f32,
            };
            let (weight, bias) = (self.weight.to_dtype(dtype)?, self.bias.to_dtype(dtype)?);
            return norm.of_three(x, &weight, &bias);
        }
        self.by_candle(x)?.to_dtype(dtype)
    }

    fn by_candle(&self, x: &Tensor) -> Result<Tensor> {
        if x.elem_count() == 0 && !x.device().is_cpu() {
            // There candle's sums panic on nothing.
            return x.zeros_like();
        }
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
            let width = self.weight.elem_count();
            let fits = x.dims().last() == Some(&width) && bias.dims() == weight.dims();
            if x.device().is_cpu() && fits && x.elem_count() > 0 {
                let normed = Differentiable {
                    epsilon: self.epsilon,
                };
                return x
                    .contiguous()?
                    .apply_op3(&weight.contiguous()?, &bias.contiguous()?, normed)?
                    .to_dtype(dtype);
            }
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

impl Module for LayerNorm {
    /// `x`: `(…, D)`, of any float dtype; the result has its shape and dtype.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_as(x, x.dtype())
    }
}

/// The normalisation on the CPU with a gradient of its own: summing gradients
/// over positions is slow in the gradient of a broadcast product.
struct Differentiable {
    epsilon: f64,
}

impl CustomOp3 for Differentiable {
    fn name(&self) -> &'static str {
        "layer-norm-differentiable"
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
        use CpuStorage as S;
        let at = |layout: &Layout| match layout.contiguous_offsets() {
            Some((start, end)) => Ok(start..end),
            None => candle_core::bail!("layer norm: expected contiguous tensors"),
        };
        let (x_at, weight_at, bias_at) = (at(x_layout)?, at(weight_layout)?, at(bias_layout)?);
        let result = match (x, weight, bias) {
            (S::F32(x), S::F32(w), S::F32(b)) => S::F32(normalise(
                &x[x_at],
                &w[weight_at],
                &b[bias_at],
                self.epsilon as f32,
            )),
            (S::F64(x), S::F64(w), S::F64(b)) => S::F64(normalise(
                &x[x_at],
                &w[weight_at],
                &b[bias_at],
                self.epsilon,
            )),
            _ => candle_core::bail!("layer norm: expected f32 or f64"),
        };
        Ok((result, x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _bias: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let width = weight.elem_count();
        let rows = x.elem_count() / width.max(1);
        let gradient = gradient.reshape((rows, width))?;
        let x_rows = x.detach().reshape((rows, width))?;
        let centred = x_rows.broadcast_sub(&x_rows.mean_keepdim(1)?)?;
        let variance = centred.sqr()?.mean_keepdim(1)?;
        let scale = (variance + self.epsilon)?.sqrt()?.recip()?;
        let normal = centred.broadcast_mul(&scale)?;
        // A product with ones sums over the positions.
        let ones = Tensor::ones((1, rows), gradient.dtype(), gradient.device())?;
        let d_bias = ones.matmul(&gradient)?.squeeze(0)?;
        let d_weight = ones.matmul(&gradient.mul(&normal)?)?.squeeze(0)?;
        let weighted = gradient.broadcast_mul(&weight.detach())?;
        let along = weighted.mul(&normal)?.mean_keepdim(1)?;
        let dx = weighted
            .broadcast_sub(&weighted.mean_keepdim(1)?)?
            .sub(&normal.broadcast_mul(&along)?)?
            .broadcast_mul(&scale)?
            .reshape(x.shape())?;
        Ok((Some(dx), Some(d_weight), Some(d_bias)))
    }
}

/// Normalises rows as long as `weight`.
fn normalise<T: WithDType + Float>(x: &[T], weight: &[T], bias: &[T], epsilon: T) -> Vec<T> {
    let mut out = vec![<T as num_traits::Zero>::zero(); x.len()];
    let width = weight.len().max(1);
    let count = <T as WithDType>::from_f64(width as f64);
    out.par_chunks_mut(width)
        .zip(x.par_chunks(width))
        .for_each(|(out, x)| {
            let zero = <T as num_traits::Zero>::zero();
            let mean = x.iter().fold(zero, |sum, &x| sum + x) / count;
            let square = |x: T| (x - mean) * (x - mean);
            let variance = x.iter().fold(zero, |sum, &x| sum + square(x)) / count;
            let scale = Float::sqrt(variance + epsilon).recip();
            for ((out, &x), (&weight, &bias)) in out.iter_mut().zip(x).zip(weight.iter().zip(bias))
            {
                *out = (x - mean) * scale * weight + bias;
            }
        });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn training_and_inference_agree() -> Result<()> {
        let cpu = &Device::Cpu;
        let x = Tensor::randn(1f32, 3.0, (3, 5, 8), cpu)?;
        let (weight, bias) = (
            Var::randn(1f32, 0.3, 8, cpu)?,
            Var::randn(0f32, 0.3, 8, cpu)?,
        );
        let constant = LayerNorm::new(weight.as_detached_tensor(), bias.as_detached_tensor(), 1e-5);
        let trained = LayerNorm::new(weight.as_tensor().clone(), bias.as_tensor().clone(), 1e-5);
        for view in [x.clone(), x.transpose(0, 1)?, x.narrow(1, 2, 3)?] {
            let difference = (constant.forward(&view)? - trained.forward(&view)?)?.abs()?;
            assert!(difference.max_all()?.to_scalar::<f32>()? < 2e-6);
            assert!(trained.forward(&view)?.track_op());
        }
        assert!(trained.forward(&x.narrow(2, 0, 7)?).is_err());
        Ok(())
    }
}

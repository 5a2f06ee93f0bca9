//! The GELU in its tanh approximation, together with the bias before it.

use super::Pointwise;
use candle_core::{
    CpuStorage, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor, WithDType,
};
use half::{bf16, f16};
use rayon::prelude::*;

/// `sqrt(2/π)`, twice: the argument of the tanh becomes that of a logistic function.
const TWICE_SCALE: f64 = 2.0 * 0.797_884_560_802_865_4;
const CUBIC: f64 = 0.044_715;

/// Elements that one task works on at least.
const GRAIN: usize = 1 << 14;

/// `gelu(x + bias)` with `gelu(a) = a/2 · (1 + tanh(sqrt(2/π)·(a + 0.044715·a³)))`.
///
/// `x`: `(…, D)`, `bias`: `(D)`, of one float dtype, which the result has too.
/// Differentiable in both. One pass, computed in f32 (f64 for f64), which on the CPU
/// is several times as fast as [`Tensor::gelu`]; on a GPU where no gradient is wanted.
///
/// Hendrycks and Gimpel, *Gaussian Error Linear Units* (2016).
///
/// # Errors
/// When the shapes or dtypes do not fit, or the dtype is not a float one.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_flashfftconv::models::layers::bias_gelu;
/// # fn main() -> candle_core::Result<()> {
/// let x = Tensor::new(&[[-1f32, 0.0, 2.0]], &Device::Cpu)?;
/// let bias = Tensor::new(&[0.5f32, 0.0, -1.0], &Device::Cpu)?;
/// let want = x.broadcast_add(&bias)?.gelu()?;
/// let difference = (bias_gelu(&x, &bias)? - want)?.abs()?.max_all()?;
/// assert!(difference.to_scalar::<f32>()? < 1e-6);
/// # Ok(())
/// # }
/// ```
pub fn bias_gelu(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let computable = matches!(
        x.dtype(),
        DType::F16 | DType::BF16 | DType::F32 | DType::F64
    );
    let fits =
        bias.rank() == 1 && x.dims().last() == bias.dims().last() && x.dtype() == bias.dtype();
    if fits && Pointwise::runs_on(&[x, bias]) {
        return Pointwise::BiasGelu.of_two(x, bias);
    }
    let on_cpu = x.device().is_cpu() && bias.device().is_cpu();
    if computable && fits && on_cpu {
        x.contiguous()?.apply_op2(&bias.contiguous()?, BiasGelu)
    } else {
        // A gradient on a GPU, another device, or an error for candle to tell.
        x.broadcast_add(bias)?.gelu()
    }
}

struct BiasGelu;

impl CustomOp2 for BiasGelu {
    fn name(&self) -> &'static str {
        "bias-gelu"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        use CpuStorage as S;
        let (at_x, at_bias) = (slice(x_layout)?, slice(bias_layout)?);
        let value = |a: f32, b: f32| gelu_f32(a + b).0;
        let result = match (x, bias) {
            (S::F32(x), S::F32(b)) => S::F32(map2(&x[at_x], &b[at_bias], value)),
            (S::F64(x), S::F64(b)) => S::F64(map2(&x[at_x], &b[at_bias], |a, b| gelu_f64(a + b).0)),
            (S::F16(x), S::F16(b)) => S::F16(map2(&x[at_x], &b[at_bias], |a: f16, b: f16| {
                f16::from_f32(value(a.to_f32(), b.to_f32()))
            })),
            (S::BF16(x), S::BF16(b)) => S::BF16(map2(&x[at_x], &b[at_bias], |a: bf16, b: bf16| {
                bf16::from_f32(value(a.to_f32(), b.to_f32()))
            })),
            _ => candle_core::bail!("bias-gelu: expected one float dtype"),
        };
        Ok((result, x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        bias: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let dx = x.apply_op3_no_bwd(bias, &gradient, &BiasGeluGradient)?;
        let width = bias.dim(0)?;
        let rows = dx.elem_count() / width.max(1);
        let dbias = dx.reshape((rows, width))?.sum(0)?;
        Ok((Some(dx), Some(dbias)))
    }
}

/// The gradient of [`BiasGelu`] with respect to `x`.
struct BiasGeluGradient;

impl CustomOp3 for BiasGeluGradient {
    fn name(&self) -> &'static str {
        "bias-gelu-gradient"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        use CpuStorage as S;
        let (at_x, at_b, at_g) = (
            slice(x_layout)?,
            slice(bias_layout)?,
            slice(gradient_layout)?,
        );
        let value = |a: f32, b: f32, g: f32| g * gelu_f32(a + b).1;
        let result = match (x, bias, gradient) {
            (S::F32(x), S::F32(b), S::F32(g)) => S::F32(map3(&x[at_x], &b[at_b], &g[at_g], value)),
            (S::F64(x), S::F64(b), S::F64(g)) => {
                S::F64(map3(&x[at_x], &b[at_b], &g[at_g], |a, b, g| {
                    g * gelu_f64(a + b).1
                }))
            }
            (S::F16(x), S::F16(b), S::F16(g)) => S::F16(map3(
                &x[at_x],
                &b[at_b],
                &g[at_g],
                |a: f16, b: f16, g: f16| f16::from_f32(value(a.to_f32(), b.to_f32(), g.to_f32())),
            )),
            (S::BF16(x), S::BF16(b), S::BF16(g)) => S::BF16(map3(
                &x[at_x],
                &b[at_b],
                &g[at_g],
                |a: bf16, b: bf16, g: bf16| {
                    bf16::from_f32(value(a.to_f32(), b.to_f32(), g.to_f32()))
                },
            )),
            _ => candle_core::bail!("bias-gelu-gradient: expected one float dtype"),
        };
        Ok((result, x_layout.shape().clone()))
    }
}

/// Where a contiguous tensor lies in its storage.
fn slice(layout: &Layout) -> Result<std::ops::Range<usize>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => candle_core::bail!("bias-gelu: expected contiguous tensors"),
    }
}

/// `f(x, bias)` for rows as long as `bias`.
fn map2<T: WithDType>(x: &[T], bias: &[T], f: impl Fn(T, T) -> T + Sync) -> Vec<T> {
    let mut out = vec![T::zero(); x.len()];
    let width = bias.len().max(1);
    let chunk = GRAIN.div_ceil(width).saturating_mul(width);
    out.par_chunks_mut(chunk)
        .zip(x.par_chunks(chunk))
        .for_each(|(out, x)| {
            for (out, x) in out.chunks_mut(width).zip(x.chunks(width)) {
                for ((out, &x), &bias) in out.iter_mut().zip(x).zip(bias) {
                    *out = f(x, bias);
                }
            }
        });
    out
}

/// `f(x, bias, gradient)` for rows as long as `bias`.
fn map3<T: WithDType>(
    x: &[T],
    bias: &[T],
    gradient: &[T],
    f: impl Fn(T, T, T) -> T + Sync,
) -> Vec<T> {
    let mut out = vec![T::zero(); x.len()];
    let width = bias.len().max(1);
    let chunk = GRAIN.div_ceil(width).saturating_mul(width);
    out.par_chunks_mut(chunk)
        .zip(x.par_chunks(chunk))
        .zip(gradient.par_chunks(chunk))
        .for_each(|((out, x), gradient)| {
            let rows = out.chunks_mut(width).zip(x.chunks(width));
            for ((out, x), gradient) in rows.zip(gradient.chunks(width)) {
                let row = out.iter_mut().zip(x).zip(bias).zip(gradient);
                for (((out, &x), &bias), &gradient) in row {
                    *out = f(x, bias, gradient);
                }
            }
        });
    out
}

/// The function and its derivative: `a·s` and `s + a·s·(1 − s)·2u'` with the
/// logistic function `s` of `2u(a) = 2·sqrt(2/π)·(a + 0.044715·a³)`.
#[inline(always)]
fn gelu_f32(a: f32) -> (f32, f32) {
    let (scale, cubic) = (TWICE_SCALE as f32, CUBIC as f32);
    let square = a * a;
    let s = 1.0 / (1.0 + exp_f32(-scale * a * (1.0 + cubic * square)));
    (
        a * s,
        s + a * s * (1.0 - s) * scale * (1.0 + 3.0 * cubic * square),
    )
}

fn gelu_f64(a: f64) -> (f64, f64) {
    let square = a * a;
    let s = 1.0 / (1.0 + (-TWICE_SCALE * a * (1.0 + CUBIC * square)).exp());
    (
        a * s,
        s + a * s * (1.0 - s) * TWICE_SCALE * (1.0 + 3.0 * CUBIC * square),
    )
}

/// `exp(x)` to about one unit in the last place, for `x` clamped to what f32
/// can hold; without a branch or call, so that loops over it become vectors.
#[inline(always)]
pub(super) fn exp_f32(x: f32) -> f32 {
    use std::f32::consts::LOG2_E;
    // Adding 1.5·2^23 rounds to an integer, which the low bits then hold.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first with few enough digits for exact products.
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = (std::f64::consts::LN_2 - 355.0 / 512.0) as f32;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    // Taylor's series on |r| ≤ ln(2)/2: the term left out is below 6e-9.
    let series = 1.0
        + r * (1.0
            + r * (1.0 / 2.0
                + r * (1.0 / 6.0
                    + r * (1.0 / 24.0
                        + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0)))))));
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    series * f32::from_bits(exponent.wrapping_add(127) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_exact_to_two_units() {
        for i in -870_000..880_000 {
            let x = i as f32 * 1e-4;
            let want = f64::from(x).exp();
            let error = (f64::from(exp_f32(x)) - want).abs() / want;
            assert!(error < 2.4e-7, "{x}: {error:e}");
        }
        assert!(exp_f32(f32::NAN).is_nan());
        assert!(exp_f32(-1e30) < 1e-37 && exp_f32(1e30) > 1e38);
    }

    #[test]
    fn agrees_with_its_definition() {
        for i in -2000..2000 {
            let a = f64::from(i) * 0.01 + 1e-3;
            let of = |a: f64| {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (a + 0.044715 * a.powi(3));
                0.5 * a * (1.0 + inner.tanh())
            };
            assert!((gelu_f64(a).0 - of(a)).abs() < 1e-14, "{a}");
            let slope = (of(a + 1e-5) - of(a - 1e-5)) / 2e-5;
            assert!((gelu_f64(a).1 - slope).abs() < 1e-8, "{a}");
            let (value, derivative) = gelu_f32(a as f32);
            let want = gelu_f64(f64::from(a as f32));
            assert!(
                (f64::from(value) - want.0).abs() <= 4e-7 * want.0.abs().max(0.1),
                "{a}"
            );
            assert!((f64::from(derivative) - want.1).abs() <= 2e-6, "{a}");
        }
    }

    #[test]
    fn not_a_number_stays_one() {
        assert!(gelu_f32(f32::NAN).0.is_nan());
        assert_eq!(gelu_f32(f32::INFINITY).0, f32::INFINITY);
    }

    #[test]
    fn every_dtype_and_view() -> Result<()> {
        use candle_core::Device;
        let x = Tensor::randn(0f64, 2.0, (5, 3, 7), &Device::Cpu)?;
        let bias = Tensor::randn(0f64, 1.0, 7, &Device::Cpu)?;
        let want = x.broadcast_add(&bias)?.gelu()?;
        let tolerances = [
            (DType::F64, 1e-12),
            (DType::F32, 1e-6),
            (DType::F16, 1e-2),
            (DType::BF16, 1e-1),
        ];
        for (dtype, tolerance) in tolerances {
            let (x, bias) = (x.to_dtype(dtype)?, bias.to_dtype(dtype)?);
            let transposed = x.transpose(0, 1)?.contiguous()?.transpose(0, 1)?;
            let wider = Tensor::cat(&[&x, &x], 2)?;
            for view in [x.clone(), transposed, wider.narrow(2, 7, 7)?] {
                let got = bias_gelu(&view, &bias)?;
                assert_eq!((got.dtype(), got.dims()), (dtype, &[5, 3, 7][..]));
                let error = (got.to_dtype(DType::F64)? - &want)?.abs()?.max_all()?;
                assert!(error.to_scalar::<f64>()? < tolerance, "{dtype:?}");
            }
        }
        assert_eq!(bias_gelu(&x.narrow(0, 0, 0)?, &bias)?.dims(), [0, 3, 7]);
        assert!(bias_gelu(&x, &bias.narrow(0, 0, 5)?).is_err());
        Ok(())
    }
}

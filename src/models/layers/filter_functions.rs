//! The two functions that take most of an implicit filter's time on the CPU,
//! each in one parallel pass: the sine and the decay.

use super::gelu::exp_f32;
use super::Pointwise;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};
use rayon::prelude::*;
use std::f64::consts::{FRAC_1_PI, FRAC_PI_2, PI};

/// Elements that one task works on.
const GRAIN: usize = 1 << 13;

/// `sin(x + bias)` of `x`, `(F, L)`, and `bias`, `(F, 1)`, differentiable.
pub(super) fn biased_sine(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let in_f32 = x.dtype() == DType::F32 && bias.dtype() == DType::F32;
    if in_f32 && Pointwise::runs_on(&[x, bias]) {
        return Pointwise::Sine.of_two(x, bias);
    }
    sine(&x.broadcast_add(bias)?)
}

/// The sine of every element, differentiable.
fn sine(x: &Tensor) -> Result<Tensor> {
    if x.dtype() == DType::F32 && x.device().is_cpu() {
        x.contiguous()?.apply_op1(Sine { advance: 0.0 })
    } else {
        x.sin()
    }
}

/// `kernel ⊙ (exp(−times·|rates|) + shift)`, `(C, L)`, differentiable in the
/// kernel; `rates` has `C` elements, `times` `L`, and both are constants.
pub(super) fn decayed(
    kernel: &Tensor,
    rates: &Tensor,
    times: &Tensor,
    shift: f64,
) -> Result<Tensor> {
    let (channels, length) = kernel.dims2()?;
    if kernel.dtype() == DType::F32 && Pointwise::runs_on(&[kernel, rates, times]) {
        let decay = Pointwise::Decay {
            shift: shift as f32,
        };
        return decay.of_three(kernel, rates, times);
    }
    let rates = rates.reshape((channels, 1))?.abs()?;
    let times = times.reshape((1, length))?;
    if kernel.dtype() == DType::F32 && kernel.device().is_cpu() {
        let decay = Decay {
            rates: rates.flatten_all()?.to_vec1()?,
            times: times.flatten_all()?.to_vec1()?,
            shift: shift as f32,
        };
        kernel.contiguous()?.apply_op1(decay)
    } else {
        kernel.mul(&(rates.neg()?.matmul(&times)?.exp()? + shift)?)
    }
}

/// `sin(x + advance)`.
#[derive(Clone, Copy)]
struct Sine {
    advance: f64,
}

impl CustomOp1 for Sine {
    fn name(&self) -> &'static str {
        "sine"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = elements(x, layout)?;
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(GRAIN)
            .zip(x.par_chunks(GRAIN))
            .for_each(|(out, x)| sines(x, self.advance, out));
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let cosine = Sine {
            advance: self.advance + FRAC_PI_2,
        };
        Ok(Some(gradient.mul(&x.apply_op1_no_bwd(&cosine)?)?))
    }
}

#[derive(Clone)]
struct Decay {
    rates: Vec<f32>,
    times: Vec<f32>,
    shift: f32,
}

impl CustomOp1 for Decay {
    fn name(&self) -> &'static str {
        "decay"
    }

    fn cpu_fwd(&self, kernel: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let kernel = elements(kernel, layout)?;
        let length = self.times.len().max(1);
        let mut out = vec![0f32; kernel.len()];
        out.par_chunks_mut(length)
            .zip(kernel.par_chunks(length))
            .zip(&self.rates)
            .for_each(|((out, kernel), rate)| {
                for ((out, kernel), time) in out.iter_mut().zip(kernel).zip(&self.times) {
                    *out = kernel * (exp_f32(-rate * time) + self.shift);
                }
            });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, _kernel: &Tensor, _result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        // Linear, with a diagonal matrix: its own transpose.
        gradient.contiguous()?.apply_op1_no_bwd(self).map(Some)
    }
}

/// The elements of a contiguous f32 tensor.
fn elements<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(x), Some((start, end))) => Ok(&x[start..end]),
        _ => candle_core::bail!("expected a contiguous f32 tensor"),
    }
}

/// `out = sin(x + advance)` for slices of one length.
fn sines(x: &[f32], advance: f64, out: &mut [f32]) {
    // Beyond, and for what is no number, the reduction would lose its digits.
    if x.iter().all(|x| x.abs() < 1e6) {
        for (out, &x) in out.iter_mut().zip(x) {
            *out = sine_of_moderate(f64::from(x) + advance);
        }
    } else {
        for (out, &x) in out.iter_mut().zip(x) {
            *out = (f64::from(x) + advance).sin() as f32;
        }
    }
}

/// `sin(x)` to about two units in the last place of f32; without a branch or
/// call, so that loops over it become vectors.
#[inline(always)]
fn sine_of_moderate(x: f64) -> f32 {
    // Adding 1.5·2^52 rounds to an integer, which the low bits then hold.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let shifted = x * FRAC_1_PI + ROUND;
    let half_turns = shifted - ROUND;
    let r = (x - half_turns * PI) as f32;
    // Taylor's series on |r| ≤ π/2: the term left out is below 7e-10.
    let square = r * r;
    let series = 1.0
        - square / 6.0
            * (1.0
                - square / 20.0
                    * (1.0
                        - square / 42.0
                            * (1.0
                                - square / 72.0
                                    * (1.0 - square / 110.0 * (1.0 - square / 156.0)))));
    let sign = (shifted.to_bits() as u32) << 31;
    f32::from_bits((r * series).to_bits() ^ sign)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn sines_are_exact_to_f32() {
        for advance in [0.0, FRAC_PI_2] {
            let x: Vec<f32> = (-200_000..200_000).map(|i| i as f32 * 1.1e-3).collect();
            let mut out = vec![0.0; x.len()];
            sines(&x, advance, &mut out);
            for (x, y) in x.iter().zip(&out) {
                let want = (f64::from(*x) + advance).sin();
                assert!((f64::from(*y) - want).abs() < 2.5e-7, "{x}: {y} {want}");
            }
        }
    }

    #[test]
    fn extreme_arguments_have_their_sines() {
        let mut out = [0.0; 3];
        sines(&[3e20, f32::NAN, 1.0], 0.0, &mut out);
        assert_eq!(out[0], f64::from(3e20f32).sin() as f32);
        assert!(out[1].is_nan());
        assert_eq!(out[2], 1f32.sin());
        sines(&[f32::INFINITY], 0.0, &mut out[..1]);
        assert!(out[0].is_nan());
    }

    #[test]
    fn both_functions_and_their_gradients_agree_with_candle() -> Result<()> {
        let cpu = &Device::Cpu;
        let x = Var::randn(0f32, 5.0, (7, 300), cpu)?;
        let weights = Tensor::randn(0f32, 1.0, (7, 300), cpu)?;
        let rates = Tensor::randn(0f32, 9.0, (1, 1, 7), cpu)?;
        let times = Tensor::rand(0f32, 1.0, (1, 300, 1), cpu)?;
        let decay = rates
            .reshape((7, 1))?
            .abs()?
            .neg()?
            .matmul(&times.reshape((1, 300))?)?;
        let pairs = [
            (sine(&x)?, x.sin()?),
            (
                decayed(&x, &rates, &times, 0.05)?,
                x.mul(&(decay.exp()? + 0.05)?)?,
            ),
        ];
        for (got, want) in pairs {
            let gradient = |y: &Tensor| {
                let gradients = y.mul(&weights)?.sum_all()?.backward()?;
                gradients
                    .get(&x)
                    .cloned()
                    .ok_or(candle_core::Error::Msg("none".into()))
            };
            let differences = [(&got - &want)?, (gradient(&got)? - gradient(&want)?)?];
            for difference in differences {
                let largest = difference.abs()?.max_all()?.to_scalar::<f32>()?;
                assert!(largest < 3e-6, "{largest}");
            }
        }
        Ok(())
    }
}

//! What concerns the long convolution on the CPU alone: threads, and its largest sizes.

use crate::common::{deviation, random_tensor, to_f64};
use candle_core::{DType, Device, Module, Result, Tensor};
use candle_flashfftconv::FlashFftConv;

/// Outputs and gradients of one training step.
fn step(u: &Tensor, k: &Tensor, dy: &Tensor) -> Result<Vec<Vec<f64>>> {
    let u = candle_core::Var::from_tensor(u)?;
    let k = candle_core::Var::from_tensor(k)?;
    let y = FlashFftConv::causal(u.dim(2)?, &Device::Cpu)?.forward(&u, &k)?;
    let gradients = y.mul(dy)?.sum_all()?.backward()?;
    let gradient = |v| gradients.get(v).map(to_f64).unwrap_or_default();
    Ok(vec![to_f64(&y), gradient(&u), gradient(&k)])
}

#[test]
fn bit_identical_from_call_to_call_and_for_any_number_of_threads() -> Result<()> {
    for shape in [[70, 1, 300], [3, 80, 129], [9, 2, 5000]] {
        let random = |seed, shape: &[usize]| random_tensor(seed, shape, DType::F32, &Device::Cpu);
        let (u, dy) = (random(1, &shape)?, random(2, &shape)?);
        let k = random(3, &[shape[1], shape[2]])?;
        let first = step(&u, &k, &dy)?;
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let again = pool
                .map_err(candle_core::Error::wrap)?
                .install(|| step(&u, &k, &dy))?;
            assert!(first == again, "{shape:?} with {threads} threads");
        }
    }
    Ok(())
}

#[test]
fn a_prepared_kernel_serves_many_threads() -> Result<()> {
    use rayon::prelude::*;
    let k = random_tensor(1, &[3, 500], DType::F64, &Device::Cpu)?;
    let u = random_tensor(2, &[2, 3, 2000], DType::F64, &Device::Cpu)?;
    let want = to_f64(&FlashFftConv::causal(2000, &Device::Cpu)?.forward(&u, &k)?);
    for _ in 0..20 {
        // Each round starts with first calls, which compute the spectra, on all threads at once.
        let prepared = FlashFftConv::causal(2000, &Device::Cpu)?.prepare(&k)?;
        let results: Vec<Result<Tensor>> = (0..16usize)
            .into_par_iter()
            .map(|_| prepared.forward(&u))
            .collect();
        for y in results {
            assert!(to_f64(&y?) == want);
        }
    }
    Ok(())
}

/// A kernel of a few single taps, whose convolution is a sum of shifted inputs.
fn largest_size(
    conv: FlashFftConv,
    length: usize,
    taps: usize,
    period: Option<usize>,
) -> Result<()> {
    let lags = [
        (0, 0.5f32),
        (1, -1.0),
        (taps / 2 + 3, 0.25),
        (taps - 1, 2.0),
    ];
    let mut k = vec![0f32; taps];
    for (lag, value) in lags {
        k[lag] = value;
    }
    let u: Vec<f32> = (0..length)
        .map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0)
        .collect();
    let y = conv.forward(
        &Tensor::from_slice(&u, (1, 1, length), &Device::Cpu)?,
        &Tensor::from_vec(k, (1, taps), &Device::Cpu)?,
    )?;
    let mut want = vec![0f64; length];
    for (lag, value) in lags {
        for (t, w) in want.iter_mut().enumerate() {
            let index = match period {
                Some(n) => (t + n - lag) % n,
                None if lag > t => continue,
                None => t - lag,
            };
            *w += f64::from(value) * u.get(index).copied().map_or(0.0, f64::from);
        }
    }
    let d = deviation(&to_f64(&y), &want);
    assert!(d.relative_rms < 2e-6 && d.relative_max < 2e-6, "{d:?}");
    Ok(())
}

#[test]
fn the_largest_causal_size() -> Result<()> {
    let n = 1 << 23;
    largest_size(FlashFftConv::causal(n, &Device::Cpu)?, n, n, None)
}

#[test]
fn the_largest_circular_size() -> Result<()> {
    let n = 1 << 24;
    largest_size(FlashFftConv::new(n, &Device::Cpu)?, n, n, Some(n))
}

#[test]
fn a_short_kernel_on_a_long_sequence() -> Result<()> {
    let n = 3_000_001;
    largest_size(FlashFftConv::causal(n, &Device::Cpu)?, n, 2000, None)
}

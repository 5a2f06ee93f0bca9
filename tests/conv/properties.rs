//! Properties that hold for every long convolution, on random sizes.

use crate::common::conv::{finest, Way, DTYPES};
use crate::common::{deviation, random_tensor, to_f64};
use crate::twin;
use candle_core::{DType, Device, Module, Result, Tensor};
use candle_flashfftconv::FlashFftConv;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Random numbers in the most precise dtype that the device computes in.
pub fn random(seed: u64, shape: &[usize], device: &Device) -> Result<Tensor> {
    random_tensor(seed, shape, finest(device), device)
}

/// What rounding may add up to in that dtype.
fn tolerance(device: &Device) -> f64 {
    match finest(device) {
        DType::F64 => 1e-11,
        _ => 1e-5,
    }
}

pub fn near(got: &Tensor, want: &Tensor) {
    assert_eq!(got.dims(), want.dims());
    let want = to_f64(want);
    assert!(want.iter().any(|&w| w != 0.0), "nothing to compare");
    let d = deviation(&to_f64(got), &want);
    assert!(d.relative_rms < tolerance(got.device()), "{d:?}");
}

/// Runs `body` on values of the strategy; a failure is shrunk to a small value.
pub fn for_all<S: Strategy>(strategy: S, body: impl Fn(S::Value) -> Result<()>) -> Result<()> {
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(48)
    };
    TestRunner::new(config)
        .run(&strategy, |value| {
            body(value).map_err(|e| TestCaseError::fail(e.to_string()))
        })
        .map_err(|e| candle_core::Error::Msg(e.to_string()))
}

/// Every way to compute the same causal convolution.
fn all_ways(u: &Tensor, k: &Tensor) -> Result<Vec<Tensor>> {
    let (length, device) = (u.dim(2)?, u.device());
    let ones = u.ones_like()?;
    let causal = FlashFftConv::causal(length, device)?;
    // Taps beyond the sequence would reach around a circle.
    let kept = k.narrow(1, 0, length.min(k.dim(1)?))?;
    let circular = FlashFftConv::new(2 * length, device)?;
    let odd = FlashFftConv::new(2 * length + 1, device)?;
    let mut results = vec![
        causal.forward(u, k)?,
        causal.prepare(k)?.forward(u)?,
        circular.forward(u, &kept)?,
        circular.prepare(&kept)?.forward(u)?,
        odd.forward(u, &kept)?,
    ];
    for way in Way::ALL {
        results.push(way.compute(&causal, u, k, &ones, &ones)?);
    }
    Ok(results)
}

fn all_ways_agree(device: &Device) -> Result<()> {
    let sizes = (1usize..700, 1usize..700, 1usize..4, 1usize..4);
    for_all(sizes, |(length, taps, batch, channels)| {
        let u = random(1, &[batch, channels, length], device)?;
        let k = random(2, &[channels, taps], device)?;
        let ways = all_ways(&u, &k)?;
        for way in &ways[1..] {
            near(way, &ways[0]);
        }
        Ok(())
    })
}
twin!(ways, super::all_ways_agree);

fn linear_in_both(device: &Device) -> Result<()> {
    let values = (1usize..500, 1usize..500, -3f64..3.0);
    for_all(values, |(length, taps, a)| {
        let conv = FlashFftConv::causal(length, device)?;
        let sequence = |seed| random(seed, &[1, 2, length], device);
        let kernel = |seed| random(seed, &[2, taps], device);
        let (u, v, k, l) = (sequence(1)?, sequence(2)?, kernel(3)?, kernel(4)?);
        let f = |u: &Tensor, k: &Tensor| conv.forward(u, k);
        let mixed = ((&u * a)? + &v)?;
        near(&f(&mixed, &k)?, &((f(&u, &k)? * a)? + f(&v, &k)?)?);
        let mixed = ((&k * a)? + &l)?;
        near(&f(&u, &mixed)?, &((f(&u, &k)? * a)? + f(&u, &l)?)?);
        Ok(())
    })
}
twin!(linearity, super::linear_in_both);

fn a_circular_convolution_commutes_with_rotation(device: &Device) -> Result<()> {
    for_all((2usize..400, 0usize..400), |(n, shift)| {
        let shift = shift % n;
        let conv = FlashFftConv::new(n, device)?;
        let u = random(1, &[2, 1, n], device)?;
        let k = random(2, &[1, n], device)?;
        let rotate = |t: &Tensor| t.roll(shift as i32, 2);
        near(
            &conv.forward(&rotate(&u)?, &k)?,
            &rotate(&conv.forward(&u, &k)?)?,
        );
        // And it does not matter which of the two is the kernel.
        let first = u.narrow(0, 0, 1)?;
        near(
            &conv.forward(&k.unsqueeze(0)?, &first.squeeze(0)?)?,
            &conv.forward(&first, &k)?,
        );
        Ok(())
    })
}
twin!(
    rotation,
    super::a_circular_convolution_commutes_with_rotation
);

/// A causal convolution of a sequence that starts later starts later, and is the same otherwise.
fn a_causal_convolution_commutes_with_delay(device: &Device) -> Result<()> {
    let values = (1usize..400, 1usize..400, 1usize..600);
    for_all(values, |(length, delay, taps)| {
        let conv = FlashFftConv::causal(length + delay, device)?;
        let u = random(1, &[2, 1, length], device)?;
        let k = random(2, &[1, taps], device)?;
        let later = conv.forward(&u.pad_with_zeros(2, delay, 0)?, &k)?;
        near(&later.narrow(2, delay, length)?, &conv.forward(&u, &k)?);
        Ok(())
    })
}
twin!(delay, super::a_causal_convolution_commutes_with_delay);

fn nothing_comes_before_its_cause(device: &Device) -> Result<()> {
    let values = (2usize..500, 1usize..500, 1usize..600);
    for_all(values, |(length, cut, taps)| {
        let cut = 1 + cut % (length - 1);
        let conv = FlashFftConv::causal(length, device)?;
        let u = random(1, &[1, 1, length], device)?;
        let k = random(2, &[1, taps], device)?;
        let later = random(3, &[1, 1, length - cut], device)?;
        let changed = Tensor::cat(&[&u.narrow(2, 0, cut)?, &later], 2)?;
        let got = to_f64(&conv.forward(&changed, &k)?);
        let want = to_f64(&conv.forward(&u, &k)?);
        // A transform rounds relative to the largest number of the row.
        let largest = want.iter().chain(&got).fold(0f64, |m, y| m.max(y.abs()));
        for (got, want) in got.iter().zip(&want).take(cut) {
            assert!((got - want).abs() <= tolerance(device) * largest);
        }
        Ok(())
    })
}
twin!(causality, super::nothing_comes_before_its_cause);

fn rows_do_not_depend_on_each_other(device: &Device) -> Result<()> {
    for_all(
        (1usize..3000, 1usize..3000, 1usize..5),
        |(length, taps, batch)| {
            let conv = FlashFftConv::causal(length, device)?;
            let u = random_tensor(1, &[batch, 3, length], DType::F32, device)?;
            let k = random_tensor(2, &[3, taps], DType::F32, device)?;
            let y = conv.forward(&u, &k)?;
            // Fewer rows may take another kernel on the GPU, which rounds otherwise.
            let same = |alone: Tensor, together: Tensor| match device.is_cpu() {
                true => assert_eq!(to_f64(&alone), to_f64(&together)),
                false => near(&alone, &together),
            };
            for b in 0..batch {
                let alone = conv.forward(&u.narrow(0, b, 1)?, &k)?;
                same(alone, y.narrow(0, b, 1)?);
            }
            let alone = conv.forward(&u.narrow(1, 1, 1)?, &k.narrow(0, 1, 1)?)?;
            same(alone, y.narrow(1, 1, 1)?);
            Ok(())
        },
    )
}
twin!(rows, super::rows_do_not_depend_on_each_other);

fn bit_identical_from_call_to_call(device: &Device) -> Result<()> {
    for shape in [
        [70, 1, 300],
        [3, 80, 129],
        [9, 2, 5000],
        [2, 3, 32768],
        [4, 4, 1024],
    ] {
        for dtype in DTYPES {
            let u = random_tensor(1, &shape, dtype, device)?;
            let gate = random_tensor(2, &shape, dtype, device)?;
            let k = random_tensor(3, &[shape[1], shape[2]], DType::F32, device)?;
            let conv = FlashFftConv::causal(shape[2], device)?;
            for way in Way::ALL {
                let first = to_f64(&way.compute(&conv, &u, &k, &gate, &u)?);
                for _ in 0..3 {
                    let again = to_f64(&way.compute(&conv, &u, &k, &gate, &u)?);
                    assert!(first == again, "{shape:?} {dtype:?} {way:?}");
                }
            }
        }
    }
    Ok(())
}
twin!(determinism, super::bit_identical_from_call_to_call);

fn one_plan_serves_every_length_up_to_its_own(device: &Device) -> Result<()> {
    let conv = FlashFftConv::causal(2000, device)?;
    let k = random(1, &[2, 2000], device)?;
    let prepared = conv.prepare(&k)?;
    for length in [2000, 1, 5, 2000, 700, 33, 129, 2000] {
        let u = random(2, &[1, 2, length], device)?;
        near(&prepared.forward(&u)?, &conv.forward(&u, &k)?);
    }
    Ok(())
}
twin!(lengths, super::one_plan_serves_every_length_up_to_its_own);

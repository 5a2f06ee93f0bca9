//! Properties that hold for every long convolution, on random sizes.

mod common;

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_flashfftconv::FlashFftConv;
use common::{deviation, random_tensor, to_f64};
use proptest::prelude::*;

fn random(seed: u64, shape: &[usize]) -> Result<Tensor> {
    random_tensor(seed, shape, DType::F64, &Device::Cpu)
}

fn near(got: &Tensor, want: &Tensor) {
    assert_eq!(got.dims(), want.dims());
    let want = to_f64(want);
    assert!(want.iter().any(|&w| w != 0.0), "nothing to compare");
    let d = deviation(&to_f64(got), &want);
    assert!(d.relative_rms < 1e-11, "{d:?}");
}

/// Every way to compute the same causal convolution.
fn all_ways(u: &Tensor, k: &Tensor) -> Result<Vec<Tensor>> {
    let length = u.dim(2)?;
    let ones = u.ones_like()?;
    let z = Tensor::cat(&[&ones, &ones, u], 1)?;
    let causal = FlashFftConv::causal(length, &Device::Cpu)?;
    // Taps beyond the sequence would reach around a circle.
    let kept = k.narrow(1, 0, length.min(k.dim(1)?))?;
    let circular = FlashFftConv::new(2 * length, &Device::Cpu)?;
    let odd = FlashFftConv::new(2 * length + 1, &Device::Cpu)?;
    Ok(vec![
        causal.forward(u, k)?,
        causal.forward_gated(u, k, &ones, &ones)?,
        causal.forward_projected(&z, k)?,
        causal.prepare(k)?.forward(u)?,
        causal.prepare(k)?.forward_gated(u, &ones, &ones)?,
        causal.prepare(k)?.forward_projected(&z)?,
        circular.forward(u, &kept)?,
        circular.prepare(&kept)?.forward(u)?,
        odd.forward(u, &kept)?,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn all_ways_agree(length in 1usize..700, taps in 1usize..700, batch in 1usize..4, channels in 1usize..4) {
        let u = random(1, &[batch, channels, length]).unwrap();
        let k = random(2, &[channels, taps]).unwrap();
        let ways = all_ways(&u, &k).unwrap();
        for way in &ways[1..] {
            near(way, &ways[0]);
        }
    }

    #[test]
    fn linear_in_both(length in 1usize..500, taps in 1usize..500, a in -3f64..3.0) {
        let conv = FlashFftConv::causal(length, &Device::Cpu).unwrap();
        let (u, v) = (random(1, &[1, 2, length]).unwrap(), random(2, &[1, 2, length]).unwrap());
        let (k, l) = (random(3, &[2, taps]).unwrap(), random(4, &[2, taps]).unwrap());
        let f = |u: &Tensor, k: &Tensor| conv.forward(u, k).unwrap();
        let mixed = ((&u * a).unwrap() + &v).unwrap();
        near(&f(&mixed, &k), &((f(&u, &k) * a).unwrap() + f(&v, &k)).unwrap());
        let mixed = ((&k * a).unwrap() + &l).unwrap();
        near(&f(&u, &mixed), &((f(&u, &k) * a).unwrap() + f(&u, &l)).unwrap());
    }

    #[test]
    fn a_circular_convolution_commutes_with_rotation(n in 2usize..400, shift in 0usize..400) {
        let shift = shift % n;
        let conv = FlashFftConv::new(n, &Device::Cpu).unwrap();
        let u = random(1, &[2, 1, n]).unwrap();
        let k = random(2, &[1, n]).unwrap();
        let rotated = u.roll(shift as i32, 2).unwrap();
        near(
            &conv.forward(&rotated, &k).unwrap(),
            &conv.forward(&u, &k).unwrap().roll(shift as i32, 2).unwrap(),
        );
        // And it does not matter which of the two is the kernel.
        let first = u.narrow(0, 0, 1).unwrap();
        near(
            &conv.forward(&k.unsqueeze(0).unwrap(), &first.squeeze(0).unwrap()).unwrap(),
            &conv.forward(&first, &k).unwrap(),
        );
    }

    #[test]
    fn nothing_comes_before_its_cause(length in 2usize..500, cut in 1usize..500, taps in 1usize..600) {
        let cut = 1 + cut % (length - 1);
        let conv = FlashFftConv::causal(length, &Device::Cpu).unwrap();
        let u = random(1, &[1, 1, length]).unwrap();
        let k = random(2, &[1, taps]).unwrap();
        let later = random(3, &[1, 1, length - cut]).unwrap();
        let changed = Tensor::cat(&[&u.narrow(2, 0, cut).unwrap(), &later], 2).unwrap();
        near(
            &conv.forward(&changed, &k).unwrap().narrow(2, 0, cut).unwrap(),
            &conv.forward(&u, &k).unwrap().narrow(2, 0, cut).unwrap(),
        );
    }

    #[test]
    fn rows_do_not_depend_on_each_other(length in 1usize..3000, taps in 1usize..3000, batch in 1usize..5) {
        let conv = FlashFftConv::causal(length, &Device::Cpu).unwrap();
        let u = random(1, &[batch, 3, length]).unwrap().to_dtype(DType::F32).unwrap();
        let k = random(2, &[3, taps]).unwrap().to_dtype(DType::F32).unwrap();
        let y = conv.forward(&u, &k).unwrap();
        for b in 0..batch {
            let alone = conv.forward(&u.narrow(0, b, 1).unwrap(), &k).unwrap();
            prop_assert_eq!(to_f64(&alone), to_f64(&y.narrow(0, b, 1).unwrap()));
        }
        let alone = conv.forward(&u.narrow(1, 1, 1).unwrap(), &k.narrow(0, 1, 1).unwrap()).unwrap();
        prop_assert_eq!(to_f64(&alone), to_f64(&y.narrow(1, 1, 1).unwrap()));
    }
}

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
fn one_plan_serves_every_length_up_to_its_own() -> Result<()> {
    let conv = FlashFftConv::causal(2000, &Device::Cpu)?;
    let k = random(1, &[2, 2000])?;
    let prepared = conv.prepare(&k)?;
    for length in [2000, 1, 5, 2000, 700, 33, 129, 2000] {
        let u = random(2, &[1, 2, length])?;
        near(&prepared.forward(&u)?, &conv.forward(&u, &k)?);
    }
    Ok(())
}

#[test]
fn a_prepared_kernel_serves_many_threads() -> Result<()> {
    use rayon::prelude::*;
    let k = random(1, &[3, 500])?;
    let u = random(2, &[2, 3, 2000])?;
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

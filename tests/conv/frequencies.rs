//! Kernels of which only the lowest frequencies are kept, against their definition in float64.

use crate::common::conv::{double, naive, tensor_within, tolerance, Kind, Tolerance, Way, DTYPES};
use crate::common::{random_tensor, to_f64};
use crate::gradients::check_gradients;
use crate::properties::{for_all, near, random};
use crate::twin;
use candle_core::{DType, Device, Module, Result, Tensor};
use candle_flashfftconv::FlashFftConv;

/// A plan of either kind, and its limit.
#[derive(Clone, Copy, Debug)]
struct Plan {
    kind: Kind,
    max_len: usize,
    kept: usize,
}

impl Plan {
    fn fft_size(self) -> usize {
        match self.kind {
            Kind::Circular(n) => n,
            Kind::Causal => 2 * self.max_len,
        }
    }

    fn conv(self, device: &Device) -> Result<FlashFftConv> {
        self.kind
            .plan(self.max_len, device)?
            .with_kept_frequencies(self.kept)
    }

    /// `irfft(rfft(k, n) ⊙ mask, n)`, coefficient by coefficient.
    fn filtered(self, k: &Tensor) -> Result<Tensor> {
        let n = self.fft_size();
        let (channels, taps) = k.dims2()?;
        let longest = match self.kind {
            Kind::Circular(_) => n,
            Kind::Causal => self.max_len,
        };
        let turn = 2.0 * std::f64::consts::PI / n as f64;
        let waves: Vec<(f64, f64)> = (0..n).map(|i| (turn * i as f64).sin_cos()).collect();
        let k = to_f64(k);
        let mut filtered = vec![0f64; channels * n];
        for channel in 0..channels {
            for f in 0..self.kept {
                let (mut re, mut im) = (0.0, 0.0);
                for (j, tap) in k[channel * taps..][..taps.min(longest)].iter().enumerate() {
                    let (sin, cos) = waves[f * j % n];
                    re += tap * cos;
                    im -= tap * sin;
                }
                // Frequency 0 and half the sampling rate have no mirror image.
                let weight = if f == 0 || 2 * f == n { 1.0 } else { 2.0 };
                for (j, y) in filtered[channel * n..][..n].iter_mut().enumerate() {
                    let (sin, cos) = waves[f * j % n];
                    *y += weight * (re * cos - im * sin) / n as f64;
                }
            }
        }
        Tensor::from_vec(filtered, (channels, n), &Device::Cpu)
    }

    /// The definition of the whole operation.
    fn reference(self, v: &Tensor, k: &Tensor) -> Result<Tensor> {
        naive(v, &self.filtered(k)?, Kind::Circular(self.fft_size()))
    }
}

const fn causal(max_len: usize, kept: usize) -> Plan {
    Plan {
        kind: Kind::Causal,
        max_len,
        kept,
    }
}

const fn circular(fft_size: usize, kept: usize) -> Plan {
    Plan {
        kind: Kind::Circular(fft_size),
        max_len: fft_size,
        kept,
    }
}

/// Sequence length, taps, plan.
const CASES: &[(usize, usize, Plan)] = &[
    (1, 1, causal(1, 1)),
    (1, 1, causal(1, 2)),
    (1, 5, causal(1, 1)),
    (2, 2, causal(2, 1)),
    (2, 2, causal(2, 3)),
    (3, 1, causal(7, 2)),
    (129, 129, causal(129, 20)),
    (129, 129, causal(129, 130)),
    (129, 129, causal(129, 129)),
    (100, 200, causal(129, 33)),
    (372, 1, causal(372, 100)),
    (372, 17, causal(500, 64)),
    (1134, 1134, causal(1134, 300)),
    (600, 40, causal(1024, 128)),
    (1, 1, circular(1, 1)),
    (2, 2, circular(2, 1)),
    (3, 2, circular(3, 1)),
    (3, 2, circular(3, 2)),
    (45, 45, circular(45, 12)),
    (45, 45, circular(45, 23)),
    (129, 258, circular(258, 30)),
    (372, 372, circular(500, 250)),
    (372, 500, circular(743, 100)),
    (512, 3, circular(512, 256)),
];

fn dtypes(device: &Device) -> Vec<DType> {
    let mut dtypes = DTYPES.to_vec();
    if device.is_cpu() {
        dtypes.push(DType::F64);
    }
    dtypes
}

/// Of the filter and of the convolution, and a little more where few numbers are compared.
fn bound(dtype: DType, device: &Device) -> Tolerance {
    tolerance(dtype, device).times(2.0)
}

fn by_every_way(device: &Device) -> Result<()> {
    for &(length, taps, plan) in CASES {
        let k = random_tensor(2, &[3, taps], DType::F32, &Device::Cpu)?;
        let filtered = plan.filtered(&k)?;
        let kind = Kind::Circular(plan.fft_size());
        let k = k.to_device(device)?;
        for dtype in dtypes(device) {
            let z = random_tensor(1, &[2, 9, length], dtype, device)?;
            let exact = double(&z)?;
            let (out_gate, in_gate, u) =
                (z.narrow(1, 0, 3)?, z.narrow(1, 3, 3)?, z.narrow(1, 6, 3)?);
            let what = format!("L {length}, {taps} taps, {plan:?}, {dtype:?}");
            let conv = plan.conv(device)?;

            let want = naive(&exact.narrow(1, 6, 3)?, &filtered, kind)?;
            for way in Way::UNGATED {
                let y = way.compute_ungated(&conv, &u, &k)?;
                assert_eq!(y.dtype(), dtype);
                tensor_within(&y, &want, bound(dtype, device), &what);
            }
            let gated = (exact.narrow(1, 6, 3)? * exact.narrow(1, 3, 3)?)?;
            let want = (naive(&gated, &filtered, kind)? * exact.narrow(1, 0, 3)?)?;
            for way in Way::GATED {
                let y = way.compute(&conv, &u, &k, &in_gate, &out_gate)?;
                tensor_within(&y, &want, bound(dtype, device), &format!("{what}, {way:?}"));
            }
        }
    }
    Ok(())
}
twin!(reference, super::by_every_way);

#[test]
fn gradients_are_the_differences_of_the_loss() -> Result<()> {
    let device = &Device::Cpu;
    for &(length, taps, plan) in CASES.iter().chain(BANDS) {
        let name = format!("L {length}, {taps} taps, {plan:?}");
        let sequence = |seed| random_tensor(seed, &[2, 3, length], DType::F64, device);
        let k = random_tensor(4, &[3, taps], DType::F64, device)?;
        let dy = sequence(5)?;
        let all = [sequence(1)?, sequence(2)?, sequence(3)?, k.clone()];
        let conv = plan.conv(device)?;
        let prepared = conv.prepare(&k)?;
        let product = |y: Tensor| y.mul(&dy)?.sum_all();
        check_gradients(&name, &all, &|v| {
            product(conv.forward_gated(&v[0], &v[3], &v[1], &v[2])?)
        })?;
        check_gradients(&name, &all[..3], &|v| {
            product(prepared.forward_gated(&v[0], &v[1], &v[2])?)
        })?;
        check_gradients(&name, &[all[0].clone(), k.clone()], &|v| {
            product(conv.forward(&v[0], &v[1])?)
        })?;
    }
    Ok(())
}

/// So few frequencies that the CPU computes rows of these lengths by way of shorter ones.
const BANDS: &[(usize, usize, Plan)] = &[
    (4096, 4096, causal(4096, 8)),
    (4096, 4096, causal(4096, 1)),
    (2048, 100, causal(4096, 64)),
    (4001, 1, causal(5000, 30)),
    (5000, 7000, causal(5000, 78)),
    (12288, 12288, circular(12288, 20)),
    (12000, 5000, circular(12288, 96)),
    (60_001, 65_536, causal(65_536, 100)),
];

fn few_frequencies(device: &Device) -> Result<()> {
    for &(length, taps, plan) in BANDS {
        let k = random_tensor(2, &[2, taps], DType::F32, &Device::Cpu)?;
        // Not by this limit: of kernels that have no other frequencies.
        let exact =
            FlashFftConv::new(plan.fft_size(), &Device::Cpu)?.prepare(&plan.filtered(&k)?)?;
        let conv = plan.conv(device)?;
        let k = k.to_device(device)?;
        for dtype in dtypes(device) {
            let z = random_tensor(1, &[2, 6, length], dtype, device)?;
            let (out_gate, in_gate, u) =
                (z.narrow(1, 0, 2)?, z.narrow(1, 2, 2)?, z.narrow(1, 4, 2)?);
            let what = format!("L {length}, {taps} taps, {plan:?}, {dtype:?}");
            let want = exact.forward(&double(&u)?)?;
            for way in Way::UNGATED {
                let y = way.compute_ungated(&conv, &u, &k)?;
                tensor_within(&y, &want, bound(dtype, device), &format!("{what}, {way:?}"));
            }
            let want = exact.forward_projected(&double(&z)?)?;
            for way in Way::GATED {
                let y = way.compute(&conv, &u, &k, &in_gate, &out_gate)?;
                tensor_within(&y, &want, bound(dtype, device), &format!("{what}, {way:?}"));
            }
        }
    }
    Ok(())
}
twin!(bands, super::few_frequencies);

fn random_plans_follow_the_definition(device: &Device) -> Result<()> {
    let values = (1usize..300, 1usize..300, 1usize..300, 0f64..1.0);
    for_all(values, |(max_len, length, taps, share)| {
        let length = length.min(max_len);
        let kept = 1 + (share * max_len as f64) as usize;
        let u = random(1, &[2, 2, length], device)?;
        let k = random(2, &[2, taps], device)?;
        for plan in [
            causal(max_len, kept),
            circular(2 * max_len - 1, kept.min(max_len)),
        ] {
            let taps = taps.min(plan.fft_size());
            let k = k.narrow(1, 0, taps)?;
            let conv = plan.conv(device)?;
            let want = plan.reference(&u, &k)?;
            near(&conv.forward(&u, &k)?, &want);
            near(&conv.prepare(&k)?.forward(&u)?, &want);
        }
        Ok(())
    })
}
twin!(definition, super::random_plans_follow_the_definition);

fn all_frequencies_change_nothing(device: &Device) -> Result<()> {
    for_all((1usize..600, 1usize..600), |(length, taps)| {
        let u = random(1, &[2, 2, length], device)?;
        let k = random(2, &[2, taps], device)?;
        let conv = FlashFftConv::causal(length, device)?;
        let all = conv.clone().with_kept_frequencies(length + 1)?;
        near(&all.forward(&u, &k)?, &conv.forward(&u, &k)?);
        near(&all.prepare(&k)?.forward(&u)?, &conv.forward(&u, &k)?);
        Ok(())
    })
}
twin!(all_kept, super::all_frequencies_change_nothing);

/// The band that is kept and what a kernel without it keeps add up to the kernel.
fn bands_add_up(device: &Device) -> Result<()> {
    for_all((2usize..400, 0f64..1.0, -3f64..3.0), |(n, share, a)| {
        let u = random(1, &[1, 2, n], device)?;
        let (k, l) = (random(2, &[2, n], device)?, random(3, &[2, n], device)?);
        let conv = FlashFftConv::new(n, device)?;
        let kept = 1 + (share * (n / 2) as f64) as usize;
        let low = conv.clone().with_kept_frequencies(kept)?;
        let f = |u: &Tensor, k: &Tensor| low.forward(u, k);
        // Linear in both, and the last limit counts.
        near(
            &f(&u, &((&k * a)? + &l)?)?,
            &((f(&u, &k)? * a)? + f(&u, &l)?)?,
        );
        let again = low.clone().with_kept_frequencies(n / 2 + 1)?;
        near(&again.forward(&u, &k)?, &conv.forward(&u, &k)?);
        // The filter of a filtered kernel is the kernel: u is the impulse that shows it.
        let impulse = Tensor::new(&[[[1f32]]], &Device::Cpu)?
            .to_dtype(u.dtype())?
            .to_device(device)?
            .pad_with_zeros(2, 0, n - 1)?
            .repeat((1, 2, 1))?;
        let filtered = f(&impulse, &k)?;
        near(&f(&impulse, &filtered.squeeze(0)?)?, &filtered);
        near(&conv.forward(&u, &filtered.squeeze(0)?)?, &f(&u, &k)?);
        Ok(())
    })
}
twin!(sums, super::bands_add_up);

/// A short sequence has the same result as one that is padded to the plan's length.
fn lengths_do_not_change_the_filter(device: &Device) -> Result<()> {
    lengths_of(700, 90, &[700, 1, 2, 129, 372, 700, 5], device)?;
    lengths_of(8192, 16, &[8192, 1, 129, 2047, 2048, 5000, 1000], device)
}

fn lengths_of(max_len: usize, kept: usize, lengths: &[usize], device: &Device) -> Result<()> {
    let channels = 2;
    let conv = FlashFftConv::causal(max_len, device)?.with_kept_frequencies(kept)?;
    let k = random(1, &[channels, max_len], device)?;
    let prepared = conv.prepare(&k)?;
    for &length in lengths {
        let u = random(2, &[2, channels, length], device)?;
        let padded = u.pad_with_zeros(2, 0, max_len - length)?;
        let want = conv.forward(&padded, &k)?.narrow(2, 0, length)?;
        near(&conv.forward(&u, &k)?, &want);
        near(&prepared.forward(&u)?, &want);
        let longer = k.pad_with_zeros(1, 0, 10)?.contiguous()?;
        near(&conv.forward(&u, &longer)?, &want);
    }
    Ok(())
}
twin!(lengths, super::lengths_do_not_change_the_filter);

fn views_of_sequences_and_kernels(device: &Device) -> Result<()> {
    let plan = causal(129, 20);
    let conv = plan.conv(device)?;
    let big = random(1, &[3, 5, 140], device)?;
    let u = big.narrow(0, 1, 2)?.narrow(1, 2, 3)?.narrow(2, 7, 129)?;
    let kernels = random(2, &[6, 131], device)?;
    let k = kernels.narrow(0, 1, 3)?.narrow(1, 1, 129)?;
    let transposed = k.t()?.contiguous()?.t()?;
    let broadcast = k.narrow(0, 1, 1)?.broadcast_as((3, 129))?;
    for k in [&k, &transposed, &broadcast] {
        let want = plan.reference(&u, k)?;
        near(&conv.forward(&u, k)?, &want);
        near(&conv.prepare(k)?.forward(&u)?, &want);
        let turned = u.transpose(1, 2)?.contiguous()?.transpose(1, 2)?;
        near(&conv.forward(&turned, k)?, &want);
    }
    Ok(())
}
twin!(views, super::views_of_sequences_and_kernels);

fn what_is_not_finite_stays(device: &Device) -> Result<()> {
    not_finite_at(372, 50, device)?;
    not_finite_at(2500, 2, device)
}

fn not_finite_at(length: usize, kept: usize, device: &Device) -> Result<()> {
    let conv = FlashFftConv::causal(length, device)?.with_kept_frequencies(kept)?;
    let u = random_tensor(1, &[2, 3, length], DType::F32, device)?;
    let k = random_tensor(2, &[3, length], DType::F32, device)?;
    let want = conv.forward(&u, &k)?;
    let bad = |t: &Tensor, row: usize| -> Result<Tensor> {
        let mut values = to_f64(t);
        let length = t.dims()[t.rank() - 1];
        values[row * length + 100] = f64::NAN;
        Tensor::from_vec(values, t.shape(), &Device::Cpu)?
            .to_dtype(DType::F32)?
            .to_device(device)
    };
    let row = |y: &Tensor, b: usize, h: usize| -> Result<Vec<f64>> {
        Ok(to_f64(&y.narrow(0, b, 1)?.narrow(1, h, 1)?.contiguous()?))
    };
    let (bad_u, bad_k) = (
        conv.forward(&bad(&u, 4)?, &k)?,
        conv.forward(&u, &bad(&k, 1)?)?,
    );
    // The spectra of a prepared kernel hold more lags, and round otherwise.
    let prepared = |k: &Tensor| conv.prepare(k)?.forward(&u);
    let kernels = [
        (bad_k, want.clone()),
        (prepared(&bad(&k, 1)?)?, prepared(&k)?),
    ];
    for (b, h) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
        let want = row(&want, b, h)?;
        let spoilt = |y: &Tensor| -> Result<bool> { Ok(row(y, b, h)?.iter().any(|y| y.is_nan())) };
        match (b, h) {
            (1, 1) => assert!(spoilt(&bad_u)?),
            _ => assert!(row(&bad_u, b, h)? == want, "{b} {h}"),
        }
        for (y, want) in &kernels {
            match h {
                1 => assert!(spoilt(y)?),
                _ => assert!(row(y, b, h)? == row(want, b, h)?, "{b} {h}"),
            }
        }
    }
    Ok(())
}
twin!(not_finite, super::what_is_not_finite_stays);

fn nothing_in_nothing_out(device: &Device) -> Result<()> {
    let conv = FlashFftConv::causal(16, device)?.with_kept_frequencies(3)?;
    for shape in [[0, 2, 16], [2, 0, 16], [2, 2, 0]] {
        let u = Tensor::zeros(&shape, DType::F32, device)?;
        let k = Tensor::zeros((shape[1], 5), DType::F32, device)?;
        assert_eq!(conv.forward(&u, &k)?.dims(), shape);
        assert_eq!(conv.prepare(&k)?.forward(&u)?.dims(), shape);
    }
    Ok(())
}
twin!(empty, super::nothing_in_nothing_out);

fn hostile_arguments(device: &Device) -> Result<()> {
    let message = |result: Result<FlashFftConv>| match result {
        Ok(_) => panic!("expected an error"),
        Err(e) => e.to_string().lines().next().unwrap_or_default().to_string(),
    };
    let even = FlashFftConv::causal(8, device)?;
    let odd = FlashFftConv::new(7, device)?;
    for (conv, count, most) in [
        (&even, 0, 9),
        (&even, 10, 9),
        (&odd, 5, 4),
        (&odd, usize::MAX, 4),
    ] {
        assert_eq!(
            message(conv.clone().with_kept_frequencies(count)),
            format!("kept frequencies: expected 1 to {most}, got {count}")
        );
    }
    assert!(even.clone().with_kept_frequencies(9).is_ok());
    assert!(odd.clone().with_kept_frequencies(4).is_ok());
    // The largest plans cost nothing until they are used.
    FlashFftConv::causal(1 << 23, device)?.with_kept_frequencies(1 << 20)?;

    // The plan's own checks stay.
    let conv = even.with_kept_frequencies(3)?;
    let (u, k) = (
        Tensor::zeros((1, 2, 9), DType::F32, device)?,
        Tensor::zeros((2, 8), DType::F32, device)?,
    );
    let want = "sequence length L: expected at most 8, the plan's max_len, got 9";
    for result in [conv.forward(&u, &k), conv.prepare(&k)?.forward(&u)] {
        assert_eq!(
            result.map(|_| ()).unwrap_err().to_string().lines().next(),
            Some(want)
        );
    }
    let long = Tensor::zeros((2, 8), DType::F32, device)?;
    let conv = odd.with_kept_frequencies(3)?;
    let want = "taps of k (Lk): expected at most 7, the FFT size, got 8";
    assert_eq!(
        conv.prepare(&long)
            .map(|_| ())
            .unwrap_err()
            .to_string()
            .lines()
            .next(),
        Some(want)
    );
    Ok(())
}
twin!(errors, super::hostile_arguments);

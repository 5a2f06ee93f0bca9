//! Rows of the long convolution are independent of each other: what is not finite, very large or very
//! small in one leaves the others as exact as they were, and its own result as exact as its dtype allows.

use crate::common::conv::{decaying, double, tolerance, within, DTYPES};
use crate::common::{random, random_tensor, to_f64};
use crate::twin;
use candle_core::{DType, Device, Module, Result, Tensor};
use candle_flashfftconv::FlashFftConv;

const SHAPE: [usize; 2] = [2, 3];
const ROWS: usize = SHAPE[0] * SHAPE[1];
const LENGTHS: [usize; 9] = [3, 100, 256, 512, 1000, 4096, 5000, 16384, 32768];

fn tensor(values: Vec<f64>, dtype: DType, device: &Device) -> Result<Tensor> {
    let length = values.len() / ROWS;
    Tensor::from_vec(values, (SHAPE[0], SHAPE[1], length), &Device::Cpu)?
        .to_dtype(dtype)?
        .to_device(device)
}

fn what_is_not_finite_stays_in_its_row(device: &Device) -> Result<()> {
    for length in LENGTHS {
        for dtype in DTYPES {
            let clean = random(1, ROWS * length);
            let k = decaying(2, SHAPE[1], length, length)?.to_device(device)?;
            let conv = FlashFftConv::causal(length, device)?;
            let ones = tensor(vec![1.0; ROWS * length], dtype, device)?;
            let want = to_f64(&conv.forward(&tensor(clean.clone(), dtype, device)?, &k)?);
            for bad in [f64::NAN, f64::INFINITY, 1e30] {
                let mut values = clean.clone();
                values[4 * length + length / 2] = bad;
                let u = tensor(values, dtype, device)?;
                // `1 · u` and `u · 1` are exact.
                let as_input = conv.forward(&u, &k)?;
                let as_gate = conv.forward_gated(&ones, &k, &u, &ones)?;
                for y in [as_input, as_gate] {
                    let got = to_f64(&y);
                    for row in [0, 1, 2, 3, 5] {
                        let part = row * length..(row + 1) * length;
                        let what = format!("{bad} reached row {row}, L {length}, {dtype:?}");
                        assert!(got[part.clone()] == want[part], "{what}");
                    }
                    if bad.is_nan() {
                        assert!(got[4 * length..5 * length].iter().any(|y| y.is_nan()));
                    }
                }
            }
        }
    }
    Ok(())
}
twin!(not_finite, super::what_is_not_finite_stays_in_its_row);

/// NaN in one channel's kernel stays in that channel.
fn kernels_that_are_not_finite(device: &Device) -> Result<()> {
    for length in LENGTHS {
        for dtype in DTYPES {
            let u = tensor(random(1, ROWS * length), dtype, device)?;
            let k = decaying(2, SHAPE[1], length, length)?;
            let conv = FlashFftConv::causal(length, device)?;
            let want = conv.forward(&u, &k.to_device(device)?)?;
            for bad in [f32::NAN, f32::INFINITY] {
                let row = Tensor::full(bad, (1, length), &Device::Cpu)?;
                let k = Tensor::cat(&[&k.narrow(0, 0, 1)?, &row, &k.narrow(0, 2, 1)?], 0)?;
                let y = conv.forward(&u, &k.to_device(device)?)?;
                for channel in [0, 2] {
                    let part = |y: &Tensor| y.narrow(1, channel, 1)?.contiguous();
                    let equal = to_f64(&part(&y)?) == to_f64(&part(&want)?);
                    assert!(
                        equal,
                        "{bad} reached channel {channel}, L {length}, {dtype:?}"
                    );
                }
                assert!(to_f64(&y.narrow(1, 1, 1)?).iter().any(|y| !y.is_finite()));
            }
        }
    }
    Ok(())
}
twin!(kernel_not_finite, super::kernels_that_are_not_finite);

/// Compares each row by itself.
fn rows_within(y: &Tensor, want: &Tensor, factor: f64, what: &str) {
    let bound = tolerance(y.dtype(), y.device()).times(factor);
    let (got, want) = (to_f64(y), to_f64(want));
    let length = got.len() / ROWS;
    for (row, (got, want)) in got.chunks(length).zip(want.chunks(length)).enumerate() {
        if want.iter().any(|&w| w != 0.0) {
            within(got, want, bound, &format!("{what}, row {row}"));
        } else {
            assert!(got.iter().all(|&y| y == 0.0), "{what}, row {row}");
        }
    }
}

/// Rows of each scale, two with an outlier and a row of zeros in one tensor.
fn rows_of_every_scale(outliers: [f64; 2], device: &Device) -> Result<()> {
    for length in LENGTHS {
        for dtype in [DType::F32, DType::BF16] {
            let mut values = random(1, ROWS * length);
            let scale = 2f64.powi(20);
            for (row, part) in values.chunks_mut(length).enumerate() {
                match row {
                    0 => part.iter_mut().for_each(|x| *x *= scale),
                    1 => part.iter_mut().for_each(|x| *x /= scale),
                    2 => part.fill(0.0),
                    4 => part[length / 2] = outliers[0],
                    5 => part[length / 3] = outliers[1],
                    _ => {}
                }
            }
            let u = tensor(values, dtype, device)?;
            let gate = random_tensor(3, u.dims(), dtype, device)?;
            let k = decaying(2, SHAPE[1], length, length)?;
            let what = format!("L {length}, {dtype:?}");
            let exact = FlashFftConv::causal(length, &Device::Cpu)?.prepare(&double(&k)?)?;
            let conv = FlashFftConv::causal(length, device)?;
            let k = k.to_device(device)?;
            let want = exact.forward(&double(&u)?)?;
            rows_within(&conv.forward(&u, &k)?, &want, 1.0, &what);
            let want = exact.forward_gated(&double(&u)?, &double(&gate)?, &double(&gate)?)?;
            // A row that is mostly one outlier is mostly one product: its errors scatter more.
            let y = conv.forward_gated(&u, &k, &gate, &gate)?;
            rows_within(&y, &want, 1.5, &format!("{what}, gated"));
            let y = conv.prepare(&k)?.forward_gated(&gate, &u, &gate)?;
            rows_within(&y, &want, 1.5, &format!("{what}, as a gate"));
        }
    }
    Ok(())
}

fn scales_and_outliers(device: &Device) -> Result<()> {
    rows_of_every_scale([1e4, -1e4], device)
}
twin!(scales, super::scales_and_outliers);

fn huge_outliers(device: &Device) -> Result<()> {
    rows_of_every_scale([1e10, -1e30], device)
}
twin!(huge, super::huge_outliers);

/// Both factors of the gated input so large that their product leaves the range of f16.
fn gates_of_every_scale(device: &Device) -> Result<()> {
    let length = 1000;
    let shape = [SHAPE[0], SHAPE[1], length];
    let k = decaying(2, SHAPE[1], length, length)?;
    let exact = FlashFftConv::causal(length, &Device::Cpu)?.prepare(&double(&k)?)?;
    let prepared = FlashFftConv::causal(length, device)?.prepare(&k.to_device(device)?)?;
    for dtype in [DType::F32, DType::BF16] {
        for powers in [[20, 20, -30], [-20, -20, 30], [30, -30, 0], [0, 0, 40]] {
            let scaled = |seed: u64, power: i32| -> Result<Tensor> {
                let values = random_tensor(seed, &shape, DType::F64, &Device::Cpu)?;
                (values * 2f64.powi(power))?
                    .to_dtype(dtype)?
                    .to_device(device)
            };
            let (u, in_gate) = (scaled(1, powers[0])?, scaled(2, powers[1])?);
            let out_gate = scaled(3, powers[2])?;
            let (u64, in64) = (double(&u)?, double(&in_gate)?);
            let want = exact.forward_gated(&u64, &in64, &double(&out_gate)?)?;
            let y = prepared.forward_gated(&u, &in_gate, &out_gate)?;
            rows_within(&y, &want, 1.5, &format!("2^{powers:?}, {dtype:?}"));
        }
    }
    Ok(())
}
twin!(gate_scales, super::gates_of_every_scale);

/// Kernels of very different scale, one of them zero, side by side.
fn kernels_of_every_scale(device: &Device) -> Result<()> {
    for length in LENGTHS {
        let k = decaying(2, SHAPE[1], length, length)?;
        for factors in [[1.0, 2f64.powi(20), 2f64.powi(-20)], [1e-3, 0.0, 100.0]] {
            let factors = Tensor::new(&factors, &Device::Cpu)?
                .to_dtype(DType::F32)?
                .unsqueeze(1)?;
            let k = k.broadcast_mul(&factors)?;
            let exact = FlashFftConv::causal(length, &Device::Cpu)?.prepare(&double(&k)?)?;
            let conv = FlashFftConv::causal(length, device)?;
            let k = k.to_device(device)?;
            for dtype in [DType::F32, DType::BF16] {
                let u = tensor(random(1, ROWS * length), dtype, device)?;
                let want = exact.forward(&double(&u)?)?;
                let what = format!("L {length}, {dtype:?}");
                rows_within(&conv.forward(&u, &k)?, &want, 1.0, &what);
                rows_within(&conv.prepare(&k)?.forward(&u)?, &want, 1.0, &what);
            }
        }
    }
    Ok(())
}
twin!(kernel_scales, super::kernels_of_every_scale);

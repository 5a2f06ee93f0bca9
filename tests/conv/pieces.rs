//! Long rows with short kernels, which are cut into pieces, against the same kernels with zeros for the missing
//! taps, in float64 and in whole rows.

use crate::common::conv::{double, tensor_within, tolerance_of_rows, DTYPES};
use crate::common::{random_tensor, to_f64};
use crate::twin;
use candle_core::{DType, Device, Module, Result, Tensor};
use candle_flashfftconv::{FlashFftConv, PreparedConv};

/// Taps that decay, of norm about one, on the CPU.
fn kernel(channels: usize, taps: usize) -> Result<Tensor> {
    let values = random_tensor(1, &[channels, taps], DType::F32, &Device::Cpu)?;
    values / (taps as f64).sqrt()
}

/// What is computed in float64, in whole rows.
fn exact(k: &Tensor, length: usize) -> Result<PreparedConv> {
    let k = double(k)?.pad_with_zeros(1, 0, length - k.dim(1)?)?;
    FlashFftConv::causal(length, &Device::Cpu)?.prepare(&k)
}

/// Lengths around those of pieces and transforms, odd ones, and multiples of 8.
const CASES: [(usize, usize); 9] = [
    (20_000, 17),
    (40_001, 17),
    (40_001, 4097),
    (65_536, 1),
    (65_536, 33),
    (65_536, 5000),
    (70_001, 4096),
    (100_000, 64),
    (100_000, 5000),
];

fn every_way(device: &Device) -> Result<()> {
    for (length, taps) in CASES {
        let k = kernel(2, taps)?;
        let exact = exact(&k, length)?;
        let k = k.to_device(device)?;
        let conv = FlashFftConv::causal(length, device)?;
        let prepared = conv.prepare(&k)?;
        for dtype in DTYPES {
            let what = format!("L {length}, {taps} taps, {dtype:?}");
            let bound = tolerance_of_rows(length, dtype, device);
            let u = random_tensor(2, &[2, 2, length], dtype, device)?;
            let y = conv.forward(&u, &k)?;
            tensor_within(&y, &exact.forward(&double(&u)?)?, bound, &what);
            let again = to_f64(&prepared.forward(&u)?);
            assert!(again == to_f64(&y), "{what}: prepared is another result");
            let z = random_tensor(3, &[2, 6, length], dtype, device)?;
            let y = prepared.forward_projected(&z)?;
            let want = exact.forward_projected(&double(&z)?)?;
            tensor_within(&y, &want, bound, &format!("{what}, projected"));
            let part = |index: usize| z.narrow(1, 2 * index, 2);
            let again = conv.forward_gated(&part(2)?, &k, &part(1)?, &part(0)?)?;
            assert!(to_f64(&again) == to_f64(&y), "{what}: gated");
        }
    }
    Ok(())
}
twin!(ways, super::every_way);

/// Rows that begin anywhere, and batch items that share memory.
fn views_of_rows(device: &Device) -> Result<()> {
    let (length, taps) = (40_000, 100);
    let k = kernel(3, taps)?;
    let exact = exact(&k, length)?;
    let prepared = FlashFftConv::causal(length, device)?.prepare(&k.to_device(device)?)?;
    for dtype in DTYPES {
        let bound = tolerance_of_rows(length, dtype, device);
        let big = random_tensor(1, &[3, 4, length + 24], dtype, device)?;
        for offset in [8, 3] {
            let u = big.narrow(0, 1, 2)?.narrow(1, 1, 3)?;
            let u = u.narrow(2, offset, length)?;
            let gate = big.narrow(1, 0, 3)?.narrow(0, 0, 1)?;
            let gate = gate.narrow(2, offset, length)?.broadcast_as(u.shape())?;
            let y = prepared.forward_gated(&u, &gate, &u)?;
            let want = exact.forward_gated(&double(&u)?, &double(&gate)?, &double(&u)?)?;
            let what = format!("from sample {offset}, {dtype:?}");
            tensor_within(&y, &want, bound, &what);
        }
    }
    Ok(())
}
twin!(views, super::views_of_rows);

/// A circular convolution that does not wrap around takes pieces too; one that does gives the same where
/// nothing wraps.
fn circular_plans(device: &Device) -> Result<()> {
    let (length, taps) = (40_000, 300);
    let k = kernel(1, taps)?;
    let exact = exact(&k, length)?;
    let k = k.to_device(device)?;
    for dtype in DTYPES {
        let u = random_tensor(2, &[1, 1, length], dtype, device)?;
        let want = exact.forward(&double(&u)?)?;
        let bound = tolerance_of_rows(length, dtype, device);
        for fft_size in [length, length + taps - 1, 2 * length] {
            let y = FlashFftConv::new(fft_size, device)?.forward(&u, &k)?;
            let wrapped = if fft_size == length { taps - 1 } else { 0 };
            let plain = |y: &Tensor| y.narrow(2, wrapped, length - wrapped)?.contiguous();
            let what = format!("N {fft_size}, {dtype:?}");
            tensor_within(&plain(&y)?, &plain(&want)?, bound, &what);
        }
    }
    Ok(())
}
twin!(circular, super::circular_plans);

/// What is not finite stays in its row, and reaches all outputs of that row that it has to.
fn what_is_not_finite(device: &Device) -> Result<()> {
    let taps = 33;
    let k = kernel(2, taps)?.to_device(device)?;
    for length in [65_536, 40_001] {
        let conv = FlashFftConv::causal(length, device)?;
        for dtype in DTYPES {
            let clean = random_tensor(1, &[2, 2, length], DType::F32, &Device::Cpu)?;
            let put = |t: &Tensor| t.to_dtype(dtype)?.to_device(device);
            let values = clean.flatten_all()?.to_vec1::<f32>()?;
            let want = to_f64(&conv.forward(&put(&clean)?, &k)?);
            // Pieces of P samples overlap by 64.
            for place in [0, 4096 - 65, 8192 - 64, 16384 - 128, length - 1] {
                for bad in [f32::NAN, f32::INFINITY] {
                    let mut values = values.clone();
                    values[2 * length + place] = bad;
                    let u = Tensor::from_vec(values, clean.shape(), &Device::Cpu)?;
                    let got = to_f64(&conv.forward(&put(&u)?, &k)?);
                    let what = format!("{bad} at {place}, L {length}, {dtype:?}");
                    for row in [0, 1, 3] {
                        let row = row * length..(row + 1) * length;
                        assert!(got[row.clone()] == want[row], "{what} reached another row");
                    }
                    let reached = &got[2 * length..][place..(place + taps).min(length)];
                    assert!(reached.iter().all(|y| !y.is_finite()), "{what}");
                }
            }
        }
    }
    Ok(())
}
twin!(not_finite, super::what_is_not_finite);

/// Rows, and parts of a row, of very different scale.
fn every_scale(device: &Device) -> Result<()> {
    let taps = 33;
    let k = kernel(1, taps)?;
    for length in [65_536, 40_001] {
        let exact = exact(&k, length)?;
        let prepared = FlashFftConv::causal(length, device)?.prepare(&k.to_device(device)?)?;
        for dtype in [DType::F32, DType::BF16] {
            let u = random_tensor(1, &[5, 1, length], DType::F32, &Device::Cpu)?;
            let mut values = u.flatten_all()?.to_vec1::<f32>()?;
            for (row, part) in values.chunks_mut(length).enumerate() {
                let (first, second) = part.split_at_mut(length / 2);
                match row {
                    0 => part.iter_mut().for_each(|x| *x *= 2f32.powi(20)),
                    1 => part.iter_mut().for_each(|x| *x *= 2f32.powi(-20)),
                    2 => first.iter_mut().for_each(|x| *x *= 2f32.powi(20)),
                    3 => second.fill(0.0),
                    _ => part[length / 3] = -1e10,
                }
            }
            let u = Tensor::from_vec(values, u.shape(), &Device::Cpu)?;
            let u = u.to_dtype(dtype)?.to_device(device)?;
            let y = prepared.forward(&u)?;
            let want = exact.forward(&double(&u)?)?;
            let bound = tolerance_of_rows(length, dtype, device);
            for row in 0..5 {
                let part = |y: &Tensor| y.narrow(0, row, 1)?.contiguous();
                let what = format!("row {row}, L {length}, {dtype:?}");
                tensor_within(&part(&y)?, &part(&want)?, bound, &what);
            }
        }
    }
    Ok(())
}
twin!(scales, super::every_scale);

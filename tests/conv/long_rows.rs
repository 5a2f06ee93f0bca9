//! Rows that one multiprocessor of a GPU does not hold: on clusters, or in several passes.

use crate::common::conv::{decaying, double, tensor_within, tolerance_of_rows, DTYPES};
use crate::common::{random_tensor, to_f64};
use crate::twin;
use candle_core::{DType, Device, Module, Result, Tensor};
use candle_flashfftconv::FlashFftConv;

/// Aligned rows, views at odd places, and taps at lags of both signs.
fn every_way(length: usize, device: &Device) -> Result<()> {
    for (fft_size, taps) in [
        (2 * length, length),
        (length, length),
        (length + length / 4 + 1, length),
    ] {
        let conv = FlashFftConv::new(fft_size, device)?;
        let k = decaying(1, 2, taps, length)?;
        let exact = FlashFftConv::new(fft_size, &Device::Cpu)?.prepare(&double(&k)?)?;
        let k = k.to_device(device)?;
        for dtype in DTYPES {
            let z = random_tensor(2, &[1, 6, length + 1], dtype, device)?;
            let u = random_tensor(3, &[2, 2, length], dtype, device)?;
            let what = format!("L {length}, N {fft_size}, {taps} taps, {dtype:?}");
            let bound = tolerance_of_rows(length, dtype, device);
            let y = conv.forward(&u, &k)?;
            tensor_within(&y, &exact.forward(&double(&u)?)?, bound, &what);
            let [i, o] = [4, 5].map(|seed| random_tensor(seed, &[2, 2, length], dtype, device));
            let (i, o) = (i?, o?);
            let y = conv.forward_gated(&u, &k, &i, &o)?;
            let want = exact.forward_gated(&double(&u)?, &double(&i)?, &double(&o)?)?;
            tensor_within(&y, &want, bound, &format!("{what}, gated"));
            let z = z.narrow(2, 1, length)?;
            let y = conv.prepare(&k)?.forward_projected(&z)?;
            let want = exact.forward_projected(&double(&z)?)?;
            tensor_within(&y, &want, bound, &format!("{what}, projected"));
        }
    }
    Ok(())
}

macro_rules! every_way {
    ($($name:ident, $length:expr;)*) => {$(
        mod $name {
            pub fn body(device: &super::Device) -> super::Result<()> {
                super::every_way($length, device)
            }
            crate::twin!(twin, super::body);
        }
    )*};
}
every_way! {
    length_40001, 40_001;
    length_65536, 65536;
    length_100000, 100_000;
    length_131072, 131_072;
    length_160008, 160_008;
    length_262144, 262_144;
    length_500001, 500_001;
    length_1048576, 1 << 20;
    length_1500000, 1_500_000;
}

/// What is not finite, or of another scale, stays in its row.
fn rows_are_independent(device: &Device) -> Result<()> {
    for length in [65536, 70_000, 1 << 20] {
        let conv = FlashFftConv::causal(length, device)?;
        let k = decaying(1, 2, length, length)?;
        let exact = FlashFftConv::causal(length, &Device::Cpu)?.prepare(&double(&k)?)?;
        let prepared = conv.prepare(&k.to_device(device)?)?;
        for (dtype, scales) in [
            (DType::BF16, [1e30, 1e-30, f64::NAN]),
            (DType::F16, [1e-3, 30.0, f64::INFINITY]),
        ] {
            let u = random_tensor(2, &[4, 2, length], DType::F32, device)?;
            let mut rows = vec![u.narrow(0, 3, 1)?];
            for (row, scale) in scales.iter().enumerate() {
                rows.push((u.narrow(0, row, 1)? * *scale)?);
            }
            let u = Tensor::cat(&rows, 0)?.to_dtype(dtype)?;
            let y = prepared.forward(&u)?;
            for row in 0..3 {
                let want = exact.forward(&double(&u.narrow(0, row, 1)?)?)?;
                let what = format!("L {length}, {dtype:?}, row {row}");
                let bound = tolerance_of_rows(length, dtype, device);
                tensor_within(&y.narrow(0, row, 1)?, &want, bound, &what);
            }
            let last = to_f64(&y.narrow(0, 3, 1)?);
            assert!(last.iter().any(|y| !y.is_finite()), "{dtype:?}");
        }
    }
    Ok(())
}
twin!(independence, super::rows_are_independent);

/// Sums of many samples of one sign, the largest outputs that there are beside the inputs.
fn constant_rows(device: &Device) -> Result<()> {
    for length in [65536, 131_072, 160_008] {
        let conv = FlashFftConv::causal(length, device)?;
        let k = Tensor::ones((1, length), DType::F32, device)?;
        for dtype in [DType::BF16, DType::F32] {
            let u = Tensor::ones((1, 1, length), dtype, device)?;
            let y = conv.forward(&u, &k)?;
            let want = Tensor::arange(1f64, length as f64 + 1., &Device::Cpu)?;
            let bound = tolerance_of_rows(length, dtype, device);
            let what = format!("L {length}, {dtype:?}");
            tensor_within(&y, &want.reshape((1, 1, length))?, bound, &what);
        }
    }
    Ok(())
}
twin!(constant, super::constant_rows);

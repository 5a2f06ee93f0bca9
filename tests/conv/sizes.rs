//! The long convolution at both ends of every transform size that a GPU computes on the chip, against
//! the CPU in float64, which `reference.rs` holds against the definition.

use crate::common::conv::{decaying, double, tensor_within, tolerance, Kind, Tolerance, Way};
use crate::common::random_tensor;
use crate::twin;
use candle_core::{DType, Device, Module, Result};

const LENGTHS: [usize; 27] = [
    1, 2, 3, 31, 100, 127, 128, 129, 200, 256, 257, 512, 513, 1000, 1023, 1024, 2047, 2048, 4095,
    4096, 5000, 8191, 8192, 16383, 16384, 32767, 32768,
];
const CHANNELS: usize = 3;
/// Batches of short rows are so large that they hold about this many numbers: few would scatter.
const NUMBERS: usize = 6000;

/// Kinds and taps at one length: nothing wraps, everything wraps, every lag has a tap, some have.
fn kinds(length: usize) -> [(Kind, usize); 5] {
    let ugly = length + length / 4 + 1;
    [
        (Kind::Causal, length),
        (Kind::Causal, length / 3 + 1),
        (Kind::Circular(length), length),
        (Kind::Circular(2 * length), 2 * length),
        (Kind::Circular(ugly), ugly),
    ]
}

/// Lags of both signs leave half of what the transform of a GPU computes in its imaginary part, where
/// rounding errors weigh more.
fn two_sided_tolerance(kind: Kind, dtype: DType, device: &Device) -> Tolerance {
    let usual = tolerance(dtype, device);
    match (kind, dtype, device.is_cpu()) {
        (Kind::Circular(_), DType::F16, false) => Tolerance {
            rms: 8.5e-4,
            ..usual
        },
        _ => usual,
    }
}

fn every_size(dtype: DType, device: &Device) -> Result<()> {
    let mut cases = 0;
    for length in LENGTHS {
        let batch = (NUMBERS / (CHANNELS * length)).max(2);
        let shape = [batch, CHANNELS, length];
        let sequence = |seed| random_tensor(seed, &shape, dtype, device);
        let (u, in_gate, out_gate) = (&sequence(1)?, &sequence(2)?, &sequence(3)?);
        for (kind, taps) in kinds(length) {
            cases += 1;
            let tolerance = two_sided_tolerance(kind, dtype, device);
            let k = decaying(4, CHANNELS, taps, length)?.to_device(device)?;
            let plan = kind.plan(length, device)?;
            let exact = kind.plan(length, &Device::Cpu)?.prepare(&double(&k)?)?;
            // All ways lead to one path on the CPU, and all are tried in `reference.rs`.
            let pick = |ways: &[Way]| match device.is_cpu() {
                true => vec![ways[cases % ways.len()]],
                false => ways.to_vec(),
            };
            let what = |way| format!("L {length}, {taps} taps, {kind:?}, {dtype:?}, {way:?}");

            let want = exact.forward(&double(u)?)?;
            for way in pick(&Way::UNGATED) {
                let y = way.compute_ungated(&plan, u, &k)?;
                tensor_within(&y, &want, tolerance, &what(way));
            }
            let (in_exact, out_exact) = (double(in_gate)?, double(out_gate)?);
            let want = exact.forward_gated(&double(u)?, &in_exact, &out_exact)?;
            for way in pick(&Way::GATED) {
                let y = way.compute(&plan, u, &k, in_gate, out_gate)?;
                tensor_within(&y, &want, tolerance, &what(way));
            }
        }
    }
    Ok(())
}

fn in_f32(device: &Device) -> Result<()> {
    every_size(DType::F32, device)
}
twin!(f32, super::in_f32);

fn in_f16(device: &Device) -> Result<()> {
    every_size(DType::F16, device)
}
twin!(f16, super::in_f16);

fn in_bf16(device: &Device) -> Result<()> {
    every_size(DType::BF16, device)
}
twin!(bf16, super::in_bf16);

/// One channel, one batch item, or thousands of short rows.
fn few_and_many_rows(device: &Device) -> Result<()> {
    for shape in [
        [1, 1, 1000],
        [1, 1, 8192],
        [1, 300, 513],
        [300, 1, 513],
        [50, 100, 64],
        [5000, 1, 64],
        [1, 5000, 64],
        [7, 129, 300],
    ] {
        let [_, channels, length] = shape;
        for dtype in crate::common::conv::DTYPES {
            let u = random_tensor(1, &shape, dtype, device)?;
            let gate = random_tensor(2, &shape, dtype, device)?;
            let k = decaying(3, channels, length, length)?;
            let exact = Kind::Causal
                .plan(length, &Device::Cpu)?
                .prepare(&double(&k)?)?;
            let plan = Kind::Causal.plan(length, device)?;
            let k = k.to_device(device)?;
            let what = format!("{shape:?}, {dtype:?}");
            let want = exact.forward(&double(&u)?)?;
            let y = plan.forward(&u, &k)?;
            tensor_within(&y, &want, tolerance(dtype, device), &what);
            let (u64, gate64) = (double(&u)?, double(&gate)?);
            let want = exact.forward_gated(&u64, &gate64, &u64)?;
            let y = plan.prepare(&k)?.forward_gated(&u, &gate, &u)?;
            tensor_within(&y, &want, tolerance(dtype, device), &what);
        }
    }
    Ok(())
}
twin!(rows, super::few_and_many_rows);

//! The long convolution against its definition, summed naively in float64, at ugly sizes.

use crate::common::conv::{naive, tensor_within, tolerance, Kind, DTYPES};
use crate::common::random_tensor;
use crate::twin;
use candle_core::{DType, Device, Module, Result};

/// Sequence length, taps, kind.
pub const CASES: &[(usize, usize, Kind)] = &[
    (1, 1, Kind::Causal),
    (1, 5, Kind::Causal),
    (2, 1, Kind::Causal),
    (2, 2, Kind::Causal),
    (3, 2, Kind::Causal),
    (17, 17, Kind::Causal),
    (129, 129, Kind::Causal),
    (129, 3, Kind::Causal),
    (372, 1000, Kind::Causal),
    (1134, 1134, Kind::Causal),
    (1134, 40, Kind::Causal),
    (5000, 1, Kind::Causal),
    (5000, 33, Kind::Causal),
    (6001, 700, Kind::Causal),
    (9000, 1300, Kind::Circular(10299)),
    (1, 1, Kind::Circular(1)),
    (2, 2, Kind::Circular(2)),
    (2, 1, Kind::Circular(3)),
    (45, 45, Kind::Circular(45)),
    (129, 129, Kind::Circular(129)),
    (129, 100, Kind::Circular(131)),
    (129, 258, Kind::Circular(258)),
    (372, 372, Kind::Circular(743)),
    (372, 372, Kind::Circular(500)),
    (372, 500, Kind::Circular(500)),
    (512, 512, Kind::Circular(512)),
    (1000, 2, Kind::Circular(1000)),
    (1134, 17, Kind::Circular(1140)),
];

/// The dtypes of a device, float64 included where it has it.
fn dtypes(device: &Device) -> Vec<DType> {
    let mut dtypes = DTYPES.to_vec();
    if device.is_cpu() {
        dtypes.push(DType::F64);
    }
    dtypes
}

fn ugly_sizes(device: &Device) -> Result<()> {
    for &(length, taps, kind) in CASES {
        for dtype in dtypes(device) {
            let u = random_tensor(1, &[2, 3, length], dtype, device)?;
            let k = random_tensor(2, &[3, taps], DType::F32, device)?;
            let plan = kind.plan(length, device)?;
            let want = naive(&u, &k, kind)?;
            for y in [plan.forward(&u, &k)?, plan.prepare(&k)?.forward(&u)?] {
                assert_eq!(y.dtype(), dtype);
                let what = format!("L {length}, {taps} taps, {kind:?}, {dtype:?}");
                tensor_within(&y, &want, tolerance(dtype, device), &what);
            }
        }
    }
    Ok(())
}
twin!(plain, super::ugly_sizes);

fn gates_and_projections(device: &Device) -> Result<()> {
    for &(length, taps, kind) in CASES {
        for dtype in dtypes(device) {
            let z = random_tensor(1, &[2, 9, length], dtype, device)?;
            let k = random_tensor(2, &[3, taps], DType::F32, device)?;
            let out_gate = z.narrow(1, 0, 3)?;
            let in_gate = z.narrow(1, 3, 3)?;
            let u = z.narrow(1, 6, 3)?;
            let exact = z.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
            let gated = (exact.narrow(1, 6, 3)? * exact.narrow(1, 3, 3)?)?;
            let want = (naive(&gated, &k, kind)? * exact.narrow(1, 0, 3)?)?;
            let plan = kind.plan(length, device)?;
            let prepared = plan.prepare(&k)?;
            for y in [
                plan.forward_gated(&u, &k, &in_gate, &out_gate)?,
                plan.forward_projected(&z, &k)?,
                prepared.forward_gated(&u, &in_gate, &out_gate)?,
                prepared.forward_projected(&z)?,
            ] {
                let what = format!("L {length}, {taps} taps, {kind:?}, {dtype:?}");
                tensor_within(&y, &want, tolerance(dtype, device), &what);
            }
        }
    }
    Ok(())
}
twin!(gated, super::gates_and_projections);

//! The long convolution against its definition, summed naively in float64.

mod common;

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_flashfftconv::FlashFftConv;
use common::{assert_close, random_tensor, to_f64};

/// What a case computes: a circular convolution of a size, or a causal one.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Circular(usize),
    Causal,
}

impl Kind {
    fn plan(self, length: usize, device: &Device) -> Result<FlashFftConv> {
        match self {
            Kind::Circular(n) => FlashFftConv::new(n, device),
            Kind::Causal => FlashFftConv::causal(length.max(1), device),
        }
    }
}

/// `Σ_j k[h, j] · v[b, h, t − j]` by its definition.
fn naive(v: &Tensor, k: &Tensor, kind: Kind) -> Result<Tensor> {
    let (batch, channels, length) = v.dims3()?;
    let taps = k.dim(1)?;
    let (v, k) = (to_f64(v), to_f64(k));
    let mut y = vec![0f64; v.len()];
    for row in 0..batch * channels {
        let (x, w) = (
            &v[row * length..][..length],
            &k[row % channels * taps..][..taps],
        );
        for t in 0..length {
            let mut sum = 0.0;
            for (j, &tap) in w.iter().enumerate() {
                let index = match kind {
                    Kind::Causal if j > t => continue,
                    Kind::Causal => t - j,
                    Kind::Circular(n) => (t + n - j) % n,
                };
                sum += tap * x.get(index).copied().unwrap_or(0.0);
            }
            y[row * length + t] = sum;
        }
    }
    Tensor::from_vec(y, (batch, channels, length), &Device::Cpu)
}

const CASES: &[(usize, usize, Kind)] = &[
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
    (5000, 33, Kind::Causal),
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

fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-13,
        DType::F32 => 2e-6,
        DType::F16 => 1e-3,
        _ => 8e-3,
    }
}

#[test]
fn ugly_sizes() -> Result<()> {
    let device = &Device::Cpu;
    for &(length, taps, kind) in CASES {
        for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
            let u = random_tensor(1, &[2, 3, length], dtype, device)?;
            let k = random_tensor(2, &[3, taps], DType::F32, device)?;
            let y = kind.plan(length, device)?.forward(&u, &k)?;
            assert_eq!(y.dtype(), dtype);
            let want = naive(&u, &k, kind)?;
            let what = format!("L {length}, {taps} taps, {kind:?}, {dtype:?}");
            assert_close(&y, &want, tolerance(dtype), &what);
            let prepared = kind.plan(length, device)?.prepare(&k)?;
            assert_close(&prepared.forward(&u)?, &want, tolerance(dtype), &what);
        }
    }
    Ok(())
}

#[test]
fn gates_and_projections() -> Result<()> {
    let device = &Device::Cpu;
    for &(length, taps, kind) in CASES {
        for dtype in [DType::F32, DType::F64] {
            let z = random_tensor(1, &[2, 9, length], dtype, device)?;
            let k = random_tensor(2, &[3, taps], dtype, device)?;
            let out_gate = z.narrow(1, 0, 3)?;
            let in_gate = z.narrow(1, 3, 3)?;
            let u = z.narrow(1, 6, 3)?;
            let want = (naive(&(&u * &in_gate)?, &k, kind)? * out_gate.to_dtype(DType::F64)?)?;
            let plan = kind.plan(length, device)?;
            let prepared = plan.prepare(&k)?;
            for y in [
                plan.forward_gated(&u, &k, &in_gate, &out_gate)?,
                plan.forward_projected(&z, &k)?,
                prepared.forward_gated(&u, &in_gate, &out_gate)?,
                prepared.forward_projected(&z)?,
            ] {
                let what = format!("L {length}, {taps} taps, {kind:?}, {dtype:?}");
                assert_close(&y, &want, tolerance(dtype), &what);
            }
        }
    }
    Ok(())
}

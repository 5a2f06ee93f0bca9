//! The long convolution against its definition, summed naively in float64.

mod common;

use candle_core::{DType, Device, Module, Result, Tensor, Var};
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

/// Views of the same numbers, in memory laid out otherwise.
fn views(t: &Tensor) -> Result<Vec<(&'static str, Tensor)>> {
    let (batch, channels, length) = t.dims3()?;
    let zeros = |shape: (usize, usize, usize)| Tensor::zeros(shape, t.dtype(), t.device());
    let one = |dim: usize| match dim {
        0 => zeros((1, channels, length)),
        1 => zeros((batch, 1, length)),
        _ => zeros((batch, channels, 1)),
    };
    let mut views = vec![("contiguous", t.clone())];
    for (dim, name) in ["narrow on batch", "narrow on channels", "narrow on length"]
        .into_iter()
        .enumerate()
    {
        let padded = Tensor::cat(&[&one(dim)?, &one(dim)?, t, &one(dim)?], dim)?;
        views.push((name, padded.narrow(dim, 2, t.dim(dim)?)?));
    }
    let transposed = t.transpose(0, 1)?.contiguous()?.transpose(0, 1)?;
    views.push(("batch and channels transposed", transposed));
    let transposed = t.transpose(1, 2)?.contiguous()?.transpose(1, 2)?;
    views.push(("channels last", transposed));
    Ok(views)
}

#[test]
fn strided_views_with_offsets() -> Result<()> {
    let device = &Device::Cpu;
    for dtype in [DType::F32, DType::F16, DType::F64] {
        let u = random_tensor(1, &[3, 4, 129], dtype, device)?;
        let k = random_tensor(2, &[4, 129], DType::F32, device)?;
        let gate = random_tensor(3, &[3, 4, 129], dtype, device)?;
        let conv = FlashFftConv::causal(129, device)?;
        let prepared = conv.prepare(&k)?;
        let plain = to_f64(&conv.forward(&u, &k)?);
        let gated = to_f64(&conv.forward_gated(&u, &k, &gate, &u)?);
        for (name, u) in views(&u)? {
            assert_eq!(to_f64(&conv.forward(&u, &k)?), plain, "{name}");
            assert_eq!(to_f64(&prepared.forward(&u)?), plain, "{name}");
            for (gate_name, gate) in views(&gate)? {
                let y = conv.forward_gated(&u, &k, &gate, &u)?;
                assert_eq!(to_f64(&y), gated, "{name}, gate {gate_name}");
            }
        }
        for (name, k) in views(&k.unsqueeze(0)?)? {
            let k = k.squeeze(0)?;
            assert_eq!(to_f64(&conv.forward(&u, &k)?), plain, "k {name}");
            assert_eq!(to_f64(&conv.prepare(&k)?.forward(&u)?), plain, "k {name}");
        }
        let z = Tensor::cat(&[&u, &gate, &u], 1)?;
        for (name, z) in views(&z)? {
            assert_eq!(to_f64(&conv.forward_projected(&z, &k)?), gated, "z {name}");
            assert_eq!(to_f64(&prepared.forward_projected(&z)?), gated, "z {name}");
        }
    }
    Ok(())
}

#[test]
fn broadcast_views() -> Result<()> {
    let device = &Device::Cpu;
    let conv = FlashFftConv::causal(40, device)?;
    let shape = (3, 4, 40);
    let k = random_tensor(2, &[1, 40], DType::F32, device)?.broadcast_as((4, 40))?;
    for dims in [[1, 4, 40], [3, 1, 40], [1, 1, 40], [3, 4, 1], [1, 1, 1]] {
        let narrow = Var::from_tensor(&random_tensor(1, &dims, DType::F32, device)?)?;
        let wide = narrow.broadcast_as(shape)?;
        let copied = wide.detach().contiguous()?;
        let u = random_tensor(3, &[3, 4, 40], DType::F32, device)?;
        let y = conv.forward_gated(&u, &k, &wide, &wide)?;
        let want = conv.forward_gated(&u, &k, &copied, &copied)?;
        assert_eq!(to_f64(&y), to_f64(&want), "gates {dims:?}");
        let y = conv.forward(&wide, &k)?;
        assert_eq!(
            to_f64(&y),
            to_f64(&conv.forward(&copied, &k)?),
            "u {dims:?}"
        );
        assert_close(&y, &naive(&copied, &k, Kind::Causal)?, 2e-6, "broadcast u");
        let gradients = y.sum_all()?.backward()?;
        let gradient = gradients.get(&narrow).map(|g| g.dims().to_vec());
        assert_eq!(gradient, Some(dims.to_vec()));
    }
    Ok(())
}

#[test]
fn what_is_not_finite_stays_in_its_row() -> Result<()> {
    let device = &Device::Cpu;
    for length in [3, 100, 5000] {
        let count = 2 * 3 * length;
        let clean = common::random(1, count);
        let k = random_tensor(2, &[3, length], DType::F32, device)?;
        let conv = FlashFftConv::causal(length, device)?;
        let tensor =
            |v: Vec<f64>| Tensor::from_vec(v, (2, 3, length), device)?.to_dtype(DType::F32);
        let want = to_f64(&conv.forward(&tensor(clean.clone())?, &k)?);
        for bad in [f64::NAN, f64::INFINITY, 1e30] {
            let mut values = clean.clone();
            values[4 * length + length / 2] = bad;
            let u = Var::from_tensor(&tensor(values)?)?;
            let y = conv.forward(&u, &k)?;
            let got = to_f64(&y);
            for row in [0, 1, 2, 3, 5] {
                let part = row * length..(row + 1) * length;
                assert_eq!(got[part.clone()], want[part], "{bad} reached row {row}");
            }
            if bad.is_nan() {
                assert!(got[4 * length..5 * length].iter().any(|y| y.is_nan()));
            }
            let dy = Var::from_tensor(&u.detach())?;
            let gradients = conv.forward(&u, &k)?.mul(&dy)?.sum_all()?.backward()?;
            let gradient = gradients.get(&u).map(to_f64).unwrap_or_default();
            for row in [0, 1, 2, 3, 5] {
                assert!(gradient[row * length..(row + 1) * length]
                    .iter()
                    .all(|g| g.is_finite() && g.abs() < 1e6));
            }
        }
    }
    Ok(())
}

/// `Σ y ⊙ dy` for one way to compute `y` from the variables `(u, in_gate, out_gate, k)`.
type Loss<'a> = &'a dyn Fn(&[Tensor]) -> Result<Tensor>;

/// Compares candle's gradients with central differences along random directions, which are
/// exact up to rounding because the loss is a polynomial of degree one in each variable.
fn check_gradients(name: &str, variables: &[Tensor], loss: Loss<'_>) -> Result<()> {
    let vars = variables
        .iter()
        .map(Var::from_tensor)
        .collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let gradients = loss(&tensors)?.backward()?;
    for (index, variable) in vars.iter().enumerate() {
        let Some(gradient) = gradients.get(variable) else {
            panic!("{name}: variable {index} has no gradient");
        };
        assert_eq!(gradient.dims(), variable.dims(), "{name}");
        for seed in 0..3 {
            let direction = random_tensor(100 + seed, variable.dims(), DType::F64, &Device::Cpu)?;
            let moved = |sign: f64| -> Result<f64> {
                let mut moved: Vec<Tensor> = variables.to_vec();
                moved[index] = (&variables[index] + (&direction * sign)?)?;
                loss(&moved)?.to_scalar::<f64>()
            };
            let difference = (moved(1.0)? - moved(-1.0)?) / 2.0;
            let along = (gradient * &direction)?.sum_all()?.to_scalar::<f64>()?;
            let scale = difference.abs().max(1.0);
            assert!(
                (along - difference).abs() < 1e-9 * scale,
                "{name}: variable {index}: {along} against {difference}"
            );
        }
    }
    Ok(())
}

#[test]
fn gradients_are_the_differences_of_the_loss() -> Result<()> {
    let device = &Device::Cpu;
    for &(length, taps, kind) in CASES {
        let name = format!("L {length}, {taps} taps, {kind:?}");
        let sequence = |seed| random_tensor(seed, &[2, 3, length], DType::F64, device);
        let k = random_tensor(4, &[3, taps], DType::F64, device)?;
        let dy = sequence(5)?;
        let all = [sequence(1)?, sequence(2)?, sequence(3)?, k.clone()];
        let conv = kind.plan(length, device)?;
        let prepared = conv.prepare(&k)?;
        let product = |y: Tensor| y.mul(&dy)?.sum_all();
        check_gradients(&name, &all, &|v| {
            product(conv.forward_gated(&v[0], &v[3], &v[1], &v[2])?)
        })?;
        check_gradients(&name, &all[..3], &|v| {
            product(conv.forward_gated(&v[0], &k, &v[1], &v[2])?)
        })?;
        check_gradients(&name, &all[..3], &|v| {
            product(prepared.forward_gated(&v[0], &v[1], &v[2])?)
        })?;
        check_gradients(&name, &all[..3], &|v| {
            let z = Tensor::cat(&[&v[2], &v[1], &v[0]], 1)?;
            product(prepared.forward_projected(&z)?)
        })?;
        check_gradients(&name, &[all[0].clone(), k.clone()], &|v| {
            product(conv.forward(&v[0], &v[1])?)
        })?;
        check_gradients(&name, &all[..1], &|v| product(prepared.forward(&v[0])?))?;
    }
    Ok(())
}

#[test]
fn many_batch_items_of_few_channels() -> Result<()> {
    let device = &Device::Cpu;
    for (batch, channels) in [(70, 1), (1, 1), (5, 2), (33, 3)] {
        let shape = [batch, channels, 60];
        let u = random_tensor(1, &shape, DType::F64, device)?;
        let dy = random_tensor(3, &shape, DType::F64, device)?;
        let k = random_tensor(2, &[channels, 60], DType::F64, device)?;
        let conv = FlashFftConv::causal(60, device)?;
        check_gradients(&format!("{shape:?}"), &[u, k], &|v| {
            conv.forward(&v[0], &v[1])?.mul(&dy)?.sum_all()
        })?;
    }
    Ok(())
}

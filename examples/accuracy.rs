//! How accurate the convolutions are: prints the tables of the README, "Accuracy".
//!
//! ```text
//! cargo run --release --example accuracy
//! cargo run --release --features cuda --example accuracy        the first GPU as well
//! ```
//!
//! Every entry is `‖got − want‖ / ‖want‖` (relative RMS) over all compared outputs. Inputs are
//! standard normal, rounded to the dtype first, so that the rounding of inputs is no error. The
//! outputs of the first table are compared with the defining sum, in float64 with doubled precision
//! inside; the gradients of the second with the same call in float64.

use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_flashfftconv::{Conv1dLayout, FlashDepthwiseConv1d, FlashFftConv};
use rand::{rngs::StdRng, Rng, SeedableRng};

const DTYPES: [DType; 4] = [DType::F64, DType::F32, DType::F16, DType::BF16];
const LENGTHS: [usize; 6] = [129, 1024, 5000, 8192, 131_072, 1 << 20];
const LENGTHS_ON_THE_GPU: [usize; 10] = [64, 129, 256, 1024, 2048, 4096, 5000, 8192, 16384, 32768];
/// Outputs of a row that are compared; rows that are longer are sampled evenly.
const COMPARED: usize = 1024;
const CHANNELS: usize = 2;

fn main() -> Result<()> {
    println!("| output of | L | taps | f64 | f32 | f16 | bf16 |");
    println!("|---|---|---|---|---|---|---|");
    let cpu = &Device::Cpu;
    for length in LENGTHS {
        let errors = DTYPES.map(|dtype| long_convolution(length, dtype, cpu));
        print_row("gated causal long convolution", length, length, errors)?;
    }
    let errors = DTYPES.map(|dtype| short_convolution(8192, 4, dtype, cpu));
    print_row("causal short depthwise convolution", 8192, 4, errors)?;
    let errors = DTYPES.map(|dtype| rounding(8192, dtype));
    print_row("(rounding to the dtype alone)", 8192, 0, errors)?;

    println!("\n| gradient of (gated causal long convolution, L = 8192) | f32 | f16 | bf16 |");
    println!("|---|---|---|---|");
    let narrow = DTYPES[1..]
        .iter()
        .map(|&dtype| {
            let got = gradients(8192, dtype, dtype)?;
            let want = gradients(8192, dtype, DType::F64)?;
            let pairs = got.iter().zip(&want);
            Ok(pairs.map(|(got, want)| deviation(got, want)).collect())
        })
        .collect::<Result<Vec<Vec<f64>>>>()?;
    for (index, name) in GRADIENTS.iter().enumerate() {
        let errors: Vec<String> = narrow.iter().map(|e| number(e[index])).collect();
        println!("| `{name}` | {} |", errors.join(" | "));
    }
    match Device::cuda_if_available(0)? {
        Device::Cpu => Ok(()),
        gpu => on_the_gpu(&gpu),
    }
}

fn on_the_gpu(gpu: &Device) -> Result<()> {
    println!("\n| output of, on the GPU | L | taps | f32 | f16 | bf16 |");
    println!("|---|---|---|---|---|---|");
    let narrow = [DType::F32, DType::F16, DType::BF16];
    for length in LENGTHS_ON_THE_GPU {
        let errors = narrow.map(|dtype| long_convolution(length, dtype, gpu));
        print_row("gated causal long convolution", length, length, errors)?;
    }
    let errors = narrow.map(|dtype| short_convolution(8192, 4, dtype, gpu));
    print_row("causal short depthwise convolution", 8192, 4, errors)
}

fn print_row<const N: usize>(
    what: &str,
    length: usize,
    taps: usize,
    errors: [Result<f64>; N],
) -> Result<()> {
    let errors = errors
        .into_iter()
        .map(|error| match error {
            Err(error) if error.to_string().contains("not implemented on") => Ok("–".into()),
            error => error.map(number),
        })
        .collect::<Result<Vec<_>>>()?;
    let taps = match taps {
        0 => String::from("–"),
        taps => taps.to_string(),
    };
    println!("| {what} | {length} | {taps} | {} |", errors.join(" | "));
    Ok(())
}

fn number(error: f64) -> String {
    match error {
        0.0 => String::from("0"),
        error => format!("{error:.1e}"),
    }
}

/// The same numbers for every dtype, standard normal times `scale`, rounded to `dtype`.
fn normal(seed: u64, shape: &[usize], scale: f64, dtype: DType) -> Result<Tensor> {
    let mut random = StdRng::seed_from_u64(seed);
    let values: Vec<f64> = (0..shape.iter().product())
        .map(|_| {
            // Box and Muller's transform of two uniform numbers.
            let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
            scale * radius * (std::f64::consts::TAU * random.random::<f64>()).cos()
        })
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)
}

/// The dtype that taps are given in: f32, or f64 with f64 sequences.
fn tap_dtype(dtype: DType) -> DType {
    match dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    }
}

fn rows(t: &Tensor) -> Result<Vec<Vec<f64>>> {
    t.to_dtype(DType::F64)?.flatten_to(t.rank() - 2)?.to_vec2()
}

fn deviation(got: &[f64], want: &[f64]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let difference = square(&mut got.iter().zip(want).map(|(g, w)| g - w));
    (difference / square(&mut want.iter().copied())).sqrt()
}

/// `Σ x·y` as if computed with twice the precision of float64 and rounded once
/// (Ogita, Rump, Oishi, "Accurate sum and dot product", 2005, algorithm 5.3).
fn dot(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (mut sum, mut rest) = (0.0f64, 0.0f64);
    for (x, y) in pairs {
        let product = x * y;
        let product_rest = x.mul_add(y, -product);
        let next = sum + product;
        let part = next - sum;
        rest += product_rest + ((sum - (next - part)) + (product - part));
        sum = next;
    }
    sum + rest
}

/// Compares the samples of `got`, one row a channel, with `want(channel, sample)`.
fn compare(got: &Tensor, want: impl Fn(usize, usize) -> f64) -> Result<f64> {
    let (mut compared, mut reference) = (Vec::new(), Vec::new());
    for (channel, row) in rows(got)?.iter().enumerate() {
        // The last sample sums the most products: it is always one of them.
        let step = row.len().div_ceil(COMPARED);
        for sample in (0..row.len()).rev().step_by(step) {
            compared.push(row[sample]);
            reference.push(want(channel, sample));
        }
    }
    Ok(deviation(&compared, &reference))
}

fn long_convolution(length: usize, dtype: DType, device: &Device) -> Result<f64> {
    let shape = [1, CHANNELS, length];
    let inputs = [1, 2, 3].map(|seed| normal(seed, &shape, 1.0, dtype));
    let [u, in_gate, out_gate] = inputs;
    let (u, in_gate, out_gate) = (u?, in_gate?, out_gate?);
    let scale = 1.0 / (length as f64).sqrt();
    let k = normal(4, &[CHANNELS, length], scale, tap_dtype(dtype))?;
    let conv = FlashFftConv::causal(length, device)?;
    let on = |t: &Tensor| t.to_device(device);
    let y = conv.forward_gated(&on(&u)?, &on(&k)?, &on(&in_gate)?, &on(&out_gate)?)?;

    let (u, k) = (rows(&u)?, rows(&k)?);
    let (in_gate, out_gate) = (rows(&in_gate)?, rows(&out_gate)?);
    compare(&y, |h, t| {
        // Products of two samples of at most 32 bits are exact in float64. With float64 samples
        // this rounding is part of the reference, once for each product as in the operation.
        let gated = |s: usize| in_gate[h][s] * u[h][s];
        out_gate[h][t] * dot((0..=t).map(|j| (k[h][j], gated(t - j))))
    })
}

fn short_convolution(length: usize, taps: usize, dtype: DType, device: &Device) -> Result<f64> {
    let x = normal(5, &[1, CHANNELS, length], 1.0, dtype)?;
    let weight = normal(6, &[CHANNELS, taps], 0.5, tap_dtype(dtype))?;
    let on_device = weight.to_device(device)?;
    let conv = FlashDepthwiseConv1d::causal(on_device, None, Conv1dLayout::Bhl)?;
    let y = conv.forward(&x.to_device(device)?)?;
    let (x, weight) = (rows(&x)?, rows(&weight)?);
    compare(&y, |h, t| {
        // Tap `taps − 1 − lag` reads the sample `lag` before.
        let lags = 0..taps.min(t + 1);
        dot(lags.map(|lag| (weight[h][taps - 1 - lag], x[h][t - lag])))
    })
}

/// What storing exact numbers in the dtype costs by itself.
fn rounding(length: usize, dtype: DType) -> Result<f64> {
    let exact = normal(7, &[CHANNELS, length], 1.0, DType::F64)?;
    let want = rows(&exact)?;
    compare(&exact.to_dtype(dtype)?, |h, t| want[h][t])
}

const GRADIENTS: [&str; 4] = ["u", "k", "in_gate", "out_gate"];

/// The gradients in the order of [`GRADIENTS`], of values rounded to `stored`, computed in `computed`.
fn gradients(length: usize, stored: DType, computed: DType) -> Result<Vec<Vec<f64>>> {
    let shape = [2, CHANNELS, length];
    let variable = |seed, shape: &[usize], scale, stored, computed| {
        Var::from_tensor(&normal(seed, shape, scale, stored)?.to_dtype(computed)?)
    };
    let u = variable(1, &shape, 1.0, stored, computed)?;
    let in_gate = variable(2, &shape, 1.0, stored, computed)?;
    let out_gate = variable(3, &shape, 1.0, stored, computed)?;
    let scale = 1.0 / (length as f64).sqrt();
    let taps = (tap_dtype(stored), tap_dtype(computed));
    let k = variable(4, &[CHANNELS, length], scale, taps.0, taps.1)?;
    let conv = FlashFftConv::causal(length, &Device::Cpu)?;
    let y = conv.forward_gated(&u, &k, &in_gate, &out_gate)?;
    let dy = normal(8, &shape, 1.0, stored)?.to_dtype(computed)?;
    let gradients = (y * dy)?.sum_all()?.backward()?;
    [&u, &k, &in_gate, &out_gate]
        .into_iter()
        .map(|variable| match gradients.get(variable) {
            Some(gradient) => gradient.to_dtype(DType::F64)?.flatten_all()?.to_vec1(),
            None => candle_core::bail!("a gradient is missing"),
        })
        .collect()
}

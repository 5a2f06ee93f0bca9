//! Every bad call of the long convolution is an error that says what was expected and got.

use crate::common::conv::has_gradients;
use crate::twin;
use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_flashfftconv::FlashFftConv;

fn zeros(shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
    Tensor::zeros(shape, dtype, device)
}

/// The crate's own error, by its message, which must be exactly this.
#[track_caller]
fn expect<T>(result: Result<T>, message: &str) {
    match result {
        Ok(_) => panic!("expected the error: {message}"),
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            assert_eq!(first, message);
        }
    }
}

/// Calls every method with this input and kernel, and expects the same error of all.
#[track_caller]
fn expect_everywhere(conv: &FlashFftConv, u: &Tensor, k: &Tensor, message: &str) {
    expect(conv.forward(u, k), message);
    expect(conv.forward_gated(u, k, u, u), message);
    if let Ok(prepared) = conv.prepare(k) {
        expect(prepared.forward(u), message);
        expect(prepared.forward_gated(u, u, u), message);
    }
}

twin!(plan_sizes, super::check_plan_sizes);
fn check_plan_sizes(device: &Device) -> Result<()> {
    let largest_circular = 1 << 24;
    let largest_causal = 1 << 23;
    assert!(FlashFftConv::new(largest_circular, device).is_ok());
    assert!(FlashFftConv::causal(largest_causal, device).is_ok());
    assert!(FlashFftConv::new(1, device).is_ok());
    assert!(FlashFftConv::causal(1, device).is_ok());
    expect(
        FlashFftConv::new(0, device),
        "fft_size: expected 1 to 16777216, got 0",
    );
    expect(
        FlashFftConv::new(largest_circular + 1, device),
        "fft_size: expected 1 to 16777216, got 16777217",
    );
    expect(
        FlashFftConv::causal(0, device),
        "max_len: expected 1 to 8388608, got 0",
    );
    expect(
        FlashFftConv::causal(usize::MAX, device),
        "max_len: expected 1 to 8388608, got 18446744073709551615",
    );
    Ok(())
}

twin!(ranks, super::check_ranks);
fn check_ranks(device: &Device) -> Result<()> {
    let conv = FlashFftConv::causal(8, device)?;
    let (u, k) = (
        zeros(&[1, 2, 8], DType::F32, device)?,
        zeros(&[2, 8], DType::F32, device)?,
    );
    expect_everywhere(
        &conv,
        &zeros(&[2, 8], DType::F32, device)?,
        &k,
        "u: expected 3 dimensions (B, H, L), got 2 dimensions [2, 8]",
    );
    let three = zeros(&[1, 2, 8], DType::F32, device)?;
    let message = "k: expected 2 dimensions (H, Lk), got 3 dimensions [1, 2, 8]";
    expect_everywhere(&conv, &u, &three, message);
    expect(conv.prepare(&three), message);
    let message = "z: expected 3 dimensions (B, 3H, L), got 2 dimensions [2, 8]";
    expect(conv.forward_projected(&k, &k), message);
    expect(conv.prepare(&k)?.forward_projected(&k), message);
    let scalar = Tensor::new(1f32, device)?;
    expect(
        conv.forward(&scalar, &k),
        "u: expected 3 dimensions (B, H, L), got 0 dimensions []",
    );
    Ok(())
}

twin!(shapes, super::check_shapes);
fn check_shapes(device: &Device) -> Result<()> {
    let conv = FlashFftConv::causal(8, device)?;
    let (u, k) = (
        zeros(&[1, 2, 8], DType::F32, device)?,
        zeros(&[2, 8], DType::F32, device)?,
    );
    let message = "k: expected shape (H, Lk) with the H = 2 channels of the input, got [3, 8]";
    let other = zeros(&[3, 8], DType::F32, device)?;
    expect_everywhere(&conv, &u, &other, message);
    let z = zeros(&[1, 6, 8], DType::F32, device)?;
    expect(conv.forward_projected(&z, &other), message);
    expect(conv.prepare(&other)?.forward_projected(&z), message);

    let z = zeros(&[1, 7, 8], DType::F32, device)?;
    let message = "z: expected shape (B, 3H, L), a middle dimension that 3 divides, got [1, 7, 8]";
    expect(conv.forward_projected(&z, &k), message);
    expect(conv.prepare(&k)?.forward_projected(&z), message);

    for shape in [&[1, 2, 7][..], &[1, 1, 8], &[2, 2, 8], &[2, 8]] {
        let gate = zeros(shape, DType::F32, device)?;
        for name in ["in_gate", "out_gate"] {
            let message =
                format!("{name}: expected shape [1, 2, 8], the shape of u, got {shape:?}");
            let (first, second) = match name {
                "in_gate" => (&gate, &u),
                _ => (&u, &gate),
            };
            expect(conv.forward_gated(&u, &k, first, second), &message);
            let prepared = conv.prepare(&k)?;
            expect(prepared.forward_gated(&u, first, second), &message);
        }
    }
    Ok(())
}

twin!(lengths, super::check_lengths);
fn check_lengths(device: &Device) -> Result<()> {
    let causal = FlashFftConv::causal(8, device)?;
    let circular = FlashFftConv::new(8, device)?;
    let (u, k) = (
        zeros(&[1, 2, 9], DType::F32, device)?,
        zeros(&[2, 8], DType::F32, device)?,
    );
    let message = "sequence length L: expected at most 8, the plan's max_len, got 9";
    expect_everywhere(&causal, &u, &k, message);
    let z = zeros(&[1, 6, 9], DType::F32, device)?;
    expect(causal.forward_projected(&z, &k), message);
    let message = "sequence length L: expected at most 8, the FFT size, got 9";
    expect_everywhere(&circular, &u, &k, message);
    expect(circular.prepare(&k)?.forward_projected(&z), message);

    let u = zeros(&[1, 2, 8], DType::F32, device)?;
    let long = zeros(&[2, 9], DType::F32, device)?;
    let message = "taps of k (Lk): expected at most 8, the FFT size, got 9";
    expect_everywhere(&circular, &u, &long, message);
    expect(circular.prepare(&long), message);
    assert!(
        causal.forward(&u, &long).is_ok(),
        "taps beyond L are allowed"
    );
    Ok(())
}

twin!(no_taps, super::check_no_taps);
fn check_no_taps(device: &Device) -> Result<()> {
    let u = zeros(&[1, 2, 8], DType::F32, device)?;
    let none = zeros(&[2, 0], DType::F32, device)?;
    let circular = FlashFftConv::new(8, device)?;
    let message = "taps of k (Lk): expected at least 1, got 0";
    expect_everywhere(&circular, &u, &none, message);
    let causal = FlashFftConv::causal(8, device)?;
    expect_everywhere(&causal, &u, &none, message);
    expect(causal.prepare(&none), message);
    Ok(())
}

twin!(dtypes, super::check_dtypes);
fn check_dtypes(device: &Device) -> Result<()> {
    let conv = FlashFftConv::causal(8, device)?;
    let (u, k) = (
        zeros(&[1, 2, 8], DType::F32, device)?,
        zeros(&[2, 8], DType::F32, device)?,
    );
    for dtype in [DType::U8, DType::U32, DType::I64] {
        let taken = match device.is_cpu() {
            true => "f32, f16, bf16 or f64",
            false => "f32, f16 or bf16 (f64 on the CPU only)",
        };
        let message = format!("u: expected dtype {taken}, got {dtype:?}");
        expect_everywhere(&conv, &u.to_dtype(dtype)?, &k, &message);
        let message = format!("k: expected dtype f32, f16, bf16 or f64, got {dtype:?}");
        expect_everywhere(&conv, &u, &k.to_dtype(dtype)?, &message);
        expect(conv.prepare(&k.to_dtype(dtype)?), &message);
    }
    let half = u.to_dtype(DType::BF16)?;
    let message = "in_gate: expected dtype F32, the dtype of u, got BF16";
    expect(conv.forward_gated(&u, &k, &half, &u), message);
    expect(conv.prepare(&k)?.forward_gated(&u, &half, &u), message);
    let message = "out_gate: expected dtype BF16, the dtype of u, got F32";
    expect(conv.forward_gated(&half, &k, &half, &u), message);
    Ok(())
}

twin!(
    kernels_of_other_float_dtypes_are_converted,
    super::check_kernels_of_other_float_dtypes_are_converted
);
fn check_kernels_of_other_float_dtypes_are_converted(device: &Device) -> Result<()> {
    let conv = FlashFftConv::causal(8, device)?;
    for sequence in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        if sequence == DType::F64 && !device.is_cpu() {
            continue;
        }
        for kernel in [DType::F32, DType::F64, DType::F16, DType::BF16] {
            let u = Tensor::ones((1, 2, 8), sequence, device)?;
            let k = Tensor::ones((2, 8), kernel, device)?;
            for y in [conv.forward(&u, &k)?, conv.prepare(&k)?.forward(&u)?] {
                assert_eq!(y.dtype(), sequence);
                let y = crate::common::to_f64(&y);
                assert!((y[7] - 8.0).abs() < 1e-2, "{sequence:?} {kernel:?} {y:?}");
            }
        }
    }
    Ok(())
}

/// A view, empty or not: GPUs allocate no empty tensors.
fn part_of_ones(shape: &[usize], device: &Device) -> Result<Tensor> {
    let whole: Vec<usize> = shape.iter().map(|&n| n.max(1)).collect();
    let mut part = Tensor::ones(whole, DType::F32, device)?;
    for (dim, &n) in shape.iter().enumerate() {
        part = part.narrow(dim, 0, n)?;
    }
    Ok(part)
}

twin!(
    empty_tensors_give_empty_outputs,
    super::check_empty_tensors_give_empty_outputs
);
fn check_empty_tensors_give_empty_outputs(device: &Device) -> Result<()> {
    let conv = FlashFftConv::causal(8, device)?;
    for [batch, channels, length] in [[0, 2, 8], [2, 0, 8], [2, 2, 0], [0, 0, 0]] {
        let u = part_of_ones(&[batch, channels, length], device)?;
        let k = part_of_ones(&[channels, 8], device)?;
        let z = part_of_ones(&[batch, 3 * channels, length], device)?;
        let prepared = conv.prepare(&k)?;
        for y in [
            conv.forward(&u, &k)?,
            conv.forward_gated(&u, &k, &u, &u)?,
            conv.forward_projected(&z, &k)?,
            prepared.forward(&u)?,
            prepared.forward_gated(&u, &u, &u)?,
            prepared.forward_projected(&z)?,
        ] {
            assert_eq!(y.dims(), [batch, channels, length]);
        }
        if !has_gradients(device) {
            continue;
        }
        let (u, k) = (Var::from_tensor(&u)?, Var::from_tensor(&k)?);
        let gradients = conv.forward(&u, &k)?.sum_all()?.backward()?;
        for variable in [&u, &k] {
            if let Some(gradient) = gradients.get(variable) {
                assert_eq!(gradient.dims(), variable.dims());
                assert!(crate::common::to_f64(gradient).iter().all(|&g| g == 0.0));
            }
        }
    }
    Ok(())
}

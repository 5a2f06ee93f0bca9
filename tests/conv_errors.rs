//! Every bad call of the long convolution is an error that says what was expected and got.

mod common;

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_flashfftconv::FlashFftConv;

fn zeros(shape: &[usize], dtype: DType) -> Result<Tensor> {
    Tensor::zeros(shape, dtype, &Device::Cpu)
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

#[test]
fn plan_sizes() {
    let device = &Device::Cpu;
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
}

#[test]
fn ranks() -> Result<()> {
    let conv = FlashFftConv::causal(8, &Device::Cpu)?;
    let (u, k) = (zeros(&[1, 2, 8], DType::F32)?, zeros(&[2, 8], DType::F32)?);
    expect_everywhere(
        &conv,
        &zeros(&[2, 8], DType::F32)?,
        &k,
        "u: expected 3 dimensions (B, H, L), got 2 dimensions [2, 8]",
    );
    let three = zeros(&[1, 2, 8], DType::F32)?;
    let message = "k: expected 2 dimensions (H, Lk), got 3 dimensions [1, 2, 8]";
    expect_everywhere(&conv, &u, &three, message);
    expect(conv.prepare(&three), message);
    let message = "z: expected 3 dimensions (B, 3H, L), got 2 dimensions [2, 8]";
    expect(conv.forward_projected(&k, &k), message);
    expect(conv.prepare(&k)?.forward_projected(&k), message);
    let scalar = Tensor::new(1f32, &Device::Cpu)?;
    expect(
        conv.forward(&scalar, &k),
        "u: expected 3 dimensions (B, H, L), got 0 dimensions []",
    );
    Ok(())
}

#[test]
fn shapes() -> Result<()> {
    let conv = FlashFftConv::causal(8, &Device::Cpu)?;
    let (u, k) = (zeros(&[1, 2, 8], DType::F32)?, zeros(&[2, 8], DType::F32)?);
    let message = "k: expected shape (H, Lk) with the H = 2 channels of the input, got [3, 8]";
    let other = zeros(&[3, 8], DType::F32)?;
    expect_everywhere(&conv, &u, &other, message);
    let z = zeros(&[1, 6, 8], DType::F32)?;
    expect(conv.forward_projected(&z, &other), message);
    expect(conv.prepare(&other)?.forward_projected(&z), message);

    let z = zeros(&[1, 7, 8], DType::F32)?;
    let message = "z: expected shape (B, 3H, L), a middle dimension that 3 divides, got [1, 7, 8]";
    expect(conv.forward_projected(&z, &k), message);
    expect(conv.prepare(&k)?.forward_projected(&z), message);

    for shape in [&[1, 2, 7][..], &[1, 1, 8], &[2, 2, 8], &[2, 8]] {
        let gate = zeros(shape, DType::F32)?;
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

#[test]
fn lengths() -> Result<()> {
    let causal = FlashFftConv::causal(8, &Device::Cpu)?;
    let circular = FlashFftConv::new(8, &Device::Cpu)?;
    let (u, k) = (zeros(&[1, 2, 9], DType::F32)?, zeros(&[2, 8], DType::F32)?);
    let message = "sequence length L: expected at most 8, the plan's max_len, got 9";
    expect_everywhere(&causal, &u, &k, message);
    let z = zeros(&[1, 6, 9], DType::F32)?;
    expect(causal.forward_projected(&z, &k), message);
    let message = "sequence length L: expected at most 8, the FFT size, got 9";
    expect_everywhere(&circular, &u, &k, message);
    expect(circular.prepare(&k)?.forward_projected(&z), message);

    let u = zeros(&[1, 2, 8], DType::F32)?;
    let long = zeros(&[2, 9], DType::F32)?;
    let message = "taps of k (Lk): expected at most 8, the FFT size, got 9";
    expect_everywhere(&circular, &u, &long, message);
    expect(circular.prepare(&long), message);
    assert!(
        causal.forward(&u, &long).is_ok(),
        "taps beyond L are allowed"
    );
    Ok(())
}

#[test]
fn no_taps() -> Result<()> {
    let u = zeros(&[1, 2, 8], DType::F32)?;
    let none = zeros(&[2, 0], DType::F32)?;
    let circular = FlashFftConv::new(8, &Device::Cpu)?;
    let message = "taps of k (Lk): expected at least 1, got 0";
    expect_everywhere(&circular, &u, &none, message);
    let causal = FlashFftConv::causal(8, &Device::Cpu)?;
    expect_everywhere(&causal, &u, &none, message);
    expect(causal.prepare(&none), message);
    Ok(())
}

#[test]
fn dtypes() -> Result<()> {
    let conv = FlashFftConv::causal(8, &Device::Cpu)?;
    let (u, k) = (zeros(&[1, 2, 8], DType::F32)?, zeros(&[2, 8], DType::F32)?);
    for dtype in [DType::U8, DType::U32, DType::I64] {
        let message = format!("u: expected dtype f32, f16, bf16 or f64, got {dtype:?}");
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

#[test]
fn kernels_of_other_float_dtypes_are_converted() -> Result<()> {
    let conv = FlashFftConv::causal(8, &Device::Cpu)?;
    for sequence in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        for kernel in [DType::F32, DType::F64, DType::F16, DType::BF16] {
            let u = Tensor::ones((1, 2, 8), sequence, &Device::Cpu)?;
            let k = Tensor::ones((2, 8), kernel, &Device::Cpu)?;
            for y in [conv.forward(&u, &k)?, conv.prepare(&k)?.forward(&u)?] {
                assert_eq!(y.dtype(), sequence);
                let y = common::to_f64(&y);
                assert!((y[7] - 8.0).abs() < 1e-2, "{sequence:?} {kernel:?} {y:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn empty_tensors_give_empty_outputs() -> Result<()> {
    let conv = FlashFftConv::causal(8, &Device::Cpu)?;
    for [batch, channels, length] in [[0, 2, 8], [2, 0, 8], [2, 2, 0], [0, 0, 0]] {
        let u = candle_core::Var::zeros((batch, channels, length), DType::F32, &Device::Cpu)?;
        let k = candle_core::Var::ones((channels, 8), DType::F32, &Device::Cpu)?;
        let z = zeros(&[batch, 3 * channels, length], DType::F32)?;
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
        let gradients = conv.forward(&u, &k)?.sum_all()?.backward()?;
        for variable in [&u, &k] {
            if let Some(gradient) = gradients.get(variable) {
                assert_eq!(gradient.dims(), variable.dims());
                assert!(common::to_f64(gradient).iter().all(|&g| g == 0.0));
            }
        }
    }
    Ok(())
}

#[cfg(feature = "cuda")]
#[test]
fn devices() -> Result<()> {
    let Some(gpu) = common::devices().into_iter().nth(1) else {
        return Ok(());
    };
    let conv = FlashFftConv::causal(8, &gpu)?;
    let (u, k) = (zeros(&[1, 2, 8], DType::F32)?, zeros(&[2, 8], DType::F32)?);
    let on = format!("{:?}", gpu.location());
    let message = format!("u: expected a tensor on {on}, got one on Cpu");
    expect_everywhere(&conv, &u, &k, &message);
    let on_gpu = u.to_device(&gpu)?;
    let message = format!("k: expected a tensor on {on}, got one on Cpu");
    expect(conv.forward(&on_gpu, &k), &message);
    expect(conv.prepare(&k), &message);
    let message = format!("in_gate: expected a tensor on {on}, got one on Cpu");
    expect(
        conv.forward_gated(&on_gpu, &k.to_device(&gpu)?, &u, &on_gpu),
        &message,
    );
    let double = on_gpu.to_dtype(DType::F64)?;
    let message = "u: expected dtype f32, f16 or bf16 (f64 on the CPU only), got F64";
    expect(conv.forward(&double, &k.to_device(&gpu)?), message);
    Ok(())
}

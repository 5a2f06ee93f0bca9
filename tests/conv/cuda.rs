//! What concerns the long convolution on a GPU alone: its own errors, tensors beyond 2^31 elements,
//! calls inside a CUDA graph.

use crate::common::conv::{decaying, double, has_gradients, tensor_within, tolerance, DTYPES};
use crate::common::{expect_not_implemented, gpu, random_tensor, to_f64};
use candle_core::cuda_backend::cudarc::driver::sys::{
    CUgraphInstantiate_flags, CUstreamCaptureMode,
};
use candle_core::cuda_backend::WrapErr;
use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_flashfftconv::FlashFftConv;

#[track_caller]
fn expect<T>(result: Result<T>, message: &str) {
    match result {
        Ok(_) => panic!("expected the error: {message}"),
        Err(error) => assert_eq!(error.to_string().lines().next(), Some(message)),
    }
}

#[test]
fn tensors_of_the_cpu_and_of_f64_are_errors() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    let conv = FlashFftConv::causal(8, &gpu)?;
    let u = Tensor::zeros((1, 2, 8), DType::F32, &Device::Cpu)?;
    let k = Tensor::zeros((2, 8), DType::F32, &Device::Cpu)?;
    let on = format!("{:?}", gpu.location());
    let message = format!("u: expected a tensor on {on}, got one on Cpu");
    expect(conv.forward(&u, &k), &message);
    expect(conv.forward_gated(&u, &k, &u, &u), &message);
    let on_gpu = u.to_device(&gpu)?;
    let message = format!("k: expected a tensor on {on}, got one on Cpu");
    expect(conv.forward(&on_gpu, &k), &message);
    expect(conv.prepare(&k), &message);
    let k = k.to_device(&gpu)?;
    let message = format!("in_gate: expected a tensor on {on}, got one on Cpu");
    expect(conv.forward_gated(&on_gpu, &k, &u, &on_gpu), &message);
    let double = on_gpu.to_dtype(DType::F64)?;
    let message = "u: expected dtype f32, f16 or bf16 (f64 on the CPU only), got F64";
    expect(conv.forward(&double, &k), message);
    expect(conv.prepare(&k)?.forward(&double), message);
    // Kernels of that dtype are converted.
    conv.forward(&on_gpu, &k.to_dtype(DType::F64)?)?;
    Ok(())
}

#[test]
fn gradients_are_an_error_and_not_a_computation_on_the_cpu() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    if has_gradients(&gpu) {
        return Ok(()); // the twins of other files compare them
    }
    let conv = FlashFftConv::causal(8, &gpu)?;
    let u = Var::ones((1, 2, 8), DType::F32, &gpu)?;
    let k = Var::ones((2, 8), DType::F32, &gpu)?;
    let prepared = conv.prepare(&k)?;
    for y in [
        conv.forward(&u, &k)?,
        conv.forward_gated(&u, &k, &u, &u)?,
        conv.forward_gated(&u, &k.detach(), &u, &u)?,
        prepared.forward(&u)?,
        prepared.forward_gated(&u, &u, &u)?,
    ] {
        expect_not_implemented(y.sum_all()?.backward())?;
    }
    Ok(())
}

/// An error that says so, not a crash, and before anything is computed.
#[test]
fn more_than_the_gpu_holds_cuda() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    for length in [1024, 100_000] {
        let k = decaying(1, 1, length, length)?.to_device(&gpu)?;
        let k = k.broadcast_as((1 << 12, length))?;
        for dtype in DTYPES {
            let row = Tensor::zeros((1, 1, length), dtype, &gpu)?;
            let u = row.broadcast_as((1 << 20, 1 << 12, length))?;
            let error = FlashFftConv::causal(length, &gpu)?.forward(&u, &k);
            let message = error.map(|_| "a result").unwrap_err().to_string();
            assert!(message.contains("memory of the GPU"), "{message}");
        }
        // The device goes on as before.
        let u = random_tensor(1, &[1, 1, length], DType::F32, &gpu)?;
        FlashFftConv::causal(length, &gpu)?.forward(&u, &k.narrow(0, 0, 1)?)?;
    }
    Ok(())
}

/// Batch, channels and sequence length of slightly more than 2^31 elements.
const BEYOND_32_BITS: [[usize; 3]; 5] = [
    [8_389_000, 4, 64],
    [21_000, 100, 1024],
    [1_030, 512, 4096],
    [1, 65_537, 32768],
    [1, 32_769, 65536],
];

#[test]
fn tensors_beyond_32_bit_offsets() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    for shape in BEYOND_32_BITS {
        let [batch, channels, length] = shape;
        let elements = batch * channels * length;
        assert!(elements > 1 << 31);
        // Input and output in bf16, the spectra, and room for the rest.
        let needed = 2 * 2 * elements + (8 << 20) * channels.min(1 << 10);
        let (free, _) = gpu
            .as_cuda_device()?
            .cuda_stream()
            .context()
            .mem_get_info()
            .w()?;
        if free < needed {
            println!(
                "skipped {shape:?}: {} of {} MiB free",
                free >> 20,
                needed >> 20
            );
            continue;
        }
        beyond_32_bit_offsets(shape, &gpu)?;
    }
    Ok(())
}

/// Zeros but for a few batch items or channels, at both ends and around element 2^31.
fn beyond_32_bit_offsets([batch, channels, length]: [usize; 3], gpu: &Device) -> Result<()> {
    let u = Tensor::zeros((batch, channels, length), DType::BF16, gpu)?;
    // The tensor is written and read along one dimension.
    let (dim, count) = match batch {
        1 => (1, channels),
        _ => (0, batch),
    };
    let size = batch * channels * length / count;
    let places = [
        0,
        (1 << 31) / size - 1,
        (1 << 31) / size,
        count - 2,
        count - 1,
    ];
    let part_shape = match dim {
        0 => [1, channels, length],
        _ => [1, 1, length],
    };
    let k = match dim {
        // All channels have their own kernel where they are few.
        0 => decaying(1, channels, length, length)?,
        _ => decaying(1, 1, length, length)?,
    };
    let parts = places
        .iter()
        .map(|&place| {
            let part = random_tensor(place as u64, &part_shape, DType::BF16, gpu)?;
            u.slice_set(&part, dim, place)?;
            Ok(part)
        })
        .collect::<Result<Vec<_>>>()?;
    let wide = k.to_device(gpu)?.broadcast_as((channels, length))?;
    let y = FlashFftConv::causal(length, gpu)?.forward(&u, &wide)?;
    drop(u);
    let exact = FlashFftConv::causal(length, &Device::Cpu)?;
    let zero_before_the_end = y.narrow(dim, count - 3, 1)?.force_contiguous()?;
    assert!(to_f64(&zero_before_the_end).iter().all(|&y| y == 0.0));
    for (place, part) in places.into_iter().zip(parts) {
        let got = y.narrow(dim, place, 1)?.force_contiguous()?;
        let want = exact.forward(&double(&part)?, &double(&k)?)?;
        let what = format!("{batch} x {channels} x {length}, at {place}");
        tensor_within(&got, &want, tolerance(DType::BF16, gpu), &what);
    }
    Ok(())
}

/// A call allocates its output and launches kernels, no more: it can be captured and replayed on what
/// its inputs hold then.
#[test]
fn calls_can_be_captured_in_a_graph() -> Result<()> {
    if gpu().is_none() {
        return Ok(());
    }
    let gpu = Device::new_cuda_with_stream(0)?;
    let cuda = gpu.as_cuda_device()?;
    // SAFETY: all tensors of this device are used on its one stream, by this thread.
    unsafe { cuda.disable_event_tracking() };
    let stream = cuda.cuda_stream();
    for length in [64, 200, 1024, 4096, 8192, 32768, 65536] {
        for dtype in DTYPES {
            let shape = [2, 3, length];
            let k = decaying(1, 3, length, length)?.to_device(&gpu)?;
            let prepared = FlashFftConv::causal(length, &gpu)?.prepare(&k)?;
            let z = random_tensor(2, &[2, 9, length], dtype, &gpu)?;
            let u = random_tensor(3, &shape, dtype, &gpu)?;
            let call = || -> Result<[Tensor; 3]> {
                Ok([
                    prepared.forward(&u)?,
                    prepared.forward_gated(&u, &u, &u)?,
                    prepared.forward_projected(&z)?,
                ])
            };
            call()?; // loads the kernels and computes what is kept
            let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
            stream.begin_capture(mode).w()?;
            let captured = call();
            let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
            let graph = stream.end_capture(flags).w()?;
            let (captured, Some(graph)) = (captured?, graph) else {
                candle_core::bail!("nothing was captured");
            };
            for seed in [10, 20] {
                u.slice_set(&random_tensor(seed, &shape, dtype, &gpu)?, 0, 0)?;
                z.slice_set(
                    &random_tensor(seed + 1, &[2, 9, length], dtype, &gpu)?,
                    0,
                    0,
                )?;
                let want = call()?;
                graph.launch().w()?;
                for (got, want) in captured.iter().zip(&want) {
                    assert_eq!(to_f64(got), to_f64(want), "L {length}, {dtype:?}");
                }
            }
        }
    }
    Ok(())
}

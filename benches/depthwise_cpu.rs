//! The short convolution on the CPU, forward and backward, beside candle's own grouped convolution.
//!
//! `cargo bench --bench depthwise_cpu`; the throughput is in outputs a second.

use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_flashfftconv::{Conv1dLayout, FlashDepthwiseConv1d};
use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use std::time::Duration;

/// Batch, channels, sequence length, taps.
type Shape = (usize, usize, usize, usize);

/// The projections of HyenaDNA (three taps) and M2-BERT at their usual lengths, and a wide one.
const SHAPES: [Shape; 4] = [
    (1, 768, 1024, 3),
    (1, 768, 32768, 3),
    (8, 2304, 128, 3),
    (4, 768, 1024, 7),
];

fn tensor(shape: impl Into<candle_core::Shape>, dtype: DType) -> Result<Tensor> {
    Tensor::randn(0f32, 1f32, shape, &Device::Cpu)?.to_dtype(dtype)
}

fn input((b, h, l, _): Shape, layout: Conv1dLayout, dtype: DType) -> Result<Tensor> {
    match layout {
        Conv1dLayout::Bhl => tensor((b, h, l), dtype),
        Conv1dLayout::Blh => tensor((b, l, h), dtype),
    }
}

fn benchmark(criterion: &mut Criterion) {
    run(criterion).unwrap_or_else(|error| panic!("{error}"));
}

fn run(criterion: &mut Criterion) -> Result<()> {
    for shape @ (b, h, l, k) in SHAPES {
        let mut group = criterion.benchmark_group(format!("{b}x{h}x{l} taps {k}"));
        group
            .throughput(Throughput::Elements((b * h * l) as u64))
            .sample_size(20)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_millis(1500));
        for layout in [Conv1dLayout::Bhl, Conv1dLayout::Blh] {
            for dtype in [DType::F32, DType::BF16, DType::F16] {
                let (weight, bias) = (tensor((h, k), DType::F32)?, tensor(h, DType::F32)?);
                let convolution = FlashDepthwiseConv1d::causal(weight, Some(bias), layout)?;
                let x = input(shape, layout, dtype)?;
                let name = format!("{layout:?} {}", dtype.as_str());
                group.bench_function(format!("{name} forward"), |bencher| {
                    bencher.iter(|| convolution.forward(&x))
                });
                let weight = Var::from_tensor(convolution.weight())?;
                let convolution =
                    FlashDepthwiseConv1d::causal(weight.as_tensor().clone(), None, layout)?;
                let x = Var::from_tensor(&x)?;
                let y = convolution.forward(&x)?;
                let loss = (&y * y.detach())?;
                group.bench_function(format!("{name} backward"), |bencher| {
                    bencher.iter(|| loss.backward())
                });
            }
        }
        if l <= 1024 {
            let (x, weight) = (
                input(shape, Conv1dLayout::Bhl, DType::F32)?,
                tensor((h, 1, k), DType::F32)?,
            );
            group.bench_function("candle's grouped conv1d", |bencher| {
                bencher.iter(|| x.conv1d(&weight, k - 1, 1, 1, h))
            });
        }
        group.finish();
    }
    Ok(())
}

criterion_group!(benches, benchmark);
criterion_main!(benches);

//! Times of the short convolution on a GPU, forward and backward, in both layouts.
//!
//! ```text
//! cargo bench --features cuda --bench depthwise_gpu
//! cargo bench --features cuda --bench depthwise_gpu -- --lengths 1024 --channels 768 --taps 3,7 --dtypes f32
//! ```
//!
//! The built program needs no other file. Times are medians of CUDA events on random data, as in the
//! benchmark `gpu`. The floor is the time that a copy of as many bytes takes, at the rate measured in
//! the same run: `x` and `y` forward; `x`, `dy` and `dx` backward. The backward pass is that of candle
//! without what candle itself does, which fills the first gradient with ones and adds each gradient to
//! zeros: that is timed apart, and subtracted.

#[allow(dead_code)] // the other benchmark uses more of it
#[path = "gpu/measure.rs"]
mod measure;

use anyhow::{bail, Result};
use candle_core::{DType, Module, Tensor, Var};
use candle_flashfftconv::{Conv1dLayout, FlashDepthwiseConv1d};
use clap::Parser;
use measure::Gpu;

#[derive(Parser)]
#[command(about = "Times of the short convolution on a GPU")]
struct Arguments {
    /// Sequence lengths
    #[arg(long, value_delimiter = ',', default_values_t = [1024, 8192])]
    lengths: Vec<usize>,
    /// Channels
    #[arg(long, value_delimiter = ',', default_values_t = [768, 8192])]
    channels: Vec<usize>,
    /// Kernel sizes
    #[arg(long, value_delimiter = ',', default_values_t = [3, 4, 5, 7, 128])]
    taps: Vec<usize>,
    /// f32, f16, bf16
    #[arg(long, value_delimiter = ',', default_values_t = ["bf16".to_string()], value_parser = dtype_name)]
    dtypes: Vec<String>,
    /// The dtype of taps and bias, where it is not that of the input
    #[arg(long, value_parser = dtype_name)]
    parameters: Option<String>,
    /// Batch size
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// SiLU on the output
    #[arg(long)]
    silu: bool,
    /// Without the backward pass
    #[arg(long)]
    forward: bool,
    /// Which GPU
    #[arg(long, default_value_t = 0)]
    gpu: usize,
    /// `cargo bench` gives it
    #[arg(long, hide = true)]
    bench: bool,
}

fn dtype_name(name: &str) -> Result<String> {
    dtype(name).map(|_| name.to_string())
}

fn dtype(name: &str) -> Result<DType> {
    match name {
        "f32" => Ok(DType::F32),
        "f16" => Ok(DType::F16),
        "bf16" => Ok(DType::BF16),
        _ => bail!("expected f32, f16 or bf16"),
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let gpu = Gpu::new(arguments.gpu)?;
    let rate = gpu.copy_rate()?;
    println!("{}, copies at {:.2} TB/s", gpu.name()?, rate / 1e12);
    println!(
        "| L | H | K | layout | dtype | forward ms | of the floor | backward ms | of the floor |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for &length in &arguments.lengths {
        for &channels in &arguments.channels {
            for &taps in &arguments.taps {
                for layout in [Conv1dLayout::Bhl, Conv1dLayout::Blh] {
                    for name in &arguments.dtypes {
                        let case = Case {
                            sizes: (arguments.batch, channels, length),
                            taps,
                            layout,
                            dtype: dtype(name)?,
                            parameters: dtype(arguments.parameters.as_ref().unwrap_or(name))?,
                            silu: arguments.silu,
                        };
                        case.measure(&gpu, rate, !arguments.forward)?;
                    }
                }
            }
        }
    }
    Ok(())
}

struct Case {
    sizes: (usize, usize, usize),
    taps: usize,
    layout: Conv1dLayout,
    dtype: DType,
    parameters: DType,
    silu: bool,
}

impl Case {
    fn measure(&self, gpu: &Gpu, rate: f64, backward: bool) -> Result<()> {
        let (batch, channels, length) = self.sizes;
        let shape = match self.layout {
            Conv1dLayout::Bhl => [batch, channels, length],
            Conv1dLayout::Blh => [batch, length, channels],
        };
        let bytes = batch * channels * length * self.dtype.size_in_bytes();
        let sets = gpu.sets_beyond_cache(2 * bytes);
        let inputs = (0..sets)
            .map(|_| gpu.random(shape, self.dtype))
            .collect::<Result<Vec<_>>>()?;
        let weight = gpu
            .random([1, channels, self.taps], self.parameters)?
            .squeeze(0)?;
        let bias = gpu
            .random([1, 1, channels], self.parameters)?
            .flatten_all()?;
        let (weight, bias) = (Var::from_tensor(&weight)?, Var::from_tensor(&bias)?);
        let convolution = |weight: Tensor, bias: Tensor| -> candle_core::Result<_> {
            let plain = FlashDepthwiseConv1d::causal(weight, Some(bias), self.layout)?;
            Ok(if self.silu { plain.with_silu() } else { plain })
        };

        let inference = convolution(weight.as_detached_tensor(), bias.as_detached_tensor())?;
        let forward = gpu.time(sets, &|set| inference.forward(&inputs[set]))?;
        let share = |ms: f64, tensors: usize| {
            format!(
                "{:.0} %",
                100.0 * (tensors * bytes) as f64 / rate / (ms / 1e3)
            )
        };
        let (mut backward_ms, mut backward_share) = (String::new(), String::new());
        if backward {
            let training = convolution(weight.as_tensor().clone(), bias.as_tensor().clone())?;
            let losses = inputs
                .iter()
                .map(|x| {
                    let x = Var::from_tensor(x)?;
                    Ok((training.forward(&x)?, x))
                })
                .collect::<Result<Vec<_>>>()?;
            let timing = gpu.time(sets, &|set| {
                let (y, x) = &losses[set];
                let gradients = y.backward()?;
                gradients
                    .get(x)
                    .cloned()
                    .ok_or_else(|| candle_core::Error::msg("no gradient"))
            })?;
            // What candle does with outputs and gradients of these sizes.
            let of_candle = gpu.time(sets, &|set| {
                let (y, x) = &losses[set];
                let _ones = y.ones_like()?.contiguous()?;
                for parameter in [weight.as_tensor(), bias.as_tensor()] {
                    parameter.zeros_like()?.add(&parameter.detach())?;
                }
                x.zeros_like()?.add(&y.detach())
            })?;
            let ms = timing.ms - of_candle.ms;
            backward_ms = format!("{ms:.4}");
            backward_share = share(ms, 3);
        }
        println!(
            "| {length} | {channels} | {} | {:?} | {} | {:.4} | {} | {backward_ms} | {backward_share} |",
            self.taps,
            self.layout,
            self.dtype.as_str(),
            forward.ms,
            share(forward.ms, 2),
        );
        Ok(())
    }
}

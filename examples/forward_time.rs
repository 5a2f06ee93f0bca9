//! How long a forward pass of the published HyenaDNA models takes, and how much memory.
//!
//! ```text
//! cargo run --release --features cuda --example forward_time -- --device cuda --dtype bf16
//! cargo run --release --example forward_time -- --device cpu --model tiny-1k-seqlen
//! ```
//!
//! The weights are random: times and memory do not depend on them. One line for each model, at its
//! longest sequence or at `--tokens`: the first pass, which also computes the filters and loads the
//! kernels, then the median of the next ones. The memory is what the process holds beyond the
//! start: on a GPU, right after a pass was queued, when nothing has gone back to the driver yet; on
//! the CPU, the largest resident set so far (Linux).

use anyhow::{bail, Context, Result};
use candle_core::{DType, Device, Tensor};
use candle_flashfftconv::models::hyena_dna::{Config, HyenaDna, PUBLISHED};
use candle_nn::{VarBuilder, VarMap};
use clap::Parser;
use std::collections::HashMap;
use std::time::{Duration, Instant};

#[derive(Parser)]
#[command(about = "Time and memory of a forward pass of the published HyenaDNA models")]
struct Arguments {
    /// cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,

    /// f32, f16 or bf16
    #[arg(long, default_value = "f32")]
    dtype: String,

    /// The published models, by name, several separated by commas; without it all of them
    #[arg(long, value_delimiter = ',')]
    model: Vec<String>,

    /// Sequence length; without it the longest of each model
    #[arg(long)]
    tokens: Option<usize>,

    #[arg(long, default_value_t = 1)]
    batch: usize,

    /// Passes after the first one
    #[arg(long, default_value_t = 5)]
    passes: usize,

    /// Bytes of filter spectra that a model may keep between passes; without it the model's default
    #[arg(long)]
    cache_bytes: Option<usize>,
}

fn device(name: &str) -> Result<Device> {
    match name.split_once(':') {
        None if name == "cpu" => Ok(Device::Cpu),
        None if name == "cuda" => Ok(Device::new_cuda(0)?),
        Some(("cuda", number)) => {
            let number = number
                .parse()
                .with_context(|| format!("--device: expected cuda:N, got {name:?}"))?;
            Ok(Device::new_cuda(number)?)
        }
        _ => bail!("--device: expected cpu, cuda or cuda:N, got {name:?}"),
    }
}

fn dtype(name: &str) -> Result<DType> {
    match name {
        "f32" => Ok(DType::F32),
        "f16" => Ok(DType::F16),
        "bf16" => Ok(DType::BF16),
        _ => bail!("--dtype: expected f32, f16 or bf16, got {name:?}"),
    }
}

/// Bytes that the device, or on the CPU this process, has in use.
fn in_use(device: &Device) -> Option<usize> {
    match device {
        Device::Cpu => {
            let status = std::fs::read_to_string("/proc/self/status").ok()?;
            let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
            let kilobytes: usize = line.split_whitespace().nth(1)?.parse().ok()?;
            Some(kilobytes << 10)
        }
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => {
            let (free, total) = device.cuda_stream().context().mem_get_info().ok()?;
            Some(total - free)
        }
        _ => None,
    }
}

/// A model of random constant weights.
fn model(config: &Config, dtype: DType, device: &Device) -> Result<HyenaDna> {
    let variables = VarMap::new();
    let fresh = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
    HyenaDna::new(config.clone(), fresh)?;
    let mut weights = HashMap::new();
    for (name, variable) in variables
        .data()
        .lock()
        .map_err(|e| anyhow::anyhow!("{e}"))?
        .iter()
    {
        weights.insert(name.clone(), variable.as_detached_tensor());
    }
    let weights = VarBuilder::from_tensors(weights, dtype, device);
    Ok(HyenaDna::new(config.clone(), weights)?)
}

struct Measured {
    first: Duration,
    median: Duration,
    bytes: Option<usize>,
}

fn measure(
    arguments: &Arguments,
    model: &HyenaDna,
    tokens: usize,
    device: &Device,
    before: Option<usize>,
) -> Result<Measured> {
    let ids: Vec<u32> = (0..arguments.batch * tokens)
        .map(|i| 7 + (i as u32).wrapping_mul(2_654_435_761).wrapping_shr(13) % 4)
        .collect();
    let ids = Tensor::from_vec(ids, (arguments.batch, tokens), device)?;
    let mut bytes = None;
    let mut pass = || -> Result<Duration> {
        device.synchronize()?;
        let start = Instant::now();
        let logits = model.forward(&ids)?;
        let after = in_use(device).zip(before);
        bytes = bytes.max(after.map(|(after, before)| after.saturating_sub(before)));
        device.synchronize()?;
        let elapsed = start.elapsed();
        drop(logits);
        Ok(elapsed)
    };
    let first = pass()?;
    let mut times = (0..arguments.passes.max(1))
        .map(|_| pass())
        .collect::<Result<Vec<_>>>()?;
    times.sort();
    let median = times[times.len() / 2];
    Ok(Measured {
        first,
        median,
        bytes,
    })
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (device, dtype) = (device(&arguments.device)?, dtype(&arguments.dtype)?);
    let names = match arguments.model.is_empty() {
        true => PUBLISHED.map(str::to_string).to_vec(),
        false => arguments.model.clone(),
    };
    println!("| model | tokens | dtype | first pass | next passes | tokens a second | memory |");
    println!("|---|---|---|---|---|---|---|");
    for name in names {
        let config = Config::published(&name)?;
        let tokens = arguments.tokens.unwrap_or(config.max_seq_len);
        if tokens > config.max_seq_len {
            println!(
                "| {name} | {tokens} | longer than {} | | | | |",
                config.max_seq_len
            );
            continue;
        }
        device.synchronize()?;
        let before = in_use(&device);
        let model = model(&config, dtype, &device)?;
        if let Some(bytes) = arguments.cache_bytes {
            model.set_cache_bytes(bytes);
        }
        let Measured {
            first,
            median,
            bytes,
        } = measure(&arguments, &model, tokens, &device, before)?;
        let rate = (arguments.batch * tokens) as f64 / median.as_secs_f64();
        let memory = match bytes {
            Some(bytes) => format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30)),
            None => "not known".to_string(),
        };
        println!(
            "| {name} | {} x {tokens} | {dtype:?} | {:.1} ms | {:.2} ms | {:.2} million | {memory} |",
            arguments.batch,
            first.as_secs_f64() * 1e3,
            median.as_secs_f64() * 1e3,
            rate / 1e6,
        );
    }
    Ok(())
}

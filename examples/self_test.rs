//! Does this machine compute long and short convolutions as it should?
//!
//! ```text
//! cargo run --release --example self_test                        the CPU
//! cargo run --release --features cuda --example self_test        the first GPU
//! cargo run --release --features cuda --example self_test -- --device cuda:1
//! ```
//!
//! Prints a table of errors against float64, or ends with the error that names the worst case.

use anyhow::{bail, Context, Result};
use candle_core::Device;
use candle_flashfftconv::self_test;
use clap::Parser;
use std::time::Instant;

#[derive(Parser)]
#[command(about = "Compares long and short convolutions on a device with float64 on the CPU")]
struct Arguments {
    /// cpu, cuda or cuda:N; without it the first GPU where there is one, or else the CPU
    #[arg(long)]
    device: Option<String>,
}

fn device(name: Option<&str>) -> Result<Device> {
    let Some(name) = name else {
        return Ok(Device::cuda_if_available(0)?);
    };
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

fn main() -> Result<()> {
    let device = device(Arguments::parse().device.as_deref())?;
    let start = Instant::now();
    let report = self_test(&device)?;
    println!("{report}");
    println!("passed in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

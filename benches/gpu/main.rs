//! Times and errors of the long convolution on a GPU.
//!
//! ```text
//! cargo bench --features cuda --bench gpu -- --json gpu.json --svg gpu.svg
//! cargo bench --features cuda --bench gpu -- --lengths 65536,1048576 --taps 128,1024 --padded
//! cargo bench --features cuda --bench gpu -- --lengths 1024,4096 --dtypes bf16 --ways gated --batch 8
//! python3 scripts/bench_torch_gpu.py --json torch.json
//! cargo bench --features cuda --bench gpu -- --against torch.json --svg both.svg
//! ```
//!
//! The built program needs no other file. Times are medians of CUDA events on random data after a
//! warm-up; what is smaller than the GPU's cache rotates over so many inputs and outputs that it is
//! not read from there. The floor is the time that a copy of as many bytes takes, at the rate measured
//! in the same run.

mod cases;
mod measure;
mod plot;
mod report;

use anyhow::{bail, ensure, Context, Result};
use candle_core::DType;
use cases::{Case, Way};
use clap::Parser;
use measure::Gpu;
use report::{Report, Row};
use std::path::{Path, PathBuf};

const LENGTHS: [usize; 10] = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768];
const LONG: [usize; 7] = [
    1 << 16,
    1 << 17,
    1 << 18,
    1 << 19,
    1_000_000,
    1 << 21,
    1 << 22,
];

#[derive(Parser)]
#[command(about = "Times and errors of the long convolution on a GPU")]
struct Arguments {
    /// Sequence lengths
    #[arg(long, value_delimiter = ',', default_values_t = LENGTHS)]
    lengths: Vec<usize>,
    /// Also rows that take several passes: 65536 to 4194304 samples
    #[arg(long)]
    long: bool,
    /// f32, f16, bf16
    #[arg(long, value_delimiter = ',', default_values_t = ["bf16".to_string(), "f16".into(), "f32".into()], value_parser = dtype_name)]
    dtypes: Vec<String>,
    /// plain, gated, projected
    #[arg(long, value_delimiter = ',', default_values_t = [Way::Plain, Way::Gated])]
    ways: Vec<Way>,
    /// Batch size; lowered where a case would not fit into memory
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Channels
    #[arg(long, default_value_t = 768)]
    channels: usize,
    /// Kernels of so many taps, where that is less than L, instead of L
    #[arg(long, value_delimiter = ',')]
    taps: Vec<usize>,
    /// Those kernels with zeros up to L taps, too: rows are not cut into pieces for them
    #[arg(long, requires = "taps")]
    padded: bool,
    /// Circular convolutions of size L instead of causal ones
    #[arg(long)]
    circular: bool,
    /// Also one batch item of 128 and 256 channels, whose inputs are in the cache, as after a layer
    #[arg(long)]
    inference: bool,
    /// Only one batch item of 128 and 256 channels
    #[arg(long, conflicts_with = "inference")]
    only_inference: bool,
    /// Which GPU
    #[arg(long, default_value_t = 0)]
    gpu: usize,
    /// Write the results
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write a plot
    #[arg(long)]
    svg: Option<PathBuf>,
    /// The results of another program or run, to compare with
    #[arg(long)]
    against: Option<PathBuf>,
    /// Show the results of an earlier run instead of measuring
    #[arg(long, conflicts_with = "json")]
    from: Option<PathBuf>,
    /// `cargo bench` gives it
    #[arg(long, hide = true)]
    bench: bool,
}

fn dtype_name(name: &str) -> Result<String> {
    match name {
        "f32" | "f16" | "bf16" => Ok(name.to_string()),
        _ => bail!("expected f32, f16 or bf16"),
    }
}

impl Arguments {
    fn cases(&self) -> Vec<Case> {
        let mut sizes = Vec::new();
        if !self.only_inference {
            sizes.push((self.batch, self.channels, false));
        }
        if self.inference || self.only_inference {
            sizes.extend([(1, 128, true), (1, 256, true)]);
        }
        let mut cases = Vec::new();
        for &(batch, channels, cached) in &sizes {
            for name in &self.dtypes {
                for &way in &self.ways {
                    let long = LONG.iter().filter(|_| self.long);
                    let lengths = self.lengths.iter().chain(long);
                    for &length in lengths {
                        cases.extend(self.kernels(length).map(|(taps, padded)| Case {
                            dtype: match name.as_str() {
                                "f32" => DType::F32,
                                "f16" => DType::F16,
                                _ => DType::BF16,
                            },
                            way,
                            batch,
                            channels,
                            length,
                            taps,
                            padded,
                            circular: self.circular,
                            cached,
                        }));
                    }
                }
            }
        }
        cases
    }

    /// The taps of the kernels for rows of `length` samples, and whether there are zeros after them.
    fn kernels(&self, length: usize) -> impl Iterator<Item = (Option<usize>, bool)> + '_ {
        let paddings: &[bool] = if self.padded {
            &[false, true]
        } else {
            &[false]
        };
        let short = self.taps.iter().filter(move |&&taps| taps < length);
        let short =
            short.flat_map(|&taps| paddings.iter().map(move |&padded| (Some(taps), padded)));
        let whole = self.taps.is_empty().then_some((None, false));
        whole.into_iter().chain(short)
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let sizes = [arguments.batch, arguments.channels];
    let lengths = arguments.lengths.iter().chain(&arguments.taps);
    ensure!(
        lengths.chain(&sizes).all(|&size| size > 0),
        "lengths, --taps, --batch and --channels: expected at least 1"
    );
    let read = |path: &Path| Report::read(path).with_context(|| path.display().to_string());
    let against = arguments.against.as_deref().map(read).transpose()?;
    let report = match &arguments.from {
        Some(path) => read(path)?,
        None => measure(&arguments, against.as_ref())?,
    };
    if arguments.from.is_some() {
        println!("{}", report.heading());
        println!("{}", Row::heading(against.as_ref()));
        for row in &report.rows {
            println!("{}", row.line(against.as_ref()));
        }
    }
    if let Some(path) = &arguments.json {
        report
            .write(path)
            .with_context(|| path.display().to_string())?;
    }
    if let Some(path) = &arguments.svg {
        plot::write(path, &report, against.as_ref()).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Measures and prints case by case.
fn measure(arguments: &Arguments, against: Option<&Report>) -> Result<Report> {
    let gpu = Gpu::new(arguments.gpu)?;
    let rate = gpu.copy_rate()?;
    let mut report = Report::new(gpu.name()?, rate);
    println!("{}", report.heading());
    println!("{}", Row::heading(against));
    for case in arguments.cases() {
        match case.run(&gpu, rate) {
            Ok(row) => {
                println!("{}", row.line(against));
                report.rows.push(row);
            }
            // The other cases may run.
            Err(error) => println!("{case}: {}", first_line(&error)),
        }
    }
    let again = gpu.copy_rate()?;
    println!("copies at the end of the run: {:.2} TB/s", again / 1e12);
    Ok(report)
}

fn first_line(error: &anyhow::Error) -> String {
    error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .to_string()
}

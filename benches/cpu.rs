//! Times of the long convolution on the CPU.
//!
//! `cargo bench --bench cpu` runs every case under criterion. With
//! `FLASHFFTCONV_BEST_OF=N` it prints instead one line for each case, its name and the
//! shortest of `N` runs in seconds, for `scripts/bench_torch_cpu.py`, which
//! interleaves them with the same cases in PyTorch.

use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_flashfftconv::FlashFftConv;
use criterion::Criterion;
use std::hint::black_box;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
enum Pass {
    Forward,
    /// Both gates, from one projected tensor.
    Gated,
    /// Forward with a kernel that was transformed before.
    Prepared,
    /// Forward and backward, with gradients for `u` and `k`.
    Training,
}

struct Case {
    pass: Pass,
    batch: usize,
    channels: usize,
    length: usize,
    taps: usize,
    dtype: DType,
}

const fn case(pass: Pass, [batch, channels, length]: [usize; 3], taps: usize) -> Case {
    Case {
        pass,
        batch,
        channels,
        length,
        taps,
        dtype: DType::F32,
    }
}

const SMALL: [usize; 3] = [1, 128, 1024];
const MEDIUM: [usize; 3] = [4, 256, 8192];
const LARGE: [usize; 3] = [1, 64, 1 << 20];

const CASES: &[Case] = &[
    case(Pass::Forward, SMALL, 1024),
    case(Pass::Forward, MEDIUM, 8192),
    case(Pass::Forward, LARGE, 1 << 20),
    case(Pass::Forward, [1, 1, 1 << 20], 1 << 20),
    case(Pass::Forward, [8, 256, 129], 129),
    case(Pass::Forward, [4, 256, 5000], 5000),
    case(Pass::Forward, MEDIUM, 128),
    case(Pass::Forward, [1, 64, 1 << 17], 4096),
    case(Pass::Gated, MEDIUM, 8192),
    case(Pass::Prepared, MEDIUM, 8192),
    case(Pass::Training, MEDIUM, 8192),
    Case {
        dtype: DType::BF16,
        ..case(Pass::Forward, MEDIUM, 8192)
    },
];

impl Case {
    fn name(&self) -> String {
        format!(
            "{:?}/{:?}/{}x{}x{}/taps{}",
            self.pass, self.dtype, self.batch, self.channels, self.length, self.taps
        )
    }

    /// A closure that runs the case once.
    fn prepare(&self) -> Result<Box<dyn Fn() -> Result<()>>> {
        let device = &Device::Cpu;
        let conv = FlashFftConv::causal(self.length, device)?;
        let random = |channels: usize| -> Result<Tensor> {
            Tensor::randn(0f32, 1.0, (self.batch, channels, self.length), device)?
                .to_dtype(self.dtype)
        };
        let k = Tensor::randn(0f32, 1.0, (self.channels, self.taps), device)?;
        Ok(match self.pass {
            Pass::Forward => {
                let u = random(self.channels)?;
                Box::new(move || conv.forward(&u, &k).map(|y| drop(black_box(y))))
            }
            Pass::Gated => {
                let z = random(3 * self.channels)?;
                Box::new(move || conv.forward_projected(&z, &k).map(|y| drop(black_box(y))))
            }
            Pass::Prepared => {
                let (u, prepared) = (random(self.channels)?, conv.prepare(&k)?);
                Box::new(move || prepared.forward(&u).map(|y| drop(black_box(y))))
            }
            Pass::Training => {
                let u = Var::from_tensor(&random(self.channels)?)?;
                let k = Var::from_tensor(&k)?;
                Box::new(move || {
                    let loss = conv.forward(&u, &k)?.sum_all()?;
                    loss.backward().map(|gradients| drop(black_box(gradients)))
                })
            }
        })
    }
}

fn best_of(rounds: usize, run: &dyn Fn() -> Result<()>) -> Result<Duration> {
    run()?;
    let mut best = Duration::MAX;
    for _ in 0..rounds {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed());
    }
    Ok(best)
}

fn main() -> Result<()> {
    let rounds = std::env::var("FLASHFFTCONV_BEST_OF").ok();
    let only = std::env::var("FLASHFFTCONV_CASE").unwrap_or_default();
    if let Some(rounds) = rounds.and_then(|text| text.parse().ok()) {
        for case in CASES.iter().filter(|case| case.name().contains(&only)) {
            let best = best_of(rounds, &*case.prepare()?)?;
            println!("{} {:.9}", case.name(), best.as_secs_f64());
        }
        return Ok(());
    }
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    for case in CASES {
        let run = case.prepare()?;
        criterion.bench_function(&case.name(), |bencher| {
            bencher.iter(|| run().map_err(|e| eprintln!("{e}")))
        });
    }
    criterion.final_summary();
    Ok(())
}

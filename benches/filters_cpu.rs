//! What short kernels and few frequencies gain on the CPU: `cargo bench --bench filters_cpu`.
//!
//! Prints a line for each kernel, the shortest of the runs in milliseconds. The kernels of one shape
//! take turns, so that whatever else the machine does meets all alike.

use candle_core::{Device, Module, Result, Tensor, Var};
use candle_flashfftconv::{FlashFftConv, PreparedConv};
use std::time::Instant;

const ROUNDS: usize = 15;

/// One kernel on sequences of one shape, and the shortest times so far.
struct Case {
    kernel: String,
    conv: FlashFftConv,
    prepared: PreparedConv,
    k: Var,
    best: [f64; 3],
}

impl Case {
    fn new(kernel: String, conv: FlashFftConv, k: Tensor) -> Result<Self> {
        Ok(Case {
            kernel,
            prepared: conv.prepare(&k)?,
            conv,
            k: Var::from_tensor(&k)?,
            best: [f64::MAX; 3],
        })
    }

    fn run(&mut self, u: &Var, dy: &Tensor) -> Result<()> {
        let fixed = u.as_detached_tensor();
        let k = self.k.as_detached_tensor();
        // Threads and memory come back from what ran before.
        self.prepared.forward(&fixed)?;
        let start = Instant::now();
        self.prepared.forward(&fixed)?;
        self.best[0] = self.best[0].min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        self.conv.forward(&fixed, &k)?;
        self.best[1] = self.best[1].min(start.elapsed().as_secs_f64());
        let loss = self.conv.forward(u, &self.k)?.mul(dy)?.sum_all()?;
        let start = Instant::now();
        loss.backward()?;
        self.best[2] = self.best[2].min(start.elapsed().as_secs_f64());
        Ok(())
    }
}

fn kernels(channels: usize, length: usize) -> Result<Vec<Case>> {
    let plan = FlashFftConv::causal(length, &Device::Cpu)?;
    let random = |taps: usize| Tensor::randn(0f32, 1.0, (channels, taps), &Device::Cpu);
    let mut cases = Vec::new();
    for taps in [length, 64, 1024, 16384] {
        if taps <= length {
            let kernel = format!("{taps} taps");
            cases.push(Case::new(kernel, plan.clone(), random(taps)?)?);
        }
    }
    for share in [4, 128, 512, 2048] {
        let kept = 2 * length / share;
        let conv = plan.clone().with_kept_frequencies(kept)?;
        cases.push(Case::new(format!("n/{share} kept"), conv, random(length)?)?);
    }
    Ok(cases)
}

fn main() -> Result<()> {
    println!("| H × L | kernel | prepared | forward | backward |\n|---|---|---|---|---|");
    for [channels, length] in [[256, 8192], [32, 65536], [2, 1 << 20]] {
        let random = || Tensor::randn(0f32, 1.0, (1, channels, length), &Device::Cpu);
        let (u, dy) = (Var::from_tensor(&random()?)?, random()?);
        let mut cases = kernels(channels, length)?;
        for _ in 0..ROUNDS {
            for case in &mut cases {
                case.run(&u, &dy)?;
            }
        }
        for Case { kernel, best, .. } in cases {
            let [prepared, forward, backward] = best.map(|seconds| seconds * 1e3);
            println!("| {channels} × {length} | {kernel} | {prepared:.1} | {forward:.1} | {backward:.1} |");
        }
    }
    Ok(())
}

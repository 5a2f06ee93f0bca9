//! One convolution to measure: its inputs, its calls, its reference.

use crate::measure::Gpu;
use crate::report::Row;
use anyhow::Result;
use candle_core::{DType, Device, Module, Tensor};
use candle_flashfftconv::{FlashFftConv, PreparedConv};
use rand::{rngs::StdRng, Rng, SeedableRng};
use std::fmt;

/// Different kernels of a case.
const KERNELS: usize = 16;

/// What a call is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Way {
    /// `u` alone.
    Plain,
    /// `u` and both gates, three tensors.
    Gated,
    /// `u` and both gates in one tensor.
    Projected,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Plain => "plain",
            Way::Gated => "gated",
            Way::Projected => "projected",
        })
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub dtype: DType,
    pub way: Way,
    pub batch: usize,
    pub channels: usize,
    pub length: usize,
    /// Of the kernel, where they are fewer than samples.
    pub taps: Option<usize>,
    /// Whether the kernel has zeros for the missing taps, so that rows are not cut into pieces.
    pub padded: bool,
    /// Of size `length`, instead of causal.
    pub circular: bool,
    /// Whether inputs may lie in the GPU's cache.
    pub cached: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case {
            batch,
            channels,
            length,
            ..
        } = self;
        let (dtype, way) = (self.dtype.as_str(), self.way);
        write!(f, "{dtype} {way} {batch} x {channels} x {length}")?;
        match (self.taps, self.padded) {
            (None, _) => Ok(()),
            (Some(taps), false) => write!(f, ", {taps} taps"),
            (Some(taps), true) => write!(f, ", {taps} taps and zeros"),
        }
    }
}

/// The tensors of one call.
struct Inputs {
    way: Way,
    /// `u`, or `u, in_gate, out_gate`, or `z`.
    tensors: Vec<Tensor>,
}

impl Inputs {
    fn prepared(&self, conv: &PreparedConv) -> candle_core::Result<Tensor> {
        match (self.way, self.tensors.as_slice()) {
            (Way::Plain, [u]) => conv.forward(u),
            (Way::Gated, [u, in_gate, out_gate]) => conv.forward_gated(u, in_gate, out_gate),
            (Way::Projected, [z]) => conv.forward_projected(z),
            _ => candle_core::bail!("the inputs are those of another way to call"),
        }
    }

    fn unprepared(&self, conv: &FlashFftConv, k: &Tensor) -> candle_core::Result<Tensor> {
        match (self.way, self.tensors.as_slice()) {
            (Way::Plain, [u]) => conv.forward(u, k),
            (Way::Gated, [u, in_gate, out_gate]) => conv.forward_gated(u, k, in_gate, out_gate),
            (Way::Projected, [z]) => conv.forward_projected(z, k),
            _ => candle_core::bail!("the inputs are those of another way to call"),
        }
    }

    /// `u, in_gate, out_gate` of one row, in float64 on the CPU; ones for gates that there are not.
    fn row(&self, batch: usize, channel: usize, channels: usize) -> Result<[Tensor; 3]> {
        Ok(match (self.way, self.tensors.as_slice()) {
            (Way::Gated, [u, in_gate, out_gate]) => [
                row(u, batch, channel)?,
                row(in_gate, batch, channel)?,
                row(out_gate, batch, channel)?,
            ],
            (Way::Projected, [z]) => [
                row(z, batch, 2 * channels + channel)?,
                row(z, batch, channels + channel)?,
                row(z, batch, channel)?,
            ],
            (_, tensors) => {
                let u = row(&tensors[0], batch, channel)?;
                let ones = u.ones_like()?;
                [u, ones.clone(), ones]
            }
        })
    }
}

/// One row as `(1, 1, L)` in float64 on the CPU.
fn row(t: &Tensor, batch: usize, channel: usize) -> Result<Tensor> {
    let row = t.narrow(0, batch, 1)?.narrow(1, channel, 1)?;
    // Otherwise the copy to the CPU would be of the whole tensor.
    let row = row.force_contiguous()?;
    Ok(row.to_device(&Device::Cpu)?.to_dtype(DType::F64)?)
}

impl Case {
    /// Tensors that a call reads and writes.
    fn tensors(&self) -> usize {
        match self.way {
            Way::Plain => 2,
            Way::Gated | Way::Projected => 4,
        }
    }

    /// Bytes that a call cannot but move: every input once, the output once.
    pub fn bytes(&self) -> usize {
        let elements = self.batch * self.channels * self.length;
        self.tensors() * elements * self.dtype.size_in_bytes()
    }

    fn plan(&self, device: &Device) -> candle_core::Result<FlashFftConv> {
        match self.circular {
            true => FlashFftConv::new(self.length, device),
            false => FlashFftConv::causal(self.length, device),
        }
    }

    fn inputs(&self, gpu: &Gpu) -> Result<Inputs> {
        let (count, factor) = match self.way {
            Way::Plain => (1, 1),
            Way::Gated => (3, 1),
            Way::Projected => (1, 3),
        };
        let shape = [self.batch, factor * self.channels, self.length];
        let tensors = (0..count).map(|_| gpu.random(shape, self.dtype));
        Ok(Inputs {
            way: self.way,
            tensors: tensors.collect::<Result<_>>()?,
        })
    }

    /// Random kernels that decay, as those of trained models do, on the CPU; channels take them in turn.
    fn kernels(&self) -> Result<Tensor> {
        let mut random = StdRng::seed_from_u64(1);
        let taps = self.taps.unwrap_or(self.length);
        let length = taps as f64;
        let count = self.channels.min(KERNELS);
        let values: Vec<f32> = (0..count * taps)
            .map(|index| {
                let uniform: f64 = (0..4).map(|_| random.random_range(-1.0..1.0)).sum();
                let normal = uniform * 0.75f64.sqrt();
                let lag = (index % taps) as f64;
                (normal * (-6.0 * lag / length).exp() / length.sqrt()) as f32
            })
            .collect();
        let kernels = Tensor::from_vec(values, (count, taps), &Device::Cpu)?;
        Ok(match self.padded {
            true => kernels.pad_with_zeros(1, 0, self.length - taps)?,
            false => kernels,
        })
    }

    /// The largest batch of at most the given one for which the case takes half of the free memory.
    fn fitting_batch(&self, free: usize) -> usize {
        // While inputs are made there are two more of them in f32.
        let one = Case { batch: 1, ..*self };
        let bytes = 2 * one.bytes();
        self.batch.min(free / 2 / bytes.max(1)).max(1)
    }

    /// Measures the case where copies run at `rate` bytes a second.
    pub fn run(mut self: Case, gpu: &Gpu, rate: f64) -> Result<Row> {
        self.batch = self.fitting_batch(gpu.free_bytes()?);
        let sets = match self.cached {
            true => 1,
            false => gpu.sets_beyond_cache(self.bytes()),
        };
        let inputs = (0..sets)
            .map(|_| self.inputs(gpu))
            .collect::<Result<Vec<_>>>()?;
        let kernels = self.kernels()?;
        let k = kernels
            .to_device(gpu.device())?
            .repeat((self.channels.div_ceil(KERNELS), 1))?
            .narrow(0, 0, self.channels)?;
        let plan = self.plan(gpu.device())?;
        let prepared = plan.prepare(&k)?;
        let relative_error = self.error(&inputs[0], &prepared, &kernels)?;

        let peak_bytes = gpu.peak_bytes(&|index| inputs[index].prepared(&prepared))?;
        let unprepared_peak_bytes = gpu.peak_bytes(&|index| inputs[index].unprepared(&plan, &k))?;
        let timing = gpu.time(sets, &|index| inputs[index].prepared(&prepared))?;
        let unprepared = gpu.time(sets, &|index| inputs[index].unprepared(&plan, &k))?;
        let floor_ms = self.bytes() as f64 / rate * 1e3;
        Ok(Row {
            dtype: self.dtype.as_str().to_string(),
            way: self.way.to_string(),
            batch: self.batch,
            channels: self.channels,
            length: self.length,
            taps: self.taps,
            padded: self.padded,
            circular: self.circular,
            cached: self.cached,
            ms: timing.ms,
            launched_ms: timing.launched_ms,
            graph: timing.graph,
            floor_ms,
            prepare_ms: Some(unprepared.ms - timing.ms),
            peak_bytes: Some(peak_bytes),
            unprepared_peak_bytes: Some(unprepared_peak_bytes),
            relative_error,
        })
    }

    /// `‖got − want‖ / ‖want‖` of sampled rows, `want` in float64.
    fn error(&self, inputs: &Inputs, prepared: &PreparedConv, kernels: &Tensor) -> Result<f64> {
        let y = inputs.prepared(prepared)?;
        let plan = self.plan(&Device::Cpu)?;
        let (mut square, mut square_want) = (0f64, 0f64);
        for batch in edges(self.batch) {
            for channel in edges(self.channels) {
                let [u, in_gate, out_gate] = inputs.row(batch, channel, self.channels)?;
                let k = kernels.narrow(0, channel % KERNELS, 1)?;
                let k = k.to_dtype(DType::F64)?;
                let want = plan.forward_gated(&u, &k, &in_gate, &out_gate)?;
                let difference = (row(&y, batch, channel)? - &want)?;
                square += difference.sqr()?.sum_all()?.to_scalar::<f64>()?;
                square_want += want.sqr()?.sum_all()?.to_scalar::<f64>()?;
            }
        }
        Ok((square / square_want).sqrt())
    }
}

/// The first, the middle and the last of `count`, each once.
fn edges(count: usize) -> Vec<usize> {
    let mut edges = vec![0, count / 2, count.saturating_sub(1)];
    edges.dedup();
    edges
}

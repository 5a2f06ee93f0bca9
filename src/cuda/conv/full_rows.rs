//! Launches of the kernels for f32: a row in one transform, or in blocks.
//!
//! A row that is longer than the largest transform is cut into blocks of that size. Block
//! i of the output is `y_i = Σ_j C_(i−j) u_j`, where C_d is the convolution with the lags
//! between (d − 1)·size and (d + 1)·size: one launch for each pair (i, j).

mod recipe;
mod tables;

pub(crate) use recipe::FullRecipe;

use super::arguments::{Convolution, Sequence};
use super::sequences::{sequence, Inputs, Rows};
use super::spectrum::{self, launch_config, FullSpectrum, Taps};
use crate::conv::LagWindow;
use crate::cuda::device::load_with_shared_memory;
use crate::Error;
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, DevicePtr, DevicePtrMut, PushKernelArg,
};
use candle_core::cuda_backend::WrapErr;
use candle_core::{CudaDevice, Result};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Most rows that one launch counts.
const MOST_ROWS: usize = i32::MAX as usize;

/// What the kernels read beside the rows: spectra of the blocks of lags, and twiddles.
pub(crate) struct FullSpectra {
    /// By block; those that no tap reaches are left out, but for block 0.
    blocks: Vec<(i64, FullSpectrum)>,
    tables: Arc<CudaSlice<f32>>,
}

impl FullSpectra {
    /// The spectra of a kernel for rows of up to `recipe.longest_row()` samples.
    pub(super) fn new(
        device: &CudaDevice,
        recipe: &FullRecipe,
        taps: &Taps<'_>,
        window: &LagWindow,
    ) -> Result<Self> {
        let farthest = recipe.blocks as i64 - 1;
        let blocks = (-farthest..=farthest)
            .filter(|&block| block == 0 || reaches(window, recipe.size as i64, block))
            .map(|block| Ok((block, spectrum::full(device, recipe, taps, window, block)?)))
            .collect::<Result<_>>()?;
        Ok(FullSpectra {
            blocks,
            tables: tables_on(device, recipe)?,
        })
    }

    fn block(&self, block: i64) -> Option<&FullSpectrum> {
        let found = self.blocks.iter().find(|(known, _)| *known == block);
        found.map(|(_, spectrum)| spectrum)
    }
}

/// Whether a tap acts at a lag strictly between (block − 1)·size and (block + 1)·size.
fn reaches(window: &LagWindow, size: i64, block: i64) -> bool {
    let lags = (block - 1) * size + 1..(block + 1) * size;
    let overlaps = |other: Range<i64>| lags.start.max(other.start) < lags.end.min(other.end);
    overlaps(0..window.forward as i64)
        || overlaps(1 - window.backward.end as i64..1 - window.backward.start as i64)
}

/// Which of the two linear maps of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Convolution,
    /// Its transpose, a correlation: what takes the gradient of `y` to that of `u`.
    #[allow(dead_code)] // the backward pass is not there yet
    Transposed,
}

/// `y = out_gate ⊙ ((in_gate ⊙ u) ∗ k)` for contiguous `y`.
pub(super) fn convolve(
    device: &CudaDevice,
    recipe: &FullRecipe,
    inputs: &Inputs<'_, f32>,
    spectra: &FullSpectra,
    y: &mut CudaSlice<f32>,
) -> Result<()> {
    apply(device, recipe, inputs, spectra, Direction::Convolution, y)
}

/// [`convolve`] or its transpose.
pub(super) fn apply(
    device: &CudaDevice,
    recipe: &FullRecipe,
    inputs: &Inputs<'_, f32>,
    spectra: &FullSpectra,
    direction: Direction,
    y: &mut CudaSlice<f32>,
) -> Result<()> {
    let rows = &inputs.u;
    if rows.channels > MOST_ROWS || rows.length > recipe.longest_row() {
        return Err(Error::OutOfRange {
            quantity: "channels and samples of a row",
            expected: format!("at most {MOST_ROWS} and {}", recipe.longest_row()),
            got: format!("{} and {}", rows.channels, rows.length),
        }
        .into());
    }
    if rows.batch == 0 || rows.channels == 0 || rows.length == 0 {
        return Ok(());
    }
    let items = (MOST_ROWS / rows.channels).min(rows.batch);
    let blocks = rows.length.div_ceil(recipe.size);
    for first in (0..rows.batch).step_by(items) {
        let part = inputs.map(|rows| rows.batch_items(first, items.min(rows.batch - first)));
        let offset = first * rows.channels * rows.length;
        for output in 0..blocks {
            // That of block 0 first: it writes what the others add to.
            let others = (0..blocks).filter(|&input| input != output);
            for input in std::iter::once(output).chain(others) {
                let block = match direction {
                    Direction::Convolution => output as i64 - input as i64,
                    Direction::Transposed => input as i64 - output as i64,
                };
                let Some(spectrum) = spectra.block(block) else {
                    continue;
                };
                let launch = Launch {
                    recipe,
                    direction,
                    input: recipe.samples(input, rows.length),
                    output: recipe.samples(output, rows.length),
                    accumulate: input != output,
                };
                launch.run(device, &part, spectrum, &spectra.tables, y, offset)?;
            }
        }
    }
    Ok(())
}

/// One launch: from some samples of all rows to some.
struct Launch<'a> {
    recipe: &'a FullRecipe,
    direction: Direction,
    /// The first sample and how many.
    input: (usize, usize),
    output: (usize, usize),
    accumulate: bool,
}

impl Launch<'_> {
    fn run(
        &self,
        device: &CudaDevice,
        inputs: &Inputs<'_, f32>,
        spectrum: &FullSpectrum,
        tables: &CudaSlice<f32>,
        y: &mut CudaSlice<f32>,
        y_offset: usize,
    ) -> Result<()> {
        let stream = device.cuda_stream();
        let u = part(&inputs.u, self.input);
        let gates = inputs
            .gates
            .as_ref()
            .map(|[i, o]| [part(i, self.input), part(o, self.output)]);
        let (batch, channels, length) = (u.batch, u.channels, inputs.u.length);
        let (u, _u) = u.argument(&stream);
        let gates = gates
            .as_ref()
            .map(|gates| gates.each_ref().map(|gate| gate.argument(&stream)));
        let gate = |index: usize| match &gates {
            Some(gates) => gates.get(index).map_or(NOTHING, |(gate, _)| *gate),
            None => NOTHING,
        };
        let (y, _y) = y.device_ptr_mut(&stream);
        let (spectrum, _spectrum) = spectrum.values.device_ptr(&stream);
        let (tables, _tables) = tables.device_ptr(&stream);
        let arguments = Convolution {
            u,
            in_gate: gate(0),
            out_gate: gate(1),
            y: sequence::<f32>(y, y_offset + self.output.0, channels * length, length),
            spectrum,
            unscale: 0,
            tables,
            batch: batch as i32,
            channels: channels as i32,
            length: self.input.1 as i32,
            vectors: 0,
            accumulate: i32::from(self.accumulate),
        };
        let output_length = self.output.1 as i32;
        let function = self
            .recipe
            .function(self.direction == Direction::Transposed);
        let bytes = self.recipe.shared_bytes();
        let kernel = load_with_shared_memory(device, "full_rows", &function, bytes)?;
        let config = launch_config(
            batch * channels,
            self.recipe.rows_per_block(),
            self.recipe.threads(),
            bytes,
        )?;
        let mut builder = stream.launch_builder(&kernel);
        builder.arg(&arguments).arg(&output_length);
        // SAFETY: the kernel takes these arguments. Its rows lie inside their slices
        // (`Rows::new`), those of `y` fill it; spectrum and tables are those of the recipe.
        // The guards keep all of them until the launch is queued, and order it among the
        // streams that use them.
        unsafe { builder.launch(config) }.w()?;
        Ok(())
    }
}

fn part<'a>(rows: &Rows<'a, f32>, (first, count): (usize, usize)) -> Rows<'a, f32> {
    rows.samples(first, count)
}

/// The argument for a gate that is not there.
const NOTHING: Sequence = Sequence {
    data: 0,
    batch_stride: 0,
    channel_stride: 0,
};

/// Twiddles by device number and size.
type Made = HashMap<(usize, usize), Arc<CudaSlice<f32>>>;

/// The twiddles on the device: made once in a process.
fn tables_on(device: &CudaDevice, recipe: &FullRecipe) -> Result<Arc<CudaSlice<f32>>> {
    static MADE: LazyLock<Mutex<Made>> = LazyLock::new(Mutex::default);
    let stream = device.cuda_stream();
    let key = (stream.context().ordinal(), recipe.size);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(tables) = made.get(&key) {
        return Ok(tables.clone());
    }
    let tables = Arc::new(device.clone_htod(&tables::twiddles(recipe))?);
    // Other streams may use them next, and need not track when they were written.
    stream.synchronize().w()?;
    made.insert(key, tables.clone());
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_lags_that_taps_reach() {
        let window = |forward, backward| LagWindow {
            forward,
            backward,
            period: 100,
        };
        let reached = |window: &LagWindow| -> Vec<i64> {
            (-2..=2)
                .filter(|&block| reaches(window, 10, block))
                .collect()
        };
        assert_eq!(reached(&window(30, 1..1)), [0, 1, 2]);
        assert_eq!(reached(&window(11, 1..1)), [0, 1]);
        assert_eq!(reached(&window(1, 1..1)), [0]);
        assert_eq!(reached(&window(11, 1..12)), [-2, -1, 0, 1]);
        assert_eq!(reached(&window(1, 25..30)), [-2, 0]);
        assert_eq!(reached(&window(0, 1..2)), [-1, 0]);
    }
}

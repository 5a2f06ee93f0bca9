//! Launches of the kernels for f32: a row in one transform.

mod recipe;
mod tables;

pub(crate) use recipe::FullRecipe;

use super::arguments::Convolution;
use super::made_once::MadeOnce;
use super::sequences::{sequence, Inputs, NOTHING};
use super::spectrum::{launch_config, FullSpectrum};
use crate::cuda::device::load_with_shared_memory;
use crate::Error;
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, DevicePtr, DevicePtrMut, PushKernelArg,
};
use candle_core::cuda_backend::WrapErr;
use candle_core::{CudaDevice, Result};
use std::sync::Arc;

/// Most rows that one launch counts.
const MOST_ROWS: usize = i32::MAX as usize;

/// Which of the two linear maps of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Convolution,
    /// Its transpose, a correlation: what takes the gradient of `y` to that of `u`.
    #[allow(dead_code)] // the backward pass is not there yet
    Transposed,
}

/// `y = out_gate ⊙ ((in_gate ⊙ u) ∗ k)` for contiguous `y`, or with the transpose of the
/// convolution.
pub(super) fn apply(
    device: &CudaDevice,
    recipe: &FullRecipe,
    inputs: &Inputs<'_, f32>,
    spectrum: &FullSpectrum,
    direction: Direction,
    y: &mut CudaSlice<f32>,
) -> Result<()> {
    let rows = &inputs.u;
    if rows.channels > MOST_ROWS || rows.length > recipe.size {
        return Err(Error::OutOfRange {
            quantity: "channels and samples of a row",
            expected: format!("at most {MOST_ROWS} and {}", recipe.size),
            got: format!("{} and {}", rows.channels, rows.length),
        }
        .into());
    }
    if rows.batch == 0 || rows.channels == 0 || rows.length == 0 {
        return Ok(());
    }
    let stream = device.cuda_stream();
    let tables = tables_on(device, recipe)?;
    let items = (MOST_ROWS / rows.channels).min(rows.batch);
    for first in (0..rows.batch).step_by(items) {
        let part = inputs.map(|rows| rows.batch_items(first, items.min(rows.batch - first)));
        let (batch, channels, length) = (part.u.batch, part.u.channels, part.u.length);
        let (u, _u) = part.u.argument(&stream);
        let gates = part
            .gates
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
            y: sequence::<f32>(y, first * channels * length, channels * length, length),
            spectrum,
            unscale: 0,
            tables,
            batch: batch as i32,
            channels: channels as i32,
            length: length as i32,
            vectors: 0,
            accumulate: 0,
        };
        let output_length = length as i32;
        let function = recipe.function(direction == Direction::Transposed);
        let bytes = recipe.shared_bytes();
        let kernel = load_with_shared_memory(device, "full_rows", &function, bytes)?;
        let config = launch_config(
            batch * channels,
            recipe.rows_per_block(),
            recipe.threads(),
            bytes,
        )?;
        let mut builder = stream.launch_builder(&kernel);
        builder.arg(&arguments).arg(&output_length);
        // SAFETY: the kernel takes these arguments. Its rows lie inside their slices
        // (`Rows::new`), those of `y` fill it; spectrum and tables are those of the recipe.
        // The guards keep all of them until the launch is queued, and order it among the
        // streams that use them.
        unsafe { builder.launch(config) }.w()?;
    }
    Ok(())
}

/// The twiddles on the device.
pub(super) fn tables_on(device: &CudaDevice, recipe: &FullRecipe) -> Result<Arc<CudaSlice<f32>>> {
    static TWIDDLES: MadeOnce<usize, f32> = MadeOnce::new();
    TWIDDLES.on(device, recipe.size, || tables::twiddles(recipe))
}

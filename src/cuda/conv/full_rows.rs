//! Launches of the kernels for f32: a row in one transform.

mod recipe;
mod tables;

pub(crate) use recipe::FullRecipe;

use super::made_once::MadeOnce;
use super::pieces::Pieces;
use super::sequences::Inputs;
use super::spectrum::{launch_config, FullSpectrum};
use crate::cuda::device::load_with_shared_memory;
use crate::Error;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr, PushKernelArg};
use candle_core::cuda_backend::WrapErr;
use candle_core::{CudaDevice, Result};
use std::sync::Arc;

/// Which of the two linear maps of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Convolution,
    /// Its transpose, a correlation: what takes the gradient of `y` to that of `u`.
    #[allow(dead_code)] // the backward pass is not there yet
    Transposed,
}

/// `y = out_gate ⊙ ((in_gate ⊙ u) ∗ k)` for contiguous `y`, or with the transpose of the
/// convolution; of rows, or of their pieces.
pub(super) fn apply(
    device: &CudaDevice,
    recipe: &FullRecipe,
    pieces: Option<Pieces>,
    inputs: &Inputs<'_, f32>,
    spectrum: &FullSpectrum,
    direction: Direction,
    y: &mut CudaSlice<f32>,
) -> Result<()> {
    if pieces.is_none() {
        check_length(inputs, recipe.size)?;
    }
    let stream = device.cuda_stream();
    let tables = tables_on(device, recipe)?;
    inputs.for_each_launch(pieces, |part, offset| {
        let (spectrum, _spectrum) = spectrum.values.device_ptr(&stream);
        let (tables, _tables) = tables.device_ptr(&stream);
        part.with_addresses(&stream, y, offset, |addresses| {
            let arguments = addresses.convolution(spectrum, 0, tables).in_pieces(pieces);
            let output_length = part.u.length as i32;
            let function = recipe.function(direction == Direction::Transposed);
            let bytes = recipe.shared_bytes();
            let kernel = load_with_shared_memory(device, "full_rows", &function, bytes)?;
            let config = launch_config(
                part.u.batch * part.u.channels * pieces.map_or(1, |pieces| pieces.count),
                recipe.rows_per_block(),
                recipe.threads(),
                bytes,
            )?;
            let mut builder = stream.launch_builder(&kernel);
            builder.arg(&arguments).arg(&output_length);
            // SAFETY: the kernel takes these arguments. Its rows lie inside their slices (`Rows::new`),
            // those of `y` fill it; spectrum and tables are those of the recipe. The guards keep all of
            // them until the launch is queued, and order it among the streams that use them.
            unsafe { builder.launch(config) }.w()?;
            Ok(())
        })
    })
}

/// That a transform of `size` points holds the rows.
pub(super) fn check_length(inputs: &Inputs<'_, f32>, size: usize) -> Result<()> {
    match inputs.u.length <= size {
        true => Ok(()),
        false => Err(Error::OutOfRange {
            quantity: "samples of a row",
            expected: format!("at most {size}"),
            got: inputs.u.length.to_string(),
        }
        .into()),
    }
}

/// The twiddles on the device.
pub(super) fn tables_on(device: &CudaDevice, recipe: &FullRecipe) -> Result<Arc<CudaSlice<f32>>> {
    static TWIDDLES: MadeOnce<usize, f32> = MadeOnce::new();
    TWIDDLES.on(device, recipe.size, || tables::twiddles(recipe))
}

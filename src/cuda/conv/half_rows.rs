//! Launches of the kernels for f16 and bf16: one for all rows of a call.

use super::arguments::{Convolution, Sequence};
use super::recipe::{Form, HalfRecipe};
use super::sequences::{sequence, Inputs};
use super::spectrum::HalfSpectrum;
use super::tables::tables;
use crate::cuda::device::{is_compiled, load_with_shared_memory, Limits};
use crate::Error;
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, CudaStream, DevicePtr, DevicePtrMut, DeviceRepr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::WrapErr;
use candle_core::{CudaDevice, Result};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// A sample type that the kernels take.
pub(super) trait HalfSample: DeviceRepr {
    /// As in the kernels' names.
    const NAME: &'static str;
    /// The same for kernels with sums in f32.
    const PRECISE_NAME: &'static str;
}
impl HalfSample for half::f16 {
    const NAME: &'static str = "f16"; // always with sums in f32
    const PRECISE_NAME: &'static str = "f16";
}
impl HalfSample for half::bf16 {
    const NAME: &'static str = "bf16";
    const PRECISE_NAME: &'static str = "bf16_precise";
}

/// Most rows that one launch counts.
const MOST_ROWS: usize = i32::MAX as usize;

/// `y = out_gate ⊙ ((in_gate ⊙ u) ∗ k)` for contiguous `y`.
pub(super) fn convolve<T: HalfSample>(
    device: &CudaDevice,
    recipe: &HalfRecipe,
    inputs: &Inputs<'_, T>,
    spectrum: &HalfSpectrum,
    y: &mut CudaSlice<T>,
) -> Result<()> {
    let rows = &inputs.u;
    if rows.channels > MOST_ROWS {
        return Err(Error::OutOfRange {
            quantity: "channels",
            expected: format!("at most {MOST_ROWS} on a GPU"),
            got: rows.channels.to_string(),
        }
        .into());
    }
    let tables = tables_on(device, recipe)?;
    let stream = device.cuda_stream();
    let items = (MOST_ROWS / rows.channels).min(rows.batch);
    for first in (0..rows.batch).step_by(items) {
        let count = items.min(rows.batch - first);
        let part = inputs.map(|rows| rows.batch_items(first, count));
        let offset = first * rows.channels * rows.length;
        launch(device, &stream, recipe, &part, spectrum, &tables, y, offset)?;
    }
    Ok(())
}

#[allow(clippy::too_many_arguments)] // everything that a launch needs
fn launch<T: HalfSample>(
    device: &CudaDevice,
    stream: &CudaStream,
    recipe: &HalfRecipe,
    inputs: &Inputs<'_, T>,
    spectrum: &HalfSpectrum,
    tables: &CudaSlice<u32>,
    y: &mut CudaSlice<T>,
    y_offset: usize,
) -> Result<()> {
    let (batch, channels, length) = (inputs.u.batch, inputs.u.channels, inputs.u.length);
    let (u, _u) = inputs.u.argument(stream);
    let nothing = Sequence {
        data: 0,
        batch_stride: 0,
        channel_stride: 0,
    };
    let (in_gate, out_gate, _gates) = match &inputs.gates {
        Some([in_gate, out_gate]) => {
            let (in_gate, in_guard) = in_gate.argument(stream);
            let (out_gate, out_guard) = out_gate.argument(stream);
            (in_gate, out_gate, Some([in_guard, out_guard]))
        }
        None => (nothing, nothing, None),
    };
    let (y, _y) = y.device_ptr_mut(stream);
    let y = sequence::<T>(y, y_offset, channels * length, length);
    let (words, _words) = spectrum.words.device_ptr(stream);
    let (unscale, _unscale) = spectrum.unscale.device_ptr(stream);
    let (tables, _tables) = tables.device_ptr(stream);

    let bytes = size_of::<T>();
    let vectors = (length * bytes).is_multiple_of(16)
        && [u, in_gate, out_gate, y]
            .iter()
            .all(|sequence| sequence.is_aligned(bytes as i64));
    let whole = vectors && length == recipe.size;
    let gated = inputs.gates.is_some();
    let dtype = match recipe.precise {
        true => T::PRECISE_NAME,
        false => T::NAME,
    };
    let limits = Limits::of(device)?;
    let paired = recipe.paired(limits.shared_memory_bytes).filter(|paired| {
        let function = paired.function(dtype, gated, whole);
        is_compiled(&limits, paired.family.module(), &function)
    });
    let recipe = paired.as_ref().unwrap_or(recipe);
    let function = recipe.function(dtype, gated, whole);
    let kernel = load_with_shared_memory(
        device,
        recipe.family.module(),
        &function,
        recipe.shared_bytes,
    )?;
    let arguments = Convolution {
        u,
        in_gate,
        out_gate,
        y,
        spectrum: words,
        unscale,
        tables,
        batch: batch as i32,
        channels: channels as i32,
        length: length as i32,
        vectors: i32::from(vectors),
        accumulate: 0,
    };
    let config = LaunchConfig {
        grid_dim: (
            recipe.blocks(batch, channels, gated, limits.multiprocessors) as u32,
            1,
            1,
        ),
        block_dim: (recipe.threads() as u32, 1, 1),
        shared_mem_bytes: recipe.shared_bytes as u32,
    };
    let mut builder = stream.launch_builder(&kernel);
    builder.arg(&arguments);
    // SAFETY: the kernel takes this structure. Its rows lie inside their slices (`Rows::new`), those
    // of `y` fill it; spectrum, scales and tables are those of the recipe. The guards keep all of
    // them until the launch is queued, and order it among the streams that use them.
    unsafe { builder.launch(config) }.w()?;
    Ok(())
}

/// Tables by device number, size and form.
type Made = HashMap<(usize, usize, Form), Arc<CudaSlice<u32>>>;

/// The tables of the recipe on the device: made once in a process.
fn tables_on(device: &CudaDevice, recipe: &HalfRecipe) -> Result<Arc<CudaSlice<u32>>> {
    static MADE: LazyLock<Mutex<Made>> = LazyLock::new(Mutex::default);
    let stream = device.cuda_stream();
    let key = (stream.context().ordinal(), recipe.size, recipe.form);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(tables) = made.get(&key) {
        return Ok(tables.clone());
    }
    let tables = Arc::new(device.clone_htod(&tables(recipe))?);
    // Other streams may use them next, and need not track when they were written.
    stream.synchronize().w()?;
    made.insert(key, tables.clone());
    Ok(tables)
}

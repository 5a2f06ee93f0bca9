//! Launches of the kernels for f16 and bf16: one for all rows of a call, or for all of their pieces.

use super::made_once::MadeOnce;
use super::pieces::Pieces;
use super::recipe::{Form, HalfRecipe};
use super::sequences::Inputs;
use super::spectrum::HalfSpectrum;
use super::tables::tables;
use crate::cuda::device::{is_compiled, load_with_shared_memory, Limits};
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, CudaStream, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::WrapErr;
use candle_core::{CudaDevice, Result};

/// A sample type that the kernels take.
pub(super) trait HalfSample: DeviceRepr + Copy + 'static {
    /// As in the kernels' names.
    const NAME: &'static str;
    /// The same for kernels with sums in f32.
    const PRECISE_NAME: &'static str;
    const ONE: Self;
    /// Rows of ones, by their length.
    fn ones() -> &'static MadeOnce<usize, Self>;
}
impl HalfSample for half::f16 {
    const NAME: &'static str = "f16"; // always with sums in f32
    const PRECISE_NAME: &'static str = "f16";
    const ONE: Self = half::f16::ONE;
    fn ones() -> &'static MadeOnce<usize, Self> {
        static ONES: MadeOnce<usize, half::f16> = MadeOnce::new();
        &ONES
    }
}
impl HalfSample for half::bf16 {
    const NAME: &'static str = "bf16";
    const PRECISE_NAME: &'static str = "bf16_precise";
    const ONE: Self = half::bf16::ONE;
    fn ones() -> &'static MadeOnce<usize, Self> {
        static ONES: MadeOnce<usize, half::bf16> = MadeOnce::new();
        &ONES
    }
}

/// Calls `body` with the inputs as kernels take them that have both gates or none: where the input has none but the output
/// has, with one row of ones for all, which the GPU's cache holds. It is kept for later calls.
pub(super) fn with_both_gates<T: HalfSample, R>(
    device: &CudaDevice,
    inputs: &Inputs<'_, T>,
    body: impl FnOnce(&Inputs<'_, T>) -> Result<R>,
) -> Result<R> {
    if !inputs.lack_in_gate() || inputs.u.count() == 0 {
        return body(inputs);
    }
    let length = inputs.u.length.next_power_of_two();
    let ones = T::ones().on(device, length, || vec![T::ONE; length])?;
    body(&inputs.with_in_gate(&ones))
}

/// By size and form.
static TABLES: MadeOnce<(usize, Form), u32> = MadeOnce::new();

/// `y = out_gate ⊙ ((in_gate ⊙ u) ∗ k)` for contiguous `y`.
pub(super) fn convolve<T: HalfSample>(
    device: &CudaDevice,
    recipe: &HalfRecipe,
    pieces: Option<Pieces>,
    inputs: &Inputs<'_, T>,
    spectrum: &HalfSpectrum,
    y: &mut CudaSlice<T>,
) -> Result<()> {
    let tables = TABLES.on(device, (recipe.size, recipe.form), || tables(recipe))?;
    let stream = device.cuda_stream();
    with_both_gates(device, inputs, |inputs| {
        inputs.for_each_launch(pieces, |part, offset| {
            launch(
                device, &stream, recipe, pieces, part, spectrum, &tables, y, offset,
            )
        })
    })
}

#[allow(clippy::too_many_arguments)] // everything that a launch needs
fn launch<T: HalfSample>(
    device: &CudaDevice,
    stream: &CudaStream,
    recipe: &HalfRecipe,
    pieces: Option<Pieces>,
    inputs: &Inputs<'_, T>,
    spectrum: &HalfSpectrum,
    tables: &CudaSlice<u32>,
    y: &mut CudaSlice<T>,
    y_offset: usize,
) -> Result<()> {
    let (channels, length) = (inputs.u.channels, inputs.u.length);
    let batch = inputs.u.batch * pieces.map_or(1, |pieces| pieces.count);
    let (words, _words) = spectrum.words.device_ptr(stream);
    let (unscale, _unscale) = spectrum.unscale.device_ptr(stream);
    let (tables, _tables) = tables.device_ptr(stream);

    let gated = inputs.out_gate.is_some();
    inputs.with_addresses(stream, y, y_offset, |rows| {
        let length = pieces.is_none().then_some(length);
        let mode = recipe.mode(rows.vectors, length);
        let dtype = match recipe.precise {
            true => T::PRECISE_NAME,
            false => T::NAME,
        };
        let limits = Limits::of(device)?;
        let paired = recipe.paired(limits.shared_memory_bytes).filter(|paired| {
            let function = paired.function(dtype, gated, mode);
            is_compiled(&limits, paired.family.module(), &function)
        });
        let recipe = paired.as_ref().unwrap_or(recipe);
        let function = recipe.function(dtype, gated, mode);
        let kernel = load_with_shared_memory(
            device,
            recipe.family.module(),
            &function,
            recipe.shared_bytes,
        )?;
        let arguments = rows.convolution(words, unscale, tables).in_pieces(pieces);
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
    })
}

//! Rows of f32 beyond one transform: passes over groups of rows, whose intermediate results go
//! through a workspace that stays in the L2. See `cuda/long_full_rows.cuh`.

pub(crate) mod recipe;

use super::arguments::Convolution;
use super::full_rows::{self, Direction, FullRecipe};
use super::recipe::Form;
use super::sequences::{Inputs, NOTHING};
use super::spectrum::{tap_arguments, FullSpectrum, Taps, SPECTRA};
use crate::conv::LagWindow;
use crate::cuda::device::{load_with_shared_memory, uninitialized};
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, CudaStream, DevicePtr, DevicePtrMut, DeviceRepr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::WrapErr;
use candle_core::{CudaDevice, Result};
use recipe::{LongFullRecipe, COLUMN_THREADS, ROW_THREADS};

/// The kernels' argument, as `cuda/long_full_rows.cuh` declares it.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Group {
    convolution: Convolution,
    /// Address.
    workspace: u64,
    /// Rows, by number channel · batch size + batch; channels of a kernel.
    first: i32,
    rows: i32,
    /// Points of the columns.
    outer: i32,
    inner: i32,
    /// The weights of the samples, in quarters of a turn over the transform.
    quarters: i32,
    output_length: i32,
}

// SAFETY: a C structure of numbers, the same as the kernels' parameter.
unsafe impl DeviceRepr for Group {}

/// What the passes of a group of rows leave for one another.
pub(super) fn workspace(
    device: &CudaDevice,
    recipe: &LongFullRecipe,
    inputs: &Inputs<'_, f32>,
) -> Result<CudaSlice<f32>> {
    let count = 2 * rows_of_group(recipe, inputs) * recipe.size;
    // SAFETY: the passes of a group write what the later ones read.
    unsafe { uninitialized(device, count, "the workspace") }
}

/// The most rows that are computed together.
fn rows_of_group(recipe: &LongFullRecipe, inputs: &Inputs<'_, f32>) -> usize {
    let rows = inputs.u.batch.saturating_mul(inputs.u.channels);
    recipe.rows_in_group().min(rows).max(1)
}

/// `y = out_gate ⊙ ((in_gate ⊙ u) ∗ k)` for contiguous `y`, or with the transpose of the
/// convolution.
pub(super) fn apply(
    device: &CudaDevice,
    recipe: &LongFullRecipe,
    inputs: &Inputs<'_, f32>,
    spectrum: &FullSpectrum,
    direction: Direction,
    workspace: &mut CudaSlice<f32>,
    y: &mut CudaSlice<f32>,
) -> Result<()> {
    full_rows::check_length(inputs, recipe.size)?;
    let stream = device.cuda_stream();
    let tables = full_rows::tables_on(device, &FullRecipe::ROWS_IN_PASSES)?;
    let in_group = rows_of_group(recipe, inputs);
    inputs.for_each_launch(None, |part, offset| {
        let (spectrum, _spectrum) = spectrum.values.device_ptr(&stream);
        let (tables, _tables) = tables.device_ptr(&stream);
        let (workspace, _workspace) = workspace.device_ptr_mut(&stream);
        part.with_addresses(&stream, y, offset, |addresses| {
            let passes = Passes {
                device,
                stream: &stream,
                recipe,
            };
            let total = part.u.batch * part.u.channels;
            for start in (0..total).step_by(in_group) {
                let count = in_group.min(total - start);
                let group = Group {
                    convolution: addresses.convolution(spectrum, 0, tables),
                    output_length: part.u.length as i32,
                    ..passes.group(workspace, start, count, Form::RightAngle)
                };
                passes.convolve(&group, direction)?;
            }
            Ok(())
        })
    })
}

/// The spectrum of a kernel for rows that the transform holds.
pub(super) fn spectrum(
    device: &CudaDevice,
    recipe: &LongFullRecipe,
    taps: &Taps<'_>,
    window: &LagWindow,
) -> Result<FullSpectrum> {
    let count = taps.channels.saturating_mul(2 * recipe.size);
    // SAFETY: the passes write every value before anything reads them.
    let mut values = unsafe { uninitialized::<f32>(device, count, SPECTRA)? };
    let stream = device.cuda_stream();
    {
        let (values, _values) = values.device_ptr_mut(&stream);
        for first in (0..taps.channels).step_by(recipe.rows_in_group()) {
            let count = recipe.rows_in_group().min(taps.channels - first);
            let place = values + (first * recipe.size * 2 * size_of::<f32>()) as u64;
            transform_taps(
                device,
                recipe,
                taps,
                window,
                Form::RightAngle,
                (first, count),
                place,
            )?;
        }
    }
    Ok(FullSpectrum { values })
}

/// Writes the spectra of the channels `first .. first + count` to an address, in the order of
/// [`FullSpectrum`].
pub(super) fn transform_taps(
    device: &CudaDevice,
    recipe: &LongFullRecipe,
    taps: &Taps<'_>,
    window: &LagWindow,
    form: Form,
    (first, count): (usize, usize),
    to: u64,
) -> Result<()> {
    let stream = device.cuda_stream();
    let (arguments, _taps) = tap_arguments(&stream, taps, window, form)?;
    let passes = Passes {
        device,
        stream: &stream,
        recipe,
    };
    let group = passes.group(to, first, count, form);
    let name = format!("long_full_tap_columns_{}", recipe.outer);
    let kernel = load_with_shared_memory(device, "long_full_rows", &name, 0)?;
    let mut builder = stream.launch_builder(&kernel);
    builder.arg(&group).arg(&arguments);
    // SAFETY: the kernel takes these structures; the taps are there (`tap_arguments`), and `to` has
    // room for the spectra. The guards of the caller keep all of them until the launch is queued.
    unsafe { builder.launch(passes.by_columns(&group)) }.w()?;
    if recipe.inner > 1 {
        passes.launch("long_full_middle", passes.by_middle_columns(&group), &group)?;
    }
    passes.launch("long_full_spectrum", passes.by_rows(&group), &group)
}

/// The launches of one group.
struct Passes<'a> {
    device: &'a CudaDevice,
    stream: &'a CudaStream,
    recipe: &'a LongFullRecipe,
}

impl Passes<'_> {
    /// A group without sequences.
    fn group(&self, workspace: u64, first: usize, rows: usize, form: Form) -> Group {
        Group {
            convolution: Convolution {
                u: NOTHING,
                in_gate: NOTHING,
                out_gate: NOTHING,
                y: NOTHING,
                spectrum: 0,
                unscale: 0,
                tables: 0,
                batch: 1,
                channels: 1,
                length: 0,
                vectors: 0,
                accumulate: 0,
                pieces: 1,
                step: i32::MAX,
                before: 0,
            },
            workspace,
            first: first as i32,
            rows: rows as i32,
            outer: self.recipe.outer as i32,
            inner: self.recipe.inner as i32,
            quarters: i32::from(form == Form::RightAngle),
            output_length: 0,
        }
    }

    fn convolve(&self, group: &Group, direction: Direction) -> Result<()> {
        let outer = self.recipe.outer;
        let columns = self.by_columns(group);
        let between = self.by_middle_columns(group);
        self.launch(&format!("long_full_columns_{outer}"), columns, group)?;
        if self.recipe.inner > 1 {
            self.launch("long_full_middle", between, group)?;
        }
        let rows = match direction {
            Direction::Convolution => "long_full_rows",
            Direction::Transposed => "long_full_rows_transposed",
        };
        self.launch(rows, self.by_rows(group), group)?;
        if self.recipe.inner > 1 {
            self.launch("long_full_inverse_middle", between, group)?;
        }
        self.launch(
            &format!("long_full_inverse_columns_{outer}"),
            columns,
            group,
        )
    }

    fn by_columns(&self, group: &Group) -> LaunchConfig {
        config(self.recipe.column_blocks(), group, COLUMN_THREADS, 0)
    }
    fn by_middle_columns(&self, group: &Group) -> LaunchConfig {
        config(self.recipe.middle_blocks(), group, COLUMN_THREADS, 0)
    }
    fn by_rows(&self, group: &Group) -> LaunchConfig {
        let bytes = self.recipe.row_shared_bytes();
        config(self.recipe.rows(), group, ROW_THREADS, bytes)
    }

    fn launch(&self, function: &str, config: LaunchConfig, group: &Group) -> Result<()> {
        let bytes = config.shared_mem_bytes as usize;
        let kernel = load_with_shared_memory(self.device, "long_full_rows", function, bytes)?;
        let mut builder = self.stream.launch_builder(&kernel);
        builder.arg(group);
        // The kernel takes this structure. Spectrum and tables are those of the recipe, and rows of `y` fill it.
        // SAFETY: rows lie inside their slices (`Rows::new`), the workspace has room for those of a group;
        // the guards of the caller keep all of them until the launch is queued, and order it.
        unsafe { builder.launch(config) }.w()?;
        Ok(())
    }
}

fn config(blocks: usize, group: &Group, threads: usize, shared_bytes: usize) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (blocks as u32, group.rows as u32, 1),
        block_dim: (threads as u32, 1, 1),
        shared_mem_bytes: shared_bytes as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_the_kernels() {
        assert_eq!(std::mem::offset_of!(Group, workspace), 152);
        assert_eq!(std::mem::offset_of!(Group, output_length), 180);
        assert_eq!(size_of::<Group>(), 184);
    }

    #[test]
    fn every_kernel_is_compiled() {
        use crate::cuda::ptx::{choose, PTX};
        let mut names: Vec<String> = [
            "long_full_middle",
            "long_full_inverse_middle",
            "long_full_rows",
            "long_full_rows_transposed",
            "long_full_spectrum",
        ]
        .map(str::to_string)
        .into();
        for points in [2, 4, 8, 16, 32, 64] {
            for pass in ["columns", "inverse_columns", "tap_columns"] {
                names.push(format!("long_full_{pass}_{points}"));
            }
        }
        for name in names {
            choose(PTX, "long_full_rows", &name, 1000).unwrap();
        }
    }
}

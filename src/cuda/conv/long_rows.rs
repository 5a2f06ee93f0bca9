//! Rows of f16 and bf16 beyond what a multiprocessor holds: passes over groups of rows, whose
//! intermediate results go through a workspace that stays in the L2. See `cuda/long_rows.cuh`.

pub(crate) mod recipe;

use super::arguments::{Convolution, Sequence};
use super::half_rows::HalfSample;
use super::recipe::Form;
use super::sequences::{sequence, Inputs};
use super::spectrum::HalfSpectrum;
use super::tables::long_tables;
use crate::cuda::device::{load_with_shared_memory, uninitialized, Limits};
use crate::Error;
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, CudaStream, DevicePtr, DevicePtrMut, DeviceRepr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::WrapErr;
use candle_core::{CudaDevice, Result};
use recipe::{LongRecipe, COLUMN_THREADS, ROW_THREADS};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Most rows that are counted in one go.
const MOST_ROWS: usize = i32::MAX as usize;
/// Sums of squares of a row.
const PARTS: usize = 32;

/// The kernels' argument, as `cuda/long_rows.cuh` declares it.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Group {
    convolution: Convolution,
    /// Addresses.
    workspace: u64,
    sums: u64,
    scales: u64,
    /// Rows, by number channel · batch size + batch.
    first: i32,
    rows: i32,
    /// Columns of a row, and the weight of the samples.
    points: i32,
    weight: f32,
}

// SAFETY: a C structure of numbers, the same as the kernels' parameter.
unsafe impl DeviceRepr for Group {}

/// What the passes of a group of rows leave for one another.
pub(super) struct Workspace {
    /// The most rows of a group.
    rows: usize,
    /// Complex f16.
    points: CudaSlice<u32>,
    /// Sums of squares, and the scales that come of them.
    sums: CudaSlice<f64>,
    scales: CudaSlice<f32>,
}

impl Workspace {
    pub(super) fn new<T>(
        device: &CudaDevice,
        recipe: &LongRecipe,
        inputs: &Inputs<'_, T>,
    ) -> Result<Self> {
        let rows = inputs.u.batch.saturating_mul(inputs.u.channels);
        let rows = recipe.rows_in_group().min(rows).max(1);
        let what = "the workspace";
        // SAFETY: the passes of a group write what the later ones read.
        unsafe {
            Ok(Workspace {
                rows,
                points: uninitialized(device, rows * recipe.size, what)?,
                sums: uninitialized(device, rows * PARTS, what)?,
                scales: uninitialized(device, rows, what)?,
            })
        }
    }
}

/// `y = out_gate ⊙ ((in_gate ⊙ u) ∗ k)` for contiguous `y`.
pub(super) fn convolve<T: HalfSample>(
    device: &CudaDevice,
    recipe: &LongRecipe,
    inputs: &Inputs<'_, T>,
    spectrum: &HalfSpectrum,
    workspace: &mut Workspace,
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
    let in_group = workspace.rows;
    let items = (MOST_ROWS / rows.channels).min(rows.batch);
    for first in (0..rows.batch).step_by(items) {
        let count = items.min(rows.batch - first);
        let part = inputs.map(|rows| rows.batch_items(first, count));
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
        let y = sequence::<T>(y, first * channels * length, channels * length, length);
        let (words, _words) = spectrum.words.device_ptr(&stream);
        let (unscale, _unscale) = spectrum.unscale.device_ptr(&stream);
        let (tables, _tables) = tables.device_ptr(&stream);
        let (points, _points) = workspace.points.device_ptr_mut(&stream);
        let (sums, _sums) = workspace.sums.device_ptr_mut(&stream);
        let (scales, _scales) = workspace.scales.device_ptr_mut(&stream);

        let bytes = size_of::<T>();
        let vectors = (length * bytes).is_multiple_of(16)
            && [u, gate(0), gate(1), y]
                .iter()
                .all(|sequence| sequence.is_aligned(bytes as i64));
        let dtype = match recipe.precise {
            true => T::PRECISE_NAME,
            false => T::NAME,
        };
        let passes = Passes {
            device,
            stream: &stream,
            recipe,
            multiprocessors: Limits::of(device)?.multiprocessors,
            variant: format!(
                "{dtype}_{}_{}",
                if gates.is_some() { "gated" } else { "plain" },
                match vectors && length == recipe.size {
                    true => "whole",
                    false => "general",
                },
            ),
            arithmetic: if dtype == "bf16" { "fast" } else { "precise" },
        };
        let total = batch * channels;
        for first in (0..total).step_by(in_group) {
            passes.run(&Group {
                convolution: Convolution {
                    u,
                    in_gate: gate(0),
                    out_gate: gate(1),
                    y,
                    spectrum: words,
                    unscale,
                    tables,
                    batch: batch as i32,
                    channels: channels as i32,
                    length: length as i32,
                    vectors: i32::from(vectors),
                    accumulate: 0,
                },
                workspace: points,
                sums,
                scales,
                first: first as i32,
                rows: in_group.min(total - first) as i32,
                points: recipe.row_points() as i32,
                weight: recipe.form.weight() as f32,
            })?;
        }
    }
    Ok(())
}

/// The argument for a gate that is not there.
const NOTHING: Sequence = Sequence {
    data: 0,
    batch_stride: 0,
    channel_stride: 0,
};

/// The launches of one group.
struct Passes<'a> {
    device: &'a CudaDevice,
    stream: &'a CudaStream,
    recipe: &'a LongRecipe,
    multiprocessors: usize,
    /// Of the kernels that read or write samples, and of the others.
    variant: String,
    arithmetic: &'static str,
}

impl Passes<'_> {
    fn run(&self, group: &Group) -> Result<()> {
        let recipe = self.recipe;
        let rows = group.rows as usize;
        let size = recipe.size as i32;
        let [columns, inverse_columns, middle, inverse_middle, last] = recipe.table_offsets();
        let with_tables = |group: &Group, offset: usize| Group {
            convolution: Convolution {
                tables: group.convolution.tables + offset as u64,
                ..group.convolution
            },
            ..*group
        };
        let sums = self.config((PARTS, rows), COLUMN_THREADS, 0);
        let name = format!("long_sums_{}", self.variant);
        self.launch(&name, sums, group, Some(size))?;
        let scales = self.config((rows.div_ceil(8), 1), 256, 0);
        self.launch("long_scales", scales, group, Some(size))?;

        let blocks = rows * LongRecipe::tiles(recipe.row_points());
        let blocks = blocks.min(self.multiprocessors * recipe.column_blocks());
        let by_columns = self.config((blocks, 1), COLUMN_THREADS, recipe.column_shared_bytes());
        let name = format!("long_columns_{}_{}", recipe.columns / 16, self.variant);
        self.launch(&name, by_columns, &with_tables(group, columns), None)?;

        let middle_rows = rows * recipe.columns;
        let middle_points = recipe.row_points() / recipe.middle;
        let blocks = middle_rows * LongRecipe::tiles(middle_points);
        let blocks = blocks.min(self.multiprocessors * 6);
        let between = self.config((blocks, 1), COLUMN_THREADS, recipe.middle_shared_bytes());
        let middle_group = Group {
            rows: middle_rows as i32,
            points: middle_points as i32,
            ..*group
        };
        if recipe.middle > 1 {
            let name = format!("long_middle_{}", self.arithmetic);
            self.launch(&name, between, &with_tables(&middle_group, middle), None)?;
        }

        let blocks = (rows * recipe.first_points()).div_ceil(ROW_THREADS / 32);
        let blocks = blocks.min(self.multiprocessors * 4);
        let by_rows = self.config((blocks, 1), ROW_THREADS, recipe.row_shared_bytes());
        let name = format!("long_rows_2048_{}", self.arithmetic);
        let first_points = recipe.first_points() as i32;
        self.launch(
            &name,
            by_rows,
            &with_tables(group, last),
            Some(first_points),
        )?;

        if recipe.middle > 1 {
            let name = format!("long_inverse_middle_{}", self.arithmetic);
            let group = with_tables(&middle_group, inverse_middle);
            self.launch(&name, between, &group, None)?;
        }
        let name = format!(
            "long_inverse_columns_{}_{}",
            recipe.columns / 16,
            self.variant
        );
        self.launch(
            &name,
            by_columns,
            &with_tables(group, inverse_columns),
            None,
        )
    }

    fn config(&self, blocks: (usize, usize), threads: usize, shared_bytes: usize) -> LaunchConfig {
        LaunchConfig {
            grid_dim: (blocks.0 as u32, blocks.1 as u32, 1),
            block_dim: (threads as u32, 1, 1),
            shared_mem_bytes: shared_bytes as u32,
        }
    }

    fn launch(
        &self,
        function: &str,
        config: LaunchConfig,
        group: &Group,
        size: Option<i32>,
    ) -> Result<()> {
        let bytes = config.shared_mem_bytes as usize;
        let kernel = load_with_shared_memory(self.device, "long_rows", function, bytes)?;
        let mut builder = self.stream.launch_builder(&kernel);
        builder.arg(group);
        if let Some(size) = &size {
            builder.arg(size);
        }
        // SAFETY: the kernel takes this structure, and some a number of points after it. Its rows lie
        // inside their slices (`Rows::new`), those of `y` fill it; spectrum, scales and tables are those
        // of the recipe; the workspace has room for the rows of a group. The guards of the caller keep
        // all of them until the launch is queued, and order it among the streams that use them.
        unsafe { builder.launch(config) }.w()?;
        Ok(())
    }
}

/// Tables by device number, size and form.
type Made = HashMap<(usize, usize, Form), Arc<CudaSlice<u32>>>;

/// The tables of the recipe on the device: made once in a process.
fn tables_on(device: &CudaDevice, recipe: &LongRecipe) -> Result<Arc<CudaSlice<u32>>> {
    static MADE: LazyLock<Mutex<Made>> = LazyLock::new(Mutex::default);
    let stream = device.cuda_stream();
    let key = (stream.context().ordinal(), recipe.size, recipe.form);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(tables) = made.get(&key) {
        return Ok(tables.clone());
    }
    let tables = Arc::new(device.clone_htod(&long_tables(recipe))?);
    // Other streams may use them next, and need not track when they were written.
    stream.synchronize().w()?;
    made.insert(key, tables.clone());
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_the_kernels() {
        assert_eq!(std::mem::offset_of!(Group, workspace), 144);
        assert_eq!(std::mem::offset_of!(Group, first), 168);
        assert_eq!(size_of::<Group>(), 184);
    }

    #[test]
    fn every_kernel_is_compiled() {
        use crate::cuda::ptx::{choose, PTX};
        let mut names = vec!["long_scales".to_string()];
        for arithmetic in ["fast", "precise"] {
            for kernel in ["long_middle", "long_inverse_middle", "long_rows_2048"] {
                names.push(format!("{kernel}_{arithmetic}"));
            }
        }
        for dtype in ["bf16", "bf16_precise", "f16"] {
            for gates in ["plain", "gated"] {
                for rows in ["whole", "general"] {
                    names.push(format!("long_sums_{dtype}_{gates}_{rows}"));
                    for points in [2, 4, 8, 16] {
                        for kernel in ["long_columns", "long_inverse_columns"] {
                            names.push(format!("{kernel}_{points}_{dtype}_{gates}_{rows}"));
                        }
                    }
                }
            }
        }
        for name in names {
            choose(PTX, "long_rows", &name, 1000).unwrap();
        }
        for name in ["long_spectrum_scales", "long_spectrum_words"] {
            choose(PTX, "long_spectrum", name, 1000).unwrap();
        }
    }
}

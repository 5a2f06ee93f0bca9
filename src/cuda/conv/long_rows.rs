//! Rows of f16 and bf16 beyond what a multiprocessor holds: passes over groups of rows, whose
//! intermediate results go through a workspace. See `cuda/long_rows.cuh`.

pub(crate) mod recipe;

use super::arguments::Convolution;
use super::half_rows::HalfSample;
use super::made_once::MadeOnce;
use super::recipe::Form;
use super::sequences::Inputs;
use super::side_streams::{beside, SideStream, SIDE_STREAMS};
use super::spectrum::HalfSpectrum;
use super::tables::long_tables;
use crate::cuda::device::{load_with_shared_memory, uninitialized, Limits};
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaSlice, DevicePtr, DevicePtrMut, DeviceRepr,
};
use candle_core::{CudaDevice, Result};
use recipe::{LongRecipe, COLUMN_THREADS, LAST_POINTS, ROW_THREADS};

/// The kernels' argument, as `cuda/long_rows.cuh` declares it.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Group {
    convolution: Convolution,
    /// Addresses.
    workspace: u64,
    tiles: u64,
    unscale: u64,
    /// Rows, by number channel · batch size + batch.
    first: i32,
    rows: i32,
    /// Columns of a row, and the weight of the samples.
    points: i32,
    weight: f32,
}

// SAFETY: a C structure of numbers, the same as the kernels' parameter.
unsafe impl DeviceRepr for Group {}

/// What the passes of a group of rows leave for one another: for some groups at a time, each on its
/// own stream.
pub(super) struct Workspace {
    /// The most rows of a group.
    rows: usize,
    groups: usize,
    /// Complex f16.
    points: CudaSlice<u32>,
    /// The scale and the sum of squares of each tile of samples, and what undoes the scale of a row.
    tiles: CudaSlice<f32>,
    unscale: CudaSlice<f32>,
}

impl Workspace {
    pub(super) fn new<T>(
        device: &CudaDevice,
        recipe: &LongRecipe,
        inputs: &Inputs<'_, T>,
    ) -> Result<Self> {
        let rows = inputs.u.batch.saturating_mul(inputs.u.channels);
        let in_group = recipe.rows_in_group().min(rows).max(1);
        let groups = rows.div_ceil(in_group).clamp(1, SIDE_STREAMS);
        let (rows, what) = (in_group * groups, "the workspace");
        // SAFETY: the passes of a group write what the later ones read.
        unsafe {
            Ok(Workspace {
                rows: in_group,
                groups,
                points: uninitialized(device, rows * recipe.size, what)?,
                tiles: uninitialized(device, rows * 2 * recipe.tiles_of_row(), what)?,
                unscale: uninitialized(device, rows, what)?,
            })
        }
    }
}

/// By size and form.
static TABLES: MadeOnce<(usize, Form), u32> = MadeOnce::new();

/// `y = out_gate ⊙ ((in_gate ⊙ u) ∗ k)` for contiguous `y`.
pub(super) fn convolve<T: HalfSample>(
    device: &CudaDevice,
    recipe: &LongRecipe,
    inputs: &Inputs<'_, T>,
    spectrum: &HalfSpectrum,
    workspace: &mut Workspace,
    y: &mut CudaSlice<T>,
) -> Result<()> {
    let tables = TABLES.on(device, (recipe.size, recipe.form), || long_tables(recipe))?;
    let stream = device.cuda_stream();
    let (in_group, workspace_groups) = (workspace.rows, workspace.groups);
    inputs.for_each_launch(None, |part, offset| {
        let (batch, channels, length) = (part.u.batch, part.u.channels, part.u.length);
        let (words, _words) = spectrum.words.device_ptr(&stream);
        let (unscale, _unscale) = spectrum.unscale.device_ptr(&stream);
        let (tables, _tables) = tables.device_ptr(&stream);
        let (points, _points) = workspace.points.device_ptr_mut(&stream);
        let (tiles, _tiles) = workspace.tiles.device_ptr_mut(&stream);
        let (row_unscale, _row_unscale) = workspace.unscale.device_ptr_mut(&stream);
        part.with_addresses(&stream, y, offset, |addresses| {
            let dtype = match recipe.precise {
                true => T::PRECISE_NAME,
                false => T::NAME,
            };
            let variant = Variant {
                dtype,
                in_gate: part.in_gate.is_some(),
                out_gate: part.out_gate.is_some(),
                whole: addresses.vectors && length == recipe.size,
            };
            let passes = Passes::new(device, recipe, &variant)?;
            let total = batch * channels;
            beside(&stream, |streams| {
                let places = (0..workspace_groups).zip(streams).cycle();
                for (first, (place, stream)) in (0..total).step_by(in_group).zip(places) {
                    let before = (place * in_group) as u64;
                    let group = Group {
                        convolution: addresses.convolution(words, unscale, tables),
                        workspace: points + before * 4 * recipe.size as u64,
                        tiles: tiles + before * 8 * recipe.tiles_of_row() as u64,
                        unscale: row_unscale + before * 4,
                        first: first as i32,
                        rows: in_group.min(total - first) as i32,
                        points: recipe.row_points() as i32,
                        weight: recipe.form.weight() as f32,
                    };
                    passes.run(*stream, &group)?;
                }
                Ok(())
            })
        })
    })
}

/// That of the kernels that read or write samples.
struct Variant {
    dtype: &'static str,
    in_gate: bool,
    out_gate: bool,
    whole: bool,
}

impl Variant {
    /// As in the names of kernels that take a gate or not.
    fn name(&self, gated: bool) -> String {
        format!(
            "{}_{}_{}",
            self.dtype,
            if gated { "gated" } else { "plain" },
            if self.whole { "whole" } else { "general" },
        )
    }
}

/// What a pass goes over, in blocks of threads.
#[derive(Debug, Clone, Copy)]
enum Over {
    /// Tiles of samples.
    Columns,
    /// The same, back.
    InverseColumns,
    /// Rows of the convolution.
    Rows,
    /// Tiles of the rows that the columns leave.
    MiddleColumns,
    /// Rows of 2048 points.
    LastRows,
    /// Rows that the columns leave, each on a block.
    Blocks,
}

/// One launch for each group.
struct Pass {
    kernel: CudaFunction,
    over: Over,
    shared_bytes: usize,
    /// Bytes of tables before its own.
    tables: usize,
    /// The second parameter of the kernels that have one.
    number: i32,
}

/// The launches of a group, in order.
struct Passes<'a> {
    recipe: &'a LongRecipe,
    multiprocessors: usize,
    passes: Vec<Pass>,
}

impl<'a> Passes<'a> {
    fn new(device: &CudaDevice, recipe: &'a LongRecipe, variant: &Variant) -> Result<Self> {
        let columns_name = |gated| format!("{}_{}", recipe.columns / 16, variant.name(gated));
        let arithmetic = match variant.dtype {
            "bf16" => "fast",
            _ => "precise", // sums in f32
        };
        let [columns, inverse_columns, middle, inverse_middle, last, block] =
            recipe.table_offsets();
        let pass = |name: &str, over: Over, tables: usize, number: usize| -> Result<Pass> {
            let shared_bytes = match over {
                Over::Columns => recipe.column_shared_bytes(variant.in_gate),
                Over::InverseColumns => recipe.inverse_column_shared_bytes(variant.out_gate),
                Over::Rows => 0,
                Over::MiddleColumns => LongRecipe::middle_shared_bytes(),
                Over::LastRows => LongRecipe::row_shared_bytes(),
                Over::Blocks => recipe.block_shared_bytes(),
            };
            let module = match over {
                Over::Blocks => "long_block_rows",
                _ => "long_rows",
            };
            Ok(Pass {
                kernel: load_with_shared_memory(device, module, name, shared_bytes)?,
                over,
                shared_bytes,
                tables,
                number: number as i32,
            })
        };
        let forward_columns = format!("long_columns_{}", columns_name(variant.in_gate));
        let mut passes = vec![pass(&forward_columns, Over::Columns, columns, 0)?];
        if recipe.middle > 1 {
            passes.push(pass("long_scales", Over::Rows, 0, recipe.size)?);
        }
        if recipe.rows_on_chip > 0 {
            let name = format!(
                "long_block_rows_{}_{}_{arithmetic}",
                recipe.middle,
                recipe.butterfly_points()
            );
            passes.push(pass(&name, Over::Blocks, block, recipe.columns)?);
        } else {
            let between = |name: &str, tables: usize| match recipe.middle {
                1 => Ok(None),
                _ => pass(
                    &format!("{name}_{arithmetic}"),
                    Over::MiddleColumns,
                    tables,
                    recipe.columns,
                )
                .map(Some),
            };
            passes.extend(between("long_middle", middle)?);
            let rows = format!("long_rows_{LAST_POINTS}_{arithmetic}");
            passes.push(pass(&rows, Over::LastRows, last, recipe.first_points())?);
            passes.extend(between("long_inverse_middle", inverse_middle)?);
        }
        let back = format!("long_inverse_columns_{}", columns_name(variant.out_gate));
        passes.push(pass(&back, Over::InverseColumns, inverse_columns, 0)?);
        Ok(Passes {
            recipe,
            multiprocessors: Limits::of(device)?.multiprocessors,
            passes,
        })
    }

    fn run(&self, stream: SideStream, group: &Group) -> Result<()> {
        let recipe = self.recipe;
        let rows = group.rows as usize;
        for pass in &self.passes {
            let mut group = *group;
            group.convolution.tables += pass.tables as u64;
            let (blocks, threads) = match pass.over {
                Over::Columns | Over::InverseColumns => (
                    recipe.column_grid(rows, self.multiprocessors),
                    COLUMN_THREADS,
                ),
                Over::Rows => (rows, COLUMN_THREADS),
                Over::MiddleColumns => {
                    let (rows, points) = (rows * recipe.columns, LAST_POINTS);
                    group.rows = rows as i32;
                    group.points = points as i32;
                    let blocks = rows * LongRecipe::tiles(points);
                    (blocks.min(self.multiprocessors * 6), COLUMN_THREADS)
                }
                Over::LastRows => {
                    let blocks = (rows * recipe.first_points()).div_ceil(ROW_THREADS / 32);
                    (blocks.min(self.multiprocessors * 4), ROW_THREADS)
                }
                Over::Blocks => (
                    (rows * recipe.columns).min(self.multiprocessors),
                    recipe.block_threads(),
                ),
            };
            let config = (blocks, threads, pass.shared_bytes);
            // The kernel takes this structure, and some a number of points after it. Spectrum, scales and
            // tables are those of the recipe, and rows of `y` fill it.
            // SAFETY: rows lie inside their slices (`Rows::new`), the workspace has room for those of its
            // groups; the guards of the caller keep all of them until the streams are joined, and order it.
            unsafe { stream.launch(&pass.kernel, config, &group, &pass.number) }?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_the_kernels() {
        assert_eq!(std::mem::offset_of!(Group, workspace), 152);
        assert_eq!(std::mem::offset_of!(Group, first), 176);
        assert_eq!(size_of::<Group>(), 192);
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
        for arithmetic in ["fast", "precise"] {
            for size in ["8_4", "16_4", "16_8"] {
                let name = format!("long_block_rows_{size}_{arithmetic}");
                choose(PTX, "long_block_rows", &name, 1000).unwrap();
            }
        }
        for name in [
            "long_spectrum_sums",
            "long_spectrum_words_4",
            "long_spectrum_words_8",
        ] {
            choose(PTX, "long_spectrum", name, 1000).unwrap();
        }
    }
}

//! How rows of f16 and bf16 beyond what a multiprocessor holds are cut into passes: pure data,
//! chosen from the device's limits by a pure function.

use super::super::recipe::Form;
use crate::conv::LagWindow;

/// Points of the rows that the last pass takes whole.
pub(crate) const LAST_POINTS: usize = 2048;
/// Points of the columns between, where there are three kinds of passes.
pub(crate) const MIDDLE_POINTS: usize = 16;
/// Complex points of the shortest and the longest transform.
const SHORTEST: usize = 1 << 16;
const LONGEST: usize = 1 << 23;
/// Bytes of the workspace of a group of rows, unless one row takes more: those of all streams should
/// stay in the L2.
const WORKSPACE: usize = 12 << 20;
/// Samples that a block of columns takes of each row, and its threads.
const TILE: usize = 64;
pub(crate) const COLUMN_THREADS: usize = 256;
pub(crate) const ROW_THREADS: usize = 128;
/// Bytes of one entry of a table: four words for each of 32 lanes.
const ENTRY: usize = 32 * 16;
/// Entries of the tables of a block that takes rows of 16 · 2048 points, its threads, and its shared
/// memory: tables, a row, and a few flags, as `cuda/block_rows.cuh` has them.
const BLOCK_ENTRIES: usize = 8 * 4 + 16 * 8 + 4 + 16;
pub(crate) const BLOCK_THREADS: usize = 512;
pub(crate) const BLOCK_SHARED_BYTES: usize =
    BLOCK_ENTRIES * ENTRY + 4 * MIDDLE_POINTS * LAST_POINTS + 32;

/// The transform of `size = columns · 2048` complex points, or `columns · 16 · 2048`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LongRecipe {
    pub(crate) form: Form,
    /// Whether sums and butterflies are in f32 for bf16 too, as in `HalfRecipe`.
    pub(crate) precise: bool,
    /// The longest row: the number P of complex points of the transform.
    pub(crate) size: usize,
    /// Points of the first pass: 32, 64, 128 or 256.
    pub(crate) columns: usize,
    /// Points of the pass after it: 16, or 1 for none.
    pub(crate) middle: usize,
    /// Whether a block takes what comes after the first pass, rows of 16 · 2048 points, in one.
    pub(crate) rows_on_chip: bool,
}

impl LongRecipe {
    /// The recipe for rows of `length` samples on a device whose blocks have
    /// `shared_memory_bytes`; none when the row is too long for it.
    pub(crate) fn choose(length: usize, shared_memory_bytes: usize) -> Option<Self> {
        if length > LONGEST {
            return None;
        }
        let size = length.max(SHORTEST).next_power_of_two();
        let direct = size / LAST_POINTS <= 256;
        let middle = if direct { 1 } else { MIDDLE_POINTS };
        let recipe = LongRecipe {
            form: Form::RightAngle,
            precise: false,
            size,
            columns: size / LAST_POINTS / middle,
            middle,
            rows_on_chip: !direct && BLOCK_SHARED_BYTES <= shared_memory_bytes,
        };
        (recipe.column_shared_bytes() <= shared_memory_bytes).then_some(recipe)
    }

    /// The same for kernels with these lags, as `HalfRecipe::for_window`.
    pub(crate) fn for_window(self, window: &LagWindow) -> Self {
        let wraps = !window.backward.is_empty();
        let cyclic = wraps && window.period == self.size;
        LongRecipe {
            form: if cyclic {
                Form::Cyclic
            } else {
                Form::RightAngle
            },
            precise: wraps && !cyclic,
            ..self
        }
    }

    /// Rows of 2048 points in a row of the convolution.
    pub(crate) fn first_points(&self) -> usize {
        self.columns * self.middle
    }

    /// Rows that share the workspace.
    pub(crate) fn rows_in_group(&self) -> usize {
        (WORKSPACE / (4 * self.size)).max(1)
    }

    /// Points of the rows that the columns leave.
    pub(crate) fn row_points(&self) -> usize {
        self.size / self.columns
    }

    /// Entries of the tables of each pass, in order.
    pub(crate) fn table_entries(&self) -> [usize; 6] {
        let butterfly = self.columns / 16;
        let block = if self.rows_on_chip { BLOCK_ENTRIES } else { 0 };
        [2 * butterfly, 2 * butterfly, 2, 2, 28, block]
    }

    /// Bytes before the tables of each pass.
    pub(crate) fn table_offsets(&self) -> [usize; 6] {
        let mut offset = 0;
        self.table_entries().map(|entries| {
            let start = offset;
            offset += entries * ENTRY;
            start
        })
    }

    /// Dynamic shared memory of a block of columns.
    pub(crate) fn column_shared_bytes(&self) -> usize {
        shared_bytes(self.columns)
    }

    /// The same between.
    pub(crate) fn middle_shared_bytes() -> usize {
        shared_bytes(MIDDLE_POINTS)
    }

    /// The same of a block of rows.
    pub(crate) fn row_shared_bytes() -> usize {
        28 * ENTRY
    }

    /// Tiles of samples in a row.
    pub(crate) fn tiles_of_row(&self) -> usize {
        Self::tiles(self.row_points())
    }

    /// Blocks of columns for `rows` rows: those of all places take a row together.
    pub(crate) fn column_grid(&self, rows: usize, multiprocessors: usize) -> usize {
        let most = multiprocessors * self.column_blocks();
        let places = self.tiles_of_row();
        match most / places {
            0 => most.max(1),
            together => places * together.min(rows.max(1)),
        }
    }

    /// Blocks of columns in a row of `points` columns.
    pub(crate) fn tiles(points: usize) -> usize {
        points / TILE
    }

    /// Blocks of columns that a multiprocessor holds, as in `cuda/long_rows.cu`.
    pub(crate) fn column_blocks(&self) -> usize {
        match self.columns {
            32 => 3,
            _ => 2,
        }
    }
}

/// Of columns of `points` points: matrices and a tile of complex f16.
fn shared_bytes(points: usize) -> usize {
    points / 16 * 2 * ENTRY + points * TILE * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_make_up_the_size() {
        for (length, size, columns, middle) in [
            (20000, 65536, 32, 1),
            (65536, 65536, 32, 1),
            (65537, 131_072, 64, 1),
            (524_288, 524_288, 256, 1),
            (524_289, 1 << 20, 32, 16),
            (1 << 23, 1 << 23, 256, 16),
        ] {
            let recipe = LongRecipe::choose(length, 227 << 10).unwrap();
            assert_eq!(
                (recipe.size, recipe.columns, recipe.middle),
                (size, columns, middle),
                "{length}"
            );
            assert_eq!(columns * middle * LAST_POINTS, size);
        }
        assert_eq!(LongRecipe::choose((1 << 23) + 1, 227 << 10), None);
    }

    #[test]
    fn every_size_fits_small_cards() {
        for exponent in 16..=23 {
            assert!(LongRecipe::choose(1 << exponent, 99 << 10).is_some());
            assert_eq!(LongRecipe::choose(1 << exponent, 8 << 10), None);
        }
    }

    #[test]
    fn rows_between_stay_on_the_chip_where_there_is_room() {
        for (exponent, kilobytes, on_chip) in [
            (19, 227, false),
            (20, 227, true),
            (20, 163, false),
            (23, 227, true),
        ] {
            let recipe = LongRecipe::choose(1 << exponent, kilobytes << 10).unwrap();
            assert_eq!(recipe.rows_on_chip, on_chip, "{exponent}, {kilobytes}");
        }
    }

    #[test]
    fn blocks_of_all_places_take_a_row_together() {
        for (exponent, rows, multiprocessors, blocks) in [
            (16, 128, 132, 384),
            (16, 2, 132, 64),
            (19, 16, 132, 256),
            (16, 128, 8, 24),
            (20, 8, 132, 396),
        ] {
            let recipe = LongRecipe::choose(1 << exponent, 227 << 10).unwrap();
            assert_eq!(recipe.column_grid(rows, multiprocessors), blocks);
        }
    }

    #[test]
    fn the_workspace_is_bounded() {
        for exponent in 16..=23 {
            let recipe = LongRecipe::choose(1 << exponent, 227 << 10).unwrap();
            assert!(recipe.rows_in_group() * recipe.size * 4 <= 32 << 20);
            assert!(recipe.rows_in_group() >= 1);
        }
    }
}

//! How rows of f16 and bf16 beyond what a multiprocessor holds are cut into passes: pure data,
//! chosen from the device's limits by a pure function.

use super::super::recipe::{block_entries, block_shared_bytes, Form, ENTRY};
use crate::conv::LagWindow;
use std::ops::RangeInclusive;

/// Points of the rows that a warp takes whole, where it reads them from the workspace.
pub(crate) const LAST_POINTS: usize = 2048;
/// Points of the columns between, where they are a pass of their own.
pub(crate) const MIDDLE_POINTS: usize = 16;
/// Complex points of the shortest and the longest transform.
const SHORTEST: usize = 1 << 16;
const LONGEST: usize = 1 << 23;
/// Bytes of the workspace of a group of rows: a launch costs more than smaller groups gain by staying in
/// the L2.
const WORKSPACE: usize = 96 << 20;
/// Samples that a block of columns takes of each row, and its threads.
const TILE: usize = 64;
pub(crate) const COLUMN_THREADS: usize = 256;
pub(crate) const ROW_THREADS: usize = 128;
/// Points of the first pass.
const COLUMNS: RangeInclusive<usize> = 32..=256;
/// From this size on rows that the columns leave stay on the chip, which the shorter ones do not gain
/// from.
const SHORTEST_ON_CHIP: usize = 1 << 19;
/// Those rows, `middle · last` points, the best ones first: as `cuda/long_block_rows.cu` has them.
const ON_CHIP: [(usize, usize); 3] = [(8, 1024), (16, 1024), (16, 2048)];
/// The most columns before them, where others will do.
const MOST_COLUMNS_BEFORE: usize = 128;
/// Threads of a block that keeps rows on the chip.
const BLOCK_THREADS: usize = 512;

/// The transform of `size = columns · middle · last` complex points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LongRecipe {
    pub(crate) form: Form,
    /// Whether sums and butterflies are in f32 for bf16 too, as in `HalfRecipe`.
    pub(crate) precise: bool,
    /// Whether the kernel acts at lags from 0 on alone.
    pub(crate) is_causal: bool,
    /// The longest row: the number P of complex points of the transform.
    pub(crate) size: usize,
    /// Points of the first pass: 32, 64, 128 or 256.
    pub(crate) columns: usize,
    /// Points of the pass after it: 8 or 16, or 1 for none.
    pub(crate) middle: usize,
    /// Points of the rows that a warp takes whole: 2048, or 1024 on the chip.
    pub(crate) last: usize,
    /// Of the rows that the first pass leaves as many as a block takes at a time, each in one pass;
    /// 0 where they take several.
    pub(crate) rows_on_chip: usize,
}

impl LongRecipe {
    /// The recipe for rows of `length` samples on a device whose blocks have
    /// `shared_memory_bytes`; none when the row is too long for it.
    pub(crate) fn choose(length: usize, shared_memory_bytes: usize) -> Option<Self> {
        if length > LONGEST {
            return None;
        }
        let size = length.max(SHORTEST).next_power_of_two();
        let with = |middle, last| LongRecipe {
            form: Form::RightAngle,
            precise: false,
            is_causal: true,
            size,
            columns: size / middle / last,
            middle,
            last,
            rows_on_chip: 0,
        };
        // The first of few columns, or else the first of all.
        let on_chip = ON_CHIP
            .into_iter()
            .filter(|_| size >= SHORTEST_ON_CHIP)
            .filter_map(|(middle, last)| with(middle, last).on_chip(shared_memory_bytes))
            .min_by_key(|recipe| recipe.columns > MOST_COLUMNS_BEFORE);
        let direct = with(1, LAST_POINTS);
        let recipe = on_chip.unwrap_or(match COLUMNS.contains(&direct.columns) {
            true => direct,
            false => with(MIDDLE_POINTS, LAST_POINTS),
        });
        let columns = recipe
            .column_shared_bytes(true)
            .max(recipe.inverse_column_shared_bytes(true));
        (columns <= shared_memory_bytes).then_some(recipe)
    }

    /// The same with rows on the chip, as many as have room there.
    fn on_chip(self, shared_memory_bytes: usize) -> Option<Self> {
        if !COLUMNS.contains(&self.columns) {
            return None;
        }
        let most = BLOCK_THREADS / self.row_threads();
        (1..=most)
            .rev()
            .map(|rows_on_chip| LongRecipe {
                rows_on_chip,
                ..self
            })
            .find(|recipe| recipe.block_shared_bytes() <= shared_memory_bytes)
    }

    /// Points of the register butterfly of a row that a warp takes whole.
    pub(crate) fn butterfly_points(&self) -> usize {
        self.last / 256
    }

    /// Of a row on the chip.
    fn row_threads(&self) -> usize {
        4 * self.middle * self.butterfly_points()
    }

    /// Threads of a block that keeps rows on the chip.
    pub(crate) fn block_threads(&self) -> usize {
        self.rows_on_chip * self.row_threads()
    }

    /// Its shared memory: that of rows of as many samples.
    pub(crate) fn block_shared_bytes(&self) -> usize {
        block_shared_bytes(self.middle, self.butterfly_points(), self.rows_on_chip)
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
            is_causal: !wraps,
            ..self
        }
    }

    /// Rows that a warp takes in a row of the convolution.
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
        let block = match self.rows_on_chip {
            0 => 0,
            _ => block_entries(self.middle, self.butterfly_points()),
        };
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

    /// Dynamic shared memory of a block of columns, which asks for samples ahead: as
    /// `cuda/long_columns.cuh` has it.
    pub(crate) fn column_shared_bytes(&self, gated: bool) -> usize {
        let operands = if gated { 2 } else { 1 };
        shared_bytes(self.columns) + self.tiles_ahead() * operands * self.samples_bytes()
    }

    /// The same of columns back, which ask for tiles of the workspace, and short ones for the gate: as
    /// `cuda/long_inverse_columns.cuh` has it.
    pub(crate) fn inverse_column_shared_bytes(&self, gated: bool) -> usize {
        let gates = usize::from(gated && self.columns <= 64);
        let buffer = self.columns * TILE * 4 + gates * self.samples_bytes();
        shared_bytes(self.columns) - self.columns * TILE * 4 + (self.tiles_ahead() + 1) * buffer
    }

    /// Tiles that a block of columns asks for ahead.
    fn tiles_ahead(&self) -> usize {
        match self.columns {
            32 => 2,
            64 | 128 => 1,
            _ => 0,
        }
    }

    /// Bytes of the samples of a tile.
    fn samples_bytes(&self) -> usize {
        self.columns * TILE * 2
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
            32 => 5,
            64 => 4,
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
    use crate::cuda::conv::side_streams::SIDE_STREAMS;

    #[test]
    fn digits_make_up_the_size() {
        for (length, kilobytes, size, columns, middle, last) in [
            (20000, 227, 65536, 32, 1, 2048),
            (65536, 227, 65536, 32, 1, 2048),
            (65537, 227, 131_072, 64, 1, 2048),
            (262_144, 227, 262_144, 128, 1, 2048),
            (524_288, 227, 524_288, 64, 8, 1024),
            (524_288, 99, 524_288, 64, 8, 1024),
            (524_289, 227, 1 << 20, 128, 8, 1024),
            (524_289, 99, 1 << 20, 128, 8, 1024),
            (1 << 21, 227, 1 << 21, 128, 16, 1024),
            (1 << 22, 227, 1 << 22, 128, 16, 2048),
            (1 << 22, 163, 1 << 22, 256, 16, 1024),
            (1 << 23, 227, 1 << 23, 256, 16, 2048),
            (1 << 23, 163, 1 << 23, 256, 16, 2048),
        ] {
            let recipe = LongRecipe::choose(length, kilobytes << 10).unwrap();
            assert_eq!(
                (recipe.size, recipe.columns, recipe.middle, recipe.last),
                (size, columns, middle, last),
                "{length}"
            );
            assert_eq!(columns * middle * last, size);
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
        for (exponent, kilobytes, rows) in [
            (18, 227, 0),
            (19, 227, 4),
            (19, 163, 3),
            (20, 99, 1),
            (21, 227, 2),
            (21, 163, 1),
            (21, 99, 1),
            (22, 227, 1),
            (23, 227, 1),
            (23, 163, 0),
        ] {
            let recipe = LongRecipe::choose(1 << exponent, kilobytes << 10).unwrap();
            assert_eq!(recipe.rows_on_chip, rows, "{exponent}, {kilobytes}");
            assert!(recipe.block_shared_bytes() <= kilobytes << 10 || rows == 0);
            assert!(recipe.block_threads() <= BLOCK_THREADS);
        }
    }

    #[test]
    fn blocks_of_all_places_take_a_row_together() {
        for (exponent, rows, multiprocessors, blocks) in [
            (16, 128, 132, 640),
            (16, 2, 132, 64),
            (17, 16, 132, 512),
            (18, 16, 132, 256),
            (16, 128, 8, 32),
            (19, 16, 132, 512),
            (20, 8, 132, 256),
        ] {
            let recipe = LongRecipe::choose(1 << exponent, 227 << 10).unwrap();
            assert_eq!(recipe.column_grid(rows, multiprocessors), blocks);
        }
    }

    #[test]
    fn the_workspace_is_bounded() {
        for exponent in 16..=23 {
            let recipe = LongRecipe::choose(1 << exponent, 227 << 10).unwrap();
            let group = recipe.rows_in_group() * recipe.size * 4;
            assert!(group > 0 && SIDE_STREAMS * group <= 192 << 20);
        }
    }
}

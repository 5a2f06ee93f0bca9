//! How rows of f32 beyond one transform are cut into passes: pure data, chosen by a pure function.

/// Points of the rows that one pass takes whole.
pub(crate) const ROW_POINTS: usize = 8192;
/// Threads of a block of columns, each of which takes one; of a block that takes a row.
pub(crate) const COLUMN_THREADS: usize = 256;
pub(crate) const ROW_THREADS: usize = 256;
/// The most points of a column, but for the longest rows.
const COLUMN_POINTS: usize = 32;
const MOST_COLUMN_POINTS: usize = 64;
/// Bytes of the workspace, unless one row takes more: it should stay in the L2.
const WORKSPACE: usize = 32 << 20;
/// The most rows of a group: blocks are counted along the second axis of a grid.
const MOST_ROWS: usize = 65535;

/// The transform of `size = outer · inner · 8192` complex points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LongFullRecipe {
    /// Complex points, the samples of the longest row.
    pub(crate) size: usize,
    /// Points of the first columns: a power of two from 2 to 64.
    pub(crate) outer: usize,
    /// Points of those between: 32, or 1 for none.
    pub(crate) inner: usize,
}

impl LongFullRecipe {
    /// The most samples of a row, and the least shared memory.
    pub(crate) const NEEDS: [usize; 2] = [
        MOST_COLUMN_POINTS * COLUMN_POINTS * ROW_POINTS,
        8 * (ROW_POINTS + ROW_THREADS),
    ];

    /// The recipe for rows of `length` samples on a device whose blocks of threads can have
    /// `shared_memory_bytes`; none when the row or a block is too large.
    pub(crate) fn choose(length: usize, shared_memory_bytes: usize) -> Option<Self> {
        let size = length.max(2 * ROW_POINTS).checked_next_power_of_two()?;
        let columns = size / ROW_POINTS;
        let inner = if columns > COLUMN_POINTS {
            COLUMN_POINTS
        } else {
            1
        };
        let recipe = LongFullRecipe {
            size,
            outer: columns / inner,
            inner,
        };
        let fits =
            recipe.outer <= MOST_COLUMN_POINTS && recipe.row_shared_bytes() <= shared_memory_bytes;
        fits.then_some(recipe)
    }

    /// Rows of 8192 points in a row of the convolution.
    pub(crate) fn rows(&self) -> usize {
        self.outer * self.inner
    }

    /// Rows that share the workspace of complex f32.
    pub(crate) fn rows_in_group(&self) -> usize {
        (WORKSPACE / (8 * self.size)).clamp(1, MOST_ROWS)
    }

    /// Blocks of threads for the columns of a row: of the first pass, and of the one between.
    pub(crate) fn column_blocks(&self) -> usize {
        self.inner * ROW_POINTS / COLUMN_THREADS
    }
    pub(crate) fn middle_blocks(&self) -> usize {
        self.outer * ROW_POINTS / COLUMN_THREADS
    }

    /// Dynamic shared memory of a block that takes a row: complex f32, with padding.
    pub(crate) fn row_shared_bytes(&self) -> usize {
        8 * (ROW_POINTS + ROW_THREADS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_make_up_the_size() {
        for (length, size, outer, inner) in [
            (9000, 16384, 2, 1),
            (16384, 16384, 2, 1),
            (16385, 32768, 4, 1),
            (262_144, 262_144, 32, 1),
            (262_145, 524_288, 2, 32),
            (1_000_002, 1 << 20, 4, 32),
            (1 << 23, 1 << 23, 32, 32),
            (1 << 24, 1 << 24, 64, 32),
        ] {
            let recipe = LongFullRecipe::choose(length, 99 << 10).unwrap();
            assert_eq!(recipe, LongFullRecipe { size, outer, inner }, "{length}");
            assert_eq!(outer * inner * ROW_POINTS, size);
        }
        assert_eq!(LongFullRecipe::choose((1 << 24) + 1, 227 << 10), None);
        assert_eq!(LongFullRecipe::choose(usize::MAX, 227 << 10), None);
        assert_eq!(LongFullRecipe::choose(20000, 48 << 10), None);
    }

    #[test]
    fn the_workspace_is_bounded() {
        for exponent in 14..=24 {
            let recipe = LongFullRecipe::choose(1 << exponent, 227 << 10).unwrap();
            assert!(recipe.rows_in_group() * recipe.size * 8 <= 128 << 20);
        }
    }
}

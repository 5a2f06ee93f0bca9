//! How rows of f32 are cut and laid over blocks of threads: pure data, chosen from the
//! device's limits by a pure function.

/// Transforms of `size` points for rows of up to `blocks · size` samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FullRecipe {
    /// Complex points of a transform, and samples of a block of a row.
    pub(crate) size: usize,
    /// Those that a thread holds.
    pub(crate) points_per_thread: usize,
    /// Blocks of a row: one where the row fits into a transform.
    pub(crate) blocks: usize,
}

/// The transforms that there are kernels for, and the points of a thread, as in
/// `cuda/full_rows.cu`: 32 where that saves a pass and its exchange.
const SIZES: [(usize, usize); 9] = [
    (64, 16),
    (128, 16),
    (256, 16),
    (512, 32),
    (1024, 32),
    (2048, 16),
    (4096, 16),
    (8192, 32),
    (16384, 32),
];

impl FullRecipe {
    /// The recipe for rows of `length` samples on a device whose blocks of threads can have
    /// `shared_memory_bytes`: the smallest transform that holds the row, or several of the
    /// largest that the device holds.
    pub(crate) fn choose(length: usize, shared_memory_bytes: usize) -> Self {
        let recipes = || {
            SIZES.iter().map(|&(size, points_per_thread)| FullRecipe {
                size,
                points_per_thread,
                blocks: length.div_ceil(size).max(1),
            })
        };
        let fits = |recipe: &FullRecipe| recipe.shared_bytes() <= shared_memory_bytes;
        let largest = recipes().rfind(fits);
        recipes()
            .filter(fits)
            .find(|recipe| recipe.blocks == 1)
            .or(largest)
            // No device has less than the smallest needs: its launch would say so.
            .unwrap_or(FullRecipe {
                size: SIZES[0].0,
                points_per_thread: SIZES[0].1,
                blocks: length.div_ceil(SIZES[0].0).max(1),
            })
    }

    /// The most samples that a row can have.
    pub(crate) fn longest_row(&self) -> usize {
        self.size.saturating_mul(self.blocks)
    }

    /// Rows that one block of threads computes: small ones share it.
    pub(crate) fn rows_per_block(&self) -> usize {
        match self.threads_per_row() {
            threads @ 1..=32 => 128 / threads,
            _ => 1,
        }
    }

    pub(crate) fn threads_per_row(&self) -> usize {
        self.size / self.points_per_thread
    }

    /// Threads of a block.
    pub(crate) fn threads(&self) -> usize {
        self.rows_per_block() * self.threads_per_row()
    }

    /// Dynamic shared memory of a block of threads: rows in f32, with padding.
    pub(crate) fn shared_bytes(&self) -> usize {
        self.rows_per_block() * 8 * (self.size + self.threads_per_row())
    }

    /// The kernel that convolves, or its transpose.
    pub(crate) fn function(&self, transposed: bool) -> String {
        let transposed = if transposed { "_transposed" } else { "" };
        format!("full_rows_p{}{transposed}", self.size)
    }

    pub(crate) fn spectrum_function(&self) -> String {
        format!("spectrum_full_p{}", self.size)
    }

    /// Samples `first .. first + count` of block `index` of rows of `length` samples.
    pub(crate) fn samples(&self, index: usize, length: usize) -> (usize, usize) {
        let first = index.saturating_mul(self.size).min(length);
        (first, self.size.min(length - first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What blocks may ask for: RTX 3090 and 4090, A100, H100 and H200.
    const CARDS: [usize; 3] = [99 << 10, 163 << 10, 227 << 10];

    #[test]
    fn rows_take_the_next_size_or_several_blocks() {
        let chosen = |length, card| {
            let FullRecipe { size, blocks, .. } = FullRecipe::choose(length, card);
            (size, blocks)
        };
        for card in CARDS {
            assert_eq!(chosen(1, card), (64, 1));
            assert_eq!(chosen(64, card), (64, 1));
            assert_eq!(chosen(65, card), (128, 1));
            assert_eq!(chosen(4097, card), (8192, 1));
        }
        let [small, _, large] = CARDS;
        assert_eq!(chosen(16384, large), (16384, 1));
        assert_eq!(chosen(16385, large), (16384, 2));
        assert_eq!(chosen(32768, large), (16384, 2));
        assert_eq!(chosen(8192, small), (8192, 1));
        assert_eq!(chosen(8193, small), (8192, 2));
        assert_eq!(chosen(32768, small), (8192, 4));
        assert_eq!(chosen(0, large), (64, 1));
    }

    #[test]
    fn blocks_fit_the_device_and_cover_the_row() {
        for card in CARDS {
            for length in [1, 129, 5000, 16384, 20000, 32768, 100_000] {
                let recipe = FullRecipe::choose(length, card);
                assert!(recipe.shared_bytes() <= card, "{recipe:?}");
                assert!((64..=512).contains(&recipe.threads()), "{recipe:?}");
                assert!(recipe.longest_row() >= length);
                let mut next = 0;
                for index in 0..recipe.blocks {
                    let (first, count) = recipe.samples(index, length);
                    assert_eq!(first, next);
                    assert!(count > 0 && count <= recipe.size);
                    next += count;
                }
                assert_eq!(next, length);
            }
        }
    }

    #[test]
    fn every_kernel_is_compiled() {
        use crate::cuda::ptx::{choose, PTX};
        let compiled = |name: &str| choose(PTX, "full_rows", name, 1000).is_ok();
        for (size, _) in SIZES {
            let recipe = FullRecipe::choose(size, 227 << 10);
            assert_eq!(recipe.size, size);
            assert!(compiled(&recipe.function(false)), "{recipe:?}");
            assert!(compiled(&recipe.function(true)), "{recipe:?}");
            assert!(compiled(&recipe.spectrum_function()), "{recipe:?}");
        }
    }
}

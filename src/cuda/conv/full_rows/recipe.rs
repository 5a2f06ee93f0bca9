//! How rows of f32 are cut and laid over blocks of threads: pure data, chosen from the
//! device's limits by a pure function.

/// Transforms of `size` points for rows of up to `blocks · size` samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FullRecipe {
    /// Complex points of a transform, and samples of a block of a row.
    pub(crate) size: usize,
    /// Blocks of a row: one where the row fits into a transform.
    pub(crate) blocks: usize,
}

/// The transforms that there are kernels for, as in `cuda/full_rows.cu`.
const SIZES: [usize; 9] = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384];

/// Points that a thread holds.
pub(super) const POINTS_PER_THREAD: usize = 16;

/// Bytes of shared memory for each point of a transform of `size` points: f32, with padding.
const fn row_bytes(size: usize) -> usize {
    8 * (size + size / 16)
}

impl FullRecipe {
    /// The recipe for rows of `length` samples on a device whose blocks of threads can have
    /// `shared_memory_bytes`: the smallest transform that holds the row, or several of the
    /// largest that the device holds.
    pub(crate) fn choose(length: usize, shared_memory_bytes: usize) -> Self {
        let fits = |size: &&usize| row_bytes(**size) <= shared_memory_bytes;
        let size = SIZES
            .iter()
            .filter(fits)
            .find(|&&size| size >= length)
            .or_else(|| SIZES.iter().rev().find(fits))
            .copied()
            .unwrap_or(SIZES[0]);
        FullRecipe {
            size,
            blocks: length.div_ceil(size).max(1),
        }
    }

    /// The most samples that a row can have.
    pub(crate) fn longest_row(&self) -> usize {
        self.size.saturating_mul(self.blocks)
    }

    /// Rows that one block of threads computes: small ones share it.
    pub(crate) fn rows_per_block(&self) -> usize {
        (128 / self.threads_per_row()).max(1)
    }

    pub(crate) fn threads_per_row(&self) -> usize {
        self.size / POINTS_PER_THREAD
    }

    /// Threads of a block.
    pub(crate) fn threads(&self) -> usize {
        self.rows_per_block() * self.threads_per_row()
    }

    /// Dynamic shared memory of a block of threads.
    pub(crate) fn shared_bytes(&self) -> usize {
        self.rows_per_block() * row_bytes(self.size)
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
            let FullRecipe { size, blocks } = FullRecipe::choose(length, card);
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
                assert!((128..=1024).contains(&recipe.threads()), "{recipe:?}");
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
        for size in SIZES {
            for name in [
                format!("full_rows_p{size}"),
                format!("full_rows_p{size}_transposed"),
                format!("spectrum_full_p{size}"),
            ] {
                choose(PTX, "full_rows", &name, 1000).unwrap();
            }
        }
    }
}

//! How rows of f32 are laid over blocks of threads: pure data, chosen from the
//! device's limits by a pure function.

/// Transforms of `size` points for rows of up to as many samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FullRecipe {
    /// Complex points of a transform, samples of the longest row.
    pub(crate) size: usize,
    /// Those that a thread holds.
    pub(crate) points_per_thread: usize,
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
    /// The rows of the recipe that takes longer ones in passes.
    pub(crate) const ROWS_IN_PASSES: Self = FullRecipe {
        size: 8192,
        points_per_thread: 32,
    };

    /// The recipe for rows of `length` samples on a device whose blocks of threads can have
    /// `shared_memory_bytes`: the smallest transform that holds the row, if there is one.
    pub(crate) fn choose(length: usize, shared_memory_bytes: usize) -> Option<Self> {
        SIZES
            .iter()
            .map(|&(size, points_per_thread)| FullRecipe {
                size,
                points_per_thread,
            })
            .find(|recipe| recipe.size >= length && recipe.shared_bytes() <= shared_memory_bytes)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What blocks may ask for: RTX 3090 and 4090, A100, H100 and H200.
    const CARDS: [usize; 3] = [99 << 10, 163 << 10, 227 << 10];

    #[test]
    fn rows_take_the_next_size_that_the_card_holds() {
        let chosen = |length, card| FullRecipe::choose(length, card).map(|recipe| recipe.size);
        for card in CARDS {
            assert_eq!(chosen(0, card), Some(64));
            assert_eq!(chosen(1, card), Some(64));
            assert_eq!(chosen(64, card), Some(64));
            assert_eq!(chosen(65, card), Some(128));
            assert_eq!(chosen(4097, card), Some(8192));
            assert_eq!(chosen(16385, card), None);
        }
        let [small, _, large] = CARDS;
        assert_eq!(chosen(16384, large), Some(16384));
        assert_eq!(chosen(8192, small), Some(8192));
        assert_eq!(chosen(8193, small), None);
    }

    #[test]
    fn blocks_fit_the_device() {
        for card in CARDS {
            for length in [1, 129, 5000, 8192] {
                let recipe = FullRecipe::choose(length, card).unwrap();
                assert!(recipe.shared_bytes() <= card, "{recipe:?}");
                assert!((64..=512).contains(&recipe.threads()), "{recipe:?}");
            }
        }
        let rows = FullRecipe::ROWS_IN_PASSES;
        assert_eq!(FullRecipe::choose(rows.size, CARDS[0]), Some(rows));
    }

    #[test]
    fn every_kernel_is_compiled() {
        use crate::cuda::ptx::{choose, PTX};
        let compiled = |name: &str| choose(PTX, "full_rows", name, 1000).is_ok();
        for (size, _) in SIZES {
            let recipe = FullRecipe::choose(size, 227 << 10).unwrap();
            assert_eq!(recipe.size, size);
            assert!(compiled(&recipe.function(false)), "{recipe:?}");
            assert!(compiled(&recipe.function(true)), "{recipe:?}");
            assert!(compiled(&recipe.spectrum_function()), "{recipe:?}");
        }
    }
}

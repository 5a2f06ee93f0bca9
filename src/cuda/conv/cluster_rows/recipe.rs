//! Which rows of bf16 a cluster of blocks takes in one pass: pure data, chosen from the device's
//! limits by a pure function.

use super::super::long_rows::recipe::{LongRecipe, LAST_POINTS};
use super::super::recipe::Form;

/// The transform of `size = first_points · 2048` complex points, and the clusters that do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ClusterRecipe {
    pub(crate) form: Form,
    /// The longest row: the number P of complex points of the transform.
    pub(crate) size: usize,
    /// Points of the first pass: rows of 2048 points.
    pub(crate) first_points: usize,
    /// Blocks of a cluster.
    pub(crate) blocks: usize,
    /// Rows that a cluster works on at the same time.
    pub(crate) rows_in_flight: usize,
    /// Dynamic shared memory of a block.
    pub(crate) shared_bytes: usize,
}

/// Size, blocks of a cluster, and rows that it holds at a time, as `cuda/cluster_rows.cu` has them.
const SIZES: [(usize, usize, usize); 2] = [(65536, 8, 3), (131_072, 16, 3)];

/// The largest cluster that every device with clusters has.
const PORTABLE_BLOCKS: usize = 8;

/// Bytes of one entry of a table: four words for each of 32 lanes.
const ENTRY: usize = 32 * 16;

impl ClusterRecipe {
    /// The recipe for the rows that `recipe` takes in several passes, on a device whose blocks have
    /// `shared_memory_bytes`; none where there are no such clusters.
    pub(crate) fn choose(recipe: &LongRecipe, shared_memory_bytes: usize) -> Option<Self> {
        let (size, blocks, rows_in_flight) = SIZES
            .into_iter()
            .find(|(size, ..)| *size == recipe.size && !recipe.precise)?;
        let first_points = size / LAST_POINTS;
        let (warps, factors) = (first_points / blocks, first_points / 16 - 1);
        // Matrices of the columns and of the block's rows, inner twiddles, twiddles, factors.
        let tables = (2 * 8 + 4 * warps + 2 + 16) * ENTRY + factors * 8 * (16 + 8);
        // Two regions, two barriers and two flags for each row; what keeps addresses from being kept.
        let rows = rows_in_flight * (2 * 4 * LAST_POINTS * warps + 16 + 8) + 16;
        let shared_bytes = tables + rows;
        (shared_bytes <= shared_memory_bytes).then_some(ClusterRecipe {
            form: recipe.form,
            size,
            first_points,
            blocks,
            rows_in_flight,
            shared_bytes,
        })
    }

    pub(crate) fn threads(&self) -> usize {
        32 * self.first_points / self.blocks * self.rows_in_flight
    }

    /// Whether the driver must be asked for clusters of so many blocks.
    pub(crate) fn is_beyond_portable(&self) -> bool {
        self.blocks > PORTABLE_BLOCKS
    }

    /// Blocks to launch for `rows` rows on a device that holds so many clusters at a time.
    pub(crate) fn grid(&self, rows: usize, clusters: usize) -> usize {
        self.blocks * rows.min(clusters)
    }

    /// The kernel for gates, and rows that are whole (as `Mode` in `cuda/samples.cuh`) or not.
    pub(crate) fn function(&self, gated: bool, whole: bool) -> String {
        format!(
            "cluster_rows_p{}_bf16_{}_{}",
            self.size,
            if gated { "gated" } else { "plain" },
            if whole { "whole" } else { "general" },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(length: usize, kilobytes: usize) -> Option<ClusterRecipe> {
        ClusterRecipe::choose(
            &LongRecipe::choose(length, kilobytes << 10)?,
            kilobytes << 10,
        )
    }

    #[test]
    fn clusters_hold_rows_of_two_sizes() {
        for (length, size, blocks) in [
            (40000, 65536, 8),
            (65536, 65536, 8),
            (65537, 131_072, 16),
            (131_072, 131_072, 16),
        ] {
            let recipe = choose(length, 227).unwrap();
            assert_eq!((recipe.size, recipe.blocks), (size, blocks), "{length}");
            assert_eq!(recipe.threads(), 384);
            assert!(recipe.shared_bytes <= 227 << 10);
            assert_eq!(recipe.is_beyond_portable(), blocks == 16);
        }
        assert_eq!(choose(131_073, 227), None);
    }

    #[test]
    fn smaller_cards_take_passes() {
        assert_eq!(choose(65536, 163), None);
        assert_eq!(choose(65536, 99), None);
    }

    #[test]
    fn kernels_at_lags_of_both_signs_take_passes() {
        let recipe = LongRecipe {
            precise: true,
            ..LongRecipe::choose(65536, 227 << 10).unwrap()
        };
        assert_eq!(ClusterRecipe::choose(&recipe, 227 << 10), None);
    }

    #[test]
    fn few_rows_take_few_clusters() {
        let recipe = choose(65536, 227).unwrap();
        assert_eq!(recipe.grid(2, 15), 16);
        assert_eq!(recipe.grid(1000, 15), 120);
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn every_kernel_is_compiled() {
        use crate::cuda::ptx::{choose as compiled, PTX};
        for (size, ..) in SIZES {
            let recipe = choose(size, 227).unwrap();
            for (gated, whole) in [(false, false), (false, true), (true, false), (true, true)] {
                let name = recipe.function(gated, whole);
                compiled(PTX, "cluster_rows", &name, 1000).unwrap();
            }
        }
    }
}

//! Which rows of bf16 a cluster of blocks takes in one pass: pure data, chosen from the device's
//! limits by a pure function.

use super::super::long_rows::recipe::{LongRecipe, LAST_POINTS};
use super::super::recipe::{Form, ENTRY};

/// Rows of `segments` segments of `size = first_points · 2048` complex points, and the clusters that do
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ClusterRecipe {
    pub(crate) form: Form,
    /// The longest segment: the number P of complex points of the transform.
    pub(crate) size: usize,
    /// A row of more than one has its transform in as many parts, see `cuda/segments.cuh`.
    pub(crate) segments: usize,
    /// Points of the first pass: rows of 2048 points.
    pub(crate) first_points: usize,
    /// Blocks of a cluster.
    pub(crate) blocks: usize,
    /// Rows that a cluster works on at the same time.
    pub(crate) rows_in_flight: usize,
    /// Dynamic shared memory of a block.
    pub(crate) shared_bytes: usize,
}

/// Complex points of a transform, blocks of a cluster, and rows that it holds at a time, as
/// `cuda/cluster_rows.cu` has them. Every device with clusters has some of 8 blocks.
pub(crate) const SIZE: usize = 65536;
const BLOCKS: usize = 8;
const ROWS_IN_FLIGHT: usize = 3;
const FIRST_POINTS: usize = SIZE / LAST_POINTS;

/// Dynamic shared memory of a block.
const SHARED_BYTES: usize = {
    let (warps, factors) = (FIRST_POINTS / BLOCKS, FIRST_POINTS / 16 - 1);
    // Matrices of the columns and of the block's rows, inner twiddles, twiddles, factors.
    let tables = (2 * 8 + 4 * warps + 2 + 16) * ENTRY + factors * 8 * (16 + 8);
    // Two regions, two barriers and two flags for each row; what keeps addresses from being kept.
    let rows = ROWS_IN_FLIGHT * (2 * 4 * LAST_POINTS * warps + 16 + 8) + 16;
    tables + rows
};

/// Whether the clusters fit a device whose blocks have so much.
pub(crate) const fn fit(shared_memory_bytes: usize) -> bool {
    SHARED_BYTES <= shared_memory_bytes
}

/// The most segments that are used in place of passes over rows of so many samples. One more would gain a tenth on an
/// H100, whose memory is slower than others, and cost accuracy.
const MOST_SEGMENTS: [(usize, usize); 3] = [(131_072, 2), (262_144, 3), (524_288, 5)];

impl ClusterRecipe {
    /// The recipe for rows of `length` samples, which `recipe` takes in several passes, on a device whose
    /// blocks have `shared_memory_bytes`; none where there are no such clusters, or where passes are
    /// faster.
    pub(crate) fn choose(
        length: usize,
        recipe: &LongRecipe,
        shared_memory_bytes: usize,
    ) -> Option<Self> {
        let segments = length.div_ceil(SIZE).max(1);
        let most = MOST_SEGMENTS
            .into_iter()
            .find_map(|(size, most)| (size == recipe.size).then_some(most));
        let is_one = recipe.size == SIZE && !recipe.precise;
        // Those of a kernel that acts ahead need the segments behind them.
        let are_few = recipe.is_causal && segments > 1 && most.is_some_and(|most| segments <= most);
        if !(is_one || are_few) {
            return None;
        }
        fit(shared_memory_bytes).then_some(ClusterRecipe {
            form: recipe.form,
            size: SIZE,
            segments,
            first_points: FIRST_POINTS,
            blocks: BLOCKS,
            rows_in_flight: ROWS_IN_FLIGHT,
            shared_bytes: SHARED_BYTES,
        })
    }

    pub(crate) fn threads(&self) -> usize {
        32 * self.first_points / self.blocks * self.rows_in_flight
    }

    /// Clusters to launch for `rows` rows on a device that holds so many at a time.
    pub(crate) fn clusters(&self, rows: usize, at_a_time: usize) -> usize {
        rows.min(at_a_time)
    }

    /// Words that so many clusters keep of the segments of their rows.
    pub(crate) fn kept_words(&self, clusters: usize) -> usize {
        clusters * self.rows_in_flight * (self.segments - 1) * self.size
    }

    /// The kernel for gates, and rows that are whole (as `Mode` in `cuda/samples.cuh`) or not.
    pub(crate) fn function(&self, gated: bool, whole: bool) -> String {
        format!(
            "cluster_{}_bf16_{}_{}",
            if self.segments > 1 {
                "segments"
            } else {
                "rows"
            },
            if gated { "gated" } else { "plain" },
            if whole { "whole" } else { "general" },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::{LagWindow, Semantics};

    fn long(semantics: Semantics, length: usize, kilobytes: usize) -> LongRecipe {
        let window = LagWindow::new(semantics, length, length);
        LongRecipe::choose(length, kilobytes << 10)
            .unwrap()
            .for_window(&window)
    }

    fn choose(length: usize, kilobytes: usize) -> Option<ClusterRecipe> {
        let semantics = Semantics::Causal { max_length: length };
        let long = long(semantics, length, kilobytes);
        ClusterRecipe::choose(length, &long, kilobytes << 10)
    }

    #[test]
    fn clusters_hold_rows_of_few_segments() {
        for (length, segments) in [
            (40_000, 1),
            (65_536, 1),
            (65_537, 2),
            (131_072, 2),
            (160_008, 3),
            (300_000, 5),
        ] {
            let recipe = choose(length, 227).unwrap();
            assert_eq!(recipe.segments, segments, "{length}");
            assert_eq!(recipe.threads(), 384);
            assert!(recipe.shared_bytes <= 227 << 10);
        }
        assert_eq!(choose(262_144, 227), None);
        assert_eq!(choose(524_288, 227), None);
        assert_eq!(choose(1 << 20, 227), None);
    }

    #[test]
    fn smaller_cards_take_passes() {
        assert_eq!(choose(65536, 163), None);
        assert_eq!(choose(131_072, 99), None);
    }

    #[test]
    fn kernels_at_lags_of_both_signs_take_passes() {
        for (length, fft_size, segments) in [
            (65536, 65536, Some(1)), // as a cyclic transform
            (65536, 80000, None),
            (131_072, 131_072, None),
            (131_072, 140_000, None),
        ] {
            let recipe = long(Semantics::Circular { fft_size }, length, 227);
            let clusters = ClusterRecipe::choose(length, &recipe, 227 << 10);
            assert_eq!(clusters.map(|clusters| clusters.segments), segments);
        }
    }

    #[test]
    fn few_rows_take_few_clusters() {
        let recipe = choose(131_072, 227).unwrap();
        assert_eq!(recipe.clusters(2, 15), 2);
        assert_eq!(recipe.clusters(1000, 15), 15);
        // What is kept is bounded.
        for segments in [1, 2, 3, 5] {
            let length = segments * SIZE;
            let recipe = choose(length, 227).unwrap();
            assert!(4 * recipe.kept_words(15) <= 64 << 20, "{length}");
        }
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn every_kernel_is_compiled() {
        use crate::cuda::ptx::{choose as compiled, PTX};
        for length in [SIZE, 2 * SIZE] {
            let recipe = choose(length, 227).unwrap();
            for (gated, whole) in [(false, false), (false, true), (true, false), (true, true)] {
                let name = recipe.function(gated, whole);
                compiled(PTX, "cluster_rows", &name, 1000).unwrap();
            }
        }
    }
}

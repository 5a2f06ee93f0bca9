//! How channels-last tensors are cut into tiles.

use super::gradients::suffix;
use super::{kernel_taps, ElementType, Family, Launch, EXACT_TAPS, MOST_BLOCKS, MULTIPROCESSORS};
use crate::depthwise::{Activation, Correlation};

/// Threads of a block along the channels, and along the frames.
const TILE_THREADS: usize = 32;
const TILE_LINES: usize = 8;

/// Frames that a thread makes of a tile, forward and backward.
const FRAMES: usize = 8;
const GRADIENT_FRAMES: usize = 4;

/// Tiles in shared memory, backward.
const GRADIENT_STAGES: usize = 2;

/// Blocks that keep every multiprocessor of a large GPU busy with gradients: two a multiprocessor. More of them were slower,
/// as they read and write memory at more places at a time.
const GRADIENT_BLOCKS: usize = 2 * MULTIPROCESSORS;

/// Blocks of two tiles that keep every multiprocessor of a large GPU busy.
const DOUBLE_BLOCKS: usize = 3 * MULTIPROCESSORS;

/// Neighbouring tiles of a block, forward: with many taps blocks of one tile would be too few.
fn tiles_of_a_block(taps: usize, channels: usize) -> usize {
    match (taps, channels) {
        (5..=EXACT_TAPS, 2..) => 2,
        _ => 1,
    }
}

/// Whether frames are read and written in groups of `channels` neighbouring channels: where they
/// are aligned, and keep at least half of the threads busy.
fn is_grouped(c: &Correlation, element: ElementType, channels: usize, aligned: bool) -> bool {
    aligned
        && c.channels.is_multiple_of(element.vector())
        && 2 * c.channels >= TILE_THREADS * channels
}

/// Neighbouring channels that a thread takes: 8 bytes, or fewer where it would lack registers.
fn channels_of_a_thread(taps: usize, activation: Activation, element: ElementType) -> usize {
    match (taps, activation) {
        (..=4, _) | (..=EXACT_TAPS, Activation::None) => 8 / element.bytes(),
        _ => 2,
    }
}

/// Shared memory for the parameters of a block's channels, in bytes.
fn parameter_bytes(taps: usize, channels: usize) -> usize {
    4 * TILE_THREADS * channels * ((taps | 1) + 1)
}

/// The kernel of a correlation with at most [`SHORT_TAPS`](super::SHORT_TAPS) taps.
pub(super) fn correlation(c: &Correlation, element: ElementType, aligned: bool) -> Launch {
    let taps = kernel_taps(c.taps);
    // The activation takes no registers here.
    let grouped = channels_of_a_thread(taps, Activation::None, element);
    let channels = match is_grouped(c, element, grouped, aligned) {
        true => grouped,
        false => 1,
    };
    let tile_frames = TILE_LINES * FRAMES;
    let tiles = c.output_length.div_ceil(tile_frames);
    let groups = c.channels.div_ceil(TILE_THREADS * channels);
    let most = tiles_of_a_block(taps, channels);
    let doubles = groups.saturating_mul(tiles / 2).saturating_mul(c.batch);
    let turns = if doubles >= DOUBLE_BLOCKS { most } else { 1 };
    let tile_bytes = (tile_frames + taps - 1) * TILE_THREADS * channels * element.bytes();
    let batches = c.batch.min(MOST_BLOCKS);
    Launch {
        batches,
        shared_bytes: super::word(parameter_bytes(taps, channels) + turns * tile_bytes),
        ..Launch::new(
            Family::Frames,
            format!("depthwise_frames_{taps}_by_{channels}_{}", element.name()),
            (groups.saturating_mul(tiles.div_ceil(turns)), 1, batches),
            (TILE_THREADS, TILE_LINES),
        )
    }
}

/// The kernel of all gradients, with at most [`EXACT_TAPS`] taps.
pub(super) fn gradients(
    c: &Correlation,
    activation: Activation,
    element: ElementType,
    aligned: bool,
) -> Launch {
    let grouped = channels_of_a_thread(c.taps, activation, element);
    let channels = match is_grouped(c, element, grouped, aligned) {
        true => grouped,
        false => 1,
    };
    let width = TILE_THREADS * channels;
    let tile_frames = TILE_LINES * GRADIENT_FRAMES;
    let tiles = c.batch.saturating_mul(c.input_length.div_ceil(tile_frames));
    let across = c.channels.div_ceil(width).max(1);
    let pieces = (GRADIENT_BLOCKS / across).min(tiles).clamp(1, MOST_BLOCKS);
    let reach = c.taps - 1;
    let dy_frames = tile_frames + reach;
    let x_frames = match activation {
        Activation::None => tile_frames,
        Activation::Silu => tile_frames + 2 * reach,
    };
    let tile_bytes = (dy_frames + x_frames) * width * element.bytes();
    let sum_bytes = 4 * TILE_LINES * width * ((c.taps + 1) | 1);
    let shared_bytes =
        sum_bytes.max(parameter_bytes(c.taps, channels) + GRADIENT_STAGES * tile_bytes);
    let (taps, suffix, name) = (c.taps, suffix(activation), element.name());
    Launch {
        shared_bytes: super::word(shared_bytes),
        pieces,
        ..Launch::new(
            Family::FrameGradients,
            format!("depthwise_frame_gradients_{taps}_by_{channels}{suffix}_{name}"),
            (across, pieces, 1),
            (TILE_THREADS, TILE_LINES),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::geometry;
    use super::*;
    use crate::depthwise::Conv1dLayout::Blh;
    use ElementType::{Bf16, F16, F32};

    #[test]
    fn in_groups_only_where_they_are_aligned_and_wide() {
        let function = |channels, aligned, element| {
            correlation(&geometry(Blh, (1, channels, 100), 3), element, aligned).function
        };
        assert_eq!(function(768, true, Bf16), "depthwise_frames_3_by_4_bf16");
        assert_eq!(function(767, true, Bf16), "depthwise_frames_3_by_1_bf16");
        assert_eq!(function(768, false, Bf16), "depthwise_frames_3_by_1_bf16");
        assert_eq!(function(32, true, F16), "depthwise_frames_3_by_1_f16");
        assert_eq!(function(32, true, F32), "depthwise_frames_3_by_2_f32");
        let many = geometry(Blh, (1, 768, 100), 9);
        let function = correlation(&many, Bf16, true).function;
        assert_eq!(function, "depthwise_frames_16_by_2_bf16");
    }

    #[test]
    fn two_tiles_a_block_of_many_taps_where_there_are_enough() {
        let blocks = |batch, taps| {
            let c = geometry(Blh, (batch, 768, 8192), taps);
            correlation(&c, Bf16, true).grid.0
        };
        assert_eq!(blocks(16, 4), 6 * 128);
        assert_eq!(blocks(16, 5), 6 * 64);
        assert_eq!(blocks(1, 5), 6 * 128);
    }

    fn channels_of(launch: &Launch) -> usize {
        let (_, rest) = launch.function.split_once("_by_").unwrap();
        rest[..1].parse().unwrap()
    }

    /// Every output is some block's, the tiles fit, and as many pieces are left as are summed up.
    #[test]
    fn blocks_cover_the_tiles() {
        for length in [1, 7, 64, 65, 129, 8192, 1_000_001] {
            for channels in [1, 5, 768, 8192] {
                for taps in [1, 3, 7, 8, 16] {
                    for element in [F32, F16, Bf16] {
                        let c = geometry(Blh, (3, channels, length), taps);
                        let launch = correlation(&c, element, true);
                        let groups = channels.div_ceil(32 * channels_of(&launch));
                        let tiles = launch.grid.0 as usize / groups;
                        let turns = length.div_ceil(64).div_ceil(tiles);
                        assert!(turns <= tiles_of_a_block(taps, channels_of(&launch)));
                        assert_eq!(tiles, length.div_ceil(64).div_ceil(turns));
                        assert!(launch.shared_bytes <= 48 << 10, "{launch:?}");
                        if taps > EXACT_TAPS {
                            continue;
                        }
                        for activation in [Activation::None, Activation::Silu] {
                            let launch = gradients(&c, activation, element, true);
                            // What blocks of the smallest cards can have.
                            assert!(launch.shared_bytes <= 99 << 10, "{launch:?}");
                            assert_eq!(launch.pieces, launch.grid.1 as usize);
                            assert!(launch.pieces <= 3 * length.div_ceil(32), "{launch:?}");
                        }
                    }
                }
            }
        }
    }
}

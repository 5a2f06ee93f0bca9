//! The tensor cores' kernels of channels-last tensors, see `cuda/depthwise_toeplitz_frames.cuh`.

use super::forward::{TOEPLITZ_OUTPUTS, TOEPLITZ_TAPS};
use super::{ElementType, Family, Launch};
use crate::depthwise::{Conv1dLayout, Correlation};

/// Warps of a block: each takes a channel or, which is better, two.
const FRAME_WARPS: usize = 16;

/// Taps of which a warp has those of two channels in registers, with weights of the samples' type and with others,
/// which take two registers.
const TAPS_OF_TWO: usize = 128;
const SPLIT_TAPS_OF_TWO: usize = 64;

/// Whether they take the tensors: channels last, frames aligned.
pub(super) fn takes(c: &Correlation, element: ElementType, aligned: bool) -> bool {
    let most = TOEPLITZ_TAPS.into_iter().max().unwrap_or(0);
    c.layout == Conv1dLayout::Blh
        && c.taps <= most
        && aligned
        && element != ElementType::F32
        && c.channels.is_multiple_of(element.vector())
}

/// The kernel for at most `taps` of them, on a device whose blocks can have so much shared memory.
pub(super) fn correlation(
    c: &Correlation,
    element: ElementType,
    taps: usize,
    same_type: bool,
    shared_memory_bytes: usize,
) -> Launch {
    let (split, taps_of_two) = match same_type {
        true => ("", TAPS_OF_TWO),
        false => ("_split", SPLIT_TAPS_OF_TWO),
    };
    let two = c.channels > FRAME_WARPS
        && taps <= taps_of_two
        && shared_bytes(taps, 2 * FRAME_WARPS) <= shared_memory_bytes;
    let channels = if two { 2 * FRAME_WARPS } else { FRAME_WARPS };
    let tiles = c.output_length.div_ceil(TOEPLITZ_OUTPUTS);
    let groups = c.channels.div_ceil(channels);
    let parts = parts_of_groups(groups, c.batch.saturating_mul(tiles));
    let name = element.name();
    Launch {
        shared_bytes: super::word(shared_bytes(taps, channels)),
        ..Launch::new(
            Family::LongFrames,
            format!("depthwise_toeplitz_frames_{taps}_by_{channels}{split}_{name}"),
            (groups, parts, 1),
            (32, FRAME_WARPS),
        )
    }
}

/// As `FramesInShared`: frames of two tiles, and rows of each channel in units of 8 samples, of two tiles.
fn shared_bytes(taps: usize, channels: usize) -> usize {
    let steps = (taps + 32).div_ceil(16);
    let units = (TOEPLITZ_OUTPUTS - 32) / 8 + 2 * steps;
    let row = (units + units / 4) | 1;
    2 * 2 * channels * 8 * units + 2 * 16 * channels * row
}

/// Into how many blocks the tiles of each group of channels go, so that the last of them ends soonest on a large GPU,
/// which has a block a multiprocessor, and setting one up takes the time of a tile.
fn parts_of_groups(groups: usize, tiles: usize) -> usize {
    const MULTIPROCESSORS: usize = 132;
    const MOST_PARTS: usize = 512;
    (1..=tiles.clamp(1, MOST_PARTS))
        .min_by_key(|&parts| {
            let rounds = groups.saturating_mul(parts).div_ceil(MULTIPROCESSORS);
            rounds.saturating_mul(tiles.div_ceil(parts) + 1)
        })
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::super::tests::geometry;
    use super::super::{correlation, takes_frames};
    use super::*;
    use Conv1dLayout::Blh;
    use ElementType::{Bf16, F32};

    /// Shared memory of a block on a small card and on a large one.
    const SMALL: usize = 99 << 10;
    const LARGE: usize = 227 << 10;

    #[test]
    fn channels_by_taps_and_shared_memory() {
        let launch = |taps, same_type, memory| {
            let c = geometry(Blh, (16, 776, 1024), taps);
            assert!(takes_frames(&c, Bf16, true));
            correlation(&c, Bf16, true, same_type, memory).unwrap()
        };
        let many = launch(100, false, SMALL);
        assert_eq!(
            many.function,
            "depthwise_toeplitz_frames_128_by_16_split_bf16"
        );
        assert_eq!(launch(100, false, LARGE), many);
        // 49 groups of 32 tiles: 392 blocks of 4 on 132 multiprocessors take three rounds.
        assert_eq!((many.grid, many.block), ((49, 8, 1), (32, 16, 1)));
        // 640 frames of 32 bytes, 101 units in a channel's row.
        assert_eq!(many.shared_bytes, 2 * (640 * 32 + 16 * 101 * 16));
        assert!(many.shared_bytes as usize <= SMALL);

        let two = launch(100, true, LARGE);
        assert_eq!(two.function, "depthwise_toeplitz_frames_128_by_32_bf16");
        assert_eq!((two.grid.0, two.block), (25, (32, 16, 1)));
        assert_eq!(two.shared_bytes, 2 * many.shared_bytes);
        assert!(two.shared_bytes as usize <= LARGE);
        let fewer = launch(64, false, LARGE).function;
        assert_eq!(fewer, "depthwise_toeplitz_frames_64_by_32_split_bf16");
        let small = launch(17, true, SMALL).function;
        assert_eq!(small, "depthwise_toeplitz_frames_32_by_16_bf16");
        let few = geometry(Blh, (16, 16, 1024), 17);
        let few = correlation(&few, Bf16, true, true, LARGE).unwrap();
        assert_eq!(few.function, "depthwise_toeplitz_frames_32_by_16_bf16");
    }

    #[test]
    fn parts_fill_the_multiprocessors() {
        assert_eq!(parts_of_groups(512, 256), 1);
        assert_eq!(parts_of_groups(8, 16), 16);
    }

    #[test]
    fn what_they_do_not_take() {
        for (channels, taps, element, aligned) in [
            (776, 100, Bf16, false),
            (771, 100, Bf16, true),
            (776, 100, F32, true),
            (776, 129, Bf16, true),
        ] {
            let c = geometry(Blh, (16, channels, 1024), taps);
            assert!(correlation(&c, element, aligned, false, LARGE).is_err());
            assert!(!takes_frames(&c, element, aligned));
        }
    }
}

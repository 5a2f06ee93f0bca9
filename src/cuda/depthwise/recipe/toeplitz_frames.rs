//! The tensor cores' kernels of channels-last tensors, see `cuda/depthwise_toeplitz_frames.cuh`.

use super::forward::{TOEPLITZ_OUTPUTS, TOEPLITZ_TAPS};
use super::{ElementType, Family, Launch, Sharing};
use crate::depthwise::{Conv1dLayout, Correlation};

/// Warps of a block: each takes a channel or two.
pub(super) const FRAME_WARPS: usize = 16;

/// What a block has in shared memory at a time.
#[derive(Clone, Copy)]
struct Tiles {
    channels: usize,
    /// Of 512 outputs of each channel.
    rounds: usize,
    /// Of rows of all channels.
    buffers: usize,
}

/// With weights of the samples' type.
const ONE_TERM: Tiles = Tiles {
    channels: 32,
    rounds: 1,
    buffers: 3,
};

/// With others, of which a warp has as many registers for one channel.
const TWO_TERMS: Tiles = Tiles {
    channels: 16,
    rounds: 2,
    buffers: 3,
};

/// Where others have more channels or frames than there are, or more shared memory than a block can have.
const SMALL: Tiles = Tiles {
    channels: 16,
    rounds: 1,
    buffers: FEWER_BUFFERS,
};

/// Where a block cannot have the shared memory of the third one.
const FEWER_BUFFERS: usize = 2;

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
    let (split, large) = match same_type {
        true => ("", ONE_TERM),
        false => ("_split", TWO_TERMS),
    };
    let fewer = Tiles {
        buffers: FEWER_BUFFERS,
        ..large
    };
    let worthwhile =
        c.channels > large.channels / 2 && c.output_length > large.rounds * TOEPLITZ_OUTPUTS / 2;
    let fits = |tiles: &Tiles| worthwhile && tiles.shared_bytes(taps) <= shared_memory_bytes;
    let (suffix, tiles) = match large {
        tiles if fits(&tiles) => ("", tiles),
        _ if fits(&fewer) => ("_fewer", fewer),
        _ => ("_small", SMALL),
    };
    let items = c.output_length.div_ceil(tiles.rounds * TOEPLITZ_OUTPUTS);
    let groups = c.channels.div_ceil(tiles.channels);
    let sharing = Sharing::of(groups, c.batch.saturating_mul(items));
    let name = element.name();
    Launch {
        shared_bytes: super::word(tiles.shared_bytes(taps)),
        sharing,
        ..Launch::new(
            Family::LongFrames,
            format!("depthwise_toeplitz_frames_{taps}{split}{suffix}_{name}"),
            (sharing.blocks(groups), 1, 1),
            (32, FRAME_WARPS),
        )
    }
}

impl Tiles {
    /// As `FramesInShared`: frames of two items, rows of each channel in units of 8 samples, and where the items are.
    fn shared_bytes(&self, taps: usize) -> usize {
        // Of 16 samples, that a segment of 64 outputs reads.
        let steps = (taps + 14) / 16 + 1 + 3;
        let units = (self.rounds * TOEPLITZ_OUTPUTS - 64) / 8 + 2 * steps;
        let rows = frame_rows(self.channels, units);
        2 * rows.frames_bytes + self.buffers * rows.rows_bytes + REMEMBERED_BYTES
    }
}

/// What blocks remember, as `Remembered` in `cuda/depthwise_frame_turns.cuh`: eight tiles of eight bytes, and a turn.
pub(super) const REMEMBERED_BYTES: usize = 8 * 8 + 32;

/// As `FrameRows`: the bytes of so many units of 8 samples of each channel, as frames and as rows.
pub(super) struct FrameRows {
    pub frames_bytes: usize,
    pub rows_bytes: usize,
}

pub(super) fn frame_rows(channels: usize, units: usize) -> FrameRows {
    let pitch = units + (units - 1) / 8;
    let row = pitch + (12 - pitch % 8) % 8;
    FrameRows {
        frames_bytes: 2 * channels * 8 * units,
        // Rows of each 8 channels begin further behind those before, by 4 units in all.
        rows_bytes: 16 * (channels * row + 4),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{geometry, ALIGNED, ANY};
    use super::super::{correlation, takes_frames};
    use super::*;
    use Conv1dLayout::Blh;
    use ElementType::{Bf16, F32};

    /// Shared memory of a block on small, medium and large cards.
    const FEW: usize = 99 << 10;
    const MEDIUM: usize = 163 << 10;
    const LARGE: usize = 227 << 10;

    #[test]
    fn channels_by_taps_and_shared_memory() {
        let launch = |taps, same_type, memory| {
            let c = geometry(Blh, (16, 776, 1024), taps);
            assert!(takes_frames(&c, Bf16, true));
            correlation(&c, Bf16, ALIGNED, same_type, memory).unwrap()
        };
        let one_term = launch(100, true, LARGE);
        assert_eq!(one_term.function, "depthwise_toeplitz_frames_128_bf16");
        // 25 groups of 32 tiles.
        assert_eq!(one_term.sharing, Sharing::of(25, 32));
        let blocks = one_term.sharing.blocks(25) as u32;
        assert_eq!(
            (one_term.grid, one_term.block),
            ((blocks, 1, 1), (32, 16, 1))
        );
        // 640 frames of 64 bytes, 92 units in a channel's row.
        let bytes = 2 * 640 * 64 + 3 * 16 * (32 * 92 + 4) + REMEMBERED_BYTES;
        assert_eq!(one_term.shared_bytes as usize, bytes);

        let two_terms = launch(100, false, LARGE);
        let function = "depthwise_toeplitz_frames_128_split_bf16";
        assert_eq!(
            (two_terms.function.as_str(), two_terms.sharing),
            (function, Sharing::of(49, 16))
        );
        // 1152 frames of 32 bytes, 164 units in a channel's row.
        let bytes = 2 * 1152 * 32 + 3 * 16 * (16 * 164 + 4) + REMEMBERED_BYTES;
        assert_eq!(two_terms.shared_bytes as usize, bytes);

        for (taps, same_type) in [(128, true), (128, false), (17, true), (33, false)] {
            let large = launch(taps, same_type, LARGE);
            assert!(large.shared_bytes as usize <= LARGE);
            let (begin, end) = large.function.rsplit_once('_').unwrap();
            let fits_some = taps != 128 || !same_type;
            for (memory, suffix) in [
                (FEW, "small"),
                (MEDIUM, if fits_some { "fewer" } else { "small" }),
            ] {
                let launch = launch(taps, same_type, memory);
                assert_eq!(launch.function, format!("{begin}_{suffix}_{end}"));
                assert!(launch.shared_bytes as usize <= memory);
            }
        }
        let few = geometry(Blh, (16, 16, 1024), 17);
        let few = correlation(&few, Bf16, ALIGNED, true, LARGE).unwrap();
        assert_eq!(few.function, "depthwise_toeplitz_frames_32_small_bf16");
        let short = geometry(Blh, (16, 776, 512), 17);
        let short = correlation(&short, Bf16, ALIGNED, false, LARGE).unwrap();
        assert_eq!(
            short.function,
            "depthwise_toeplitz_frames_32_split_small_bf16"
        );
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
            let starts = if aligned { ALIGNED } else { ANY };
            assert!(correlation(&c, element, starts, false, LARGE).is_err());
            assert!(!takes_frames(&c, element, aligned));
        }
    }
}

//! The tensor cores' kernels of channels-last tensors, see `cuda/depthwise_toeplitz_frames.cuh` and
//! `cuda/depthwise_loaded_frames.cuh`.

use super::forward::{TOEPLITZ_OUTPUTS, TOEPLITZ_TAPS};
use super::frame_rows::{FrameRows, FRAME_WARPS, REMEMBERED_BYTES, ROLES_BYTES, ROLES_WARPS};
use super::{Card, ElementType, Family, Launch, Sharing};
use crate::depthwise::{Conv1dLayout, Correlation};

/// What a block takes at a time.
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

/// Where a block cannot have the shared memory of the third one, or some of its warps load.
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

/// The kernel for at most `taps` of them.
pub(super) fn correlation(
    c: &Correlation,
    element: ElementType,
    taps: usize,
    same_type: bool,
    card: Card,
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
    let fits = |bytes: usize| worthwhile && bytes <= card.shared_memory_bytes;
    let launch = |family, kernel: String, warps, tiles: Tiles, shared_bytes| {
        let items = c.output_length.div_ceil(tiles.rounds * TOEPLITZ_OUTPUTS);
        let groups = c.channels.div_ceil(tiles.channels);
        let sharing = Sharing::of(groups, c.batch.saturating_mul(items));
        Launch {
            shared_bytes: super::word(shared_bytes),
            sharing,
            ..Launch::new(
                family,
                format!("{kernel}_{}", element.name()),
                (sharing.blocks(groups), 1, 1),
                (32, warps),
            )
        }
    };
    let loaded_bytes = fewer.loaded_bytes(taps);
    if !same_type && card.passes_registers && fits(loaded_bytes) {
        let kernel = format!("depthwise_loaded_frames_{taps}");
        return launch(
            Family::LoadedFrames,
            kernel,
            ROLES_WARPS,
            fewer,
            loaded_bytes,
        );
    }
    let (suffix, tiles) = match large {
        tiles if fits(tiles.shared_bytes(taps)) => ("", tiles),
        _ if fits(fewer.shared_bytes(taps)) => ("_fewer", fewer),
        _ => ("_small", SMALL),
    };
    let kernel = format!("depthwise_toeplitz_frames_{taps}{split}{suffix}");
    let shared_bytes = tiles.shared_bytes(taps);
    launch(Family::LongFrames, kernel, FRAME_WARPS, tiles, shared_bytes)
}

impl Tiles {
    /// Of 8 samples, that the outputs of a channel read.
    fn units(&self, taps: usize) -> usize {
        // Of 16 samples, that a segment of 64 outputs reads.
        let steps = (taps + 14) / 16 + 1 + 3;
        (self.rounds * TOEPLITZ_OUTPUTS - 64) / 8 + 2 * steps
    }

    /// As `FramesInShared`: frames of two items, rows of each channel, and where the items are.
    fn shared_bytes(&self, taps: usize) -> usize {
        let rows = FrameRows::new(self.channels, self.units(taps));
        2 * rows.frames_bytes + self.buffers * rows.rows_bytes + REMEMBERED_BYTES
    }

    /// As `LoadedFrames`: the same, in chunks, and barriers.
    fn loaded_bytes(&self, taps: usize) -> usize {
        let rows = FrameRows::loaded(self.channels, self.units(taps));
        2 * rows.frames_bytes + self.buffers * rows.rows_bytes + ROLES_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{card, geometry, ALIGNED, ANY, CARD, LARGE, PASSING};
    use super::super::{correlation, takes_frames};
    use super::*;
    use Conv1dLayout::Blh;
    use ElementType::{Bf16, F32};

    /// Small and medium ones.
    const FEW: Card = CARD;
    const MEDIUM: Card = card(163);

    #[test]
    fn channels_by_taps_and_card() {
        let launch = |taps, same_type, card| {
            let c = geometry(Blh, (16, 776, 1024), taps);
            assert!(takes_frames(&c, Bf16, true));
            correlation(&c, Bf16, ALIGNED, same_type, card).unwrap()
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
        let bytes = 2 * 640 * 64 + 3 * 16 * (32 * 92 + 4);
        assert_eq!(one_term.shared_bytes as usize, bytes + REMEMBERED_BYTES);

        let two_terms = launch(100, false, LARGE);
        let function = "depthwise_toeplitz_frames_128_split_bf16";
        assert_eq!(
            (two_terms.function.as_str(), two_terms.sharing),
            (function, Sharing::of(49, 16))
        );
        // 1152 frames of 32 bytes, 164 units in a channel's row.
        let bytes = 2 * 1152 * 32 + 3 * 16 * (16 * 164 + 4);
        assert_eq!(two_terms.shared_bytes as usize, bytes + REMEMBERED_BYTES);

        // One buffer less, four warps more, and barriers.
        let loaded = launch(100, false, PASSING);
        assert_eq!(loaded.function, "depthwise_loaded_frames_128_bf16");
        assert_eq!(loaded.family, Family::LoadedFrames);
        assert_eq!(
            (loaded.grid, loaded.sharing),
            (two_terms.grid, two_terms.sharing)
        );
        assert_eq!(loaded.block, (32, 20, 1));
        let bytes = 2 * (1152 * 32 + 16 * (16 * 164 + 4)) + ROLES_BYTES;
        assert_eq!(loaded.shared_bytes as usize, bytes);
        // 132 units of 16 channels are 16 chunks and a half.
        let bytes = 2 * (17 * 2048 + 16 * (16 * 148 + 4)) + ROLES_BYTES;
        assert_eq!(launch(20, false, PASSING).shared_bytes as usize, bytes);
        assert_eq!(launch(100, true, PASSING), one_term);

        let fits =
            |launch: &Launch, card: Card| launch.shared_bytes as usize <= card.shared_memory_bytes;
        for (taps, same_type) in [(128, true), (128, false), (17, true), (33, false)] {
            let large = launch(taps, same_type, LARGE);
            assert!(fits(&large, LARGE));
            assert!(fits(&launch(taps, same_type, PASSING), PASSING));
            let (begin, end) = large.function.rsplit_once('_').unwrap();
            let fits_some = taps != 128 || !same_type;
            for (card, suffix) in [
                (FEW, "small"),
                (MEDIUM, if fits_some { "fewer" } else { "small" }),
            ] {
                let launch = launch(taps, same_type, card);
                assert_eq!(launch.function, format!("{begin}_{suffix}_{end}"));
                assert!(fits(&launch, card));
            }
        }
        for card in [LARGE, PASSING] {
            let few = geometry(Blh, (16, 16, 1024), 17);
            let few = correlation(&few, Bf16, ALIGNED, true, card).unwrap();
            assert_eq!(few.function, "depthwise_toeplitz_frames_32_small_bf16");
            let short = geometry(Blh, (16, 776, 512), 17);
            let short = correlation(&short, Bf16, ALIGNED, false, card).unwrap();
            assert_eq!(
                short.function,
                "depthwise_toeplitz_frames_32_split_small_bf16"
            );
        }
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

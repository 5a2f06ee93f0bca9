//! The tensor cores' kernels of all gradients of channels-last tensors with many taps, see
//! `cuda/depthwise_long_frame_gradients.cuh`.

use super::forward::TOEPLITZ_TAPS;
use super::frame_rows::{FrameRows, CHUNK_BYTES, FRAME_WARPS, ROLES_BYTES, ROLES_WARPS};
use super::units::{line_of_units, units_met};
use super::{check_gradients, word, Card, ElementType, Family, Launch, Sharing};
use crate::depthwise::{Conv1dLayout, Correlation};
use crate::Error;

/// Frames of an item of a block, and its channels, one of each warp.
const FRAMES: usize = 1024;
const CHANNELS: usize = FRAME_WARPS;

/// Frames from which on they are worth an item.
const FEWEST_FRAMES: usize = 512;

/// The kernel, where there is one. `aligned`: whether each frame of both inputs begins at a multiple of 16 bytes; `split`:
/// whether the gradient of the input is wanted and the weight has another dtype.
pub(in super::super) fn gradients(
    c: &Correlation,
    element: ElementType,
    aligned: bool,
    split: bool,
    card: Card,
) -> Result<Option<Launch>, Error> {
    check_gradients(c)?;
    let Some(taps) = TOEPLITZ_TAPS.into_iter().find(|&most| c.taps <= most) else {
        return Ok(None);
    };
    let shared_bytes = shared_bytes(taps, split);
    let frames = c.input_length.max(c.output_length);
    let takes = c.layout == Conv1dLayout::Blh
        && element != ElementType::F32
        && aligned
        && c.channels.is_multiple_of(element.vector())
        && c.taps > 0
        && frames >= FEWEST_FRAMES
        && (0..=units_met(taps) as isize).contains(&line_of_units(c, c.taps))
        && card.has_long_frame_gradients
        && shared_bytes <= card.shared_memory_bytes;
    Ok(takes.then(|| {
        let groups = c.channels.div_ceil(CHANNELS);
        let items = c.batch.saturating_mul(frames.div_ceil(FRAMES));
        let sharing = Sharing::of(groups, items);
        let terms = if split { "_split" } else { "" };
        Launch {
            shared_bytes: word(shared_bytes),
            pieces: sharing.pieces(),
            sharing,
            ..Launch::new(
                Family::LongFrameGradients,
                format!(
                    "depthwise_long_frame_gradients_{taps}{terms}_{}",
                    element.name()
                ),
                (sharing.blocks(groups), 1, 1),
                (32, ROLES_WARPS),
            )
        }
    }))
}

/// As `LongFrameGradients`: chunks of frames that are under way, rows of two items, of `x` and of `dy`, and taps.
fn shared_bytes(taps: usize, split: bool) -> usize {
    const CHUNKS: usize = 4 * 6;
    let units = FRAMES / 8;
    let rows =
        [units, units + units_met(taps)].map(|units| FrameRows::new(CHANNELS, units).rows_bytes);
    // As `SegmentTaps`: tiles of 8 taps and a margin, each twice, so that even and odd ones are in different banks.
    let last = taps - 1 + 7 + 7; // with the largest shift, for the last of 8 outputs
    let tiles = last / 8 + 1;
    let places = 8 * tiles + 16 + if tiles % 8 == 6 { 16 } else { 0 };
    let terms = if split { 2 } else { 1 };
    CHUNKS * CHUNK_BYTES + 2 * (rows[0] + rows[1]) + ROLES_BYTES + CHANNELS * terms * 2 * 2 * places
}

#[cfg(test)]
mod tests {
    use super::super::tests::{card, geometry, LARGE};
    use super::*;
    use Conv1dLayout::{Bhl, Blh};
    use ElementType::{Bf16, F16, F32};

    #[test]
    fn pieces_of_groups_of_channels() {
        let c = geometry(Blh, (16, 776, 1024), 100);
        let of = |c: &Correlation, element, split| {
            gradients(c, element, true, split, LARGE).unwrap().unwrap()
        };
        let launch = of(&c, Bf16, false);
        assert_eq!(launch.function, "depthwise_long_frame_gradients_128_bf16");
        // 49 groups of 16 items.
        let sharing = Sharing::of(49, 16);
        assert_eq!((launch.sharing, launch.pieces), (sharing, sharing.pieces()));
        assert_eq!(launch.grid, (sharing.blocks(49) as u32, 1, 1));
        assert_eq!(launch.block, (32, 20, 1));
        // 148 and 164 units in a channel's row of 1024 and 1168 samples; six chunks of each of four warps; 160 places of taps,
        // each twice.
        let rows = 16 * (16 * (148 + 164) + 2 * 4);
        let bytes = 4 * 6 * 2048 + 2 * rows + ROLES_BYTES;
        let taps = 16 * 2 * 2 * 160;
        assert_eq!(launch.shared_bytes as usize, bytes + taps);
        assert_eq!(of(&c, Bf16, true).shared_bytes as usize, bytes + 2 * taps);
        for (taps, kernel) in [(9, 32), (33, 64), (128, 128)] {
            let c = geometry(Blh, (16, 776, 1024), taps);
            let launch = of(&c, F16, true);
            assert_eq!(
                launch.function,
                format!("depthwise_long_frame_gradients_{kernel}_split_f16")
            );
            assert!(launch.shared_bytes as usize <= LARGE.shared_memory_bytes);
        }
    }

    #[test]
    fn what_it_does_not_take() {
        let takes = |c: &Correlation, element, aligned, card| {
            gradients(c, element, aligned, true, card)
                .unwrap()
                .is_some()
        };
        let c = geometry(Blh, (2, 32, 1024), 20);
        assert!(takes(&c, Bf16, true, LARGE));
        assert!(!takes(&c, F32, true, LARGE));
        assert!(!takes(&c, Bf16, false, LARGE));
        assert!(!takes(&c, Bf16, true, card(163)));
        let lacks_kernels = Card {
            has_long_frame_gradients: false,
            ..LARGE
        };
        assert!(!takes(&c, Bf16, true, lacks_kernels));
        assert!(!takes(&geometry(Bhl, (2, 32, 1024), 20), Bf16, true, LARGE));
        assert!(!takes(&geometry(Blh, (2, 31, 1024), 20), Bf16, true, LARGE));
        assert!(!takes(&geometry(Blh, (2, 32, 300), 20), Bf16, true, LARGE));
        assert!(!takes(
            &geometry(Blh, (2, 32, 1024), 129),
            Bf16,
            true,
            LARGE
        ));
        for left in [-60, 200] {
            assert!(!takes(&Correlation { left, ..c }, Bf16, true, LARGE));
        }
    }
}

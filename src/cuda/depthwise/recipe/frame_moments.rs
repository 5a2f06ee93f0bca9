//! The tensor cores' kernel of the gradients of taps and bias of channels-last tensors, see `cuda/depthwise_frame_moments.cuh`.

use super::forward::TOEPLITZ_TAPS;
use super::frame_rows::{FrameRows, FRAME_WARPS, ROLES_BYTES, ROLES_WARPS};
use super::units::{line_of_units, units_met};
use super::{word, ElementType, Family, Launch, Sharing};
use crate::depthwise::{Conv1dLayout, Correlation};

/// Frames of an item of a block, and its channels, one of each warp.
const FRAMES: usize = 1024;
const CHANNELS: usize = FRAME_WARPS;

/// Frames from which on they are worth an item.
const FEWEST_FRAMES: usize = 512;

/// The kernel, where there is one. `aligned`: whether each frame of both inputs begins at a multiple of 16 bytes;
/// `shared_memory_bytes`: what the device's blocks can have.
pub(super) fn sums(
    c: &Correlation,
    element: ElementType,
    aligned: bool,
    shared_memory_bytes: usize,
) -> Option<Launch> {
    let taps = TOEPLITZ_TAPS.into_iter().find(|&most| c.taps <= most)?;
    let shared_bytes = shared_bytes(taps);
    let frames = c.input_length.max(c.output_length);
    let takes = c.layout == Conv1dLayout::Blh
        && element != ElementType::F32
        && aligned
        && c.channels.is_multiple_of(element.vector())
        && c.taps > 0
        && frames >= FEWEST_FRAMES
        && (0..=units_met(taps) as isize).contains(&line_of_units(c, c.taps))
        && shared_bytes <= shared_memory_bytes;
    takes.then(|| {
        let groups = c.channels.div_ceil(CHANNELS);
        let items = c.batch.saturating_mul(frames.div_ceil(FRAMES));
        let sharing = Sharing::of(groups, items);
        Launch {
            shared_bytes: word(shared_bytes),
            pieces: sharing.pieces(),
            sharing,
            ..Launch::new(
                Family::FrameMoments,
                format!("depthwise_frame_moments_{taps}_{}", element.name()),
                (sharing.blocks(groups), 1, 1),
                (32, ROLES_WARPS),
            )
        }
    })
}

/// As `FrameMoments`: frames of an item and rows of two, of `x` and of `dy`.
fn shared_bytes(taps: usize) -> usize {
    let units = FRAMES / 8;
    let of = |units| {
        let rows = FrameRows::loaded(CHANNELS, units);
        rows.frames_bytes + 2 * rows.rows_bytes
    };
    of(units) + of(units + units_met(taps)) + ROLES_BYTES
}

#[cfg(test)]
mod tests {
    use super::super::tests::geometry;
    use super::*;
    use Conv1dLayout::{Bhl, Blh};
    use ElementType::{Bf16, F16, F32};

    const LARGE: usize = 227 << 10;

    #[test]
    fn pieces_of_groups_of_channels() {
        let c = geometry(Blh, (16, 776, 1024), 100);
        let launch = sums(&c, Bf16, true, LARGE).unwrap();
        assert_eq!(launch.function, "depthwise_frame_moments_128_bf16");
        // 49 groups of 16 items.
        let sharing = Sharing::of(49, 16);
        assert_eq!((launch.sharing, launch.pieces), (sharing, sharing.pieces()));
        assert_eq!(launch.grid, (sharing.blocks(49) as u32, 1, 1));
        assert_eq!(launch.block, (32, 20, 1));
        // 1024 and 1168 frames of 32 bytes, 148 and 164 units in a channel's row.
        let rows = 16 * (16 * (148 + 164) + 2 * 4);
        let frames = (16 + 19) * 2048; // in chunks of 64
        assert_eq!(
            launch.shared_bytes as usize,
            frames + 2 * rows + ROLES_BYTES
        );
        for (taps, kernel) in [(9, 32), (33, 64)] {
            let c = geometry(Blh, (16, 776, 1024), taps);
            let launch = sums(&c, F16, true, LARGE).unwrap();
            assert_eq!(
                launch.function,
                format!("depthwise_frame_moments_{kernel}_f16")
            );
            assert!(launch.shared_bytes as usize <= LARGE);
        }
    }

    #[test]
    fn what_it_does_not_take() {
        let takes =
            |c: &Correlation, element, aligned, memory| sums(c, element, aligned, memory).is_some();
        let c = geometry(Blh, (2, 32, 1024), 20);
        assert!(takes(&c, Bf16, true, LARGE));
        assert!(!takes(&c, F32, true, LARGE));
        assert!(!takes(&c, Bf16, false, LARGE));
        assert!(!takes(&c, Bf16, true, 99 << 10));
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

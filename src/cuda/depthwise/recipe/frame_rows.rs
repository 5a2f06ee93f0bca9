//! What blocks of the tensor cores' channels-last kernels have in shared memory: frames, and rows of each channel, see
//! `cuda/depthwise_frame_rows.cuh` and `cuda/depthwise_loading_warps.cuh`.

/// Warps of a block that multiply, each the rows of a channel or two.
pub(super) const FRAME_WARPS: usize = 16;

/// With those that load.
pub(super) const ROLES_WARPS: usize = FRAME_WARPS + 4;

/// What blocks remember, as `Remembered` in `cuda/depthwise_frame_turns.cuh`: eight tiles of eight bytes, and a turn.
pub(super) const REMEMBERED_BYTES: usize = 8 * 8 + 32;

/// With the barriers of `RowBuffers`, where some warps load.
pub(super) const ROLES_BYTES: usize = REMEMBERED_BYTES + 32;

/// Copies of a warp that loads have so many bytes together.
pub(super) const CHUNK_BYTES: usize = 2048;

/// As `FrameRows` and `LoadedRows`: bytes of so many units of 8 samples of each channel.
pub(super) struct FrameRows {
    pub frames_bytes: usize,
    pub rows_bytes: usize,
}

impl FrameRows {
    pub fn new(channels: usize, units: usize) -> Self {
        let pitch = units + (units - 1) / 8;
        let row = pitch + (12 - pitch % 8) % 8;
        Self {
            frames_bytes: 2 * channels * 8 * units,
            // Rows of each 8 channels begin further behind those before, by 4 units in all.
            rows_bytes: 16 * (channels * row + 4),
        }
    }

    /// Where some warps load, in whole chunks.
    pub fn loaded(channels: usize, units: usize) -> Self {
        let rows = Self::new(channels, units);
        Self {
            frames_bytes: rows.frames_bytes.next_multiple_of(CHUNK_BYTES),
            ..rows
        }
    }
}

//! How the work is cut into blocks: plain numbers, chosen by pure functions.

use crate::depthwise::{Conv1dLayout, Correlation};
use std::ops::Range;

/// Products below which a second thread costs more than it saves.
const SERIAL_BELOW: usize = 1 << 15;

/// Outputs that one task makes at least, unless there are too few.
const OUTPUTS_A_TASK: usize = 1 << 14;

/// Numbers that a block keeps close to the core.
const NUMBERS_IN_CACHE: usize = 1 << 13;

/// The frames over which a channels-last gradient is summed in f32.
const FRAMES_A_BLOCK: usize = 64;

/// About so many pieces of a gradient's sums can be made at the same time.
const GRADIENT_PIECES: usize = 64;

/// The blocks of a channels-first convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowsRecipe {
    /// Whether to use more than one thread.
    pub parallel: bool,
    /// A row is cut into tasks of so many outputs.
    pub outputs_a_task: usize,
    /// A thread takes so many tasks at a time at least.
    pub tasks_a_thread: usize,
    /// A task is cut into blocks of at most so many outputs.
    pub outputs_a_block: usize,
}

impl RowsRecipe {
    pub fn new(c: &Correlation) -> Self {
        let outputs_a_task = OUTPUTS_A_TASK.min(c.output_length).max(1);
        Self {
            parallel: is_parallel(c),
            outputs_a_task,
            tasks_a_thread: (OUTPUTS_A_TASK / outputs_a_task).max(1),
            outputs_a_block: (NUMBERS_IN_CACHE / 2).min(outputs_a_task),
        }
    }
}

/// The blocks of a channels-last convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FramesRecipe {
    /// Whether to use more than one thread.
    pub parallel: bool,
    /// A batch item is cut into tasks of so many output frames.
    pub frames_a_task: usize,
    /// A frame is cut into blocks of so many channels.
    pub channels_a_block: usize,
}

impl FramesRecipe {
    /// `in_place`: whether the input needs no conversion.
    pub fn new(c: &Correlation, in_place: bool) -> Self {
        let channels = c.channels.max(1);
        let frames_a_task = (OUTPUTS_A_TASK / channels).clamp(32, 1024);
        // In place, an output frame needs as many input frames as there are taps,
        // and as much weight; converted, the input of all frames of a task.
        let lines = match in_place {
            true => c.taps.saturating_mul(2),
            false => c.taps.saturating_mul(2).saturating_add(frames_a_task),
        };
        Self {
            parallel: is_parallel(c),
            frames_a_task: frames_a_task.min(c.output_length).max(1),
            channels_a_block: (NUMBERS_IN_CACHE / lines)
                .next_multiple_of(64)
                .min(channels),
        }
    }
}

/// How the sums of the parameter gradients are cut. Nothing here may depend on
/// the number of threads: it decides the order of the sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GradientRecipe {
    /// Whether to use more than one thread.
    pub parallel: bool,
    /// A piece has so many outputs of a row.
    pub outputs_a_piece: usize,
    /// A piece of a channels-last tensor has so many batch items.
    pub batches_a_piece: usize,
    /// A piece is cut into blocks of at most so many outputs.
    pub outputs_a_block: usize,
    /// A frame is cut into blocks of so many channels.
    pub channels_a_block: usize,
}

impl GradientRecipe {
    pub fn new(c: &Correlation) -> Self {
        let parallel = is_parallel(c);
        let (channels, taps) = (c.channels.max(1), c.taps.max(1));
        match c.layout {
            Conv1dLayout::Bhl => {
                // Channels are pieces of their own; few long rows are cut further.
                let pieces_a_row = GRADIENT_PIECES.div_ceil(channels);
                Self {
                    parallel,
                    outputs_a_piece: c
                        .output_length
                        .div_ceil(pieces_a_row)
                        .max(OUTPUTS_A_TASK)
                        .max(taps),
                    batches_a_piece: c.batch.max(1),
                    outputs_a_block: NUMBERS_IN_CACHE / 4,
                    channels_a_block: 1,
                }
            }
            Conv1dLayout::Blh => {
                // A piece holds as many sums as taps + 1 frames hold channels: it
                // should be made of more frames than that.
                let batches_a_piece = c.batch.div_ceil(GRADIENT_PIECES).max(1);
                let groups = c.batch.div_ceil(batches_a_piece).max(1);
                let outputs_a_piece = c
                    .output_length
                    .div_ceil((GRADIENT_PIECES / groups).max(1))
                    .max(FRAMES_A_BLOCK)
                    .max(taps);
                Self {
                    parallel,
                    outputs_a_piece,
                    batches_a_piece,
                    outputs_a_block: FRAMES_A_BLOCK,
                    // The sums stay in the cache over the frames of a block.
                    channels_a_block: (NUMBERS_IN_CACHE / taps.saturating_mul(2).saturating_add(8))
                        .next_multiple_of(64)
                        .min(channels),
                }
            }
        }
    }
}

fn is_parallel(c: &Correlation) -> bool {
    let outputs = c.batch * c.channels * c.output_length;
    outputs.saturating_mul(c.taps) >= SERIAL_BELOW
}

/// Cuts `outputs` into blocks of at most `size`, and where reading the padding begins and ends.
pub(super) fn blocks(
    outputs: Range<usize>,
    interior: Range<usize>,
    size: usize,
) -> impl Iterator<Item = Range<usize>> {
    let mut start = outputs.start;
    std::iter::from_fn(move || {
        if start >= outputs.end {
            return None;
        }
        let edge = [interior.start, interior.end, outputs.end]
            .into_iter()
            .find(|&edge| edge > start)
            .unwrap_or(outputs.end);
        let block = start..edge.min(outputs.end).min(start + size);
        start = block.end;
        Some(block)
    })
}

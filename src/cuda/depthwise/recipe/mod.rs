//! Which kernel computes a short convolution, on which grid: plain numbers, chosen by pure functions.

mod forward;
mod frame_rows;
mod frames;
mod front;
mod gradients;
mod long_frames;
mod rows;
mod sharing;
mod toeplitz_frames;
mod units;

pub(super) use forward::{correlation, takes_frames};
pub(crate) use front::takes_front;
pub(super) use front::{launch as front, FRONT_PARAMETERS};
pub(super) use gradients::{gradients, long_gradients, sum_block};
pub(super) use long_frames::gradients as long_frame_gradients;
pub(super) use sharing::Sharing;

use crate::depthwise::Correlation;
use crate::Error;

/// What a kernel reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cuda) enum ElementType {
    F32,
    F16,
    Bf16,
}

impl ElementType {
    /// As in the names of kernels and of their files.
    pub fn name(self) -> &'static str {
        match self {
            ElementType::F32 => "f32",
            ElementType::F16 => "f16",
            ElementType::Bf16 => "bf16",
        }
    }

    /// As the kernels number them.
    pub fn kind(self) -> i32 {
        self as i32
    }

    pub fn bytes(self) -> usize {
        match self {
            ElementType::F32 => 4,
            ElementType::F16 | ElementType::Bf16 => 2,
        }
    }

    /// Elements in 16 bytes.
    fn vector(self) -> usize {
        16 / self.bytes()
    }
}

/// Where the lines of an input begin, its rows or frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LineStarts {
    /// At multiples of 16 bytes.
    pub aligned: bool,
    /// Always so many elements further behind such a multiple than those of the output.
    pub further: Option<usize>,
}

/// What the kernels' names say of rows that begin so.
const LIKE_OUTPUTS: &str = "_like_outputs";

impl LineStarts {
    /// At multiples of 16 bytes, where rows of input and output hold whole vectors.
    fn are_whole(&self, c: &Correlation, element: ElementType) -> bool {
        let is_whole = |length: usize| length.is_multiple_of(element.vector());
        self.aligned && is_whole(c.input_length) && is_whole(c.output_length)
    }

    /// How many elements further than those of the output, where kernels may copy whole vectors: they load what a row has of
    /// its last vector by itself, where the copy could end behind the memory, and so rows must have that much.
    fn further_than_outputs(&self, c: &Correlation, element: ElementType) -> Option<usize> {
        self.further.filter(|_| c.input_length >= element.vector())
    }

    /// As far behind a multiple of 16 bytes as those of the output, where kernels may copy whole vectors.
    fn like_outputs(&self, c: &Correlation, element: ElementType) -> bool {
        self.further_than_outputs(c, element) == Some(0)
    }

    /// Those of two inputs.
    pub fn and(self, other: Self) -> Self {
        Self {
            aligned: self.aligned && other.aligned,
            further: self.further.filter(|_| self.further == other.further),
        }
    }
}

/// The kernels' files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Rows,
    Units,
    Frames,
    RowGradients,
    UnitGradients,
    UnitMoments,
    FrameGradients,
    LongFrameGradients,
    Long,
    LongFrames,
    LoadedFrames,
    Front,
}

/// What a device's blocks can have, and which kernels of this build it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Card {
    pub shared_memory_bytes: usize,
    /// Whether it runs those like [`LOADED_FRAMES`], which pass registers on to other warps.
    pub passes_registers: bool,
    /// Whether it runs those like [`LONG_FRAME_GRADIENTS`], which do so on some devices.
    pub has_long_frame_gradients: bool,
}

/// A module and one of its kernels: a device runs all of their families or none.
pub(super) const LOADED_FRAMES: (&str, &str) = (
    "depthwise_loaded_frames_bf16",
    "depthwise_loaded_frames_128_bf16",
);
pub(super) const LONG_FRAME_GRADIENTS: (&str, &str) = (
    "depthwise_long_frame_gradients_bf16",
    "depthwise_long_frame_gradients_128_bf16",
);

/// The name of the `.cu` file with the kernels of a family for one element type.
pub(super) fn module(family: Family, element: ElementType) -> &'static str {
    use ElementType::{Bf16, F16, F32};
    use Family::{
        FrameGradients, Frames, Front, LoadedFrames, Long, LongFrameGradients, LongFrames,
        RowGradients, Rows, UnitGradients, UnitMoments, Units,
    };
    match (family, element) {
        // No recipe of units is of f32.
        (Rows | Units, F32) => "depthwise_rows_f32",
        (Rows, F16) => "depthwise_rows_f16",
        (Rows, Bf16) => "depthwise_rows_bf16",
        (Units, F16) => "depthwise_units_f16",
        (Units, Bf16) => "depthwise_units_bf16",
        (Frames, F32) => "depthwise_frames_f32",
        (Frames, F16) => "depthwise_frames_f16",
        (Frames, Bf16) => "depthwise_frames_bf16",
        // Nor of those of units.
        (RowGradients | UnitGradients | UnitMoments, F32) => "depthwise_row_gradients_f32",
        (RowGradients, F16) => "depthwise_row_gradients_f16",
        (RowGradients, Bf16) => "depthwise_row_gradients_bf16",
        (UnitGradients, F16) => "depthwise_unit_gradients_f16",
        (UnitGradients, Bf16) => "depthwise_unit_gradients_bf16",
        (UnitMoments, F16) => "depthwise_unit_moments_f16",
        (UnitMoments, Bf16) => "depthwise_unit_moments_bf16",
        (FrameGradients, F32) => "depthwise_frame_gradients_f32",
        (FrameGradients, F16) => "depthwise_frame_gradients_f16",
        (FrameGradients, Bf16) => "depthwise_frame_gradients_bf16",
        (LongFrameGradients, F16) => "depthwise_long_frame_gradients_f16",
        (LongFrameGradients, Bf16) => "depthwise_long_frame_gradients_bf16",
        (LongFrames, F16) => "depthwise_long_frames_f16",
        (LongFrames, Bf16) => "depthwise_long_frames_bf16",
        (LoadedFrames, F16) => "depthwise_loaded_frames_f16",
        (LoadedFrames, Bf16) => "depthwise_loaded_frames_bf16",
        // No recipe of those families is of f32.
        (Long | LongFrames | LoadedFrames | LongFrameGradients, F32) => "depthwise_long_f32",
        (Long, F16) => "depthwise_long_f16",
        (Long, Bf16) => "depthwise_long_bf16",
        (Front, _) => "depthwise_front",
    }
}

/// A kernel and its grid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Launch {
    pub family: Family,
    pub function: String,
    pub grid: (u32, u32, u32),
    pub block: (u32, u32, u32),
    pub shared_bytes: u32,
    /// Batch items that the grid covers; the others take further launches.
    pub batches: usize,
    /// Vectors of a row, where a gradient is cut into such.
    pub vectors_a_row: i32,
    /// Partial sums of a gradient.
    pub pieces: usize,
    /// Of tiles of groups of channels.
    pub sharing: Sharing,
}

impl Launch {
    /// One that covers all of the batch that it can count, and makes no sums.
    fn new(
        family: Family,
        function: String,
        grid: (usize, usize, usize),
        block: (usize, usize),
    ) -> Self {
        Self {
            family,
            function,
            grid: (word(grid.0), word(grid.1), word(grid.2)),
            block: (word(block.0), word(block.1), 1),
            shared_bytes: 0,
            batches: MOST_BATCH_ITEMS,
            vectors_a_row: 0,
            pieces: 0,
            sharing: Sharing::NONE,
        }
    }
}

/// Lengths, paddings and taps up to this are counted in 32 bits, sums of a few of them too.
const MOST_POSITIONS: usize = 1 << 28;

/// Channels up to this are counted in a grid's first dimension.
const MOST_CHANNELS: usize = 32 * MOST_BLOCKS;

/// The size of a grid in its second and third dimension.
const MOST_BLOCKS: usize = 65535;

/// Multiprocessors of a large GPU, for which blocks are counted.
const MULTIPROCESSORS: usize = 132;

/// Taps beyond which a sum no longer fits the registers: other kernels take over.
pub(crate) const SHORT_TAPS: usize = 16;

/// Taps for which there are kernels that know their number; the others up to
/// [`SHORT_TAPS`] share one.
pub(crate) const EXACT_TAPS: usize = 8;

/// Threads and outputs of a block of the kernel for any number of taps.
const LONG_THREADS: usize = 128;
const LONG_OUTPUTS: usize = 1024;

/// Batch items that a launch can count.
const MOST_BATCH_ITEMS: usize = 1 << 30;

/// Taps and biases whose gradients a launch can count.
const MOST_SUMS: usize = u32::MAX as usize;

/// Checks that the kernels of gradients, which take the whole batch, can count it and the sums.
fn check_gradients(c: &Correlation) -> Result<(), Error> {
    check(c)?;
    if c.batch > MOST_BATCH_ITEMS {
        return Err(Error::OutOfRange {
            quantity: "batch size",
            expected: format!("at most {MOST_BATCH_ITEMS} for a gradient on a GPU"),
            got: c.batch.to_string(),
        });
    }
    let sums = c.channels.saturating_mul(c.taps + 1);
    if sums > MOST_SUMS {
        return Err(Error::OutOfRange {
            quantity: "taps and biases of all channels",
            expected: format!("at most {MOST_SUMS} for a gradient on a GPU"),
            got: sums.to_string(),
        });
    }
    Ok(())
}

/// Checks that the kernels can count the operation's positions and channels.
fn check(c: &Correlation) -> Result<(), Error> {
    let most = [
        c.input_length,
        c.output_length,
        c.taps,
        c.left.unsigned_abs(),
    ]
    .into_iter()
    .max()
    .unwrap_or(0);
    if most > MOST_POSITIONS {
        return Err(Error::OutOfRange {
            quantity: "sequence length, padding and taps",
            expected: format!("at most {MOST_POSITIONS} each on a GPU"),
            got: most.to_string(),
        });
    }
    if c.channels > MOST_CHANNELS {
        return Err(Error::OutOfRange {
            quantity: "channels",
            expected: format!("at most {MOST_CHANNELS} on a GPU"),
            got: c.channels.to_string(),
        });
    }
    Ok(())
}

/// Lengths and channels are below 2^31 by [`check`]; a grid that is not would be of more memory than there is.
fn word(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// The kernels' number of taps for so many.
fn kernel_taps(taps: usize) -> usize {
    if taps <= EXACT_TAPS {
        taps
    } else {
        SHORT_TAPS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::depthwise::{Activation, Conv1dLayout};
    use ElementType::Bf16;

    /// With so much shared memory for a block.
    pub(super) const fn card(kib: usize) -> Card {
        Card {
            shared_memory_bytes: kib << 10,
            passes_registers: false,
            has_long_frame_gradients: true,
        }
    }

    /// A small one, large ones, and large ones that pass registers on.
    pub(super) const CARD: Card = card(99);
    pub(super) const LARGE: Card = card(227);
    pub(super) const PASSING: Card = Card {
        passes_registers: true,
        ..LARGE
    };

    pub(super) const ALIGNED: LineStarts = LineStarts {
        aligned: true,
        further: None,
    };
    pub(super) const STARTS_LIKE_OUTPUTS: LineStarts = LineStarts {
        aligned: false,
        further: Some(0),
    };
    pub(super) const ANY: LineStarts = LineStarts {
        aligned: false,
        further: None,
    };

    /// A causal convolution.
    pub(super) fn geometry(
        layout: Conv1dLayout,
        sizes: (usize, usize, usize),
        taps: usize,
    ) -> Correlation {
        let (batch, channels, length) = sizes;
        Correlation {
            batch,
            channels,
            input_length: length,
            taps,
            left: taps as isize - 1,
            output_length: length,
            layout,
        }
    }

    #[test]
    fn sizes_that_32_bits_do_not_count_are_errors() {
        let too_long = geometry(Conv1dLayout::Bhl, (1, 1, MOST_POSITIONS + 1), 3);
        let message = correlation(&too_long, Bf16, ALIGNED, true, CARD)
            .unwrap_err()
            .to_string();
        assert!(message.starts_with("sequence length, padding and taps: expected at most"));
        let too_wide = geometry(Conv1dLayout::Blh, (1, 1 << 30, 1), 3);
        assert!(correlation(&too_wide, Bf16, ALIGNED, true, CARD).is_err());
        let many = geometry(Conv1dLayout::Bhl, (1 << 20, 1, 8), 3);
        let many = correlation(&many, Bf16, ALIGNED, true, CARD).unwrap();
        assert_eq!((many.batches, many.grid.2), (65535, 65535));
    }

    #[test]
    fn batches_that_a_launch_cannot_count() {
        let most = MOST_BATCH_ITEMS;
        for layout in [Conv1dLayout::Bhl, Conv1dLayout::Blh] {
            let c = geometry(layout, (most + 1, 8, 1), 17);
            let forward = correlation(&c, Bf16, ALIGNED, true, CARD).unwrap();
            assert_eq!(forward.batches, most);
            let few_taps = Correlation { taps: 3, ..c };
            let error = gradients(&few_taps, Activation::None, Bf16, ALIGNED, true).unwrap_err();
            assert!(error.to_string().contains("batch size"));
            assert!(long_gradients(&c, Bf16, ALIGNED).is_err());
            assert!(long_frame_gradients(&c, Bf16, true, false, CARD).is_err());
        }
    }

    #[test]
    fn sums_that_a_launch_cannot_count() {
        let c = geometry(Conv1dLayout::Bhl, (1, 1 << 20, 8), 1 << 12);
        let error = long_gradients(&c, Bf16, ALIGNED).unwrap_err();
        assert!(error.to_string().contains("taps and biases"));
    }
}

//! Which kernel computes a short convolution, on which grid: plain numbers, chosen by pure functions.

use crate::depthwise::{Activation, Conv1dLayout, Correlation};
use crate::Error;

/// What a kernel reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ElementType {
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

/// The kernels' files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Rows,
    Frames,
    RowGradients,
    FrameGradients,
    Long,
}

/// The name of the `.cu` file with the kernels of a family for one element type.
pub(super) fn module(family: Family, element: ElementType) -> &'static str {
    use ElementType::{Bf16, F16, F32};
    use Family::{FrameGradients, Frames, Long, RowGradients, Rows};
    match (family, element) {
        (Rows, F32) => "depthwise_rows_f32",
        (Rows, F16) => "depthwise_rows_f16",
        (Rows, Bf16) => "depthwise_rows_bf16",
        (Frames, F32) => "depthwise_frames_f32",
        (Frames, F16) => "depthwise_frames_f16",
        (Frames, Bf16) => "depthwise_frames_bf16",
        (RowGradients, F32) => "depthwise_row_gradients_f32",
        (RowGradients, F16) => "depthwise_row_gradients_f16",
        (RowGradients, Bf16) => "depthwise_row_gradients_bf16",
        (FrameGradients, F32) => "depthwise_frame_gradients_f32",
        (FrameGradients, F16) => "depthwise_frame_gradients_f16",
        (FrameGradients, Bf16) => "depthwise_frame_gradients_bf16",
        (Long, F32) => "depthwise_long_f32",
        (Long, F16) => "depthwise_long_f16",
        (Long, Bf16) => "depthwise_long_bf16",
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
    /// Frames that one thread makes.
    pub piece_length: i32,
    /// Batch items that the grid covers; the others take further launches.
    pub batches: usize,
    /// Vectors of a row, where a gradient is cut into such.
    pub vectors_a_row: i32,
    /// Partial sums of a gradient.
    pub pieces: usize,
}

/// Lengths, paddings and taps up to this are counted in 32 bits, sums of a few of them too.
const MOST_POSITIONS: usize = 1 << 28;

/// The size of a grid in its second and third dimension.
const MOST_BLOCKS: usize = 65535;

/// Taps beyond which a sum no longer fits the registers: other kernels take over.
pub(crate) const SHORT_TAPS: usize = 16;

/// Taps for which there are kernels that know their number; the others up to
/// [`SHORT_TAPS`] share one.
pub(crate) const EXACT_TAPS: usize = 8;

/// Taps that the tensor cores' kernels take at most.
const TOEPLITZ_TAPS: [usize; 3] = [32, 64, 128];

/// Outputs of a warp of those at a time, warps of a block, and turns of a warp that are
/// worth setting it up.
const TOEPLITZ_OUTPUTS: usize = 512;
const TOEPLITZ_WARPS: usize = 4;
const TOEPLITZ_TURNS: usize = 8;

/// Threads and outputs of a block of the kernel for any number of taps.
const LONG_THREADS: usize = 128;
const LONG_OUTPUTS: usize = 1024;
/// Taps that such a block takes at a time.
const TAP_BLOCK: usize = 128;

/// Vectors that a thread makes of a row.
const VECTORS_A_THREAD: usize = 2;

/// Threads of a block along a row, and of a block.
const ROW_THREADS: usize = 128;

/// Threads of a block of the channels-last kernels.
const FRAME_THREADS: usize = 128;

/// Groups of channels side by side in a block.
const GROUPS_A_BLOCK: usize = 32;

/// Blocks that keep every multiprocessor of a large GPU busy.
const BLOCKS_ENOUGH: usize = 132 * 24;

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
    if c.channels > MOST_BLOCKS * GROUPS_A_BLOCK {
        return Err(Error::OutOfRange {
            quantity: "channels",
            expected: format!("at most {} on a GPU", MOST_BLOCKS * GROUPS_A_BLOCK),
            got: c.channels.to_string(),
        });
    }
    Ok(())
}

/// `value` is below 2^31 by [`check`].
fn word(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Vectors of a row, wherever in its first one the row begins.
fn vectors_a_row(length: usize, element: ElementType) -> usize {
    let vector = element.vector();
    match length % vector {
        0 => length / vector,
        _ => (length + 2 * vector - 2) / vector,
    }
}

/// The kernels' number of taps for so many.
fn kernel_taps(taps: usize) -> usize {
    if taps <= EXACT_TAPS {
        taps
    } else {
        SHORT_TAPS
    }
}

/// Taps and padding, with its name, that a kernel of channels-first tensors is compiled for.
type KnownPadding = (usize, &'static str, isize);

/// Those of the forward pass.
const FORWARD_PADDINGS: [KnownPadding; 6] = [
    (5, "_causal", 4),
    (6, "_causal", 5),
    (7, "_causal", 6),
    (8, "_causal", 7),
    (5, "_centred", 2),
    (7, "_centred", 3),
];

/// Those of the gradients.
const GRADIENT_PADDINGS: [KnownPadding; 7] = [
    (3, "_causal", 2),
    (4, "_causal", 3),
    (5, "_causal", 4),
    (7, "_causal", 6),
    (3, "_centred", 1),
    (5, "_centred", 2),
    (7, "_centred", 3),
];

/// Those of the gradients with SiLU.
const SILU_GRADIENT_PADDINGS: [KnownPadding; 2] = [(3, "_causal", 2), (4, "_causal", 3)];

/// The part of a kernel's name that says the padding where the kernel knows it: for rows that
/// begin at multiples of 16 bytes, and whose input and output hold whole vectors.
fn known_padding(
    known: &[KnownPadding],
    c: &Correlation,
    element: ElementType,
    aligned: bool,
) -> &'static str {
    let whole =
        c.input_length.is_multiple_of(element.vector()) && c.output_length == c.input_length;
    known
        .iter()
        .find(|&&(taps, _, left)| aligned && whole && c.taps == taps && c.left == left)
        .map_or("", |&(_, name, _)| name)
}

/// How the rows of one channel are cut into vectors for blocks that take many of them: threads
/// of a block, and items of so many vectors.
fn cut_rows(c: &Correlation, length: usize, element: ElementType) -> (usize, usize) {
    let vectors = vectors_a_row(length, element).max(1);
    let chunks = vectors.div_ceil(ROW_THREADS);
    let threads = vectors.div_ceil(chunks).next_multiple_of(32);
    (threads, chunks.saturating_mul(c.batch))
}

/// The kernel of a correlation. `aligned`: whether each line of the input begins at a multiple
/// of 16 bytes; `same_type`: whether the weight has the dtype of the input.
pub(super) fn correlation(
    c: &Correlation,
    element: ElementType,
    aligned: bool,
    same_type: bool,
) -> Result<Launch, Error> {
    check(c)?;
    let name = element.name();
    let toeplitz = TOEPLITZ_TAPS.into_iter().find(|&most| c.taps <= most);
    let whole = |length: usize| length.is_multiple_of(element.vector());
    let whole_rows = aligned && whole(c.input_length) && whole(c.output_length);
    // Rows that the tensor cores' kernels read as they are: worth it from fewer taps on.
    let dense = element != ElementType::F32 && whole_rows && c.output_length >= TOEPLITZ_OUTPUTS;
    match (c.layout, toeplitz) {
        (Conv1dLayout::Blh, _) if c.taps <= SHORT_TAPS => {
            Ok(frames(c, element, is_grouped(c, element, aligned)))
        }
        (Conv1dLayout::Blh, _) => Err(Error::OutOfRange {
            quantity: "taps",
            expected: format!("at most {SHORT_TAPS} of a channels-last kernel"),
            got: c.taps.to_string(),
        }),
        (Conv1dLayout::Bhl, _) if c.taps <= EXACT_TAPS || (c.taps <= SHORT_TAPS && !dense) => {
            let vectors = vectors_a_row(c.output_length, element);
            let along = vectors
                .div_ceil(VECTORS_A_THREAD)
                .next_power_of_two()
                .min(ROW_THREADS);
            let across = ROW_THREADS / along;
            let grid = (
                vectors.div_ceil(along * VECTORS_A_THREAD),
                c.channels.div_ceil(across),
            );
            let padding = known_padding(&FORWARD_PADDINGS, c, element, aligned);
            let function = format!("depthwise_rows_{}{padding}_{name}", kernel_taps(c.taps));
            rows(c, Family::Rows, function, grid, (along, across))
        }
        (Conv1dLayout::Bhl, Some(taps)) if element != ElementType::F32 => {
            let tiles = (c.output_length + element.vector()).div_ceil(TOEPLITZ_OUTPUTS);
            let parts = c.batch.saturating_mul(tiles) / (TOEPLITZ_WARPS * TOEPLITZ_TURNS);
            let split = if same_type { "" } else { "_split" };
            let rows = if whole_rows { "_aligned" } else { "" };
            Ok(Launch {
                family: Family::Long,
                function: format!("depthwise_toeplitz_{taps}{split}{rows}_{name}"),
                grid: (word(c.channels), word(parts.clamp(1, MOST_BLOCKS)), 1),
                block: (32, word(TOEPLITZ_WARPS), 1),
                shared_bytes: 0,
                piece_length: 0,
                batches: c.batch,
                vectors_a_row: 0,
                pieces: 0,
            })
        }
        (Conv1dLayout::Bhl, _) => {
            let outputs = c.output_length + element.vector() - 1;
            let function = format!("depthwise_long_rows_{name}");
            let grid = (outputs.div_ceil(LONG_OUTPUTS), c.channels);
            rows(c, Family::Long, function, grid, (LONG_THREADS, 1))
        }
    }
}

/// A grid along the rows, over channels and batch.
fn rows(
    c: &Correlation,
    family: Family,
    function: String,
    grid: (usize, usize),
    block: (usize, usize),
) -> Result<Launch, Error> {
    if grid.1 > MOST_BLOCKS {
        return Err(Error::OutOfRange {
            quantity: "channels",
            expected: format!(
                "at most {} for rows this long on a GPU",
                MOST_BLOCKS * block.1
            ),
            got: c.channels.to_string(),
        });
    }
    let batches = c.batch.min(MOST_BLOCKS);
    Ok(Launch {
        family,
        function,
        grid: (word(grid.0), word(grid.1), word(batches)),
        block: (word(block.0), word(block.1), 1),
        shared_bytes: 0,
        piece_length: 0,
        batches,
        vectors_a_row: 0,
        pieces: 0,
    })
}

/// Frames that the channels-last kernels take at a time: a multiple of their taps.
fn frames_a_turn(taps: usize) -> usize {
    match kernel_taps(taps) {
        taps @ 1..=3 => 9 / taps * taps,
        taps @ 4..=7 => 2 * taps,
        taps => taps,
    }
}

/// The same of the kernels of the gradients.
fn gradient_frames_a_turn(taps: usize) -> usize {
    match taps {
        1 | 2 => 4,
        3 => 6,
        5 => 10,
        taps => taps,
    }
}

/// How a channels-last tensor is cut.
struct Cut {
    groups_a_block: usize,
    pieces_a_block: usize,
    piece_length: usize,
    /// Blocks over groups of channels and over pieces.
    grid: (usize, usize),
}

/// `channels`: those of a thread; `length`: frames; `batch`: items that multiply the blocks; then
/// the shortest and the longest piece, and what it is a multiple of.
fn cut(
    c: &Correlation,
    channels: usize,
    length: usize,
    batch: usize,
    (shortest, longest): (usize, usize),
    frames: usize,
) -> Cut {
    let groups = c.channels.div_ceil(channels).max(1);
    let across = groups.div_ceil(GROUPS_A_BLOCK);
    let groups_a_block = groups.div_ceil(across);
    let pieces_a_block = (FRAME_THREADS / groups_a_block).max(1);
    let blocks = |piece_length: usize| {
        length
            .div_ceil(piece_length)
            .div_ceil(pieces_a_block)
            .max(1)
    };
    // Long pieces read fewer frames twice, short ones fill the GPU.
    let mut piece_length = longest;
    while piece_length > shortest && blocks(piece_length) * across * batch < BLOCKS_ENOUGH {
        piece_length /= 2;
    }
    let piece_length = piece_length
        .next_multiple_of(frames)
        .max(length.div_ceil(MOST_BLOCKS * pieces_a_block));
    Cut {
        groups_a_block,
        pieces_a_block,
        piece_length,
        grid: (across, blocks(piece_length)),
    }
}

/// Whether frames can be read and written in groups of neighbouring channels.
fn is_grouped(c: &Correlation, element: ElementType, aligned: bool) -> bool {
    aligned && c.channels.is_multiple_of(element.vector())
}

/// Neighbouring channels that a thread of the forward kernel takes.
fn forward_channels(taps: usize, grouped: bool) -> usize {
    match taps {
        _ if !grouped => 1,
        1..=4 => 4,
        _ => 2,
    }
}

fn frames(c: &Correlation, element: ElementType, grouped: bool) -> Launch {
    let taps = kernel_taps(c.taps);
    let channels = forward_channels(c.taps, grouped);
    let batches = c.batch.min(MOST_BLOCKS);
    let frames = frames_a_turn(c.taps);
    let cut = cut(c, channels, c.output_length, batches, (16, 32), frames);
    Launch {
        family: Family::Frames,
        function: format!("depthwise_frames_{taps}_by_{channels}_{}", element.name()),
        grid: (word(cut.grid.0), word(cut.grid.1), word(batches)),
        block: (word(cut.groups_a_block), word(cut.pieces_a_block), 1),
        shared_bytes: word((taps + 1) * cut.groups_a_block * channels * 4),
        piece_length: cut.piece_length as i32,
        batches,
        vectors_a_row: 0,
        pieces: 0,
    }
}

/// Neighbouring channels that a thread of the backward kernel takes.
fn backward_channels(taps: usize, grouped: bool) -> usize {
    match taps {
        _ if !grouped => 1,
        1..=4 => 4,
        _ => 2,
    }
}

/// The kernel of all gradients in one pass, where there is one: for few taps, and a padding
/// that is no longer than they reach. `aligned`: whether each line of both inputs begins at a
/// multiple of 16 bytes.
pub(super) fn gradients(
    c: &Correlation,
    activation: Activation,
    element: ElementType,
    aligned: bool,
) -> Result<Option<Launch>, Error> {
    check(c)?;
    let reachable = (0..c.taps as isize).contains(&c.left);
    let most = match c.layout {
        Conv1dLayout::Bhl => SHORT_TAPS,
        Conv1dLayout::Blh => EXACT_TAPS,
    };
    if c.taps > most || !reachable || c.input_length == 0 {
        return Ok(None);
    }
    let (taps, name) = (kernel_taps(c.taps), element.name());
    let suffix = match activation {
        Activation::None => "",
        Activation::Silu => "_silu",
    };
    Ok(Some(match c.layout {
        Conv1dLayout::Bhl => {
            let known = match activation {
                Activation::None => &GRADIENT_PADDINGS[..],
                Activation::Silu => &SILU_GRADIENT_PADDINGS[..],
            };
            let padding = known_padding(known, c, element, aligned);
            let (threads, items) = cut_rows(c, c.input_length, element);
            let pieces = (items / 8).clamp(1, MOST_BLOCKS);
            Launch {
                family: Family::RowGradients,
                function: format!("depthwise_row_gradients_{taps}{padding}{suffix}_{name}"),
                grid: (word(c.channels), word(pieces), 1),
                block: (word(threads), 1, 1),
                shared_bytes: 0,
                piece_length: 0,
                batches: c.batch,
                vectors_a_row: vectors_a_row(c.input_length, element) as i32,
                pieces,
            }
        }
        Conv1dLayout::Blh => {
            let channels = backward_channels(c.taps, is_grouped(c, element, aligned));
            let frames = gradient_frames_a_turn(c.taps);
            let cut = cut(c, channels, c.input_length, c.batch, (64, 128), frames);
            let (across, along) = cut.grid;
            let batches = BLOCKS_ENOUGH
                .div_ceil(across * along)
                .clamp(1, c.batch.clamp(1, MOST_BLOCKS));
            let lines = (taps + 1).max(cut.pieces_a_block);
            Launch {
                family: Family::FrameGradients,
                function: format!("depthwise_frame_gradients_{taps}_by_{channels}{suffix}_{name}"),
                grid: (word(across), word(along), word(batches)),
                block: (word(cut.groups_a_block), word(cut.pieces_a_block), 1),
                shared_bytes: word(lines * cut.groups_a_block * channels * 4),
                piece_length: cut.piece_length as i32,
                batches: c.batch,
                vectors_a_row: 0,
                pieces: along * batches,
            }
        }
    }))
}

/// The kernel of the gradients of taps and bias alone, of channels-first tensors.
pub(super) fn long_gradients(c: &Correlation, element: ElementType) -> Result<Launch, Error> {
    check(c)?;
    if c.taps > MOST_BLOCKS * TAP_BLOCK {
        return Err(Error::OutOfRange {
            quantity: "taps",
            expected: format!(
                "at most {} for a gradient on a GPU",
                MOST_BLOCKS * TAP_BLOCK
            ),
            got: c.taps.to_string(),
        });
    }
    let items = c
        .batch
        .saturating_mul(c.output_length.div_ceil(LONG_OUTPUTS));
    let pieces = (items / 4).clamp(1, MOST_BLOCKS);
    Ok(Launch {
        family: Family::Long,
        function: format!("depthwise_long_row_gradients_{}", element.name()),
        grid: (
            word(c.channels),
            word(pieces),
            word(c.taps.div_ceil(TAP_BLOCK)),
        ),
        block: (word(LONG_THREADS), 1, 1),
        shared_bytes: 0,
        piece_length: 0,
        batches: c.batch,
        vectors_a_row: 0,
        pieces,
    })
}

#[cfg(test)]
mod tests {
    use super::ElementType::{Bf16, F16, F32};
    use super::*;

    fn geometry(layout: Conv1dLayout, sizes: (usize, usize, usize), taps: usize) -> Correlation {
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

    fn forward(layout: Conv1dLayout, sizes: (usize, usize, usize), taps: usize) -> Launch {
        correlation(&geometry(layout, sizes, taps), Bf16, true, false).unwrap()
    }

    use Conv1dLayout::{Bhl, Blh};

    #[test]
    fn the_kernel_by_taps_and_alignment() {
        let function = |taps, length, aligned| {
            let c = geometry(Bhl, (16, 768, length), taps);
            correlation(&c, Bf16, aligned, false).unwrap().function
        };
        assert_eq!(function(4, 1024, true), "depthwise_rows_4_bf16");
        assert_eq!(function(5, 1024, true), "depthwise_rows_5_causal_bf16");
        assert_eq!(function(5, 1024, false), "depthwise_rows_5_bf16");
        assert_eq!(function(5, 1023, true), "depthwise_rows_5_bf16");
        assert_eq!(
            function(9, 1024, true),
            "depthwise_toeplitz_32_split_aligned_bf16"
        );
        assert_eq!(function(9, 1023, true), "depthwise_rows_16_bf16");
        assert_eq!(
            function(17, 1024, true),
            "depthwise_toeplitz_32_split_aligned_bf16"
        );
        assert_eq!(
            function(128, 1024, true),
            "depthwise_toeplitz_128_split_aligned_bf16"
        );
        assert_eq!(function(129, 1024, true), "depthwise_long_rows_bf16");

        let mut centred = geometry(Bhl, (16, 768, 1024), 7);
        centred.left = 3;
        let launch = correlation(&centred, F32, true, true).unwrap();
        assert_eq!(launch.function, "depthwise_rows_7_centred_f32");
        let many = geometry(Bhl, (16, 768, 1024), 100);
        let launch = correlation(&many, F16, true, true).unwrap();
        assert_eq!(launch.function, "depthwise_toeplitz_128_aligned_f16");
        let launch = correlation(&many, F32, true, true).unwrap();
        assert_eq!(launch.function, "depthwise_long_rows_f32");
    }

    #[test]
    fn frames_in_groups_only_where_they_are_aligned() {
        assert_eq!(
            forward(Blh, (1, 768, 100), 3).function,
            "depthwise_frames_3_by_4_bf16"
        );
        assert_eq!(
            forward(Blh, (1, 767, 100), 3).function,
            "depthwise_frames_3_by_1_bf16"
        );
        let c = geometry(Blh, (1, 768, 100), 3);
        let launch = correlation(&c, Bf16, false, false).unwrap();
        assert_eq!(launch.function, "depthwise_frames_3_by_1_bf16");
        assert!(correlation(&geometry(Blh, (1, 768, 100), 17), Bf16, true, false).is_err());
    }

    /// Every output is some thread's, for sizes ugly and large.
    #[test]
    fn grids_cover_the_outputs() {
        for length in [1, 7, 8, 129, 1024, 8192, 1_000_001] {
            for channels in [1, 5, 768, 8192] {
                for taps in [1, 3, 7, 16] {
                    let sizes = (3, channels, length);
                    let rows = forward(Bhl, sizes, taps);
                    if rows.family == Family::Rows {
                        let along = (rows.grid.0 * rows.block.0) as usize * VECTORS_A_THREAD * 8;
                        assert!(along >= length, "{length} {rows:?}");
                        let across = (rows.grid.1 * rows.block.1) as usize;
                        assert!(across >= channels, "{rows:?}");
                        assert_eq!(rows.grid.2, 3);
                    }

                    let frames = forward(Blh, sizes, taps);
                    let pieces = (frames.grid.1 * frames.block.1) as usize;
                    assert!(
                        pieces * frames.piece_length as usize >= length,
                        "{frames:?}"
                    );
                    let grouped = channels % 8 == 0;
                    let of_a_thread = forward_channels(taps, grouped);
                    let threads = (frames.grid.0 * frames.block.0) as usize;
                    assert!(threads * of_a_thread >= channels, "{channels} {frames:?}");
                    assert!(frames.block.0 * frames.block.1 <= 256, "{frames:?}");
                    assert!(frames.shared_bytes <= 48 << 10, "{frames:?}");

                    let c = geometry(Blh, sizes, taps);
                    let Some(launch) = gradients(&c, Activation::None, Bf16, true).unwrap() else {
                        assert_eq!(taps, 16);
                        continue;
                    };
                    let pieces = (launch.grid.1 * launch.block.1) as usize;
                    assert!(
                        pieces * launch.piece_length as usize >= length,
                        "{launch:?}"
                    );
                    assert!(launch.block.0 * launch.block.1 <= 256, "{launch:?}");
                    assert!(launch.shared_bytes <= 48 << 10, "{launch:?}");
                    assert_eq!(launch.pieces, (launch.grid.1 * launch.grid.2) as usize);
                }
            }
        }
    }

    #[test]
    fn gradients_in_one_pass_for_few_taps_that_reach_the_padding() {
        let of = |c: &Correlation| gradients(c, Activation::Silu, F16, true).unwrap();
        let c = geometry(Bhl, (4, 8, 100), 3);
        assert_eq!(
            of(&c).unwrap().function,
            "depthwise_row_gradients_3_silu_f16"
        );
        let aligned = geometry(Bhl, (4, 8, 104), 3);
        assert_eq!(
            of(&aligned).unwrap().function,
            "depthwise_row_gradients_3_causal_silu_f16"
        );
        assert_eq!(of(&Correlation { left: 3, ..c }), None);
        assert_eq!(of(&geometry(Bhl, (4, 8, 100), 17)), None);
        assert_eq!(of(&geometry(Blh, (4, 8, 100), 9)), None);
        let c = geometry(Blh, (4, 8, 100), 8);
        assert_eq!(
            of(&c).unwrap().function,
            "depthwise_frame_gradients_8_by_2_silu_f16"
        );
    }

    #[test]
    fn sizes_that_32_bits_do_not_count_are_errors() {
        let too_long = geometry(Bhl, (1, 1, MOST_POSITIONS + 1), 3);
        let message = correlation(&too_long, Bf16, true, true)
            .unwrap_err()
            .to_string();
        assert!(message.starts_with("sequence length, padding and taps: expected at most"));
        let too_wide = geometry(Blh, (1, 1 << 30, 1), 3);
        assert!(correlation(&too_wide, Bf16, true, true).is_err());
        let many = correlation(&geometry(Bhl, (1 << 20, 1, 8), 3), Bf16, true, true).unwrap();
        assert_eq!((many.batches, many.grid.2), (65535, 65535));
    }
}

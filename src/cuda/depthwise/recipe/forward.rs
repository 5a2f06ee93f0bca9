//! The kernels of the forward pass, and of the gradient of the input by itself.

use super::rows::{known_padding, vectors_a_row, FORWARD_PADDINGS, HALF_PADDINGS, ROW_THREADS};
use super::{
    check, frames, kernel_taps, toeplitz_frames, units, Card, ElementType, Family, Launch,
    LineStarts, EXACT_TAPS, LIKE_OUTPUTS, LONG_OUTPUTS, LONG_THREADS, MOST_BLOCKS, MULTIPROCESSORS,
    SHORT_TAPS,
};
use crate::depthwise::{Conv1dLayout, Correlation};
use crate::Error;

/// Taps that the tensor cores' kernels take at most.
pub(super) const TOEPLITZ_TAPS: [usize; 3] = [32, 64, 128];

/// Outputs of a warp of those at a time, warps of a block at most, and turns of a warp that are
/// worth setting it up.
pub(super) const TOEPLITZ_OUTPUTS: usize = 512;
const TOEPLITZ_WARPS: usize = 4;
const TOEPLITZ_TURNS: usize = 16;

/// Blocks of so many warps that a large GPU has room for, with the registers of 128 taps.
const TOEPLITZ_BLOCKS: usize = 5 * MULTIPROCESSORS;

/// Warps of a block where it has all tiles of a channel and there are up to twice as many blocks as find room: of smaller ones
/// all do, and none begins when the others end.
const FEWER_TOEPLITZ_WARPS: usize = 2;

/// Whether there is a kernel for channels-last tensors as they lie.
pub(in super::super) fn takes_frames(c: &Correlation, element: ElementType, aligned: bool) -> bool {
    c.taps <= SHORT_TAPS || toeplitz_frames::takes(c, element, aligned)
}

/// Vectors that a thread makes of a row.
const VECTORS_A_THREAD: usize = 2;

/// Vectors of a row from which on a block has one row: a warp's two and more.
const VECTORS_OF_A_BLOCK: usize = 64;

/// The kernel of a correlation. `starts`: where the lines of the input begin; `same_type`: whether the weight has the
/// dtype of the input.
pub(in super::super) fn correlation(
    c: &Correlation,
    element: ElementType,
    starts: LineStarts,
    same_type: bool,
    card: Card,
) -> Result<Launch, Error> {
    check(c)?;
    let aligned = starts.aligned;
    let name = element.name();
    let toeplitz = TOEPLITZ_TAPS.into_iter().find(|&most| c.taps <= most);
    let whole_rows = starts.are_whole(c, element);
    // Rows that the tensor cores' kernels read as they are: worth it from fewer taps on.
    let dense = element != ElementType::F32 && whole_rows && c.output_length >= TOEPLITZ_OUTPUTS;
    // Taps up to which frames are summed by threads rather than by the tensor cores.
    let most_frames = match c.output_length >= TOEPLITZ_OUTPUTS {
        true => EXACT_TAPS,
        false => SHORT_TAPS,
    };
    let neighbours = units::units_of_taps(c, element, starts);
    match (c.layout, neighbours, toeplitz) {
        (Conv1dLayout::Blh, _, Some(taps))
            if c.taps > most_frames && toeplitz_frames::takes(c, element, aligned) =>
        {
            Ok(toeplitz_frames::correlation(
                c, element, taps, same_type, card,
            ))
        }
        (Conv1dLayout::Blh, _, _) if c.taps <= SHORT_TAPS => {
            Ok(frames::correlation(c, element, aligned))
        }
        (Conv1dLayout::Blh, _, _) => Err(Error::OutOfRange {
            quantity: "taps",
            expected: format!("at most {SHORT_TAPS} of a channels-last kernel"),
            got: c.taps.to_string(),
        }),
        (Conv1dLayout::Bhl, Some(units), _) => {
            Ok(units::correlation(c, element, starts, units, same_type))
        }
        (Conv1dLayout::Bhl, None, _)
            if c.taps <= EXACT_TAPS || (c.taps <= SHORT_TAPS && !dense) =>
        {
            let vectors = vectors_a_row(c.output_length, element);
            let per_thread = vectors.div_ceil(VECTORS_A_THREAD);
            let one_row = vectors >= VECTORS_OF_A_BLOCK && c.channels <= MOST_BLOCKS;
            let known = match element {
                ElementType::F32 => &FORWARD_PADDINGS[..],
                _ => &FORWARD_PADDINGS[..HALF_PADDINGS],
            };
            let padding = known_padding(known, c, element, aligned && one_row);
            let (along, across) = match padding {
                "" => {
                    let along = per_thread.next_power_of_two().min(ROW_THREADS);
                    (along, ROW_THREADS / along)
                }
                _ => (per_thread.next_multiple_of(32).min(ROW_THREADS), 1),
            };
            let grid = (
                vectors.div_ceil(along * VECTORS_A_THREAD),
                c.channels.div_ceil(across),
            );
            let function = format!("depthwise_rows_{}{padding}_{name}", kernel_taps(c.taps));
            rows(c, Family::Rows, function, grid, (along, across))
        }
        (Conv1dLayout::Bhl, None, Some(taps)) if element != ElementType::F32 => {
            let tiles = (c.output_length + element.vector()).div_ceil(TOEPLITZ_OUTPUTS);
            let parts = c.batch.saturating_mul(tiles) / (TOEPLITZ_WARPS * TOEPLITZ_TURNS);
            let parts = parts.clamp(1, MOST_BLOCKS);
            let slightly_too_many =
                (TOEPLITZ_BLOCKS + 1..=2 * TOEPLITZ_BLOCKS).contains(&c.channels);
            let warps = match parts {
                1 if slightly_too_many => FEWER_TOEPLITZ_WARPS,
                _ => TOEPLITZ_WARPS,
            };
            let split = if same_type { "" } else { "_split" };
            let row_starts = match (whole_rows, starts.further_than_outputs(c, element)) {
                (true, _) => "_aligned",
                (false, Some(_)) => LIKE_OUTPUTS,
                (false, None) => "",
            };
            Ok(Launch::new(
                Family::Long,
                format!("depthwise_toeplitz_{taps}{split}{row_starts}_{name}"),
                (c.channels, parts, 1),
                (32, warps),
            ))
        }
        (Conv1dLayout::Bhl, None, _) => {
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
        batches,
        ..Launch::new(family, function, (grid.0, grid.1, batches), block)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{geometry, ALIGNED, ANY, CARD, PASSING, STARTS_LIKE_OUTPUTS};
    use super::*;
    use Conv1dLayout::Bhl;
    use ElementType::{Bf16, F16, F32};

    #[test]
    fn blocks_of_many_taps() {
        let blocks = |channels, length| {
            let c = geometry(Bhl, (16, channels, length), 128);
            let launch = correlation(&c, Bf16, ALIGNED, true, CARD).unwrap();
            (launch.grid, launch.block)
        };
        // At most 48, 96, 128 and 272 tiles of a channel.
        for length in [1024, 3000] {
            assert_eq!(blocks(768, length), ((768, 1, 1), (32, 2, 1)));
            assert_eq!(blocks(64, length), ((64, 1, 1), (32, 4, 1)));
            assert_eq!(blocks(2048, length), ((2048, 1, 1), (32, 4, 1)));
        }
        assert_eq!(blocks(768, 4000), ((768, 2, 1), (32, 4, 1)));
        assert_eq!(blocks(768, 8192), ((768, 4, 1), (32, 4, 1)));
    }

    #[test]
    fn the_kernel_by_taps_and_alignment() {
        let function = |taps, length, starts| {
            let c = geometry(Bhl, (16, 768, length), taps);
            correlation(&c, Bf16, starts, false, CARD).unwrap().function
        };
        assert_eq!(function(2, 1024, ALIGNED), "depthwise_rows_2_bf16");
        assert_eq!(function(4, 1024, ALIGNED), "depthwise_rows_4_causal_bf16");
        assert_eq!(function(5, 1024, ALIGNED), "depthwise_rows_5_causal_bf16");
        assert_eq!(function(5, 1024, ANY), "depthwise_rows_5_bf16");
        assert_eq!(function(5, 1023, ALIGNED), "depthwise_rows_5_bf16");
        assert_eq!(function(5, 504, ALIGNED), "depthwise_rows_5_bf16");
        assert_eq!(function(7, 1024, ALIGNED), "depthwise_units_2_split_bf16");
        assert_eq!(function(7, 1023, ALIGNED), "depthwise_rows_7_bf16");
        assert_eq!(function(7, 1023, ANY), "depthwise_rows_7_bf16");
        assert_eq!(
            function(7, 1023, STARTS_LIKE_OUTPUTS),
            "depthwise_units_2_split_like_outputs_bf16"
        );
        assert_eq!(function(9, 1024, ALIGNED), "depthwise_units_2_split_bf16");
        assert_eq!(function(9, 1023, ALIGNED), "depthwise_rows_16_bf16");
        assert_eq!(
            function(17, 1024, ALIGNED),
            "depthwise_toeplitz_32_split_aligned_bf16"
        );
        assert_eq!(
            function(128, 1024, ALIGNED),
            "depthwise_toeplitz_128_split_aligned_bf16"
        );
        assert_eq!(function(129, 1024, ALIGNED), "depthwise_long_rows_bf16");
        assert_eq!(
            function(17, 1023, STARTS_LIKE_OUTPUTS),
            "depthwise_toeplitz_32_split_like_outputs_bf16"
        );
        assert_eq!(
            function(17, 8, STARTS_LIKE_OUTPUTS),
            "depthwise_toeplitz_32_split_like_outputs_bf16"
        );
        assert_eq!(
            function(17, 7, STARTS_LIKE_OUTPUTS),
            "depthwise_toeplitz_32_split_bf16"
        );
        assert_eq!(function(17, 1023, ANY), "depthwise_toeplitz_32_split_bf16");
        assert_eq!(
            function(5, 1023, STARTS_LIKE_OUTPUTS),
            "depthwise_units_2_split_like_outputs_bf16"
        );
        let further = LineStarts {
            further: Some(3),
            ..ANY
        };
        assert_eq!(function(5, 1023, further), "depthwise_rows_5_bf16");
        assert_eq!(
            function(17, 1023, further),
            "depthwise_toeplitz_32_split_like_outputs_bf16"
        );

        let mut centred = geometry(Bhl, (16, 768, 1024), 7);
        centred.left = 3;
        let launch = correlation(&centred, F32, ALIGNED, true, CARD).unwrap();
        assert_eq!(launch.function, "depthwise_rows_7_centred_f32");
        let frames = |taps, length| {
            let c = geometry(Conv1dLayout::Blh, (16, 768, length), taps);
            correlation(&c, Bf16, ALIGNED, true, PASSING)
                .unwrap()
                .function
        };
        assert_eq!(frames(8, 1024), "depthwise_frames_8_by_4_bf16");
        assert_eq!(frames(9, 1024), "depthwise_toeplitz_frames_32_bf16");
        assert_eq!(frames(9, 511), "depthwise_frames_16_by_2_bf16");
        let far = Correlation {
            left: 6,
            ..geometry(Bhl, (16, 768, 1024), 16)
        };
        let launch = correlation(&far, Bf16, ALIGNED, true, CARD).unwrap();
        assert_eq!(launch.function, "depthwise_toeplitz_32_aligned_bf16");
        let many = geometry(Bhl, (16, 768, 1024), 100);
        let launch = correlation(&many, F16, ALIGNED, true, CARD).unwrap();
        assert_eq!(launch.function, "depthwise_toeplitz_128_aligned_f16");
        let launch = correlation(&many, F32, ALIGNED, true, CARD).unwrap();
        assert_eq!(launch.function, "depthwise_long_rows_f32");
    }

    /// Every output is some thread's, for sizes ugly and large.
    #[test]
    fn grids_cover_the_outputs() {
        for length in [1, 7, 8, 129, 512, 1024, 1032, 8192, 1_000_001] {
            for channels in [1, 5, 768, 8192] {
                for taps in [1, 3, 7, 16] {
                    let c = geometry(Bhl, (3, channels, length), taps);
                    let rows = correlation(&c, Bf16, ALIGNED, false, CARD).unwrap();
                    if rows.family != Family::Rows {
                        assert!(taps > 5 && length >= TOEPLITZ_OUTPUTS);
                        continue;
                    }
                    let along = (rows.grid.0 * rows.block.0) as usize * VECTORS_A_THREAD * 8;
                    assert!(along >= length, "{length} {rows:?}");
                    let across = (rows.grid.1 * rows.block.1) as usize;
                    assert!(across >= channels, "{rows:?}");
                    assert!(rows.block.0 * rows.block.1 <= 128, "{rows:?}");
                    assert_eq!(rows.grid.2, 3);
                }
            }
        }
    }
}

//! The kernels of the gradients.

use super::rows::{cut_rows, known_padding, vectors_a_row, GRADIENT_PADDINGS, SILU_PADDINGS};
use super::{
    check_gradients, frames, kernel_taps, units, word, ElementType, Family, Launch, LineStarts,
    EXACT_TAPS, LONG_OUTPUTS, LONG_THREADS, MOST_BLOCKS, MULTIPROCESSORS, SHORT_TAPS,
};
use crate::depthwise::{Activation, Conv1dLayout, Correlation};
use crate::Error;

/// Taps that a block of the kernels for any number of them takes at a time.
pub(super) const TAP_BLOCK: usize = 128;

/// Samples of a row that a block of the tensor cores' kernel takes at a time.
const TOEPLITZ_PLACES: usize = 1920;

/// Threads of a block of the gradients of channels-first tensors of any alignment, at most.
const BLOCK_THREADS: usize = 256;

/// Warps of a block of those of aligned tensors, of units too, and vectors that each of them takes at a time.
pub(super) const TILE_WARPS: usize = 2;
const TILE_VECTORS: usize = 32;

/// Blocks of those that keep a large GPU busy, and tiles of a warp that are worth a piece.
const TILE_BLOCKS: usize = 5 * MULTIPROCESSORS;
const TILES_A_WARP: usize = 4;

/// Pieces of each channel for blocks of [`TILE_WARPS`] that take so many tiles together.
pub(super) fn pieces_of_tiles(channels: usize, tiles: usize) -> usize {
    let most = (tiles / (TILE_WARPS * TILES_A_WARP)).clamp(1, MOST_BLOCKS);
    TILE_BLOCKS.div_ceil(channels.max(1)).min(most)
}

/// Columns and rows of threads of a block of the kernel that sums so many pieces: each thread has four at a time.
pub(in super::super) fn sum_block(pieces: usize) -> (u32, u32) {
    const THREADS: u32 = 512;
    const MOST_ROWS: u32 = 16;
    let rows = word(pieces.div_ceil(4)).clamp(1, MOST_ROWS);
    (THREADS / rows.next_power_of_two(), rows)
}

/// The kernel of all gradients in one pass, where there is one: for few taps, and a padding
/// that is no longer than they reach. `starts`: where the lines of both inputs begin;
/// `same_type`: whether the weight has the dtype of the inputs.
pub(in super::super) fn gradients(
    c: &Correlation,
    activation: Activation,
    element: ElementType,
    starts: LineStarts,
    same_type: bool,
) -> Result<Option<Launch>, Error> {
    let aligned = starts.aligned;
    check_gradients(c)?;
    let reachable = (0..c.taps as isize).contains(&c.left);
    let most = match c.layout {
        Conv1dLayout::Bhl => SHORT_TAPS,
        Conv1dLayout::Blh => EXACT_TAPS,
    };
    if c.taps > most || !reachable || c.input_length == 0 {
        return Ok(None);
    }
    if units::takes_gradients(c, activation, element, starts) {
        return Ok(Some(units::gradients(c, element, starts, same_type)));
    }
    let (taps, name) = (kernel_taps(c.taps), element.name());
    let suffix = suffix(activation);
    Ok(Some(match c.layout {
        Conv1dLayout::Bhl => {
            let known = match (activation, element) {
                (Activation::Silu, _) => &GRADIENT_PADDINGS[..SILU_PADDINGS],
                (Activation::None, ElementType::F32) => &GRADIENT_PADDINGS[..],
                _ => &[],
            };
            let vectors = vectors_a_row(c.input_length, element);
            let padding = known_padding(known, c, element, aligned);
            let (block, pieces) = match padding {
                "" => {
                    let (threads, items) = cut_rows(c, c.input_length, element);
                    // A block takes as many parts of a channel as it has threads for, one after the other the others.
                    let parts = (items / 8).clamp(1, MOST_BLOCKS);
                    let across = (BLOCK_THREADS / threads).clamp(1, parts);
                    ((threads, across), parts.div_ceil(across))
                }
                _ => {
                    let tiles = c.batch.saturating_mul(vectors.div_ceil(TILE_VECTORS));
                    (
                        (TILE_VECTORS, TILE_WARPS),
                        pieces_of_tiles(c.channels, tiles),
                    )
                }
            };
            Launch {
                vectors_a_row: vectors as i32,
                pieces,
                ..Launch::new(
                    Family::RowGradients,
                    format!("depthwise_row_gradients_{taps}{padding}{suffix}_{name}"),
                    (c.channels, pieces, 1),
                    block,
                )
            }
        }
        Conv1dLayout::Blh => frames::gradients(c, activation, element, aligned),
    }))
}

/// The part of a kernel's name that says the activation.
pub(super) fn suffix(activation: Activation) -> &'static str {
    match activation {
        Activation::None => "",
        Activation::Silu => "_silu",
    }
}

/// The kernel of the gradients of taps and bias alone, of channels-first tensors. `starts`: as of [`gradients`].
pub(in super::super) fn long_gradients(
    c: &Correlation,
    element: ElementType,
    starts: LineStarts,
) -> Result<Launch, Error> {
    check_gradients(c)?;
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
    if let Some(taps) = units::taps_of_moments(c, element, starts) {
        return Ok(units::moments(c, element, starts, taps));
    }
    let (kernel, tiles, items_a_piece) = match element {
        ElementType::F32 => ("long", c.output_length.div_ceil(LONG_OUTPUTS), 4),
        _ => {
            // Behind the end of a row its last samples still meet the later taps.
            let reach = (c.taps.clamp(1, TAP_BLOCK) - 1) / 16 * 16;
            let tiles = (c.output_length + reach).div_ceil(TOEPLITZ_PLACES);
            ("toeplitz", tiles, 8)
        }
    };
    let items = c.batch.saturating_mul(tiles);
    let pieces = (items / items_a_piece).clamp(1, MOST_BLOCKS);
    let grid = (c.channels, pieces, c.taps.div_ceil(TAP_BLOCK));
    let function = format!("depthwise_{kernel}_row_gradients_{}", element.name());
    Ok(Launch {
        pieces,
        ..Launch::new(Family::Long, function, grid, (LONG_THREADS, 1))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{geometry, ALIGNED, ANY, STARTS_LIKE_OUTPUTS};
    use super::*;
    use Conv1dLayout::{Bhl, Blh};
    use ElementType::{F16, F32};

    #[test]
    fn in_one_pass_for_few_taps_that_reach_the_padding() {
        let of = |c: &Correlation| gradients(c, Activation::Silu, F16, ALIGNED, true).unwrap();
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
        let c = geometry(Blh, (4, 128, 100), 8);
        assert_eq!(
            of(&c).unwrap().function,
            "depthwise_frame_gradients_8_by_2_silu_f16"
        );
    }

    #[test]
    fn of_few_taps_by_dtype_and_padding() {
        let function = |c: &Correlation, activation, element, starts| {
            let launch = gradients(c, activation, element, starts, false).unwrap();
            launch.unwrap().function
        };
        let causal = geometry(Bhl, (4, 768, 1024), 7);
        let kernels = [
            (Activation::None, F16, ALIGNED, "unit_gradients_split_f16"),
            (Activation::None, F16, ANY, "row_gradients_7_f16"),
            (
                Activation::None,
                F16,
                STARTS_LIKE_OUTPUTS,
                "unit_gradients_split_like_outputs_f16",
            ),
            (Activation::None, F32, ALIGNED, "row_gradients_7_causal_f32"),
            (
                Activation::Silu,
                F16,
                ALIGNED,
                "row_gradients_7_causal_silu_f16",
            ),
        ];
        for (activation, element, starts, expected) in kernels {
            let got = function(&causal, activation, element, starts);
            assert_eq!(got, format!("depthwise_{expected}"));
        }
        let centred = Correlation { left: 3, ..causal };
        let got = function(&centred, Activation::Silu, F16, ALIGNED);
        assert_eq!(got, "depthwise_row_gradients_7_silu_f16");
        let got = function(&centred, Activation::None, F16, ALIGNED);
        assert_eq!(got, "depthwise_unit_gradients_split_f16");
        // Samples of four units of dy.
        let far = Correlation {
            left: 9,
            ..geometry(Bhl, (4, 768, 1024), 16)
        };
        let got = function(&far, Activation::None, F16, ALIGNED);
        assert_eq!(got, "depthwise_row_gradients_16_f16");
        let short = geometry(Bhl, (4, 768, 248), 7);
        let got = function(&short, Activation::None, F16, ALIGNED);
        assert_eq!(got, "depthwise_row_gradients_7_f16");
    }

    #[test]
    fn pieces_fill_the_gpu_and_are_worth_it() {
        assert_eq!(pieces_of_tiles(768, 64), 1);
        assert_eq!(pieces_of_tiles(256, 64), 3);
        assert_eq!(pieces_of_tiles(1, 64), 8);
        assert_eq!(pieces_of_tiles(1, 3), 1);
        assert_eq!(pieces_of_tiles(0, 0), 1);
    }

    #[test]
    fn blocks_that_sum_pieces() {
        assert_eq!(sum_block(2), (512, 1));
        assert_eq!(sum_block(8), (256, 2));
        assert_eq!(sum_block(44), (32, 11));
        assert_eq!(sum_block(MOST_BLOCKS), (32, 16));
    }

    #[test]
    fn of_many_taps_by_dtype() {
        let c = geometry(Bhl, (16, 768, 8192), 130);
        let aligned = long_gradients(&c, F16, ALIGNED).unwrap();
        assert_eq!(aligned.function, "depthwise_unit_moments_128_f16");
        assert_eq!((aligned.grid, aligned.vectors_a_row), ((768, 1, 2), 1024));
        let like_outputs = Correlation {
            input_length: 8191,
            output_length: 8191,
            ..c
        };
        let launch = long_gradients(&like_outputs, F16, STARTS_LIKE_OUTPUTS).unwrap();
        assert_eq!(
            launch.function,
            "depthwise_unit_moments_128_like_outputs_f16"
        );
        let half = long_gradients(&c, F16, ANY).unwrap();
        assert_eq!(half.function, "depthwise_toeplitz_row_gradients_f16");
        // 8192 samples and 112 behind them are five tiles.
        assert_eq!((half.grid, half.pieces), ((768, 10, 2), 10));
        let single = long_gradients(&c, F32, ALIGNED).unwrap();
        assert_eq!(single.function, "depthwise_long_row_gradients_f32");
        assert_eq!(single.grid, (768, 32, 2));
    }
}

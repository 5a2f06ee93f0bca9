//! How rows of channels-first tensors of 16-bit elements are cut into tiles of units of 8 samples, for the tensor cores.

use super::forward::TOEPLITZ_TAPS;
use super::gradients::{pieces_of_tiles, TAP_BLOCK, TILE_WARPS};
use super::{ElementType, Family, Launch, LineStarts, LIKE_OUTPUTS, MOST_BLOCKS, SHORT_TAPS};
use crate::depthwise::{Activation, Conv1dLayout, Correlation};

/// Samples of a unit: those of 16 bytes.
const UNIT: usize = 8;

/// Taps from which on units are faster than rows: than those that know their padding, and than those that are not aligned.
const FEWEST_TAPS: usize = 6;
const FEWEST_TAPS_ANYWHERE: usize = 2;

/// Units that the last tile of a row that is not aligned has more than others.
const MORE_UNITS: usize = 16;

/// How rows are cut into units, and which kernel takes them.
struct Rows {
    /// Of the longest row.
    units: usize,
    /// In the kernel's name.
    suffix: &'static str,
    more: usize,
}

impl Rows {
    /// Rows of so many samples, that begin at multiples of 16 bytes and hold whole units or, where they do not, begin like
    /// those of the output: up to a unit less one sample behind such a multiple.
    fn of(length: usize, whole: bool) -> Self {
        match whole {
            true => Self {
                units: length / UNIT,
                suffix: "",
                more: 0,
            },
            false => Self {
                units: (length + UNIT - 1).div_ceil(UNIT),
                suffix: LIKE_OUTPUTS,
                more: MORE_UNITS,
            },
        }
    }

    /// Tiles of so many units.
    fn tiles(&self, units: usize) -> usize {
        self.units.saturating_sub(self.more).max(1).div_ceil(units)
    }
}

/// Outputs of a warp by the number of units that those of one take.
const OUTPUTS_OF_TWO: usize = 512;
const OUTPUTS_OF_THREE: usize = 1024;

/// Samples of a row from which on its gradients are worth a tile.
const FEWEST_SAMPLES: usize = 256;

/// Neighbouring units that the outputs of one take their samples from, where there is a kernel for so many. `starts`: where
/// the lines of the input begin.
pub(super) fn units_of_taps(
    c: &Correlation,
    element: ElementType,
    starts: LineStarts,
) -> Option<usize> {
    let whole = starts.are_whole(c, element);
    let fewest = match whole {
        true => FEWEST_TAPS,
        false => FEWEST_TAPS_ANYWHERE,
    };
    let worthwhile = (whole || starts.like_outputs(c, element))
        && element != ElementType::F32
        && c.output_length >= OUTPUTS_OF_TWO
        && c.channels <= MOST_BLOCKS
        && (fewest..=SHORT_TAPS).contains(&c.taps);
    // Samples from the first unit's first one to those of the last output.
    let shift = (-c.left).rem_euclid(UNIT as isize) as usize;
    let units = (shift + UNIT - 1 + c.taps).div_ceil(UNIT);
    (worthwhile && units <= 3).then_some(units)
}

/// The kernel for so many units. `starts`: as of [`units_of_taps`]; `same_type`: whether the weight has the dtype of the
/// input.
pub(super) fn correlation(
    c: &Correlation,
    element: ElementType,
    starts: LineStarts,
    units: usize,
    same_type: bool,
) -> Launch {
    let outputs = match units {
        2 => OUTPUTS_OF_TWO,
        _ => OUTPUTS_OF_THREE,
    };
    let rows = Rows::of(c.output_length, starts.are_whole(c, element));
    let tiles = rows.tiles(outputs / UNIT);
    let warps = tiles.min(TILE_WARPS);
    let batches = c.batch.min(MOST_BLOCKS);
    let split = if same_type { "" } else { "_split" };
    Launch {
        batches,
        ..Launch::new(
            Family::Units,
            format!(
                "depthwise_units_{units}{split}{}_{}",
                rows.suffix,
                element.name()
            ),
            (tiles.div_ceil(warps), c.channels, batches),
            (32, warps),
        )
    }
}

/// Units of a tile of a warp of the gradients.
const TILE_UNITS: usize = 64;

/// Whether there is a kernel of all gradients in one pass: the samples of a unit meet three units of `dy`, the first one in
/// line with it or before. `starts`: where the lines of both inputs begin.
pub(super) fn takes_gradients(
    c: &Correlation,
    activation: Activation,
    element: ElementType,
    starts: LineStarts,
) -> bool {
    let start = c.left - (c.taps as isize - 1);
    let shift = start.rem_euclid(UNIT as isize) as usize;
    c.layout == Conv1dLayout::Bhl
        && activation == Activation::None
        && element != ElementType::F32
        && c.input_length == c.output_length
        && (starts.are_whole(c, element) || starts.like_outputs(c, element))
        && c.input_length >= FEWEST_SAMPLES
        && (1..=SHORT_TAPS).contains(&c.taps)
        && start <= 0
        && shift + UNIT - 1 + c.taps <= 3 * UNIT
}

/// That kernel. `starts`: as of [`takes_gradients`]; `same_type`: whether the weight has the dtype of the input.
pub(super) fn gradients(
    c: &Correlation,
    element: ElementType,
    starts: LineStarts,
    same_type: bool,
) -> Launch {
    let rows = Rows::of(c.input_length, starts.are_whole(c, element));
    let tiles = c.batch.saturating_mul(rows.tiles(TILE_UNITS));
    let pieces = pieces_of_tiles(c.channels, tiles);
    let split = if same_type { "" } else { "_split" };
    Launch {
        vectors_a_row: rows.units as i32,
        pieces,
        ..Launch::new(
            Family::UnitGradients,
            format!(
                "depthwise_unit_gradients{split}{}_{}",
                rows.suffix,
                element.name()
            ),
            (c.channels, pieces, 1),
            (32, TILE_WARPS),
        )
    }
}

/// Pairs of units of `dy` that the samples of a unit meet, as `pairs_of_taps` of `cuda/depthwise_unit_moments.cuh`.
fn pairs_of_taps(taps: usize) -> usize {
    (taps + 29) / 16
}

/// Units of `dy` that a unit of `x` meets, `UNITS` there.
pub(super) fn units_met(taps: usize) -> usize {
    2 * pairs_of_taps(taps)
}

/// Units of `dy` that a tile has in shared memory behind those in line with `x`: `MATRICES - 8` there.
fn units_ahead(taps: usize) -> usize {
    const OF_A_MATRIX: usize = 8;
    (units_met(taps) + OF_A_MATRIX).next_multiple_of(4) - OF_A_MATRIX
}

/// Units from the first one of `dy` that a unit of `x` meets, with the first `taps` taps, to that in line with it.
pub(super) fn line_of_units(c: &Correlation, taps: usize) -> isize {
    -(c.left - (taps as isize - 1)).div_euclid(UNIT as isize)
}

/// Taps of the kernel of the gradients of taps and bias alone for those of a block, where there is one: the units of `dy`
/// in line with those of `x` are among those that they meet. `starts`: as of [`takes_gradients`].
pub(super) fn taps_of_moments(
    c: &Correlation,
    element: ElementType,
    starts: LineStarts,
) -> Option<usize> {
    let taps = c.taps.min(TAP_BLOCK);
    let most = TOEPLITZ_TAPS.into_iter().find(|&most| taps <= most)?;
    let line = line_of_units(c, taps);
    let like_outputs = c.input_length == c.output_length && starts.like_outputs(c, element);
    let takes = c.layout == Conv1dLayout::Bhl
        && element != ElementType::F32
        && (starts.are_whole(c, element) || like_outputs)
        && c.input_length.max(c.output_length) >= FEWEST_SAMPLES
        && (0..=units_ahead(most) as isize).contains(&line);
    takes.then_some(most)
}

/// That kernel.
pub(super) fn moments(
    c: &Correlation,
    element: ElementType,
    starts: LineStarts,
    taps: usize,
) -> Launch {
    let rows = Rows::of(
        c.input_length.max(c.output_length),
        starts.are_whole(c, element),
    );
    let tiles = c.batch.saturating_mul(rows.tiles(TILE_UNITS));
    let pieces = pieces_of_tiles(c.channels, tiles);
    Launch {
        vectors_a_row: rows.units as i32,
        pieces,
        ..Launch::new(
            Family::UnitMoments,
            format!(
                "depthwise_unit_moments_{taps}{}_{}",
                rows.suffix,
                element.name()
            ),
            (c.channels, pieces, c.taps.div_ceil(TAP_BLOCK)),
            (32, TILE_WARPS),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{geometry, ALIGNED, ANY, STARTS_LIKE_OUTPUTS};
    use super::*;
    use crate::depthwise::Conv1dLayout::Bhl;
    use ElementType::{Bf16, F32};

    /// For all taps and paddings that there is a kernel for, units hold what their outputs take.
    #[test]
    fn units_hold_the_samples_of_their_outputs() {
        let mut kernels = 0;
        for taps in 1..=17 {
            for left in -20..20 {
                let c = Correlation {
                    left,
                    ..geometry(Bhl, (2, 3, 1024), taps)
                };
                let Some(units) = units_of_taps(&c, Bf16, ALIGNED) else {
                    continue;
                };
                kernels += 1;
                let first_unit = (-left).div_euclid(8);
                let places = 8 * first_unit..8 * (first_unit + units as isize);
                for output in 0..8 {
                    assert!(places.contains(&(output - left)));
                    assert!(places.contains(&(output - left + taps as isize - 1)));
                }
                assert_eq!(units_of_taps(&c, F32, ALIGNED), None);
                assert_eq!(units_of_taps(&c, Bf16, ANY), None);
            }
        }
        assert!(kernels > 300);
    }

    /// As the kernel computes its places, for all taps and paddings that it takes.
    #[test]
    fn moments_hold_the_places_of_all_taps() {
        let mut kernels = 0;
        for taps in [1, 17, 32, 33, 64, 65, 100, 127, 128, 200] {
            for left in -10..taps as isize + 10 {
                let c = Correlation {
                    left,
                    ..geometry(Bhl, (2, 3, 1024), taps)
                };
                let Some(most) = taps_of_moments(&c, Bf16, ALIGNED) else {
                    assert!(!(0..taps as isize).contains(&left) || taps > TAP_BLOCK);
                    continue;
                };
                kernels += 1;
                let places = 16 * pairs_of_taps(most) as isize;
                for first_tap in (0..taps).step_by(TAP_BLOCK) {
                    let count = (taps - first_tap).min(TAP_BLOCK) as isize;
                    let start = left - first_tap as isize - (count - 1);
                    let (unit, shift) = (start.div_euclid(8), start.rem_euclid(8));
                    for sample in 0..8 {
                        for tap in 0..count {
                            let place = sample + count - 1 - tap + shift;
                            assert!((0..places).contains(&place));
                            let meets = 8 * unit + place;
                            assert_eq!(meets, sample + left - first_tap as isize - tap);
                        }
                    }
                }
            }
        }
        assert!(kernels > 500, "{kernels}");
    }

    #[test]
    fn tiles_cover_the_outputs() {
        for length in [512, 520, 1024, 1032, 8192, 1_000_000] {
            for taps in [6, 16] {
                let c = geometry(Bhl, (3, 5, length), taps);
                let units = units_of_taps(&c, Bf16, ALIGNED).unwrap();
                assert_eq!(units, if taps == 6 { 2 } else { 3 });
                let launch = correlation(&c, Bf16, ALIGNED, units, taps == 6);
                let outputs = [512, 1024][units - 2] * (launch.grid.0 * launch.block.1) as usize;
                assert!(outputs >= length && outputs < length + 2 * 1024);
                assert_eq!((launch.grid.1, launch.grid.2), (5, 3));
            }
        }
        // At most 7 samples later, and a round of 16 units in the last tile.
        for (length, warps) in [
            (512, 1),
            (633, 1),
            (634, 2),
            (1023, 2),
            (1145, 2),
            (1146, 4), // for three tiles
        ] {
            let c = geometry(Bhl, (3, 5, length), 3);
            assert_eq!(units_of_taps(&c, Bf16, STARTS_LIKE_OUTPUTS), Some(2));
            let launch = correlation(&c, Bf16, STARTS_LIKE_OUTPUTS, 2, true);
            assert_eq!(launch.function, "depthwise_units_2_like_outputs_bf16");
            assert_eq!((launch.grid.0 * launch.block.1) as usize, warps, "{length}");
            let launch = gradients(&c, Bf16, STARTS_LIKE_OUTPUTS, true);
            assert_eq!(
                launch.function,
                "depthwise_unit_gradients_like_outputs_bf16"
            );
            assert_eq!(launch.vectors_a_row as usize, (length + 7).div_ceil(8));
        }
        let short = geometry(Bhl, (3, 5, 504), 7);
        assert_eq!(units_of_taps(&short, Bf16, ALIGNED), None);
    }
}

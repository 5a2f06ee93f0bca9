//! Long rows with short kernels, in overlapping pieces that are convolved like rows (overlap-save): which pieces,
//! chosen from lengths and the device's limits by a pure function.
//!
//! A piece of P samples begins `before ≥ taps` samples before its first output, and gives `step = P − before` of
//! them. Its kernel acts `before` samples earlier, at negative lags: what wraps around the transform reaches the last
//! `before` places alone, which are not stored.

pub(crate) mod cost;

use super::full_rows::FullRecipe;
use super::recipe::HalfRecipe;
use crate::conv::LagWindow;
use cost::{Cost, Samples};

/// The pieces of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Pieces {
    /// Taps of the kernel, all of which act.
    taps: usize,
    /// Samples of a piece before the first of its outputs.
    pub(crate) before: usize,
    /// Outputs of a piece.
    pub(crate) step: usize,
    /// Pieces of a row.
    pub(crate) count: usize,
}

/// Pieces begin at multiples of so many samples: lines of 128 bytes of f16.
const PLACES: usize = 64;

impl Pieces {
    /// Those of `size` samples; none where they would be all overlap.
    fn new(size: usize, length: usize, taps: usize) -> Option<Self> {
        let before = taps.checked_next_multiple_of(PLACES)?;
        let step = size.checked_sub(before).filter(|&step| step > 0)?;
        Some(Pieces {
            taps,
            before,
            step,
            count: length.div_ceil(step),
        })
    }

    /// The lags of the taps in a piece: tap j acts at lag j − `before`.
    pub(crate) fn window(&self) -> LagWindow {
        LagWindow {
            forward: 0,
            backward: self.before + 1 - self.taps..self.before + 1,
            period: self.before,
        }
    }
}

/// The recipe for pieces of rows of f16 or bf16, and the pieces; none where the row as a whole takes no longer.
pub(crate) fn of_half_rows(
    samples: Samples,
    length: usize,
    window: &LagWindow,
    shared_memory_bytes: usize,
) -> Option<(HalfRecipe, Pieces)> {
    let cost = Cost::of(samples, shared_memory_bytes);
    choose(&cost, length, window, |size| {
        HalfRecipe::choose(size, shared_memory_bytes).filter(|recipe| recipe.size == size)
    })
}

/// The same for rows of f32.
pub(crate) fn of_full_rows(
    length: usize,
    window: &LagWindow,
    shared_memory_bytes: usize,
) -> Option<(FullRecipe, Pieces)> {
    let cost = Cost::of(Samples::Full, shared_memory_bytes);
    choose(&cost, length, window, |size| {
        FullRecipe::choose(size, shared_memory_bytes).filter(|recipe| recipe.size == size)
    })
}

/// The cheapest pieces of the sizes for which there is a recipe.
fn choose<R>(
    cost: &Cost,
    length: usize,
    window: &LagWindow,
    recipe: impl Fn(usize) -> Option<R>,
) -> Option<(R, Pieces)> {
    let taps = window.forward;
    if !window.backward.is_empty() || taps == 0 || taps >= length {
        return None;
    }
    let (_, recipe, pieces) = cost
        .sizes()
        .filter_map(|size| Some((size, recipe(size)?, Pieces::new(size, length, taps)?)))
        .map(|(size, recipe, pieces)| (cost.of_pieces(size, &pieces), recipe, pieces))
        .min_by_key(|(cost, ..)| *cost)
        .filter(|(pieces, ..)| *pieces < cost.of_row(length, |size| recipe(size).is_some()))?;
    Some((recipe, pieces))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::Semantics;

    /// What blocks may ask for: RTX 3090 and 4090, A100, H100 and H200.
    const CARDS: [usize; 3] = [99 << 10, 163 << 10, 227 << 10];
    const HALVES: [Samples; 3] = [
        Samples::AlignedBf16,
        Samples::AlignedF16,
        Samples::Unaligned,
    ];

    fn causal(length: usize, taps: usize) -> LagWindow {
        LagWindow::new(Semantics::Causal { max_length: length }, length, taps)
    }

    fn half(length: usize, taps: usize) -> Option<usize> {
        let window = causal(length, taps);
        let chosen = of_half_rows(Samples::AlignedBf16, length, &window, CARDS[2]);
        chosen.map(|(recipe, _)| recipe.size)
    }

    #[test]
    fn pieces_make_up_the_row() {
        for length in [40_001, 65_536, 70_001, 1 << 20, (1 << 23) - 1] {
            for taps in [1, 17, 64, 65, 4096, 5000] {
                for card in CARDS {
                    let window = causal(length, taps);
                    let halves = HALVES.map(|samples| {
                        let chosen = of_half_rows(samples, length, &window, card)?;
                        Some((chosen.0.size, chosen.1))
                    });
                    let full = of_full_rows(length, &window, card);
                    let full = full.map(|(recipe, pieces)| (recipe.size, pieces));
                    for (size, pieces) in halves.into_iter().flatten().chain(full) {
                        assert_eq!(pieces.step + pieces.before, size);
                        assert!(pieces.before >= taps && pieces.before.is_multiple_of(PLACES));
                        assert!((pieces.count - 1) * pieces.step < length);
                        assert!(pieces.count * pieces.step >= length);
                    }
                }
            }
        }
    }

    #[test]
    fn taps_act_before_their_lags() {
        let pieces = Pieces::new(4096, 100_000, 33).unwrap();
        assert_eq!((pieces.before, pieces.step, pieces.count), (64, 4032, 25));
        let LagWindow {
            forward,
            backward,
            period,
        } = pieces.window();
        // Tap j = period − m at lag −m, as `LagWindow` has it: 0 at −64, 32 at −32.
        assert_eq!((forward, backward, period), (0, 32..65, 64));
        // Lag 0 would be a forward one.
        let pieces = Pieces::new(4096, 100_000, 64).unwrap();
        assert_eq!(pieces.window().backward, 1..65);
        assert_eq!(Pieces::new(4096, 100_000, 4096), None);
    }

    #[test]
    fn short_kernels_take_pieces_of_long_rows() {
        for (length, taps) in [(65_536, 128), (70_001, 1000), (1 << 20, 2000), (1 << 23, 1)] {
            for card in CARDS {
                let window = causal(length, taps);
                for samples in HALVES {
                    let chosen = of_half_rows(samples, length, &window, card);
                    assert!(chosen.is_some(), "{samples:?}, L {length}, {taps} taps");
                }
                assert!(of_full_rows(length, &window, card).is_some());
            }
        }
    }

    #[test]
    fn other_rows_stay_whole() {
        // As many taps as samples, or nearly so.
        assert_eq!(half(1 << 20, 1 << 20), None);
        assert_eq!(half(65_536, 40_000), None);
        // Rows for which there is a transform.
        for length in [100, 1024, 4096, 8192, 16384, 32768] {
            assert_eq!(half(length, 17), None, "{length}");
        }
        // Taps at lags of both signs.
        let wraps = LagWindow::new(Semantics::Circular { fft_size: 1 << 20 }, 1 << 20, 17);
        let chosen = of_half_rows(Samples::AlignedBf16, 1 << 20, &wraps, CARDS[2]);
        assert_eq!(chosen, None);
        let twice = Semantics::Circular { fft_size: 1 << 21 };
        let does_not = LagWindow::new(twice, 1 << 20, 17);
        let chosen = of_half_rows(Samples::AlignedBf16, 1 << 20, &does_not, CARDS[2]);
        assert!(chosen.is_some());
    }
}

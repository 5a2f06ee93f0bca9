//! Which transforms compute a convolution: pure data, chosen by a pure function.

use super::plan::LagWindow;

/// How the rows of a convolution are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recipe {
    /// Each row in one right-angle transform of `size ≥ L` complex points. Serves every window.
    Whole { size: usize },
    /// Each row in overlapping pieces (overlap-save), two of them as the real and imaginary part of one
    /// circular transform of `size` points. For windows of forward lags that are short beside the row.
    Pieces { size: usize },
    /// Each row by way of a shorter one with the lowest frequencies alone.
    Band(Band),
}

/// The lowest frequencies of transforms of `fft_size` points, from every `step`-th place of a smoothed row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Band {
    pub(crate) fft_size: usize,
    /// How many coefficients there are, from frequency 0 on.
    pub(crate) kept: usize,
    /// Divides `fft_size`.
    pub(crate) step: usize,
}

impl Band {
    /// How much longer the shorter row is at least than its frequencies need, so that what folds back
    /// can be made as small as rounding errors.
    pub(crate) const OVERSAMPLING: usize = 4;
    /// The steps that there are. A shorter one saves too little, a longer one saves no more.
    const STEPS: [usize; 5] = [256, 128, 64, 32, 16];

    /// The band with the longest step, where there is one.
    pub(crate) fn choose(fft_size: usize, kept: usize) -> Option<Band> {
        let fits = |&step: &usize| {
            let points = fft_size / step;
            fft_size.is_multiple_of(step)
                && points >= 64
                && points / (2 * Band::OVERSAMPLING) >= kept
        };
        let step = Band::STEPS.into_iter().find(fits)?;
        Some(Band {
            fft_size,
            kept,
            step,
        })
    }

    /// The number of complex points of the transform.
    pub(crate) fn points(self) -> usize {
        self.fft_size / self.step
    }

    /// Whether rows of `length` samples are so long that the band is cheaper than whole rows.
    pub(crate) fn serves(self, length: usize) -> bool {
        length >= LEAST_ROWS_OF_BANDS.max(2 * self.points())
    }
}

/// Shorter rows than this are as fast as a whole.
const LEAST_ROWS_OF_BANDS: usize = 2048;

impl Recipe {
    /// The number of complex points of the transform.
    pub(crate) fn size(self) -> usize {
        match self {
            Recipe::Whole { size } | Recipe::Pieces { size } => size,
            Recipe::Band(band) => band.points(),
        }
    }

    /// The recipe that serves every window on rows of `length` samples.
    pub(crate) fn whole(length: usize) -> Self {
        Recipe::Whole {
            size: transform_size(length),
        }
    }

    /// The cheapest recipe for rows of `length` samples.
    pub(crate) fn choose(length: usize, window: &LagWindow) -> Self {
        let whole = Recipe::whole(length);
        if !window.backward.is_empty() || window.forward >= length {
            return whole;
        }
        // A piece of a transform smaller than twice the taps is mostly overlap.
        let smallest = window.forward.saturating_mul(2).max(64);
        let pieces = (0..=LARGEST_PIECE_LOG2)
            .map(|log2| 1usize << log2)
            .filter(|&size| size >= smallest)
            .map(|size| Recipe::Pieces { size });
        std::iter::once(whole)
            .chain(pieces)
            .min_by_key(|recipe| recipe.cost(length, window.forward))
            .unwrap_or(whole)
    }

    /// New samples that each piece of a transform of `size` points gives.
    pub(crate) fn piece_step(size: usize, taps: usize) -> usize {
        size.saturating_sub(taps.saturating_sub(1)).max(1)
    }

    /// About the time of one row, in tenths of a nanosecond of a 2020s core with AVX2.
    fn cost(self, length: usize, taps: usize) -> u64 {
        let (size, transforms) = match self {
            Recipe::Whole { .. } | Recipe::Band(_) => (self.size(), 1),
            Recipe::Pieces { size } => {
                let step = Recipe::piece_step(size, taps);
                (size, length.div_ceil(2 * step))
            }
        };
        (size as u64)
            .saturating_mul(cost_per_point(size))
            .saturating_mul(transforms as u64)
    }
}

/// Larger pieces win nothing over the longest rows as a whole.
const LARGEST_PIECE_LOG2: u32 = 19;

/// Two transforms and the passes around them, for one point, in tenths of a nanosecond (measured).
/// From 2^18 points on they leave the second-level cache.
fn cost_per_point(size: usize) -> u64 {
    let log2 = u64::from(size.max(1).ilog2());
    log2 + 10 + 2 * log2.saturating_sub(12) + 8 * log2.saturating_sub(17)
}

/// The size of a whole-row transform: the smallest one of the form `2^a · {1, 9/8, 5/4, 3/2}` that holds
/// the row. Other factors cost more than they save, and the ladder is coarse so that neighbouring
/// lengths share their transforms and spectra.
pub(crate) fn transform_size(length: usize) -> usize {
    let top = length.max(1).checked_next_power_of_two().unwrap_or(length);
    if top < 64 {
        return top;
    }
    [top / 16 * 9, top / 8 * 5, top / 4 * 3]
        .into_iter()
        .find(|&size| size >= length)
        .unwrap_or(top)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::plan::Semantics;

    fn choose(semantics: Semantics, length: usize, taps: usize) -> Recipe {
        Recipe::choose(length, &LagWindow::new(semantics, length, taps))
    }

    fn causal(length: usize, taps: usize) -> Recipe {
        choose(Semantics::Causal { max_length: length }, length, taps)
    }

    #[test]
    fn transforms_hold_the_row_and_are_not_much_larger() {
        for length in (1..3000).chain([1 << 20, (1 << 20) + 1, 1 << 23]) {
            let size = transform_size(length);
            assert!(size >= length, "{length} {size}");
            assert!(size <= (length * 4).div_ceil(3).max(64), "{length} {size}");
        }
    }

    #[test]
    fn long_kernels_take_the_row_as_a_whole() {
        for length in [1, 2, 129, 1024, 8192, 1 << 20, 1 << 23] {
            assert_eq!(causal(length, length), Recipe::whole(length), "{length}");
        }
    }

    #[test]
    fn short_kernels_take_pieces_that_hold_them() {
        for taps in [1, 3, 128, 4096] {
            let recipe = causal(1 << 20, taps);
            assert!(
                matches!(recipe, Recipe::Pieces { size } if size >= 2 * taps),
                "{taps} {recipe:?}"
            );
        }
    }

    /// What was measured to be the fastest, or within a tenth of it.
    #[test]
    fn pieces_are_as_large_as_measured() {
        for (length, taps, sizes) in [
            (8192, 16, 128..=512),
            (8192, 256, 1024..=2048),
            (65536, 64, 256..=1024),
            (65536, 1024, 4096..=8192),
            (1_000_000, 64, 512..=2048),
            (1_000_000, 1024, 4096..=32768),
            (1_000_000, 16384, 1 << 16..=1 << 17),
            (1_000_000, 100_000, 1 << 18..=1 << 19),
        ] {
            let recipe = causal(length, taps);
            assert!(
                matches!(recipe, Recipe::Pieces { size } if sizes.contains(&size)),
                "L {length}, {taps} taps: {recipe:?}"
            );
        }
        for (length, taps) in [(8192, 4096), (65536, 32768), (1_000_000, 500_000)] {
            assert_eq!(
                causal(length, taps),
                Recipe::whole(length),
                "{length} {taps}"
            );
        }
    }

    #[test]
    fn bands_divide_the_fft_size_and_leave_room_for_their_frequencies() {
        let mut found = 0;
        for fft_size in (1..5000).chain([1 << 17, 2_000_000, 2_000_004, 1 << 24]) {
            for kept in [1, 2, 8, 9, 100, 1024, fft_size / 128, fft_size / 2 + 1] {
                let Some(band) = Band::choose(fft_size, kept) else {
                    continue;
                };
                found += 1;
                assert_eq!(fft_size % band.step, 0, "{band:?}");
                assert!(band.points() >= 2 * Band::OVERSAMPLING * kept, "{band:?}");
                assert!(!band.serves(band.points()) && !band.serves(1), "{band:?}");
            }
        }
        assert!(found > 100, "{found}");
        let step = |fft_size, kept| Band::choose(fft_size, kept).map(|band| band.step);
        assert_eq!(step(1 << 17, 64), Some(256));
        assert_eq!(step(1 << 17, 65), Some(128));
        assert_eq!(step(1 << 17, 1024), Some(16));
        assert_eq!(step(1 << 17, 1025), None);
        assert_eq!(step(2_000_004, 10), None);
    }

    #[test]
    fn wrapping_kernels_take_the_row_as_a_whole() {
        let semantics = Semantics::Circular { fft_size: 10000 };
        assert_eq!(choose(semantics, 10000, 10), Recipe::whole(10000));
    }
}

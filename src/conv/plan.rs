//! From the meaning of a call to the lags at which each tap of the kernel acts.
//!
//! Whatever the FFT size that the user asked for, the first `L` output samples
//! are a plain (two-sided) convolution: tap `k[j]` acts at lag `j`, and in a
//! circular convolution of size `N` tap `k[N − m]` acts at lag `−m` as well.
//! Which FFT computes it is another question, answered in `recipe.rs`.

use super::recipe::Band;
use std::ops::Range;

/// What a [`FlashFftConv`](super::FlashFftConv) computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Semantics {
    /// Circular convolution of size `fft_size`, of which the first `L` samples are kept.
    Circular { fft_size: usize },
    /// Linear convolution of which the first `L ≤ max_length` samples are kept.
    Causal { max_length: usize },
    /// As `Circular`, of the lowest frequencies of the kernel alone.
    Band(Band),
}

/// The lags at which the taps of one kernel act on sequences of one length.
///
/// Built for sequences of `length` samples; lags of `length` and more reach no
/// sample and are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LagWindow {
    /// Tap `k[j]` acts at lag `j` for every `j` below this.
    pub(crate) forward: usize,
    /// Tap `k[period − m]` acts at lag `−m` for every `m` in this range, which never holds 0.
    pub(crate) backward: Range<usize>,
    /// The period of a circular convolution; 0 in a linear one, where `backward` is empty.
    pub(crate) period: usize,
}

impl LagWindow {
    /// The window for kernels of `taps` taps and sequences of up to `length` samples.
    pub(crate) fn new(semantics: Semantics, length: usize, taps: usize) -> Self {
        let forward = taps.min(length);
        match semantics {
            // Each tap is spread over all lags, by the transform.
            Semantics::Band(_) => LagWindow {
                forward: taps,
                backward: 1..1,
                period: 0,
            },
            Semantics::Causal { .. } => LagWindow {
                forward,
                backward: 1..1,
                period: 0,
            },
            Semantics::Circular { fft_size } => {
                let first = fft_size.saturating_sub(taps).saturating_add(1);
                let end = length.min(fft_size).max(first);
                LagWindow {
                    forward,
                    backward: first..end,
                    period: fft_size,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of section "circular": index `t − j` modulo the period.
    fn circular_by_definition(n: usize, length: usize, taps: usize) -> Vec<(isize, usize)> {
        let mut pairs = Vec::new();
        for lag in 1 - length as isize..length as isize {
            let tap = lag.rem_euclid(n as isize) as usize;
            if tap < taps {
                pairs.push((lag, tap));
            }
        }
        pairs
    }

    fn pairs(window: &LagWindow) -> Vec<(isize, usize)> {
        let mut pairs: Vec<_> = window
            .backward
            .clone()
            .map(|m| (-(m as isize), window.period - m))
            .chain((0..window.forward).map(|j| (j as isize, j)))
            .collect();
        pairs.sort();
        pairs
    }

    #[test]
    fn circular_windows_follow_the_definition() {
        for n in 1..=13 {
            for length in 1..=n {
                for taps in 1..=n {
                    let window = LagWindow::new(Semantics::Circular { fft_size: n }, length, taps);
                    assert_eq!(
                        pairs(&window),
                        circular_by_definition(n, length, taps),
                        "N {n} L {length} taps {taps}"
                    );
                }
            }
        }
    }

    #[test]
    fn causal_windows_ignore_the_taps_beyond_the_sequence() {
        let semantics = Semantics::Causal { max_length: 100 };
        assert_eq!(
            pairs(&LagWindow::new(semantics, 3, 50)),
            [(0, 0), (1, 1), (2, 2)]
        );
        assert_eq!(pairs(&LagWindow::new(semantics, 50, 2)), [(0, 0), (1, 1)]);
    }
}

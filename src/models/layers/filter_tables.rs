//! The constant tables of an implicit filter, by formula: positions, features of
//! the positions, decay rates. Plain numbers, computed in float64.

use std::f64::consts::TAU;

/// `count` numbers from `first` to `last`, equally spaced; only `first` when `count` is 1.
fn linspace(first: f64, last: f64, count: usize) -> Vec<f64> {
    let steps = count.saturating_sub(1).max(1) as f64;
    (0..count)
        .map(|i| first + (last - first) * (i as f64 / steps))
        .collect()
}

/// Times `t[n] = n / (max_len − 1)` of the positions: 0 … 1.
pub(super) fn times(max_len: usize) -> Vec<f64> {
    linspace(0.0, 1.0, max_len)
}

/// Features of the positions, row-major `(max_len, features)`:
/// `[t, cos(f_b·w) …, −sin(f_b·w) …]` with `w[n] = 2πn / max_len` and
/// `(features − 1) / 2` frequencies `f_b` from 1e-4 to that number less one.
pub(super) fn position_features(max_len: usize, features: usize) -> Vec<f64> {
    let bands = features.saturating_sub(1) / 2;
    let frequencies = linspace(1e-4, bands as f64 - 1.0, bands);
    let mut table = Vec::with_capacity(max_len.saturating_mul(features));
    for (n, t) in times(max_len).into_iter().enumerate() {
        let angle = TAU * n as f64 / max_len as f64;
        table.push(t);
        table.extend(frequencies.iter().map(|f| (f * angle).cos()));
        table.extend(frequencies.iter().map(|f| -(f * angle).sin()));
    }
    table
}

/// Decay rates of the channels: the slowest decays to 1 % after 1.5 times the
/// longest length, the fastest after 0.3 times.
pub(super) fn decay_rates(channels: usize) -> Vec<f64> {
    let target = 0.01f64.ln();
    linspace(target / 1.5, target / 0.3, channels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_position_has_time_zero() {
        assert_eq!(times(1), [0.0]);
        assert_eq!(position_features(1, 3), [0.0, 1.0, -0.0]);
    }

    #[test]
    fn times_end_at_one() {
        assert_eq!(times(3), [0.0, 0.5, 1.0]);
    }

    #[test]
    fn one_band_has_the_lowest_frequency() {
        let z = position_features(4, 3);
        assert_eq!(z.len(), 12);
        let angle = 1e-4 * TAU * 3.0 / 4.0;
        assert_eq!(z[9..], [1.0, angle.cos(), -angle.sin()]);
    }

    #[test]
    fn two_bands_reach_frequency_one() {
        let z = position_features(8, 5);
        // Position 2 is a quarter turn of the second frequency, 1.
        assert!(z[2 * 5 + 2].abs() < 1e-15);
        assert!((z[2 * 5 + 4] + 1.0).abs() < 1e-15);
    }

    #[test]
    fn decay_rates_span_the_published_range() {
        let rates = decay_rates(128);
        assert!((rates[0] + 3.0701).abs() < 1e-4);
        assert!((rates[127] + 15.3506).abs() < 1e-4);
    }
}

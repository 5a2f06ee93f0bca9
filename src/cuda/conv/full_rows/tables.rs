//! The twiddles that the f32 kernels read, in the order of `Table` in `cuda/full_rows.cuh`.
//!
//! A transform of P points has a first pass of radix R = 2, 4, 8 or 16 and then passes of
//! radix 16. `cuda/fft_f32.cuh` has the formulas.

use std::f64::consts::TAU;

/// The table for transforms of `size` points, a power of two from 32 on.
pub(super) fn twiddles(size: usize) -> Vec<f32> {
    let first = 1usize << ((size.ilog2() - 1) % 4 + 1);
    let later = (size / first).ilog2() / 4;
    let mut table = Vec::new();

    // Forward: W = exp(−2πi (K − 1/4)/(16 N)), K one of the N frequencies that the digits before
    // have settled; the quarter makes the weights of the right-angle form.
    for pass in 0..later {
        let settled = first << (4 * pass);
        let frequencies =
            (0..settled).map(|high| settled_frequency(high, first, pass) as f64 - 0.25);
        powers(&mut table, frequencies.map(|k| -k / (16 * settled) as f64));
    }
    // Inverse: W = exp(2πi m/(16 S)), m one of the S times that are settled.
    for pass in 0..later.saturating_sub(1) {
        let stride = 1usize << (4 * (later - 1 - pass));
        powers(
            &mut table,
            (0..stride).map(|m| m as f64 / (16 * stride) as f64),
        );
    }
    // The last pass: W, W², … of W = exp(2πi m/P), then c = exp(−2πi m/(4P)) and c·W^(R/2).
    let times = size / first;
    let turns = |m: usize| m as f64 / size as f64;
    let powers = (0..first.ilog2() - 1).map(|level| f64::from(1u32 << level));
    let factors = powers.chain([-0.25, (first / 2) as f64 - 0.25]);
    for factor in factors {
        (0..times).for_each(|m| push(&mut table, factor * turns(m)));
    }
    table
}

/// The frequency that belongs to a high part of the index: its digits reversed.
fn settled_frequency(high: usize, first: usize, pass: u32) -> usize {
    let later = (0..pass).fold(0, |k, digit| 16 * k + (high >> (4 * digit)) % 16);
    (high >> (4 * pass)) + first * later
}

/// `W, W²` of every W = exp(2πi·turns), then `W⁴, W⁸` of every one.
fn powers(table: &mut Vec<f32>, turns: impl Iterator<Item = f64> + Clone) {
    for pair in [[1.0, 2.0], [4.0, 8.0]] {
        for turns in turns.clone() {
            pair.iter().for_each(|power| push(table, power * turns));
        }
    }
}

fn push(table: &mut Vec<f32>, turns: f64) {
    let (sine, cosine) = (TAU * turns.fract()).sin_cos();
    table.extend([cosine as f32, sine as f32]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_settle_digit_by_digit() {
        // first radix 4, then digits of 16: k1 is the most significant digit of the position
        assert_eq!(settled_frequency(3, 4, 0), 3);
        assert_eq!(settled_frequency(3 * 16 + 5, 4, 1), 3 + 4 * 5);
        let position = (3 * 16 + 5) * 16 + 7;
        assert_eq!(settled_frequency(position, 4, 2), 3 + 4 * (5 + 16 * 7));
    }

    #[test]
    fn tables_hold_what_the_kernels_read() {
        for (size, complex_values) in [
            (64, 4 * 4 + 16 * 3),
            (512, 4 * (2 + 32) + 4 * 16 + 256 * 2),
            (4096, 4 * (16 + 256) + 4 * 16 + 256 * 5),
            (16384, 4 * (4 + 64 + 1024) + 4 * (256 + 16) + 4096 * 3),
        ] {
            assert_eq!(twiddles(size).len(), 2 * complex_values, "{size}");
        }
    }

    #[test]
    fn every_twiddle_lies_on_the_unit_circle() {
        for value in twiddles(2048).chunks(2) {
            assert!((value[0].hypot(value[1]) - 1.0).abs() < 1e-6);
        }
    }
}

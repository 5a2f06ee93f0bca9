//! The twiddles that the f32 kernels read, in the order of `Table` in `cuda/full_rows.cuh`.
//!
//! A transform of P points with Q = 16 or 32 of them in a thread has a first pass of a
//! radix R from 2 to Q and then passes of radix Q. `cuda/fft_f32.cuh` has the formulas.

use super::recipe::FullRecipe;
use std::f64::consts::TAU;

/// The table for the transforms of a recipe.
pub(super) fn twiddles(recipe: &FullRecipe) -> Vec<f32> {
    let (size, radix) = (recipe.size, recipe.points_per_thread);
    let bits = radix.ilog2();
    let first = 1usize << ((size.ilog2() - 1) % bits + 1);
    let later = (size / first).ilog2() / bits;
    let mut table = Vec::new();

    // Forward: W = exp(−2πi (K − 1/4)/(Q N)), K one of the N frequencies that the digits before
    // have settled; the quarter makes the weights of the right-angle form.
    for pass in 0..later {
        let settled = first << (bits * pass);
        let frequency = |high| settled_frequency(high, first, bits, pass) as f64 - 0.25;
        let turns = (0..settled).map(|high| -frequency(high) / (radix * settled) as f64);
        powers(&mut table, bits, turns);
    }
    // Inverse: W = exp(2πi m/(Q S)), m one of the S times that are settled.
    for pass in 0..later.saturating_sub(1) {
        let stride = 1usize << (bits * (later - 1 - pass));
        let turns = (0..stride).map(|m| m as f64 / (radix * stride) as f64);
        powers(&mut table, bits, turns);
    }
    // The last pass: W, W² … of W = exp(2πi m/P), then c = exp(−2πi m/(4P)) and c·W^(R/2).
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
fn settled_frequency(high: usize, first: usize, bits: u32, pass: u32) -> usize {
    let later = (0..pass).fold(0, |k, digit| {
        (k << bits) + (high >> (bits * digit)) % (1 << bits)
    });
    (high >> (bits * pass)) + first * later
}

/// `W, W²` of every W = exp(2πi·turns), then `W⁴, W⁸` of every one, and so on: `count` powers.
fn powers(table: &mut Vec<f32>, count: u32, turns: impl Iterator<Item = f64> + Clone) {
    for level in (0..count).step_by(2) {
        for turns in turns.clone() {
            for level in level..(level + 2).min(count) {
                push(table, f64::from(1u32 << level) * turns);
            }
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
        assert_eq!(settled_frequency(3, 4, 4, 0), 3);
        assert_eq!(settled_frequency(3 * 16 + 5, 4, 4, 1), 3 + 4 * 5);
        let position = (3 * 16 + 5) * 16 + 7;
        assert_eq!(settled_frequency(position, 4, 4, 2), 3 + 4 * (5 + 16 * 7));
    }

    fn table(size: usize) -> Vec<f32> {
        twiddles(&FullRecipe::choose(size, 227 << 10).unwrap())
    }

    #[test]
    fn tables_hold_what_the_kernels_read() {
        for (size, complex_values) in [
            (64, 4 * 4 + 16 * 3),
            (512, 5 * 16 + 32 * 5),
            (1024, 5 * 32 + 32 * 6),
            (4096, 4 * (16 + 256) + 4 * 16 + 256 * 5),
            (8192, 5 * (8 + 256) + 5 * 32 + 1024 * 4),
            (16384, 5 * (16 + 512) + 5 * 32 + 1024 * 5),
        ] {
            assert_eq!(table(size).len(), 2 * complex_values, "{size}");
        }
    }

    #[test]
    fn every_twiddle_lies_on_the_unit_circle() {
        for value in table(2048).chunks(2) {
            assert!((value[0].hypot(value[1]) - 1.0).abs() < 1e-6);
        }
    }
}

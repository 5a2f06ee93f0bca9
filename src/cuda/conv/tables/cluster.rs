//! The tables of rows on clusters: `cuda/cluster_rows.cuh`.

use super::{as_left, column_twiddles, complex, dft, pack, product, turn, Entry};
use crate::cuda::conv::cluster_rows::recipe::ClusterRecipe;
use crate::cuda::conv::long_rows::recipe::LAST_POINTS;

/// Columns j of a unit.
const BUTTERFLY: usize = LAST_POINTS / 256;

/// Matrices of X' for each j; of X' and Y' of m for each row kX; inner twiddles; twiddles for each
/// k''; the factors of b forth and back.
pub(crate) fn cluster_tables(recipe: &ClusterRecipe) -> Vec<u32> {
    let (size, weight) = (recipe.size, recipe.form.weight());
    let butterfly = recipe.first_points / 16;
    // What m contributes to the twiddle of row k and to the weight.
    let fold = |k: usize, m: usize| turn(m as f64 * (weight - k as f64) / size as f64);
    let normal = 1.0 / (butterfly as f64).sqrt();
    let mut words = Vec::new();
    let mut matrix = |parts: [Entry; 2]| words.extend(parts.iter().flat_map(blocks));
    for j in 0..BUTTERFLY {
        let x = |k: usize, n: usize| {
            dft(16, k, n) * turn(weight * n as f64 / 16.0) * fold(k, j) * normal
        };
        matrix(complex(as_left, x));
    }
    for k in 0..recipe.first_points {
        let x = |row: usize, n: usize| dft(16, row, n) * fold(k, 16 * BUTTERFLY * n);
        let y = |n: usize, row: usize| dft(16, row, n) * fold(k, BUTTERFLY * n);
        matrix(complex(as_left, x));
        matrix(complex(as_left, y));
    }
    matrix(complex(as_left, |k, n| turn(-product(k, n) / 256.0)));
    for digit in 0..butterfly {
        for q in 0..4 {
            let twiddles = column_twiddles(q, BUTTERFLY, |k, j| {
                let of_digit = product(16 * digit, j) / size as f64;
                turn(-product(k, j) / LAST_POINTS as f64 - of_digit)
            });
            words.extend(twiddles.into_iter().flatten().flatten());
        }
    }
    let factor =
        |b: usize, k: usize| turn(b as f64 * (weight - k as f64) / (16 * butterfly) as f64);
    let mut factors = |b: usize, first: usize, second: usize| {
        let (first, second) = (factor(b, first), factor(b, second));
        words.extend([pack(first.re, second.re), pack(first.im, second.im)]);
    };
    for b in 1..butterfly {
        (0..16).for_each(|k| factors(b, k, k));
    }
    for b in 1..butterfly {
        (0..16).step_by(2).for_each(|k| factors(b, k, k + 1));
    }
    words
}

/// An entry as four 8 × 8 blocks, of 16 bytes a row.
fn blocks(entry: &Entry) -> Vec<u32> {
    (0..4)
        .flat_map(|block| entry.iter().map(move |lane| lane[block]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::conv::long_rows::recipe::LongRecipe;

    #[test]
    fn tables_have_the_length_that_kernels_read() {
        let long = LongRecipe::choose(65536, 227 << 10).unwrap();
        let recipe = ClusterRecipe::choose(65536, &long, 227 << 10).unwrap();
        let (points, digits) = (32, 2);
        let matrices = 16 + 4 * points + 2;
        let words = (matrices + 16 * digits) * 128 + (digits - 1) * 2 * (16 + 8);
        assert_eq!(cluster_tables(&recipe).len(), words);
    }

    #[test]
    fn blocks_of_rows() {
        let entry: Entry = std::array::from_fn(|lane| [lane as u32; 4].map(|word| word));
        let words = blocks(&entry);
        assert_eq!(words.len(), 128);
        assert_eq!((words[5], words[32], words[127]), (5, 0, 31));
    }
}

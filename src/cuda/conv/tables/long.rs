//! The tables of rows in several passes: `cuda/long_rows.cuh`.

use super::{
    as_left, as_result, as_right, block_rows, column_twiddles, complex, dft, left, negative,
    product, turn, Entry,
};
use crate::cuda::conv::long_rows::recipe::{LongRecipe, LAST_POINTS};
use rustfft::num_complex::Complex64;

/// Columns, columns back, middle columns, middle columns back, rows, rows on the chip: as many entries each as
/// [`LongRecipe::table_entries`] says.
pub(crate) fn long_tables(recipe: &LongRecipe) -> Vec<u32> {
    let mut entries = columns(recipe.columns, recipe.form.weight());
    entries.extend(complex(as_left, forward));
    entries.extend(complex(as_left, inverse));
    entries.extend(rows());
    if recipe.rows_on_chip > 0 {
        entries.extend(block_rows(recipe.row_points(), recipe.middle, 0.0));
    }
    entries.into_iter().flatten().flatten().collect()
}

fn forward(k: usize, n: usize) -> Complex64 {
    dft(16, k, n)
}
fn inverse(n: usize, k: usize) -> Complex64 {
    forward(k, n).conj()
}

/// X = points/16 · X' + j: matrices of X', for each j with its twiddle and weight; and back.
fn columns(points: usize, weight: f64) -> Vec<Entry> {
    let butterfly = points / 16;
    let normal = 1.0 / (butterfly as f64).sqrt();
    let matrix = |j: usize| {
        move |k: usize, n: usize| {
            let x = (butterfly * n + j) as f64;
            dft(16, k, n) * turn((weight * x - product(k, j)) / points as f64) * normal
        }
    };
    let mut entries = Vec::new();
    for j in 0..butterfly {
        entries.extend(complex(as_left, matrix(j)));
    }
    for j in 0..butterfly {
        let inverse = |n: usize, k: usize| matrix(j)(k, n).conj();
        entries.push(left(|n, k| inverse(n, k).re));
        entries.push(negative(as_left, inverse));
    }
    entries
}

/// m = (16 X + Y) R + j, R = 8.
fn rows() -> Vec<Entry> {
    const BUTTERFLY: usize = LAST_POINTS / 256;
    let mut entries = Vec::new();
    entries.extend(complex(as_left, forward));
    entries.extend(complex(as_right, forward));
    entries.extend(complex(as_left, inverse));
    entries.extend(complex(as_right, inverse));
    let twiddle = |k: usize, y: usize| turn(-product(k, y) / 256.0);
    entries.extend(complex(as_result, twiddle));
    entries.extend(complex(as_result, |y, k| twiddle(k, y).conj()));
    for q in 0..4 {
        entries.extend(column_twiddles(q, BUTTERFLY, |k, j| {
            turn(-product(k, j) / LAST_POINTS as f64)
        }));
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_entries_as_the_recipe_says() {
        for length in [65536, 131_072, 524_288, 1 << 23] {
            let recipe = LongRecipe::choose(length, 227 << 10).unwrap();
            let entries: usize = recipe.table_entries().iter().sum();
            assert_eq!(long_tables(&recipe).len(), entries * 128, "{length}");
        }
    }
}

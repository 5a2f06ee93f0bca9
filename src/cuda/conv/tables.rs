//! The DFT matrices and twiddles of the kernels for f16 and bf16, in the order in which
//! their lanes read them. `cuda/tile_rows.cuh`, `warp_rows.cuh` and `block_rows.cuh` say
//! what each entry is for.
//!
//! Every DFT matrix of r points is scaled by 1/√r, and the weights `exp(2πi·weight·n/P)` of
//! the samples (`Form::weight`) are folded into the first and the last factors.

mod cluster;
mod long;

pub(crate) use cluster::cluster_tables;
pub(crate) use long::long_tables;

use super::recipe::{Family, HalfRecipe};
use half::f16;
use rustfft::num_complex::Complex64;
use std::f64::consts::TAU;

/// What 32 lanes read at once: four words each, of two f16 numbers.
type Entry = [[u32; 4]; 32];

/// The tables of a recipe, as words.
pub(crate) fn tables(recipe: &HalfRecipe) -> Vec<u32> {
    let weight = recipe.form.weight();
    let entries = match recipe.family {
        Family::TileRows if recipe.size == 128 => tile_8(weight),
        Family::TileRows => tile_16(weight),
        Family::WarpRows => warp_rows(recipe.size, weight),
        Family::BlockRows | Family::PairRows => {
            block_rows(recipe.size, recipe.first_points, weight)
        }
    };
    entries.into_iter().flatten().flatten().collect()
}

/// `exp(2πi · turns)`
fn turn(turns: f64) -> Complex64 {
    // Reduced first: sine and cosine of large arguments lose digits.
    Complex64::cis(TAU * turns.fract())
}

fn pack(low: f64, high: f64) -> u32 {
    u32::from(f16::from_f64(low).to_bits()) | u32::from(f16::from_f64(high).to_bits()) << 16
}

/// An entry from the words of lane `4g + t`.
fn entry(words: impl Fn(usize, usize) -> [u32; 4]) -> Entry {
    std::array::from_fn(|lane| words(lane / 4, lane % 4))
}

/// A left operand of 16 × 16.
fn left(matrix: impl Fn(usize, usize) -> f64) -> Entry {
    entry(|g, t| {
        [(0, 0), (8, 0), (0, 8), (8, 8)].map(|(row, column)| {
            let (row, column) = (g + row, 2 * t + column);
            pack(matrix(row, column), matrix(row, column + 1))
        })
    })
}

/// A right operand of 16 × 16: two of 16 × 8.
fn right(matrix: impl Fn(usize, usize) -> f64) -> Entry {
    entry(|g, t| {
        [(0, 0), (8, 0), (0, 8), (8, 8)].map(|(row, column)| {
            let (row, column) = (2 * t + row, g + column);
            pack(matrix(row, column), matrix(row + 1, column))
        })
    })
}

/// Elementwise factors of a result of 16 × 16.
fn result(matrix: impl Fn(usize, usize) -> f64) -> Entry {
    left(matrix) // word for word the same places
}

/// Both parts of a complex entry.
fn complex(
    kind: fn(&dyn Fn(usize, usize) -> f64) -> Entry,
    matrix: impl Fn(usize, usize) -> Complex64,
) -> [Entry; 2] {
    [kind(&|r, c| matrix(r, c).re), kind(&|r, c| matrix(r, c).im)]
}

/// The part of an entry that is negative.
fn negative(
    kind: fn(&dyn Fn(usize, usize) -> f64) -> Entry,
    matrix: impl Fn(usize, usize) -> Complex64,
) -> Entry {
    kind(&|r, c| -matrix(r, c).im)
}

fn as_left(matrix: &dyn Fn(usize, usize) -> f64) -> Entry {
    left(matrix)
}
fn as_right(matrix: &dyn Fn(usize, usize) -> f64) -> Entry {
    right(matrix)
}
fn as_result(matrix: &dyn Fn(usize, usize) -> f64) -> Entry {
    result(matrix)
}

/// The product of two indices as a real number.
fn product(a: usize, b: usize) -> f64 {
    (a * b) as f64
}

/// One row of the forward DFT of `points` points: `exp(−2πi k n / points) / √points`.
fn dft(points: usize, k: usize, n: usize) -> Complex64 {
    turn(-product(k, n) / points as f64) / (points as f64).sqrt()
}

/// P = 128: n = 8 X + Y.
fn tile_8(weight: f64) -> Vec<Entry> {
    // k(X) from X, with the weight of X
    let x = |k: usize, n: usize| dft(16, k, n) * turn(weight * n as f64 / 16.0);
    // [k(X)][Y]: the twiddle, with the weight of Y
    let twiddle = |k: usize, y: usize| turn(-product(k, y) / 128.0 + weight * y as f64 / 128.0);
    let y = |n: usize, k: usize| dft(8, k, n);
    // Words: rows g and g + 8 of real, then of imaginary parts.
    let twiddles = entry(|g, t| {
        let word = |row: usize, part: fn(Complex64) -> f64| {
            pack(part(twiddle(row, 2 * t)), part(twiddle(row, 2 * t + 1)))
        };
        [
            word(g, |z| z.re),
            word(g + 8, |z| z.re),
            word(g, |z| z.im),
            word(g + 8, |z| z.im),
        ]
    });
    // Terms: real, then imaginary parts of the 8 Y. Results: real parts, then imaginary parts.
    let y_stacked = entry(|g, t| {
        let word = |of: &dyn Fn(Complex64) -> f64| pack(of(y(2 * t, g)), of(y(2 * t + 1, g)));
        [
            word(&|z| z.re),
            word(&|z| -z.im),
            word(&|z| z.im),
            word(&|z| z.re),
        ]
    });
    // Rows: real, then imaginary parts of the 8 Y; columns: those of the 8 k(Y).
    let inverse_y = left(|row, column| {
        let z = y(row % 8, column % 8).conj();
        match (row < 8, column < 8) {
            (true, true) | (false, false) => z.re,
            (true, false) => -z.im,
            (false, true) => z.im,
        }
    });
    // Words: columns k(X) = 2t and 2t + 8 of real, then of imaginary parts.
    let inverse_twiddles = entry(|g, t| {
        let word = |k: usize, part: fn(Complex64) -> f64| {
            pack(part(twiddle(k, g).conj()), part(twiddle(k + 1, g).conj()))
        };
        [
            word(2 * t, |z| z.re),
            word(2 * t + 8, |z| z.re),
            word(2 * t, |z| z.im),
            word(2 * t + 8, |z| z.im),
        ]
    });
    let inverse_x = |n: usize, k: usize| x(k, n).conj();
    let [x_re, x_im] = complex(as_left, x);
    let last_re = left(|n, k| inverse_x(n, k).re);
    let last_im = negative(as_left, inverse_x);
    vec![
        x_re,
        x_im,
        twiddles,
        y_stacked,
        inverse_y,
        inverse_twiddles,
        last_re,
        last_im,
    ]
}

/// P = 256: n = 16 X + Y.
fn tile_16(weight: f64) -> Vec<Entry> {
    let y_of_slot = |slot: usize| 4 * (slot % 8 / 2) + 2 * (slot / 8) + slot % 2;
    let inner = Inner { y_of_slot, weight };
    let mut entries = inner.entries();
    let x = |n: usize, k: usize| inner.x(k, n).conj();
    entries.push(left(|n, k| x(n, k).re));
    entries.push(negative(as_left, x));
    entries
}

/// The matrices of X and Y that the 256-point part of a transform needs in registers.
struct Inner<SlotMap: Fn(usize) -> usize> {
    /// Which Y a column of the results is.
    y_of_slot: SlotMap,
    /// Of the samples.
    weight: f64,
}

impl<SlotMap: Fn(usize) -> usize> Inner<SlotMap> {
    /// [k(X)][X]
    fn x(&self, k: usize, n: usize) -> Complex64 {
        dft(16, k, n) * turn(self.weight * n as f64 / 16.0)
    }

    /// [k(X)][slot of Y]
    fn twiddle(&self, k: usize, slot: usize) -> Complex64 {
        let y = (self.y_of_slot)(slot);
        turn(-product(k, y) / 256.0 + self.weight * y as f64 / 256.0)
    }

    /// [slot of Y][k(Y)]
    fn y(&self, slot: usize, k: usize) -> Complex64 {
        dft(16, k, (self.y_of_slot)(slot))
    }

    /// Everything up to the inverse twiddles: DFT of X; twiddle; DFT of Y and its negative
    /// imaginary part; inverse DFT of Y and the same; inverse twiddle.
    fn entries(&self) -> Vec<Entry> {
        let inverse_y = |slot: usize, k: usize| self.y(slot, k).conj();
        let mut entries = Vec::new();
        entries.extend(complex(as_left, |r, c| self.x(r, c)));
        entries.extend(complex(as_result, |r, c| self.twiddle(r, c)));
        entries.extend(complex(as_right, |r, c| self.y(r, c)));
        entries.push(negative(as_right, |r, c| self.y(r, c)));
        entries.extend(complex(as_left, inverse_y));
        entries.push(negative(as_left, inverse_y));
        entries.extend(complex(as_result, |slot, row| {
            self.twiddle(row, slot).conj()
        }));
        entries
    }
}

/// Where the two halves of the 16 Y of a row of 256 `butterfly` samples are: odd and even, where
/// lanes take few samples each, so that neighbours lie side by side.
fn y_of_slot(interleaved: bool) -> impl Fn(usize) -> usize {
    move |slot| {
        if interleaved {
            2 * (slot % 8) + slot / 8
        } else {
            slot
        }
    }
}

/// P = 256 R, n = (16 X + Y) R + j.
fn warp_rows(size: usize, weight: f64) -> Vec<Entry> {
    let butterfly = size / 256;
    let inner = Inner {
        y_of_slot: y_of_slot(butterfly <= 4),
        weight,
    };
    let mut entries = inner.entries();
    let x = |k: usize, n: usize| inner.x(k, n).conj();
    entries.push(right(|k, n| x(k, n).re));
    entries.push(negative(as_right, x));
    for q in 0..4 {
        entries.extend(column_twiddles(q, butterfly, |k, j| {
            turn((weight - k as f64) * j as f64 / size as f64)
        }));
    }
    entries
}

/// The factors of word `q` of all columns, real parts first.
fn column_twiddles(
    q: usize,
    butterfly: usize,
    factor: impl Fn(usize, usize) -> Complex64,
) -> Vec<Entry> {
    let mut words = Vec::new(); // one for each column and part
    for part in [|z: Complex64| z.re, |z: Complex64| z.im] {
        for j in 0..butterfly {
            let lanes: [u32; 32] = std::array::from_fn(|lane| {
                let k = |low| frequency_of_word(lane, q, low);
                pack(part(factor(k(0), j)), part(factor(k(1), j)))
            });
            words.push(lanes);
        }
    }
    words
        .chunks_exact(4)
        .map(|four| std::array::from_fn(|lane| std::array::from_fn(|i| four[i][lane])))
        .collect()
}

/// k(X) + 16 k(Y) of half `low` of word `q` of a lane.
fn frequency_of_word(lane: usize, q: usize, low: usize) -> usize {
    let (g, t) = (lane / 4, lane % 4);
    (g + 8 * (q & 1)) + 16 * (2 * t + low + 8 * (q >> 1))
}

/// P = A M, M = 256 R, n = X M + m, m = (16 X' + Y') R + j.
fn block_rows(size: usize, first: usize, weight: f64) -> Vec<Entry> {
    let row = size / first;
    let butterfly = row / 256;
    // What m contributes to the twiddle of row k and to the weight.
    let fold = |k: usize, m: usize| turn(m as f64 * (weight - k as f64) / size as f64);
    let mut entries = Vec::new();
    for j in 0..butterfly {
        let x = |k: usize, n: usize| {
            dft(first, k, n) * turn(weight * n as f64 / first as f64) * fold(k, j)
        };
        let inverse = |k: usize, n: usize| x(k, n).conj(); // as a right operand: terms k
        if first == 16 {
            entries.extend(complex(as_left, x));
            entries.push(right(|k, n| inverse(k, n).re));
            entries.push(negative(as_right, inverse));
        } else {
            // Rows (terms) are real, then imaginary parts of the 8 points; of 4 points for one
            // unit of samples and then for another. Columns are real samples, and for 8 points then
            // imaginary ones, which the rows between columns have (`cuda/long_block_rows.cuh`).
            let place = |row: usize, n: usize| {
                let same_unit = first == 8 || (row / (2 * first) == n / first && n < 8);
                let is_imaginary = row % (2 * first) >= first;
                same_unit.then_some((row % first, n % first, is_imaginary, n >= 8))
            };
            let stacked = left(|row, n| match place(row, n) {
                Some((k, n, false, false)) => x(k, n).re,
                Some((k, n, true, false)) => x(k, n).im,
                Some((k, n, false, true)) => -x(k, n).im,
                Some((k, n, true, true)) => x(k, n).re,
                None => 0.0,
            });
            let stacked_inverse = right(|row, n| match place(row, n) {
                Some((k, n, false, false)) => inverse(k, n).re,
                Some((k, n, true, false)) => -inverse(k, n).im,
                Some((k, n, false, true)) => inverse(k, n).im,
                Some((k, n, true, true)) => inverse(k, n).re,
                None => 0.0,
            });
            let empty = [[0; 4]; 32];
            entries.extend([stacked, empty, stacked_inverse, empty]);
        }
    }
    let slots = y_of_slot(butterfly == 4);
    for k in 0..first {
        let x = |row: usize, n: usize| dft(16, row, n) * fold(k, 16 * butterfly * n);
        let y =
            |slot: usize, row: usize| dft(16, row, slots(slot)) * fold(k, butterfly * slots(slot));
        entries.extend(complex(as_left, x));
        entries.extend(complex(as_right, y));
        entries.extend(complex(as_left, |slot, row| y(slot, row).conj()));
        entries.extend(complex(as_right, |row, n| x(row, n).conj()));
    }
    let twiddle = |k: usize, slot: usize| turn(-product(k, slots(slot)) / 256.0);
    entries.extend(complex(as_result, twiddle));
    entries.extend(complex(as_result, |slot, k| twiddle(k, slot).conj()));
    for q in 0..4 {
        entries.extend(column_twiddles(q, butterfly, |k, j| {
            turn(-product(k, j) / row as f64)
        }));
    }
    entries
}

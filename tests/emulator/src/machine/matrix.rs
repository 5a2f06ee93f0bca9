//! Matrix products of a warp, and matrices between registers and shared memory.

use super::bits::Bits;
use super::instruction::{Factor, Lanes};
use half::{bf16, f16};

/// Rows of the left operand and of the result.
const ROWS: usize = 16;
/// Columns of the right operand and of the result.
const COLUMNS: usize = 8;

fn number(factor: Factor, half_word: u64) -> f32 {
    match factor {
        Factor::Half => f16::of(half_word).to_f32(),
        Factor::BFloat => bf16::of(half_word).to_f32(),
    }
}

/// `left * right + addend`; the words of each are laid out over the lanes as PTX says.
#[allow(clippy::too_many_arguments)]
#[allow(clippy::needless_range_loop)] // a lane of several registers
pub fn product(
    registers: &mut [Lanes],
    factor: Factor,
    terms: usize,
    float_sum: bool,
    result: &[u32],
    left: &[u32],
    right: &[u32],
    addend: &[u32],
) {
    let mut a = [[0f32; 16]; ROWS];
    let mut b = [[0f32; COLUMNS]; 16];
    let mut sum = [[0f32; COLUMNS]; ROWS];
    for lane in 0..32 {
        let (group, pair) = (lane / 4, lane % 4);
        for (index, &slot) in left.iter().enumerate() {
            let word = registers[slot as usize][lane];
            let row = group + 8 * (index % 2);
            let column = 2 * pair + 8 * (index / 2);
            a[row][column] = number(factor, word);
            a[row][column + 1] = number(factor, word >> 16);
        }
        for (index, &slot) in right.iter().enumerate() {
            let word = registers[slot as usize][lane];
            let row = 2 * pair + 8 * index;
            b[row][group] = number(factor, word);
            b[row + 1][group] = number(factor, word >> 16);
        }
        for (index, &slot) in addend.iter().enumerate() {
            let word = registers[slot as usize][lane];
            if float_sum {
                sum[group + 8 * (index / 2)][2 * pair + index % 2] = f32::of(word);
            } else {
                let row = group + 8 * index;
                sum[row][2 * pair] = f16::of(word).to_f32();
                sum[row][2 * pair + 1] = f16::of(word >> 16).to_f32();
            }
        }
    }
    for (sums, a) in sum.iter_mut().zip(&a) {
        for (&a, b) in a[..terms].iter().zip(&b) {
            for (sum, &b) in sums.iter_mut().zip(b) {
                *sum = a.mul_add(b, *sum);
            }
        }
    }
    for lane in 0..32 {
        let (group, pair) = (lane / 4, lane % 4);
        for (index, &slot) in result.iter().enumerate() {
            registers[slot as usize][lane] = if float_sum {
                sum[group + 8 * (index / 2)][2 * pair + index % 2].bits()
            } else {
                let row = &sum[group + 8 * index];
                f16::from_f32(row[2 * pair]).bits() | f16::from_f32(row[2 * pair + 1]).bits() << 16
            };
        }
    }
}

/// An 8 x 8 matrix of which each lane has two numbers of row lane / 4, transposed.
pub fn transposed(words: &Lanes) -> Lanes {
    let mut numbers = [[0u64; 8]; 8];
    for (lane, word) in words.iter().enumerate() {
        numbers[lane / 4][2 * (lane % 4)] = word & 0xffff;
        numbers[lane / 4][2 * (lane % 4) + 1] = word >> 16 & 0xffff;
    }
    let mut result = [0; 32];
    for (lane, word) in result.iter_mut().enumerate() {
        *word = numbers[2 * (lane % 4)][lane / 4] | numbers[2 * (lane % 4) + 1][lane / 4] << 16;
    }
    result
}

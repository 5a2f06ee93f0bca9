//! The inner loops: a few taps over a stretch of neighbours.
//!
//! A sum takes its taps in ascending order, whatever the block it is part of, so
//! a result does not depend on how the work is cut.

use super::element::Accumulator;

/// How many taps one pass over the output takes at most.
const TAPS_A_PASS: usize = 8;

/// `y[t] = bias + Σ_j weight[j] · x[t + j]`: neighbours are samples of one channel.
/// `x` holds `y.len() + weight.len() − 1` samples.
#[inline(always)]
pub(super) fn along_samples<A: Accumulator>(weight: &[A], bias: A, x: &[A], y: &mut [A]) {
    y.fill(bias);
    for (pass, weight) in weight.chunks(TAPS_A_PASS).enumerate() {
        let x = &x[pass * TAPS_A_PASS..][..y.len() + weight.len() - 1];
        match *weight {
            [w0] => samples_pass([w0], x, y),
            [w0, w1] => samples_pass([w0, w1], x, y),
            [w0, w1, w2] => samples_pass([w0, w1, w2], x, y),
            [w0, w1, w2, w3] => samples_pass([w0, w1, w2, w3], x, y),
            [w0, w1, w2, w3, w4] => samples_pass([w0, w1, w2, w3, w4], x, y),
            [w0, w1, w2, w3, w4, w5] => samples_pass([w0, w1, w2, w3, w4, w5], x, y),
            [w0, w1, w2, w3, w4, w5, w6] => samples_pass([w0, w1, w2, w3, w4, w5, w6], x, y),
            [w0, w1, w2, w3, w4, w5, w6, w7] => {
                samples_pass([w0, w1, w2, w3, w4, w5, w6, w7], x, y)
            }
            _ => {}
        }
    }
}

#[inline(always)]
fn samples_pass<A: Accumulator, const K: usize>(weight: [A; K], x: &[A], y: &mut [A]) {
    for (y, x) in y.iter_mut().zip(x.windows(K)) {
        let mut sum = *y;
        for (&w, &x) in weight.iter().zip(x) {
            sum += w * x;
        }
        *y = sum;
    }
}

/// `y[h] = bias[h] + Σ_j weight(j)[h] · x(j)[h]`: neighbours are channels of one
/// sample. All slices have the length of `y`.
#[inline(always)]
pub(super) fn along_channels<'a, A: Accumulator>(
    taps: usize,
    weight: impl Fn(usize) -> &'a [A],
    bias: &[A],
    x: impl Fn(usize) -> &'a [A],
    y: &mut [A],
) {
    y.copy_from_slice(bias);
    for first in (0..taps).step_by(TAPS_A_PASS) {
        match (taps - first).min(TAPS_A_PASS) {
            1 => channels_pass::<A, 1>(first, &weight, &x, y),
            2 => channels_pass::<A, 2>(first, &weight, &x, y),
            3 => channels_pass::<A, 3>(first, &weight, &x, y),
            4 => channels_pass::<A, 4>(first, &weight, &x, y),
            5 => channels_pass::<A, 5>(first, &weight, &x, y),
            6 => channels_pass::<A, 6>(first, &weight, &x, y),
            7 => channels_pass::<A, 7>(first, &weight, &x, y),
            _ => channels_pass::<A, TAPS_A_PASS>(first, &weight, &x, y),
        }
    }
}

#[inline(always)]
fn channels_pass<'a, A: Accumulator, const K: usize>(
    first: usize,
    weight: &impl Fn(usize) -> &'a [A],
    x: &impl Fn(usize) -> &'a [A],
    y: &mut [A],
) {
    let count = y.len();
    let weight: [&[A]; K] = std::array::from_fn(|j| &weight(first + j)[..count]);
    let x: [&[A]; K] = std::array::from_fn(|j| &x(first + j)[..count]);
    for h in 0..count {
        let mut sum = y[h];
        for j in 0..K {
            sum += weight[j][h] * x[j][h];
        }
        y[h] = sum;
    }
}

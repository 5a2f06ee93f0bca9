//! The inner loops: a few taps over a stretch of neighbours.
//!
//! A sum takes its taps in ascending order, whatever the block it is part of, so
//! a result does not depend on how the work is cut.

use super::element::Accumulator;
use crate::depthwise::Activation;

/// Runs `work` compiled for the widest vector instructions of this processor.
/// Only what is inlined into it profits: hence `#[inline(always)]` below.
pub(super) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

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

/// Applies the activation to finished sums.
#[inline(always)]
pub(super) fn activate<A: Accumulator>(activation: Activation, sums: &mut [A]) {
    match activation {
        Activation::None => {}
        Activation::Silu => sums.iter_mut().for_each(|sum| *sum = sum.silu()),
    }
}

/// How many taps one pass of a gradient takes at most: each has its own sums in registers.
const GRADIENT_TAPS_A_PASS: usize = 4;

/// Partial sums that are made side by side.
const LANES: usize = 16;

/// `sums[j] += Σ_t dy[t] · x[t + j]`. `x` holds `dy.len() + sums.len() − 1` samples.
#[inline(always)]
pub(super) fn products_along_samples<A: Accumulator>(dy: &[A], x: &[A], sums: &mut [f64]) {
    for (pass, sums) in sums.chunks_mut(GRADIENT_TAPS_A_PASS).enumerate() {
        let x = &x[pass * GRADIENT_TAPS_A_PASS..][..dy.len() + sums.len() - 1];
        match sums {
            [_] => products_pass::<A, 1>(dy, x, sums),
            [_, _] => products_pass::<A, 2>(dy, x, sums),
            [_, _, _] => products_pass::<A, 3>(dy, x, sums),
            _ => products_pass::<A, GRADIENT_TAPS_A_PASS>(dy, x, sums),
        }
    }
}

#[inline(always)]
fn products_pass<A: Accumulator, const K: usize>(dy: &[A], x: &[A], sums: &mut [f64]) {
    let mut lanes = [[A::default(); LANES]; K];
    let (chunks, rest) = dy.as_chunks::<LANES>();
    for (i, dy) in chunks.iter().enumerate() {
        products_of_chunk(dy, &x[i * LANES..][..LANES + K - 1], &mut lanes);
    }
    let mut tail = [A::default(); K];
    for (&dy, x) in rest.iter().zip(x[chunks.len() * LANES..].windows(K)) {
        for (tail, &x) in tail.iter_mut().zip(x) {
            *tail += dy * x;
        }
    }
    for ((sum, lanes), tail) in sums.iter_mut().zip(&lanes).zip(tail) {
        *sum += sum_of_lanes(lanes) + tail.to_f64();
    }
}

/// `sums[j][l] += dy[l] · x[j + l]`
#[inline(always)]
fn products_of_chunk<A: Accumulator, const K: usize>(
    dy: &[A; LANES],
    x: &[A],
    sums: &mut [[A; LANES]; K],
) {
    for (j, sums) in sums.iter_mut().enumerate() {
        let Some(x) = x.get(j..).and_then(|x| x.first_chunk::<LANES>()) else {
            return;
        };
        for l in 0..LANES {
            sums[l] += dy[l] * x[l];
        }
    }
}

/// The sum of all lanes, by halves.
#[inline(always)]
fn sum_of_lanes<A: Accumulator>(lanes: &[A; LANES]) -> f64 {
    let mut wide = lanes.map(|lane| lane.to_f64());
    for half in [LANES / 2, LANES / 4, LANES / 8, LANES / 16] {
        for l in 0..half {
            wide[l] += wide[l + half];
        }
    }
    wide[0]
}

/// `Σ_t dy[t]`
#[inline(always)]
pub(super) fn total<A: Accumulator>(dy: &[A]) -> f64 {
    let mut lanes = [A::default(); LANES];
    let (chunks, rest) = dy.as_chunks::<LANES>();
    for chunk in chunks {
        for l in 0..LANES {
            lanes[l] += chunk[l];
        }
    }
    let tail: f64 = rest.iter().map(|dy| dy.to_f64()).sum();
    sum_of_lanes(&lanes) + tail
}

/// How many frames one pass of a gradient takes, so that a sum is read and written once for all of them.
const FRAMES_A_PASS: usize = 4;

/// `sums[j][h] += Σ_i dy(i)[h] · x(i + j)[h]` over `frames` frames and, behind the
/// taps, `sums[taps][h] += Σ_i dy(i)[h]`. All frames have the same number of channels.
#[inline(always)]
pub(super) fn products_along_channels<'a, A: Accumulator>(
    frames: usize,
    taps: usize,
    dy: impl Fn(usize) -> &'a [A],
    x: impl Fn(usize) -> &'a [A],
    sums: &mut [A],
) {
    let width = sums.len() / (taps + 1);
    let (taps_sums, bias_sums) = sums.split_at_mut(taps * width);
    let whole = frames - frames % FRAMES_A_PASS;
    for first in (0..whole).step_by(FRAMES_A_PASS) {
        let dy: [&[A]; FRAMES_A_PASS] = std::array::from_fn(|f| dy(first + f));
        products_of_frames(first, dy, &x, taps_sums, bias_sums);
    }
    for first in whole..frames {
        products_of_frames(first, [dy(first)], &x, taps_sums, bias_sums);
    }
}

#[inline(always)]
fn products_of_frames<'a, A: Accumulator, const F: usize>(
    first: usize,
    dy: [&'a [A]; F],
    x: &impl Fn(usize) -> &'a [A],
    taps_sums: &mut [A],
    bias_sums: &mut [A],
) {
    let width = bias_sums.len();
    let dy = dy.map(|dy| &dy[..width]);
    for (tap, sums) in taps_sums.chunks_exact_mut(width).enumerate() {
        let x: [&[A]; F] = std::array::from_fn(|f| &x(first + f + tap)[..width]);
        for h in 0..width {
            let mut sum = sums[h];
            for f in 0..F {
                sum += dy[f][h] * x[f][h];
            }
            sums[h] = sum;
        }
    }
    for h in 0..width {
        let mut sum = bias_sums[h];
        for dy in &dy {
            sum += dy[h];
        }
        bias_sums[h] = sum;
    }
}

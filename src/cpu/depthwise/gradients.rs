//! The gradients of taps and bias:
//! `dweight[h, j] = Σ_b Σ_t dy[b, h, t] · x[b, h, t + j − left]`, `dbias[h] = Σ_b Σ_t dy[b, h, t]`.
//!
//! The sums are cut into pieces that depend on the shapes alone; each piece is
//! summed in blocks, in the accumulator within a block and in f64 over blocks, and
//! the pieces are added in order. So the result does not depend on the threads.

use super::element::Element;
use super::frames::Frames;
use super::recipe::{blocks, GradientRecipe};
use super::rows::stretch;
use super::taps::{products_along_channels, products_along_samples, total, vectorised};
use super::view::View;
use crate::depthwise::{Conv1dLayout, Correlation};
use candle_core::WithDType;
use rayon::prelude::*;

/// `(H, K + 1)`: the gradients of the taps and, last, of the bias.
pub(super) fn parameter_gradients<T: Element>(
    c: &Correlation,
    x: &View<T>,
    dy: &View<T>,
) -> Vec<T::Accumulator> {
    let recipe = GradientRecipe::new(c);
    let count = c.channels * (c.taps + 1);
    let mut sums = vec![0f64; count];
    if sums.is_empty() || c.batch * c.output_length == 0 {
        return vec![T::Accumulator::default(); count];
    }
    match c.layout {
        Conv1dLayout::Bhl => rows(c, recipe, x, dy, &mut sums),
        Conv1dLayout::Blh => frames(c, recipe, x, dy, &mut sums),
    }
    sums.into_iter().map(T::Accumulator::from_f64).collect()
}

/// Channels-first: a piece is a part of the samples of one channel, in all batch items.
fn rows<T: Element>(
    c: &Correlation,
    recipe: GradientRecipe,
    x: &View<T>,
    dy: &View<T>,
    sums: &mut [f64],
) {
    let width = c.taps + 1;
    let pieces = c.output_length.div_ceil(recipe.outputs_a_piece);
    let identity = &c.identity_of_output();
    let mut partial = vec![0f64; pieces * sums.len()];
    let piece = |index: usize, sums: &mut [f64]| {
        let (channel, piece) = (index / pieces, index % pieces);
        let start = piece * recipe.outputs_a_piece;
        let end = (start + recipe.outputs_a_piece).min(c.output_length);
        let (mut x_scratch, mut dy_scratch) = (Vec::new(), Vec::new());
        for batch in 0..c.batch {
            let (x, dy) = (x.line(batch, channel), dy.line(batch, channel));
            for block in blocks(start..end, c.interior(), recipe.outputs_a_block) {
                let x = stretch(c, x, &block, &mut x_scratch);
                let dy = stretch(identity, dy, &block, &mut dy_scratch);
                let (taps, bias) = sums.split_at_mut(c.taps);
                vectorised(|| {
                    products_along_samples(dy, x, taps);
                    bias[0] += total(dy);
                });
            }
        }
    };
    match recipe.parallel {
        true => partial
            .par_chunks_mut(width)
            .enumerate()
            .for_each(|(i, sums)| piece(i, sums)),
        false => partial
            .chunks_mut(width)
            .enumerate()
            .for_each(|(i, sums)| piece(i, sums)),
    }
    for (sums, pieces) in sums.chunks_mut(width).zip(partial.chunks(pieces * width)) {
        for piece in pieces.chunks(width) {
            add(sums, piece);
        }
    }
}

/// Channels-last: a piece is a part of the frames of some batch items, for all channels.
fn frames<T: Element>(
    c: &Correlation,
    recipe: GradientRecipe,
    x: &View<T>,
    dy: &View<T>,
    sums: &mut [f64],
) {
    let pieces_a_batch = c.output_length.div_ceil(recipe.outputs_a_piece);
    let groups = c.batch.div_ceil(recipe.batches_a_piece);
    let identity = &c.identity_of_output();
    let mut partial = vec![0f64; groups * pieces_a_batch * sums.len()];
    // A piece holds (K + 1, H): the order in which the inner loop sums.
    let piece = |index: usize, sums: &mut [f64]| {
        let (group, piece) = (index / pieces_a_batch, index % pieces_a_batch);
        let batches = group * recipe.batches_a_piece..;
        let start = piece * recipe.outputs_a_piece;
        let end = (start + recipe.outputs_a_piece).min(c.output_length);
        let (mut x_scratch, mut dy_scratch, mut block_sums) = (Vec::new(), Vec::new(), Vec::new());
        for batch in batches
            .take(recipe.batches_a_piece)
            .take_while(|&b| b < c.batch)
        {
            for block in blocks(start..end, 0..0, recipe.outputs_a_block) {
                for first in (0..c.channels).step_by(recipe.channels_a_block) {
                    let channels = first..(first + recipe.channels_a_block).min(c.channels);
                    let x = Frames::read(c, x, batch, &block, &channels, &mut x_scratch);
                    let dy = Frames::read(identity, dy, batch, &block, &channels, &mut dy_scratch);
                    block_sums.clear();
                    block_sums.resize((c.taps + 1) * channels.len(), T::Accumulator::default());
                    vectorised(|| {
                        products_along_channels(
                            block.len(),
                            c.taps,
                            |i| dy.get(i),
                            |i| x.get(i),
                            &mut block_sums,
                        )
                    });
                    for (sums, block_sums) in sums
                        .chunks_mut(c.channels)
                        .zip(block_sums.chunks(channels.len()))
                    {
                        for (sum, &block_sum) in sums[channels.clone()].iter_mut().zip(block_sums) {
                            *sum += block_sum.to_f64();
                        }
                    }
                }
            }
        }
    };
    match recipe.parallel {
        true => partial
            .par_chunks_mut(sums.len())
            .enumerate()
            .for_each(|(i, sums)| piece(i, sums)),
        false => partial
            .chunks_mut(sums.len())
            .enumerate()
            .for_each(|(i, sums)| piece(i, sums)),
    }
    let (first, others) = partial.split_at_mut(sums.len());
    for piece in others.chunks(sums.len()) {
        add(first, piece);
    }
    for (h, sums) in sums.chunks_mut(c.taps + 1).enumerate() {
        for (j, sum) in sums.iter_mut().enumerate() {
            *sum = first[j * c.channels + h];
        }
    }
}

fn add(sums: &mut [f64], others: &[f64]) {
    for (sum, other) in sums.iter_mut().zip(others) {
        *sum += other;
    }
}

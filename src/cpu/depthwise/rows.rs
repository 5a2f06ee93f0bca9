//! The convolution of channels-first tensors: samples of a row are neighbours.

use super::element::Element;
use super::recipe::{blocks, RowsRecipe};
use super::taps::{activate, along_samples, vectorised};
use super::view::View;
use crate::depthwise::{Activation, Correlation};
use rayon::prelude::*;
use std::ops::Range;

/// Writes `y`, `(B, H, L')`. `weight` is `(H, K)`, `bias` `(H,)`.
pub(super) fn correlate<T: Element>(
    c: &Correlation,
    x: &View<T>,
    weight: &[T::Accumulator],
    bias: &[T::Accumulator],
    activation: Activation,
    y: &mut [T],
) {
    let recipe = RowsRecipe::new(c);
    let task = |scratch: &mut Scratch<T>, row: usize, task: usize, y: &mut [T]| {
        let (batch, channel) = (row / c.channels, row % c.channels);
        let start = task * recipe.outputs_a_task;
        let row = Row {
            geometry: c,
            x: x.line(batch, channel),
            weight: &weight[channel * c.taps..][..c.taps],
            bias: bias[channel],
            activation,
        };
        row.correlate(start..start + y.len(), recipe.outputs_a_block, scratch, y);
    };
    let rows_a_thread = match c.output_length > recipe.outputs_a_task {
        true => 1,
        false => recipe.tasks_a_thread,
    };
    if recipe.parallel {
        y.par_chunks_mut(c.output_length)
            .with_min_len(rows_a_thread)
            .enumerate()
            .for_each_init(Scratch::default, |scratch, (row, y)| {
                if y.len() <= recipe.outputs_a_task {
                    return task(scratch, row, 0, y);
                }
                y.par_chunks_mut(recipe.outputs_a_task)
                    .enumerate()
                    .for_each_init(Scratch::default, |scratch, (i, y)| task(scratch, row, i, y));
            });
    } else {
        let mut scratch = Scratch::default();
        for (row, y) in y.chunks_mut(c.output_length).enumerate() {
            for (i, y) in y.chunks_mut(recipe.outputs_a_task).enumerate() {
                task(&mut scratch, row, i, y);
            }
        }
    }
}

/// Blocks of a row that cannot be read or written in place.
struct Scratch<T: Element> {
    x: Vec<T::Accumulator>,
    y: Vec<T::Accumulator>,
}

impl<T: Element> Default for Scratch<T> {
    fn default() -> Self {
        Self {
            x: Vec::new(),
            y: Vec::new(),
        }
    }
}

/// One row, with the parameters of its channel.
struct Row<'a, T: Element> {
    geometry: &'a Correlation,
    x: &'a [T],
    weight: &'a [T::Accumulator],
    bias: T::Accumulator,
    activation: Activation,
}

impl<T: Element> Row<'_, T> {
    /// Writes the outputs of the range to `y`.
    fn correlate(
        &self,
        outputs: Range<usize>,
        outputs_a_block: usize,
        scratch: &mut Scratch<T>,
        y: &mut [T],
    ) {
        let first = outputs.start;
        for block in blocks(outputs, self.geometry.interior(), outputs_a_block) {
            let y = &mut y[block.start - first..block.end - first];
            let x = stretch(self.geometry, self.x, &block, &mut scratch.x);
            match T::as_accumulators_mut(y) {
                Some(y) => {
                    vectorised(|| along_samples(self.weight, self.bias, x, y));
                    activate(self.activation, y);
                }
                None => {
                    scratch.y.resize(y.len(), T::Accumulator::default());
                    vectorised(|| along_samples(self.weight, self.bias, x, &mut scratch.y));
                    activate(self.activation, &mut scratch.y);
                    T::round(&scratch.y, y);
                }
            }
        }
    }
}

/// What the outputs of `block` read of the row `x`, padding included: in place
/// where that is possible, else a copy in `scratch`.
pub(super) fn stretch<'a, T: Element>(
    c: &Correlation,
    x: &'a [T],
    block: &Range<usize>,
    scratch: &'a mut Vec<T::Accumulator>,
) -> &'a [T::Accumulator] {
    let count = block.len() + c.taps - 1;
    let inside =
        c.input_of(block.start, 0).is_some() && c.input_of(block.end - 1, c.taps - 1).is_some();
    if inside {
        let start = block.start.wrapping_add_signed(-c.left);
        if let Some(x) = T::as_accumulators(&x[start..start + count]) {
            return x;
        }
    }
    scratch.resize(count, T::Accumulator::default());
    // Position i of the scratch is input block.start + i − left.
    let first = block.start as isize - c.left;
    let zeros_before = first.min(0).unsigned_abs().min(count);
    let start = first.max(0).unsigned_abs().min(x.len());
    let copied = (x.len() - start).min(count - zeros_before);
    scratch[..zeros_before].fill(T::Accumulator::default());
    T::widen(
        &x[start..start + copied],
        &mut scratch[zeros_before..zeros_before + copied],
    );
    scratch[zeros_before + copied..].fill(T::Accumulator::default());
    scratch
}

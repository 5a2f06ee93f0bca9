//! The convolution of channels-last tensors: channels of a frame are neighbours.

use super::element::Element;
use super::recipe::FramesRecipe;
use super::taps::along_channels;
use super::view::View;
use crate::depthwise::Correlation;
use rayon::prelude::*;
use std::ops::Range;

/// Writes `y`, `(B, L', H)`. `weight` is `(H, K)`, `bias` `(H,)`.
pub(super) fn correlate<T: Element>(
    c: &Correlation,
    x: &View<T>,
    weight: &[T::Accumulator],
    bias: &[T::Accumulator],
    y: &mut [T],
) {
    let in_place = T::as_accumulators(&[]).is_some();
    let recipe = FramesRecipe::new(c, in_place);
    let operation = Operation {
        geometry: c,
        recipe,
        x,
        weight: &transposed(weight, c.taps),
        bias,
        zeros: &vec![T::Accumulator::default(); recipe.channels_a_block],
    };
    let batch_length = c.output_length * c.channels;
    let task_length = recipe.frames_a_task * c.channels;
    let task = |scratch: &mut Vec<_>, batch: usize, task: usize, y: &mut [T]| {
        let start = task * recipe.frames_a_task;
        let outputs = start..start + y.len() / c.channels;
        operation.correlate(batch, outputs, scratch, y)
    };
    if recipe.parallel {
        y.par_chunks_mut(batch_length)
            .enumerate()
            .for_each(|(batch, y)| {
                y.par_chunks_mut(task_length)
                    .enumerate()
                    .for_each_init(Vec::new, |scratch, (i, y)| task(scratch, batch, i, y))
            });
    } else {
        let mut scratch = Vec::new();
        for (batch, y) in y.chunks_mut(batch_length).enumerate() {
            for (i, y) in y.chunks_mut(task_length).enumerate() {
                task(&mut scratch, batch, i, y);
            }
        }
    }
}

/// `(H, K)` as `(K, H)`.
fn transposed<A: Copy>(weight: &[A], taps: usize) -> Vec<A> {
    (0..taps)
        .flat_map(|tap| weight.iter().skip(tap).step_by(taps).copied())
        .collect()
}

struct Operation<'a, T: Element> {
    geometry: &'a Correlation,
    recipe: FramesRecipe,
    x: &'a View<'a, T>,
    /// `(K, H)`
    weight: &'a [T::Accumulator],
    bias: &'a [T::Accumulator],
    /// A block of a frame of the padding.
    zeros: &'a [T::Accumulator],
}

impl<T: Element> Operation<'_, T> {
    /// Writes the output frames of the range to `y`, `(outputs, H)`.
    fn correlate(
        &self,
        batch: usize,
        outputs: Range<usize>,
        scratch: &mut Vec<T::Accumulator>,
        y: &mut [T],
    ) {
        for start in (0..self.geometry.channels).step_by(self.recipe.channels_a_block) {
            let end = (start + self.recipe.channels_a_block).min(self.geometry.channels);
            match T::as_accumulators_mut(y) {
                Some(y) => self.in_place(batch, &outputs, start..end, y),
                None => self.converted(batch, &outputs, start..end, scratch, y),
            }
        }
    }

    fn in_place(
        &self,
        batch: usize,
        outputs: &Range<usize>,
        channels: Range<usize>,
        y: &mut [T::Accumulator],
    ) {
        let c = self.geometry;
        for (output, y) in outputs.clone().zip(y.chunks_exact_mut(c.channels)) {
            let frame = |tap| {
                c.input_of(output, tap)
                    .and_then(|input| T::as_accumulators(self.x.line(batch, input)))
                    .map_or(self.zeros, |frame| &frame[channels.clone()])
            };
            let weight = |tap| self.weight(tap, &channels);
            let bias = &self.bias[channels.clone()];
            along_channels(c.taps, weight, bias, frame, &mut y[channels.clone()]);
        }
    }

    fn converted(
        &self,
        batch: usize,
        outputs: &Range<usize>,
        channels: Range<usize>,
        scratch: &mut Vec<T::Accumulator>,
        y: &mut [T],
    ) {
        let c = self.geometry;
        let width = channels.len();
        let inputs = outputs.len() + c.taps - 1;
        scratch.resize((inputs + 1) * width, T::Accumulator::default());
        let (frames, sums) = scratch.split_at_mut(inputs * width);
        for (i, to) in frames.chunks_exact_mut(width).enumerate() {
            match c.input_of(outputs.start, i) {
                Some(input) => T::widen(&self.x.line(batch, input)[channels.clone()], to),
                None => to.fill(T::Accumulator::default()),
            }
        }
        for (i, y) in y.chunks_exact_mut(c.channels).enumerate() {
            let frame = |tap| &frames[(i + tap) * width..][..width];
            let weight = |tap| self.weight(tap, &channels);
            let bias = &self.bias[channels.clone()];
            along_channels(c.taps, weight, bias, frame, sums);
            T::round(sums, &mut y[channels.clone()]);
        }
    }

    /// Tap `tap` of these channels.
    fn weight(&self, tap: usize, channels: &Range<usize>) -> &[T::Accumulator] {
        &self.weight[tap * self.geometry.channels..][channels.clone()]
    }
}

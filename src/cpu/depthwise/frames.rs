//! The convolution of channels-last tensors: channels of a frame are neighbours.

use super::element::Element;
use super::recipe::FramesRecipe;
use super::taps::{activate, along_channels, vectorised};
use super::view::View;
use crate::depthwise::{Activation, Correlation};
use rayon::prelude::*;
use std::ops::Range;

/// Writes `y`, `(B, L', H)`. `weight` is `(H, K)`, `bias` `(H,)`.
pub(super) fn correlate<T: Element>(
    c: &Correlation,
    x: &View<T>,
    weight: &[T::Accumulator],
    bias: &[T::Accumulator],
    activation: Activation,
    y: &mut [T],
) {
    let recipe = FramesRecipe::new(c, T::IN_PLACE);
    let operation = Operation {
        geometry: c,
        x,
        weight: &transposed(weight, c.taps),
        bias,
        activation,
        channels_a_block: recipe.channels_a_block,
    };
    let batch_length = c.output_length * c.channels;
    let task_length = recipe.frames_a_task * c.channels;
    let task = |scratch: &mut Scratch<T>, batch: usize, task: usize, y: &mut [T]| {
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
                    .for_each_init(Scratch::default, |scratch, (i, y)| {
                        task(scratch, batch, i, y)
                    })
            });
    } else {
        let mut scratch = Scratch::default();
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
    x: &'a View<'a, T>,
    /// `(K, H)`
    weight: &'a [T::Accumulator],
    bias: &'a [T::Accumulator],
    activation: Activation,
    channels_a_block: usize,
}

/// What a task converts to and sums in.
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

impl<T: Element> Operation<'_, T> {
    /// Writes the output frames of the range to `y`, `(outputs, H)`.
    fn correlate(
        &self,
        batch: usize,
        outputs: Range<usize>,
        scratch: &mut Scratch<T>,
        y: &mut [T],
    ) {
        let c = self.geometry;
        for start in (0..c.channels).step_by(self.channels_a_block) {
            let channels = start..(start + self.channels_a_block).min(c.channels);
            let x = Frames::read(c, self.x, batch, &outputs, &channels, &mut scratch.x);
            let weight = |tap| &self.weight[tap * c.channels..][channels.clone()];
            let bias = &self.bias[channels.clone()];
            scratch.y.resize(channels.len(), T::Accumulator::default());
            vectorised(|| {
                for (i, y) in y.chunks_exact_mut(c.channels).enumerate() {
                    let y = &mut y[channels.clone()];
                    let x = |tap| x.get(i + tap);
                    match T::as_accumulators_mut(y) {
                        Some(y) => {
                            along_channels(c.taps, weight, bias, x, y);
                            activate(self.activation, y);
                        }
                        None => {
                            along_channels(c.taps, weight, bias, x, &mut scratch.y);
                            activate(self.activation, &mut scratch.y);
                            T::round(&scratch.y, y);
                        }
                    }
                }
            });
        }
    }
}

/// The input frames that a range of outputs reads, padding included, for a block
/// of channels: in place where that is possible, else copies in a scratch.
pub(super) struct Frames<'a, T: Element> {
    geometry: &'a Correlation,
    x: &'a View<'a, T>,
    batch: usize,
    first_output: usize,
    channels: Range<usize>,
    /// Converted frames, or a single frame of zeros.
    scratch: &'a [T::Accumulator],
}

impl<'a, T: Element> Frames<'a, T> {
    pub fn read(
        geometry: &'a Correlation,
        x: &'a View<'a, T>,
        batch: usize,
        outputs: &Range<usize>,
        channels: &Range<usize>,
        scratch: &'a mut Vec<T::Accumulator>,
    ) -> Self {
        let copies = match T::IN_PLACE {
            true => 0,
            false => outputs.len() + geometry.taps - 1,
        };
        let zero = T::Accumulator::default();
        scratch.resize(copies.max(1) * channels.len(), zero);
        if T::IN_PLACE {
            scratch.fill(zero);
        } else {
            for (i, to) in scratch.chunks_exact_mut(channels.len()).enumerate() {
                match geometry.input_of(outputs.start, i) {
                    Some(input) => T::widen(&x.line(batch, input)[channels.clone()], to),
                    None => to.fill(zero),
                }
            }
        }
        Self {
            geometry,
            x,
            batch,
            first_output: outputs.start,
            channels: channels.clone(),
            scratch,
        }
    }

    /// The frame that tap `i` of the first output reads: tap `j` of output `o` reads frame `o + j`.
    #[inline(always)]
    pub fn get(&self, i: usize) -> &'a [T::Accumulator] {
        let width = self.channels.len();
        if !T::IN_PLACE {
            return &self.scratch[i * width..][..width];
        }
        self.geometry
            .input_of(self.first_output, i)
            .and_then(|input| T::as_accumulators(self.x.line(self.batch, input)))
            .map_or(self.scratch, |frame| &frame[self.channels.clone()])
    }
}

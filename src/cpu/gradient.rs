//! The backward pass: with `v = in_gate ⊙ u` and `dc = out_gate ⊙ dy`,
//!
//! * `dv` is `dc` convolved with the time-reversed kernel (the conjugated spectrum),
//!   `du = in_gate ⊙ dv`, `d in_gate = u ⊙ dv`;
//! * `d out_gate = dy ⊙ (v ∗ k)`;
//! * `dk` is the inverse transform of `Σ_batch conj(V) · DC`, read at the lags where the taps act.

use super::convolve::{by_channel, Filter, Inputs};
use super::element::{Compute, Element};
use super::engine::{multiply, Engine};
use super::pieces::GradientRow;
use super::right_angle::RightAngle;
use super::rows::Rows;
use super::signal::{GatedOutput, GatedPair, GatedRow};
use crate::conv::{Arrangement, LagWindow, Part};
use rayon::prelude::*;
use rustfft::num_complex::Complex;

/// Where the gradients of one row go; those that nobody needs are absent.
pub(crate) struct RowTargets<'a, E> {
    u: Option<&'a mut [E]>,
    in_gate: Option<&'a mut [E]>,
    out_gate: Option<&'a mut [E]>,
}

/// The targets of all rows, by channel and batch.
pub(crate) struct Targets<'a, E>(Vec<Vec<RowTargets<'a, E>>>);

impl<'a, E: Element> Targets<'a, E> {
    /// Targets in contiguous `(B, H, L)` buffers of their own.
    pub(crate) fn separate(
        like: &Rows<'_, E>,
        u: Option<&'a mut [E]>,
        in_gate: Option<&'a mut [E]>,
        out_gate: Option<&'a mut [E]>,
    ) -> Self {
        let mut targets = Self::none(like);
        let buffers = [u, in_gate, out_gate];
        for (which, buffer) in buffers.into_iter().enumerate() {
            let Some(buffer) = buffer else { continue };
            let rows = by_channel(buffer, like.channels(), like.length());
            for (targets, rows) in targets.0.iter_mut().zip(rows) {
                for (target, row) in targets.iter_mut().zip(rows) {
                    match which {
                        0 => target.u = Some(row),
                        1 => target.in_gate = Some(row),
                        _ => target.out_gate = Some(row),
                    }
                }
            }
        }
        targets
    }

    /// Targets in one contiguous `(B, parts · H, L)` buffer, arranged as the sequences.
    pub(crate) fn arranged(
        arrangement: Arrangement,
        like: &Rows<'_, E>,
        z: Option<&'a mut [E]>,
    ) -> Self {
        let mut targets = Self::none(like);
        let Some(z) = z else { return targets };
        let (channels, parts) = (like.channels(), arrangement.parts());
        let mut rows = by_channel(z, parts.len() * channels, like.length()).into_iter();
        for part in parts {
            for (targets, rows) in targets.0.iter_mut().zip(rows.by_ref().take(channels)) {
                for (target, row) in targets.iter_mut().zip(rows) {
                    match part {
                        Part::OutGate => target.out_gate = Some(row),
                        Part::InGate => target.in_gate = Some(row),
                        Part::U => target.u = Some(row),
                    }
                }
            }
        }
        targets
    }

    fn none(like: &Rows<'_, E>) -> Self {
        let row = |_| RowTargets {
            u: None,
            in_gate: None,
            out_gate: None,
        };
        let channel = || (0..like.batch()).map(row).collect();
        Targets((0..like.channels()).map(|_| channel()).collect())
    }
}

/// Batch items whose contributions to `dk` are summed one after the other. Chosen from the
/// sizes alone, so that the order of summation does not depend on the number of threads.
fn group_size(batch: usize, channels: usize, transform_size: usize) -> usize {
    let wanted = 64usize.div_ceil(channels.max(1));
    let affordable = (1 << 24) / transform_size.max(1);
    let groups = wanted.min(affordable).clamp(1, batch.max(1));
    batch.div_ceil(groups).max(1)
}

/// Fills `targets`, and returns `dk`, contiguous `(H, Lk)`, if its number of `taps` is given.
pub(crate) fn gradients<E: Element>(
    inputs: Inputs<'_, E>,
    output_gradient: Rows<'_, E>,
    filter: &Filter<'_, E::Compute>,
    window: &LagWindow,
    taps: Option<usize>,
    targets: Targets<'_, E>,
    engine: &Engine<E::Compute>,
) -> Vec<E::Compute> {
    let (batch, channels) = (inputs.u.batch(), inputs.u.channels());
    let size = engine.size();
    let group = group_size(batch, channels, size);
    let tap_count = taps.unwrap_or(0);
    let mut kernel_gradient = E::Compute::zeros(channels * tap_count);
    let kernel_rows: Vec<&mut [E::Compute]> = match tap_count {
        0 => (0..channels).map(|_| Default::default()).collect(),
        count => kernel_gradient.chunks_mut(count).collect(),
    };
    targets
        .0
        .into_par_iter()
        .zip(kernel_rows)
        .enumerate()
        .for_each(|(channel, (mut rows, kernel_row))| {
            let mut kernel_memory = <E::Compute>::pool().take(size + engine.scratch());
            let (buffer, scratch) = kernel_memory.split_at_mut(size);
            let spectrum = filter.spectrum(channel, window, engine, buffer, scratch);
            let task = ChannelTask {
                inputs,
                output_gradient,
                channel,
                spectrum,
                engine,
                forward_taps: window.forward,
                wants_kernel: taps.is_some(),
            };
            let mut sums: Vec<Vec<Complex<E::Compute>>> = rows
                .par_chunks_mut(group)
                .enumerate()
                .map(|(index, rows)| task.group(index * group, rows))
                .collect();
            if taps.is_some() {
                let mut total = sums.drain(..).reduce(|mut total, sum| {
                    for (t, s) in total.iter_mut().zip(sum) {
                        *t += s;
                    }
                    total
                });
                if let Some(total) = &mut total {
                    engine.kernel_gradient(total, window, kernel_row, scratch);
                }
            }
        });
    kernel_gradient
}

/// What the rows of one channel share.
struct ChannelTask<'a, E: Element> {
    inputs: Inputs<'a, E>,
    output_gradient: Rows<'a, E>,
    channel: usize,
    spectrum: &'a [Complex<E::Compute>],
    engine: &'a Engine<E::Compute>,
    forward_taps: usize,
    wants_kernel: bool,
}

/// The input of a row and the gradient of its output before the gate.
struct RowInputs<'a, E> {
    v: GatedRow<'a, E>,
    dy: &'a [E],
    dc: GatedRow<'a, E>,
}

impl<E: Element> ChannelTask<'_, E> {
    /// Fills the targets of the batch items from `first`, and returns their
    /// `Σ conj(V) · DC` if the kernel's gradient is wanted.
    fn group(&self, first: usize, rows: &mut [RowTargets<'_, E>]) -> Vec<Complex<E::Compute>> {
        let size = self.engine.size();
        let zero = num_traits::zero::<Complex<E::Compute>>();
        let mut sum = match self.wants_kernel {
            true => vec![zero; size],
            false => Vec::new(),
        };
        let mut memory = <E::Compute>::pool().take(2 * size + self.engine.scratch());
        for (index, targets) in rows.iter_mut().enumerate() {
            let batch = first + index;
            let dy = self.output_gradient.row(batch, self.channel);
            let row = RowInputs {
                v: self.inputs.gated_input(batch, self.channel),
                dy,
                dc: GatedRow {
                    samples: dy,
                    gate: self.inputs.out_gate_row(batch, self.channel),
                },
            };
            match self.engine.pieces() {
                None => self.whole_row(row, targets, &mut sum, &mut memory),
                Some(pieces) => self.row_in_pieces(pieces, row, targets, &mut sum, &mut memory),
            }
        }
        sum
    }

    fn whole_row(
        &self,
        row: RowInputs<'_, E>,
        targets: &mut RowTargets<'_, E>,
        sum: &mut [Complex<E::Compute>],
        memory: &mut [Complex<E::Compute>],
    ) {
        let engine = self.engine;
        let length = row.dy.len();
        let (buffers, scratch) = memory.split_at_mut(2 * engine.size());
        let (input, output) = buffers.split_at_mut(engine.size());
        engine.analyse(&row.dc, output, scratch);
        if self.wants_kernel || targets.out_gate.is_some() {
            engine.analyse(&row.v, input, scratch);
        }
        for ((s, &i), &o) in sum.iter_mut().zip(input.iter()).zip(output.iter()) {
            *s += i.conj() * o;
        }
        if let Some(mut sink) = targets.out_gate(&row) {
            multiply(input, self.spectrum);
            engine.synthesise(input, length, &mut sink, scratch);
        }
        if let Some(mut sink) = targets.gated_input(&row) {
            for (o, &k) in output.iter_mut().zip(self.spectrum) {
                *o *= k.conj();
            }
            engine.synthesise(output, length, &mut sink, scratch);
        }
    }

    fn row_in_pieces(
        &self,
        transform: &RightAngle<E::Compute>,
        row: RowInputs<'_, E>,
        targets: &mut RowTargets<'_, E>,
        sum: &mut [Complex<E::Compute>],
        memory: &mut [Complex<E::Compute>],
    ) {
        if let Some(sink) = targets.out_gate(&row) {
            self.engine
                .convolve_row(row.v, self.spectrum, self.forward_taps, sink, memory);
        }
        let sink = targets.gated_input(&row);
        if sink.is_none() && !self.wants_kernel {
            return;
        }
        let (buffers, scratch) = memory.split_at_mut(2 * transform.size());
        let pair = GradientRow {
            input: row.v,
            output_gradient: row.dc,
            taps: self.forward_taps,
            spectrum: self.spectrum,
            transform,
        };
        pair.correlate(sink, sum, buffers, scratch);
    }
}

impl<E: Element> RowTargets<'_, E> {
    /// Where `v ∗ k` goes: into `d out_gate`, times `dy`.
    fn out_gate<'a>(&'a mut self, row: &RowInputs<'a, E>) -> Option<GatedOutput<'a, 'a, E>> {
        let output = self.out_gate.as_deref_mut()?;
        Some(GatedOutput {
            gate: Some(row.dy),
            output,
        })
    }

    /// Where `dv` goes: into `du`, times the gate, and into `d in_gate`, times `u`.
    fn gated_input<'a>(&'a mut self, row: &RowInputs<'a, E>) -> Option<GatedPair<'a, 'a, E>> {
        if self.u.is_none() && self.in_gate.is_none() {
            return None;
        }
        Some(GatedPair {
            first: self.u.as_deref_mut().map(|output| GatedOutput {
                gate: row.v.gate,
                output,
            }),
            second: self.in_gate.as_deref_mut().map(|output| GatedOutput {
                gate: Some(row.v.samples),
                output,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::group_size;

    #[test]
    fn groups_are_bounded_by_batch_and_memory() {
        assert_eq!(group_size(10, 768, 1024), 10);
        assert_eq!(group_size(10, 1, 1024), 1);
        assert_eq!(group_size(64, 1, 1 << 23), 32);
        assert_eq!(group_size(0, 0, 0), 1);
    }
}

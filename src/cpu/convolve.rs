//! The forward pass: every row is read once, transformed in scratch memory and written once.

use super::element::{Compute, Element};
use super::engine::Engine;
use super::pool::Scratch;
use super::rows::Rows;
use super::signal::{GatedOutput, GatedRow};
use crate::conv::{Arrangement, LagWindow};
use crate::Error;
use candle_core::Result;
use rayon::prelude::*;
use rustfft::num_complex::Complex;

/// The tensors of a convolution: `u` and the gates have the same shape.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a, E> {
    pub(crate) u: Rows<'a, E>,
    pub(crate) in_gate: Option<Rows<'a, E>>,
    pub(crate) out_gate: Option<Rows<'a, E>>,
}

impl<'a, E: Element> Inputs<'a, E> {
    /// Splits `z`, `(B, parts · H, L)`.
    pub(crate) fn arranged(arrangement: Arrangement, z: Rows<'a, E>) -> Self {
        let (u, in_gate, out_gate) = arrangement.split(|i, n| z.channel_group(i, n));
        Inputs {
            u,
            in_gate,
            out_gate,
        }
    }

    pub(crate) fn gated_input(&self, batch: usize, channel: usize) -> GatedRow<'a, E> {
        GatedRow {
            samples: self.u.row(batch, channel),
            gate: self.in_gate.map(|gate| gate.row(batch, channel)),
        }
    }

    pub(crate) fn out_gate_row(&self, batch: usize, channel: usize) -> Option<&'a [E]> {
        self.out_gate.map(|gate| gate.row(batch, channel))
    }
}

/// The kernel of a convolution.
pub(crate) enum Filter<'a, T> {
    /// Taps `(H, Lk)`, transformed when they are needed.
    Taps(Rows<'a, T>),
    /// One spectrum for each channel.
    Spectra(&'a [Vec<Complex<T>>]),
}

impl<T: Compute> Filter<'_, T> {
    /// The spectrum of a channel, in `buffer` if it has to be computed.
    pub(crate) fn spectrum<'b>(
        &'b self,
        channel: usize,
        window: &LagWindow,
        engine: &Engine<T>,
        buffer: &'b mut [Complex<T>],
        scratch: &mut [Complex<T>],
    ) -> &'b [Complex<T>] {
        match self {
            Filter::Spectra(spectra) => spectra.get(channel).map(Vec::as_slice).unwrap_or(&[]),
            Filter::Taps(taps) => {
                engine.kernel_spectrum(taps.row(0, channel), window, buffer, scratch);
                buffer
            }
        }
    }
}

/// The spectra of all channels of a kernel `(H, Lk)`.
pub(crate) fn spectra<T: Compute>(
    taps: Rows<'_, T>,
    window: &LagWindow,
    engine: &Engine<T>,
) -> Vec<Vec<Complex<T>>> {
    (0..taps.channels())
        .into_par_iter()
        .map(|channel| {
            let mut spectrum = vec![Complex::new(T::zero(), T::zero()); engine.size()];
            let mut scratch = T::pool().take(engine.scratch());
            engine.kernel_spectrum(taps.row(0, channel), window, &mut spectrum, &mut scratch);
            spectrum.truncate(engine.spectrum_size());
            spectrum.shrink_to_fit();
            spectrum
        })
        .collect()
}

/// `out_gate ⊙ ((in_gate ⊙ u) ∗ k)`, contiguous `(B, H, L)`.
pub(crate) fn convolve<E: Element>(
    inputs: Inputs<'_, E>,
    filter: &Filter<'_, E::Compute>,
    window: &LagWindow,
    engine: &Engine<E::Compute>,
) -> Result<Vec<E>> {
    let (channels, length) = (inputs.u.channels(), inputs.u.length());
    let mut output = E::zeros(element_count(&inputs.u)?);
    let needed = engine.size() + engine.scratch();
    let memory = || <E::Compute>::pool().take(needed);
    by_channel(&mut output, channels, length)
        .into_par_iter()
        .enumerate()
        .for_each(|(channel, mut rows)| {
            let mut kernel_memory = memory();
            let (buffer, scratch) = kernel_memory.split_at_mut(engine.size());
            let spectrum = filter.spectrum(channel, window, engine, buffer, scratch);
            let one_row = |memory: &mut Scratch<E::Compute>, (batch, output): (usize, &mut _)| {
                let output = GatedOutput {
                    gate: inputs.out_gate_row(batch, channel),
                    output,
                };
                let input = inputs.gated_input(batch, channel);
                engine.convolve_row(input, spectrum, window.forward, output, memory);
            };
            // Rows are tasks of their own only where the channels alone would leave threads idle.
            if channels < 4 * rayon::current_num_threads() {
                rows.par_iter_mut()
                    .map(|row| &mut **row)
                    .enumerate()
                    .for_each_init(memory, one_row);
            } else {
                let mut memory = memory();
                for row in rows.iter_mut().map(|row| &mut **row).enumerate() {
                    one_row(&mut memory, row);
                }
            }
        });
    Ok(output)
}

/// The number of elements of `rows`, if an allocation can hold them.
pub(crate) fn element_count<E: Element>(rows: &Rows<'_, E>) -> Result<usize> {
    rows.batch()
        .checked_mul(rows.channels())
        .and_then(|count| count.checked_mul(rows.length()))
        .filter(|&count| count <= isize::MAX as usize / 8)
        .ok_or_else(|| {
            Error::OutOfRange {
                quantity: "elements of the output",
                expected: format!("at most {}", isize::MAX as usize / 8),
                got: format!("{} × {} × {}", rows.batch(), rows.channels(), rows.length()),
            }
            .into()
        })
}

/// The rows of a contiguous `(B, H, L)` buffer, grouped by channel.
pub(crate) fn by_channel<E>(
    values: &mut [E],
    channels: usize,
    length: usize,
) -> Vec<Vec<&mut [E]>> {
    if values.is_empty() {
        return Vec::new();
    }
    let batch = values.len() / (channels * length);
    let mut grouped: Vec<Vec<&mut [E]>> =
        (0..channels).map(|_| Vec::with_capacity(batch)).collect();
    for item in values.chunks_mut(channels * length) {
        for (group, row) in grouped.iter_mut().zip(item.chunks_mut(length)) {
            group.push(row);
        }
    }
    grouped
}

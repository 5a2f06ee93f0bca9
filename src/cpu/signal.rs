//! What the transforms read and write: gated rows, kernels, gradients.

use super::element::{Compute, Element};
use super::right_angle::{Sink, Source, PIECE};
use crate::conv::LagWindow;
use rustfft::num_complex::Complex;

/// A row of samples, times a gate where there is one, followed by zeros.
#[derive(Clone, Copy)]
pub(crate) struct GatedRow<'a, E> {
    pub(crate) samples: &'a [E],
    pub(crate) gate: Option<&'a [E]>,
}

fn piece<E>(row: &[E], start: usize, length: usize) -> &[E] {
    let start = start.min(row.len());
    let end = start.saturating_add(length).min(row.len());
    &row[start..end]
}

impl<E: Element> GatedRow<'_, E> {
    /// Calls `with` with the samples from `start`, up to `length` of them, widened and gated.
    fn piece<R>(
        &self,
        start: usize,
        length: usize,
        with: impl FnOnce(&[E::Compute], Option<&[E::Compute]>) -> R,
    ) -> R {
        let zero = num_traits::zero::<E::Compute>();
        let (mut sample_buffer, mut gate_buffer) = ([zero; PIECE], [zero; PIECE]);
        let samples = piece(self.samples, start, length.min(PIECE));
        let samples = E::widen(samples, &mut sample_buffer);
        let gate = self.gate.map(|gate| {
            let gate = piece(gate, start, samples.len());
            E::widen(gate, &mut gate_buffer)
        });
        with(samples, gate)
    }

    /// Sets `target`, of up to [`PIECE`] values, to the samples from `start`.
    pub(crate) fn read(&self, start: usize, target: &mut [E::Compute]) {
        let filled = self.piece(start, target.len(), |samples, gate| {
            match gate {
                None => target[..samples.len()].copy_from_slice(samples),
                Some(gate) => {
                    for ((t, &x), &g) in target.iter_mut().zip(samples).zip(gate) {
                        *t = x * g;
                    }
                }
            }
            samples.len()
        });
        target[filled..].fill(num_traits::zero());
    }
}

impl<E: Element> Source<E::Compute> for GatedRow<'_, E> {
    fn load(
        &self,
        start: usize,
        weights: &[Complex<E::Compute>],
        target: &mut [Complex<E::Compute>],
    ) {
        let filled = self.piece(start, target.len(), |samples, gate| {
            match gate {
                None => {
                    for ((t, &w), &x) in target.iter_mut().zip(weights).zip(samples) {
                        *t = Complex::new(x * w.re, x * w.im);
                    }
                }
                Some(gate) => {
                    for (((t, &w), &x), &g) in target.iter_mut().zip(weights).zip(samples).zip(gate)
                    {
                        let v = x * g;
                        *t = Complex::new(v * w.re, v * w.im);
                    }
                }
            }
            samples.len()
        });
        target[filled..].fill(num_traits::zero());
    }
}

/// An output row: real parts, times a gate where there is one, rounded to the stored dtype.
pub(crate) struct GatedOutput<'a, 'b, E> {
    pub(crate) gate: Option<&'a [E]>,
    pub(crate) output: &'b mut [E],
}

impl<E: Element> GatedOutput<'_, '_, E> {
    /// Multiplies `values`, up to [`PIECE`] of them, by the gate and stores them from `start`.
    /// Those beyond the end of the row are dropped.
    pub(crate) fn write(&mut self, start: usize, values: &mut [E::Compute]) {
        let start = start.min(self.output.len());
        let end = start.saturating_add(values.len()).min(self.output.len());
        let output = &mut self.output[start..end];
        let values = &mut values[..output.len()];
        if let Some(gate) = self.gate {
            let mut gate_buffer = [num_traits::zero::<E::Compute>(); PIECE];
            let gate = E::widen(piece(gate, start, values.len()), &mut gate_buffer);
            for (v, &g) in values.iter_mut().zip(gate) {
                *v *= g;
            }
        }
        E::narrow(values, output);
    }
}

impl<E: Element> Sink<E::Compute> for GatedOutput<'_, '_, E> {
    fn store(
        &mut self,
        start: usize,
        weights: &[Complex<E::Compute>],
        values: &mut [Complex<E::Compute>],
    ) {
        let mut buffer = [num_traits::zero::<E::Compute>(); PIECE];
        let count = values.len().min(PIECE);
        let real = &mut buffer[..count];
        for ((r, &w), &v) in real.iter_mut().zip(weights).zip(values.iter()) {
            *r = v.re * w.re + v.im * w.im;
        }
        self.write(start, real);
    }
}

/// A kernel laid out by lag: forward taps as real parts, backward taps as imaginary ones.
pub(crate) struct Kernel<'a, T> {
    pub(crate) taps: &'a [T],
    pub(crate) window: &'a LagWindow,
    /// The size of the transform.
    pub(crate) size: usize,
    /// The inverse transform's missing factor, `1/size`.
    pub(crate) scale: T,
}

impl<T: Compute> Source<T> for Kernel<'_, T> {
    fn load(&self, start: usize, weights: &[Complex<T>], target: &mut [Complex<T>]) {
        let forward = self.taps.get(..self.window.forward).unwrap_or(self.taps);
        let forward = piece(forward, start, target.len());
        for ((t, &w), &tap) in target.iter_mut().zip(weights).zip(forward) {
            let tap = tap * self.scale;
            *t = Complex::new(tap * w.re, tap * w.im);
        }
        target[forward.len()..].fill(num_traits::zero());

        let lags = &self.window.backward;
        if lags.is_empty() {
            return;
        }
        // Lag −m lies at position `size − m`.
        let first = (self.size + 1).saturating_sub(lags.end).max(start);
        let end = (self.size + 1).saturating_sub(lags.start);
        let skipped = first - start;
        let tap = (self.window.period + first).saturating_sub(self.size);
        let backward = piece(self.taps, tap, end.saturating_sub(first));
        let targets = target.iter_mut().zip(weights).skip(skipped);
        for ((t, &w), &tap) in targets.zip(backward) {
            let tap = tap * self.scale;
            t.re += tap * w.im;
            t.im -= tap * w.re;
        }
    }
}

/// Two output rows made of the same values with different gates.
pub(crate) struct GatedPair<'a, 'b, E> {
    pub(crate) first: Option<GatedOutput<'a, 'b, E>>,
    pub(crate) second: Option<GatedOutput<'a, 'b, E>>,
}

impl<E: Element> Sink<E::Compute> for GatedPair<'_, '_, E> {
    fn store(
        &mut self,
        start: usize,
        weights: &[Complex<E::Compute>],
        values: &mut [Complex<E::Compute>],
    ) {
        if let Some(first) = &mut self.first {
            first.store(start, weights, values);
        }
        if let Some(second) = &mut self.second {
            second.store(start, weights, values);
        }
    }
}

/// The gradient of a kernel: the adjoint of [`Kernel`].
pub(crate) struct KernelGradient<'a, T> {
    pub(crate) gradient: &'a mut [T],
    pub(crate) window: &'a LagWindow,
    /// The size of the transform.
    pub(crate) size: usize,
    /// The inverse transform's missing factor, `1/size`.
    pub(crate) scale: T,
}

impl<T: Compute> Sink<T> for KernelGradient<'_, T> {
    fn store(&mut self, start: usize, weights: &[Complex<T>], values: &mut [Complex<T>]) {
        for (i, (&value, w)) in values.iter().zip(weights).enumerate() {
            let value = value * w.conj() * self.scale;
            let position = start + i;
            if position < self.window.forward {
                if let Some(tap) = self.gradient.get_mut(position) {
                    *tap += value.re;
                }
            }
            let lag = self.size - position;
            if self.window.backward.contains(&lag) {
                if let Some(tap) = self.gradient.get_mut(self.window.period - lag) {
                    *tap -= value.im;
                }
            }
        }
    }
}

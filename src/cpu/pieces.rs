//! Overlap-save for kernels that are short beside the row.
//!
//! A row is cut into pieces of `step` output samples. Each needs its own input samples and
//! the `taps − 1` before them; their circular convolution with the kernel is right in the last
//! `step` places. Two neighbouring pieces of the same row travel as the real and the imaginary
//! part of one complex transform: the kernel is real, so they do not mix, and no other row is
//! involved.
//!
//! The gradient of the row is the correlation with the kernel, by pieces that need the `taps − 1`
//! samples after them; that of the kernel is the sum, over all pieces, of the correlation of
//! a piece of the input with the piece of the output's gradient that it acts on. (Oppenheim, Schafer, "Discrete-Time Signal Processing", section 8.7, for overlap-save.)

use super::element::{Compute, Element};
use super::engine::multiply;
use super::right_angle::{RightAngle, PIECE};
use super::signal::{GatedOutput, GatedPair, GatedRow};
use crate::conv::Recipe;
use rustfft::num_complex::Complex;

/// The circular spectrum of a real kernel times `scale`.
pub(crate) fn kernel_spectrum<T: Compute>(
    taps: &[T],
    scale: T,
    transform: &RightAngle<T>,
    spectrum: &mut [Complex<T>],
    scratch: &mut [Complex<T>],
) {
    spectrum.fill(Complex::new(T::zero(), T::zero()));
    for (s, &tap) in spectrum.iter_mut().zip(taps) {
        s.re = tap * scale;
    }
    transform.forward(spectrum, scratch);
}

/// A row and the kernel that it meets.
pub(crate) struct Row<'a, E: Element> {
    pub(crate) input: GatedRow<'a, E>,
    pub(crate) taps: usize,
    pub(crate) spectrum: &'a [Complex<E::Compute>],
    pub(crate) transform: &'a RightAngle<E::Compute>,
}

impl<E: Element> Row<'_, E> {
    pub(crate) fn convolve(
        &self,
        mut output: GatedOutput<'_, '_, E>,
        buffer: &mut [Complex<E::Compute>],
        scratch: &mut [Complex<E::Compute>],
    ) {
        let history = self.taps.saturating_sub(1);
        let step = Recipe::piece_step(self.transform.size(), self.taps);
        let length = output.output.len();
        for first in (0..length).step_by(2 * step) {
            let second = first + step;
            self.load(first, second, history, buffer);
            self.transform.forward(buffer, scratch);
            multiply(buffer, self.spectrum);
            self.transform.inverse(buffer, scratch);
            let valid = buffer.get(history..).unwrap_or(&[]);
            store(valid, first, &mut output, |value| value.re);
            store(valid, second, &mut output, |value| value.im);
        }
    }

    /// Sets the real parts to the input from `first − history`, the imaginary ones to it from `second − history`.
    fn load(
        &self,
        first: usize,
        second: usize,
        history: usize,
        buffer: &mut [Complex<E::Compute>],
    ) {
        let zero = num_traits::zero::<E::Compute>();
        let mut imaginary = [zero; PIECE];
        // Only the first piece of a row reaches before its start.
        let missing = history.saturating_sub(first).min(buffer.len());
        let (before, rest) = buffer.split_at_mut(missing);
        for (index, part) in before.chunks_mut(PIECE).enumerate() {
            let start = (second + index * PIECE).saturating_sub(history);
            let imaginary = &mut imaginary[..part.len()];
            self.input.read(start, imaginary);
            for (target, &im) in part.iter_mut().zip(imaginary.iter()) {
                *target = Complex::new(zero, im);
            }
        }
        let [first, second] =
            [first, second].map(|start| (start + missing).saturating_sub(history));
        fill(&self.input, first, second, rest);
    }
}

/// A row, the gradient of its output, and the kernel between them.
pub(crate) struct GradientRow<'a, E: Element> {
    pub(crate) input: GatedRow<'a, E>,
    pub(crate) output_gradient: GatedRow<'a, E>,
    pub(crate) taps: usize,
    pub(crate) spectrum: &'a [Complex<E::Compute>],
    pub(crate) transform: &'a RightAngle<E::Compute>,
}

impl<E: Element> GradientRow<'_, E> {
    /// Stores the gradient of the gated input in `targets`, if there are any, and adds the
    /// spectrum of the kernel's gradient, as the real part of its inverse, to `sum`, if there is one.
    /// There is room for two pieces in `buffers`.
    pub(crate) fn correlate(
        &self,
        mut targets: Option<GatedPair<'_, '_, E>>,
        sum: &mut [Complex<E::Compute>],
        buffers: &mut [Complex<E::Compute>],
        scratch: &mut [Complex<E::Compute>],
    ) {
        let (input, gradient) = buffers.split_at_mut(self.transform.size());
        let step = Recipe::piece_step(self.transform.size(), self.taps);
        let length = self.output_gradient.samples.len();
        for first in (0..length).step_by(2 * step) {
            let second = first + step;
            fill(&self.output_gradient, first, second, gradient);
            self.transform.forward(gradient, scratch);
            if !sum.is_empty() {
                // Of the input the new samples alone: each meets its taps in this piece.
                let (new, rest) = input.split_at_mut(step.min(input.len()));
                fill(&self.input, first, second, new);
                rest.fill(Complex::new(num_traits::zero(), num_traits::zero()));
                self.transform.forward(input, scratch);
                // What the two pieces have to do with each other ends up in the imaginary part.
                for ((s, i), &g) in sum.iter_mut().zip(input.iter()).zip(gradient.iter()) {
                    *s += i.conj() * g;
                }
            }
            if let Some(GatedPair {
                first: du,
                second: d_in_gate,
            }) = &mut targets
            {
                for (g, k) in gradient.iter_mut().zip(self.spectrum) {
                    *g *= k.conj();
                }
                self.transform.inverse(gradient, scratch);
                let valid = gradient.get(..step).unwrap_or(gradient);
                for output in [du, d_in_gate].into_iter().flatten() {
                    store(valid, first, output, |value| value.re);
                    store(valid, second, output, |value| value.im);
                }
            }
        }
    }
}

/// The first taps of the kernel whose spectrum is a sum of [`GradientRow::correlate`], added to
/// `gradient`.
pub(crate) fn kernel_gradient<T: Compute>(
    sum: &mut [Complex<T>],
    scale: T,
    transform: &RightAngle<T>,
    gradient: &mut [T],
    scratch: &mut [Complex<T>],
) {
    transform.inverse(sum, scratch);
    for (tap, value) in gradient.iter_mut().zip(sum.iter()) {
        *tap += value.re * scale;
    }
}

/// Sets the real parts to the row from `first`, the imaginary ones to it from `second`.
fn fill<E: Element>(
    row: &GatedRow<'_, E>,
    first: usize,
    second: usize,
    target: &mut [Complex<E::Compute>],
) {
    let zero = num_traits::zero::<E::Compute>();
    let (mut real, mut imaginary) = ([zero; PIECE], [zero; PIECE]);
    for (index, part) in target.chunks_mut(PIECE).enumerate() {
        let offset = index * PIECE;
        let (real, imaginary) = (&mut real[..part.len()], &mut imaginary[..part.len()]);
        row.read(first + offset, real);
        row.read(second + offset, imaginary);
        for ((target, &re), &im) in part.iter_mut().zip(real.iter()).zip(imaginary.iter()) {
            *target = Complex::new(re, im);
        }
    }
}

/// Stores one part of `values` from output sample `start`, as far as the row goes.
fn store<E: Element>(
    values: &[Complex<E::Compute>],
    start: usize,
    output: &mut GatedOutput<'_, '_, E>,
    part: impl Fn(&Complex<E::Compute>) -> E::Compute,
) {
    let mut buffer = [num_traits::zero::<E::Compute>(); PIECE];
    let length = output.output.len().saturating_sub(start);
    let values = &values[..values.len().min(length)];
    for (index, values) in values.chunks(PIECE).enumerate() {
        let real = &mut buffer[..values.len()];
        for (r, value) in real.iter_mut().zip(values) {
            *r = part(value);
        }
        output.write(start + index * PIECE, real);
    }
}

//! One recipe at work: from taps to spectra, from rows to rows.

use super::element::{Compute, Element};
use super::pieces;
use super::right_angle::RightAngle;
use super::signal::{GatedOutput, GatedRow, Kernel, KernelGradient};
use crate::conv::{LagWindow, Recipe};
use rustfft::num_complex::Complex;
use std::sync::Arc;

/// A recipe and its transform.
pub(crate) struct Engine<T: Compute> {
    recipe: Recipe,
    transform: Arc<RightAngle<T>>,
}

impl<T: Compute> Engine<T> {
    pub(crate) fn new(recipe: Recipe) -> Self {
        Engine {
            recipe,
            transform: T::transforms().get(recipe.size()),
        }
    }

    pub(crate) fn recipe(&self) -> Recipe {
        self.recipe
    }

    pub(crate) fn transform(&self) -> &RightAngle<T> {
        &self.transform
    }

    /// How many values a spectrum has.
    pub(crate) fn size(&self) -> usize {
        self.recipe.size()
    }

    /// How many values of scratch memory a kernel or a row needs beside one spectrum.
    pub(crate) fn scratch(&self) -> usize {
        self.transform.scratch()
    }

    /// The factor that the inverse transform lacks.
    fn scale(&self) -> T {
        T::rounded(1.0 / self.size() as f64)
    }

    /// The spectrum of one channel's taps, with the factor that the inverse transform lacks.
    pub(crate) fn kernel_spectrum(
        &self,
        taps: &[T],
        window: &LagWindow,
        spectrum: &mut [Complex<T>],
        scratch: &mut [Complex<T>],
    ) {
        let size = self.size();
        let scale = self.scale();
        match self.recipe {
            Recipe::Whole { .. } => {
                let kernel = Kernel {
                    taps,
                    window,
                    size,
                    scale,
                };
                self.transform.analyse(&kernel, spectrum, scratch);
            }
            Recipe::Pieces { .. } => {
                let taps = taps.get(..window.forward).unwrap_or(taps);
                pieces::kernel_spectrum(taps, scale, &self.transform, spectrum, scratch);
            }
        }
    }

    /// Adds the taps whose spectrum is `sum` to `gradient`, where the window has them. Destroys `sum`.
    pub(crate) fn kernel_gradient(
        &self,
        sum: &mut [Complex<T>],
        window: &LagWindow,
        gradient: &mut [T],
        scratch: &mut [Complex<T>],
    ) {
        let (size, scale) = (self.size(), self.scale());
        match self.recipe {
            Recipe::Whole { .. } => {
                let mut sink = KernelGradient {
                    gradient,
                    window,
                    size,
                    scale,
                };
                self.transform.synthesise(sum, &mut sink, scratch);
            }
            Recipe::Pieces { .. } => {
                let end = window.forward.min(gradient.len());
                let gradient = &mut gradient[..end];
                pieces::kernel_gradient(sum, scale, &self.transform, gradient, scratch);
            }
        }
    }

    /// `gate ⊙ (input ∗ k)` of one row; `taps` is the number of forward lags of the kernel.
    /// `memory` holds a spectrum and the scratch values.
    pub(crate) fn convolve_row<E: Element<Compute = T>>(
        &self,
        input: GatedRow<'_, E>,
        spectrum: &[Complex<T>],
        taps: usize,
        mut output: GatedOutput<'_, '_, E>,
        memory: &mut [Complex<T>],
    ) {
        let (buffer, scratch) = memory.split_at_mut(self.size());
        match self.recipe {
            Recipe::Whole { .. } => {
                self.transform.analyse(&input, buffer, scratch);
                multiply(buffer, spectrum);
                self.transform.synthesise(buffer, &mut output, scratch);
            }
            Recipe::Pieces { .. } => {
                let row = pieces::Row {
                    input,
                    taps,
                    spectrum,
                    transform: &self.transform,
                };
                row.convolve(output, buffer, scratch);
            }
        }
    }
}

/// `values ⊙ factors`, in place.
pub(crate) fn multiply<T: Compute>(values: &mut [Complex<T>], factors: &[Complex<T>]) {
    for (value, &factor) in values.iter_mut().zip(factors) {
        *value *= factor;
    }
}

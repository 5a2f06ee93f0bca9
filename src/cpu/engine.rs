//! One recipe at work: from taps to spectra, from rows to rows.

use super::band::{BandTransform, RealSink};
use super::element::{Compute, Element};
use super::pieces;
use super::right_angle::{RightAngle, Sink};
use super::signal::{GatedOutput, GatedRow, Kernel, KernelGradient};
use crate::conv::{LagWindow, Recipe};
use rustfft::num_complex::Complex;
use std::convert::Infallible;
use std::sync::Arc;

/// A recipe and its transform.
pub(crate) struct Engine<T: Compute> {
    recipe: Recipe,
    transform: Transform<T>,
}

enum Transform<T: Compute> {
    Whole(Arc<RightAngle<T>>),
    Pieces(Arc<RightAngle<T>>),
    Band(Arc<BandTransform<T>>),
}

impl<T: Compute> Engine<T> {
    pub(crate) fn new(recipe: Recipe) -> Self {
        let transform = match recipe {
            Recipe::Whole { size } => Transform::Whole(T::transforms().get(size)),
            Recipe::Pieces { size } => Transform::Pieces(T::transforms().get(size)),
            Recipe::Band(band) => {
                let made = || Ok::<_, Infallible>(BandTransform::new(band));
                match T::bands().get(band, made) {
                    Ok(transform) => Transform::Band(transform),
                    Err(never) => match never {},
                }
            }
        };
        Engine { recipe, transform }
    }

    pub(crate) fn recipe(&self) -> Recipe {
        self.recipe
    }

    /// The transform of pieces, if rows are cut into them.
    pub(crate) fn pieces(&self) -> Option<&RightAngle<T>> {
        match &self.transform {
            Transform::Pieces(transform) => Some(transform),
            _ => None,
        }
    }

    /// How many values the buffer for a row or a spectrum needs.
    pub(crate) fn size(&self) -> usize {
        self.recipe.size()
    }

    /// How many values of a spectrum count.
    pub(crate) fn spectrum_size(&self) -> usize {
        match self.recipe {
            Recipe::Band(band) => band.kept,
            _ => self.size(),
        }
    }

    /// How many values of scratch memory a kernel or a row needs beside one spectrum.
    pub(crate) fn scratch(&self) -> usize {
        match &self.transform {
            Transform::Whole(transform) | Transform::Pieces(transform) => transform.scratch(),
            Transform::Band(transform) => transform.scratch(),
        }
    }

    /// The spectrum of a row that is not cut into pieces.
    pub(crate) fn analyse<E: Element<Compute = T>>(
        &self,
        row: &GatedRow<'_, E>,
        spectrum: &mut [Complex<T>],
        scratch: &mut [Complex<T>],
    ) {
        match &self.transform {
            Transform::Whole(transform) | Transform::Pieces(transform) => {
                transform.analyse(row, spectrum, scratch)
            }
            Transform::Band(transform) => transform.analyse(row, spectrum, scratch),
        }
    }

    /// The row of `length` samples of a spectrum that was multiplied by a kernel's. Destroys `spectrum`.
    pub(crate) fn synthesise(
        &self,
        spectrum: &mut [Complex<T>],
        length: usize,
        sink: &mut (impl Sink<T> + RealSink<T>),
        scratch: &mut [Complex<T>],
    ) {
        match &self.transform {
            Transform::Whole(transform) | Transform::Pieces(transform) => {
                transform.synthesise(spectrum, sink, scratch)
            }
            Transform::Band(transform) => transform.synthesise(spectrum, length, sink, scratch),
        }
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
        match &self.transform {
            Transform::Whole(transform) => {
                let kernel = Kernel {
                    taps,
                    window,
                    size,
                    scale,
                };
                transform.analyse(&kernel, spectrum, scratch);
            }
            Transform::Pieces(transform) => {
                let taps = taps.get(..window.forward).unwrap_or(taps);
                pieces::kernel_spectrum(taps, scale, transform, spectrum, scratch);
            }
            Transform::Band(transform) => {
                let row = GatedRow {
                    samples: taps,
                    gate: None,
                };
                transform.analyse(&row, spectrum, scratch);
                transform.scale(spectrum);
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
        match &self.transform {
            Transform::Whole(transform) => {
                let mut sink = KernelGradient {
                    gradient,
                    window,
                    size,
                    scale,
                };
                transform.synthesise(sum, &mut sink, scratch);
            }
            Transform::Pieces(transform) => {
                let end = window.forward.min(gradient.len());
                let gradient = &mut gradient[..end];
                pieces::kernel_gradient(sum, scale, transform, gradient, scratch);
            }
            Transform::Band(transform) => transform.kernel_gradient(sum, gradient, scratch),
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
        match &self.transform {
            Transform::Pieces(transform) => {
                let row = pieces::Row {
                    input,
                    taps,
                    spectrum,
                    transform,
                };
                row.convolve(output, buffer, scratch);
            }
            _ => {
                self.analyse(&input, buffer, scratch);
                multiply(buffer, spectrum);
                self.synthesise(buffer, input.samples.len(), &mut output, scratch);
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

//! The spectra that a prepared kernel keeps.

use super::element::Compute;
use super::engine::Engine;
use crate::conv::{Recent, Recipe};
use rustfft::num_complex::Complex;
use std::sync::Arc;

/// One spectrum for each channel.
pub(crate) type Spectra<T> = Vec<Vec<Complex<T>>>;

/// The spectra of one kernel for the recipes used last.
#[derive(Default)]
pub(crate) struct SpectrumCache {
    pub(super) single: Recent<Recipe, Spectra<f32>>,
    pub(super) double: Recent<Recipe, Spectra<f64>>,
}

impl SpectrumCache {
    /// The spectra for `engine`, computed by `compute` when they are not there.
    pub(crate) fn get<T: Compute>(
        &self,
        engine: &Engine<T>,
        compute: impl FnOnce() -> candle_core::Result<Spectra<T>>,
    ) -> candle_core::Result<Arc<Spectra<T>>> {
        T::recent_spectra(self).get(engine.recipe(), compute)
    }
}

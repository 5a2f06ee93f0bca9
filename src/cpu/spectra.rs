//! The spectra that a prepared kernel keeps.

use super::element::Compute;
use super::engine::Engine;
use crate::conv::Recipe;
use rustfft::num_complex::Complex;
use std::sync::{Arc, Mutex, PoisonError};

/// One spectrum for each channel.
pub(crate) type Spectra<T> = Vec<Vec<Complex<T>>>;

/// The spectra of one kernel for the recipes used last.
#[derive(Default)]
pub(crate) struct SpectrumCache {
    pub(super) single: Recent<f32>,
    pub(super) double: Recent<f64>,
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

/// The last recipes used, the last one at the end.
pub(crate) struct Recent<T>(Mutex<Vec<(Recipe, Arc<Spectra<T>>)>>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Recent(Mutex::new(Vec::new()))
    }
}

impl<T> Recent<T> {
    /// How many recipes are kept.
    const KEPT: usize = 2;

    fn get(
        &self,
        recipe: Recipe,
        compute: impl FnOnce() -> candle_core::Result<Spectra<T>>,
    ) -> candle_core::Result<Arc<Spectra<T>>> {
        // Held while computing, so that two first calls at once do not both compute.
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spectra = match recent.iter().position(|(of, _)| *of == recipe) {
            Some(index) => recent.remove(index).1,
            None => Arc::new(compute()?),
        };
        recent.push((recipe, spectra.clone()));
        while recent.len() > Self::KEPT {
            recent.remove(0);
        }
        Ok(spectra)
    }
}

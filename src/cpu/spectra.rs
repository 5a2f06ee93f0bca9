//! The spectra that a prepared kernel keeps.

use super::element::Compute;
use super::engine::Engine;
use crate::conv::Recipe;
use rustfft::num_complex::Complex;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
        if let Some(spectra) = self.find(recipe) {
            return Ok(spectra);
        }
        // Not under the lock: the computation runs on threads that may meanwhile take up
        // another call with the same kernel. Two first calls at once both compute.
        let spectra = Arc::new(compute()?);
        let mut recent = self.lock();
        recent.retain(|(of, _)| *of != recipe);
        recent.push((recipe, spectra.clone()));
        while recent.len() > Self::KEPT {
            recent.remove(0);
        }
        Ok(spectra)
    }

    fn find(&self, recipe: Recipe) -> Option<Arc<Spectra<T>>> {
        let mut recent = self.lock();
        let index = recent.iter().position(|(of, _)| *of == recipe)?;
        let found = recent.remove(index);
        let spectra = found.1.clone();
        recent.push(found);
        Some(spectra)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Recipe, Arc<Spectra<T>>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The spectra that a prepared kernel keeps.

use super::element::Compute;
use super::right_angle::RightAngle;
use rustfft::num_complex::Complex;
use std::sync::{Arc, Mutex, PoisonError};

/// One spectrum for each channel.
pub(crate) type Spectra<T> = Vec<Vec<Complex<T>>>;

/// The spectra of one kernel at the transform sizes used last.
#[derive(Default)]
pub(crate) struct SpectrumCache {
    pub(super) single: Recent<f32>,
    pub(super) double: Recent<f64>,
}

impl SpectrumCache {
    /// The spectra for `transform`, computed by `compute` when they are not there.
    pub(crate) fn get<T: Compute>(
        &self,
        transform: &RightAngle<T>,
        compute: impl FnOnce() -> candle_core::Result<Spectra<T>>,
    ) -> candle_core::Result<Arc<Spectra<T>>> {
        T::recent_spectra(self).get(transform.size(), compute)
    }
}

/// The last sizes used, the last one at the end.
pub(crate) struct Recent<T>(Mutex<Vec<(usize, Arc<Spectra<T>>)>>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Recent(Mutex::new(Vec::new()))
    }
}

impl<T> Recent<T> {
    /// How many sizes are kept.
    const KEPT: usize = 2;

    fn get(
        &self,
        size: usize,
        compute: impl FnOnce() -> candle_core::Result<Spectra<T>>,
    ) -> candle_core::Result<Arc<Spectra<T>>> {
        // Held while computing, so that two first calls at once do not both compute.
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spectra = match recent.iter().position(|(s, _)| *s == size) {
            Some(index) => recent.remove(index).1,
            None => Arc::new(compute()?),
        };
        recent.push((size, spectra.clone()));
        while recent.len() > Self::KEPT {
            recent.remove(0);
        }
        Ok(spectra)
    }
}

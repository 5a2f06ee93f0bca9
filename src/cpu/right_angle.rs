//! The right-angle transform: linear convolutions by complex FFTs of the length kept.
//!
//! With `w = exp(iπ/(2P))`, so that `w^P = i`, the map
//! `x ↦ FFT_P(x[n] · w^n)` turns products of spectra into products of polynomials
//! modulo `x^P − i`. Of a real row and a real kernel the part that would wrap
//! around lands in the imaginary part, where it is dropped: `P` samples need a
//! complex FFT of `P` points and no zeros. A tap at the negative lag `−m` goes,
//! times `−i`, to position `P − m`, from where it wraps into the real part.
//! (Nussbaumer, "Fast Fourier Transform and Convolution Algorithms", 1982,
//! treats products modulo such polynomials.)

use super::element::Compute;
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};
use std::sync::{Arc, Mutex, PoisonError};

/// Values are weighted in pieces of this many, small enough for the first-level cache.
pub(crate) const PIECE: usize = 512;

/// Where a transform reads its values from.
pub(crate) trait Source<T> {
    /// Sets `target[i]` to value `start + i` times `weights[i]`; values beyond the end are zero.
    fn load(&self, start: usize, weights: &[Complex<T>], target: &mut [Complex<T>]);
}

/// Where an inverse transform leaves its values.
pub(crate) trait Sink<T> {
    /// Takes `values[i] · conj(weights[i])` as value `start + i`; may change `values`.
    fn store(&mut self, start: usize, weights: &[Complex<T>], values: &mut [Complex<T>]);
}

/// The transform of one size.
pub(crate) struct RightAngle<T: Compute> {
    size: usize,
    /// `w^n`
    weights: Vec<Complex<T>>,
    forward: Arc<dyn Fft<T>>,
    inverse: Arc<dyn Fft<T>>,
}

impl<T: Compute> RightAngle<T> {
    fn new(size: usize) -> Self {
        let mut planner = FftPlanner::new();
        let step = std::f64::consts::FRAC_PI_2 / size as f64;
        let weights = (0..size)
            .map(|n| {
                let (sin, cos) = (step * n as f64).sin_cos();
                Complex::new(T::rounded(cos), T::rounded(sin))
            })
            .collect();
        RightAngle {
            size,
            weights,
            forward: planner.plan_fft_forward(size),
            inverse: planner.plan_fft_inverse(size),
        }
    }

    /// The number of complex points, `P`.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// How many values of scratch memory the transforms need.
    pub(crate) fn scratch(&self) -> usize {
        self.forward
            .get_inplace_scratch_len()
            .max(self.inverse.get_inplace_scratch_len())
    }

    /// The plain Fourier transform of `values`, in place.
    pub(crate) fn forward(&self, values: &mut [Complex<T>], scratch: &mut [Complex<T>]) {
        self.forward.process_with_scratch(values, scratch);
    }

    /// The plain inverse Fourier transform of `values` times the size, in place.
    pub(crate) fn inverse(&self, values: &mut [Complex<T>], scratch: &mut [Complex<T>]) {
        self.inverse.process_with_scratch(values, scratch);
    }

    /// The right-angle transform of `source`, in `spectrum`.
    pub(crate) fn analyse(
        &self,
        source: &impl Source<T>,
        spectrum: &mut [Complex<T>],
        scratch: &mut [Complex<T>],
    ) {
        for (index, (target, weights)) in spectrum
            .chunks_mut(PIECE)
            .zip(self.weights.chunks(PIECE))
            .enumerate()
        {
            source.load(index * PIECE, weights, target);
        }
        self.forward(spectrum, scratch);
    }

    /// The inverse right-angle transform times the size, in `sink`. Destroys `spectrum`.
    pub(crate) fn synthesise(
        &self,
        spectrum: &mut [Complex<T>],
        sink: &mut impl Sink<T>,
        scratch: &mut [Complex<T>],
    ) {
        self.inverse(spectrum, scratch);
        for (index, (values, weights)) in spectrum
            .chunks_mut(PIECE)
            .zip(self.weights.chunks(PIECE))
            .enumerate()
        {
            sink.store(index * PIECE, weights, values);
        }
    }
}

/// Transforms of the sizes used last.
pub(crate) struct TransformCache<T: Compute> {
    /// The last one used is at the end.
    recent: Mutex<Vec<Arc<RightAngle<T>>>>,
}

impl<T: Compute> TransformCache<T> {
    /// How many transforms are kept.
    const KEPT: usize = 16;
    /// How many points all kept transforms have together, unless a single one has more.
    const POINTS_KEPT: usize = 1 << 23;

    pub(crate) const fn new() -> Self {
        TransformCache {
            recent: Mutex::new(Vec::new()),
        }
    }

    /// The transform of `size` points.
    pub(crate) fn get(&self, size: usize) -> Arc<RightAngle<T>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let transform = match recent.iter().position(|t| t.size == size) {
            Some(index) => recent.remove(index),
            None => Arc::new(RightAngle::new(size)),
        };
        recent.push(transform.clone());
        while recent.len() > 1
            && (recent.len() > Self::KEPT
                || recent.iter().map(|t| t.size).sum::<usize>() > Self::POINTS_KEPT)
        {
            recent.remove(0);
        }
        transform
    }
}

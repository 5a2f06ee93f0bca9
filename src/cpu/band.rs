//! The lowest frequencies of a row, by way of a shorter row.
//!
//! Of the transform of `n` points only the `kept` lowest coefficients are wanted, far fewer than
//! there are. Smoothed by a short window `h`, the row can be sampled at every `step`-th place alone:
//! what folds back onto the wanted coefficients is below the rounding errors of the dtype. The FFT
//! of these `n / step` samples, divided by the window's own spectrum, has the wanted
//! coefficients. The way back is the transpose: coefficients, divided by the window's spectrum,
//! to `n / step` samples, from which windows of their height make the row.
//! Both cost as many multiplications a sample as windows overlap, 8 in f32 and 16 in f64.
//!
//! The window is the "exponential of semicircle" (Barnett, Magland, af Klinteberg, "A parallel
//! nonuniform fast Fourier transform library based on an exponential of semicircle kernel",
//! SIAM J. Sci. Comput. 41, 2019).

use super::element::{Compute, Element};
use super::right_angle::PIECE;
use super::signal::{GatedOutput, GatedPair, GatedRow};
use crate::conv::{Band, Recent};
use candle_core::DType;
use rayon::prelude::*;
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};
use std::sync::Arc;

/// Windows come in groups of as many, and samples too.
const LANES: usize = 8;

/// Where real samples go.
pub(crate) trait RealSink<T> {
    /// Takes `values` as the samples from `start`, as far as there is room; may change them.
    fn take(&mut self, start: usize, values: &mut [T]);
}

impl<E: Element> RealSink<E::Compute> for GatedOutput<'_, '_, E> {
    fn take(&mut self, start: usize, values: &mut [E::Compute]) {
        self.write(start, values);
    }
}

impl<E: Element> RealSink<E::Compute> for GatedPair<'_, '_, E> {
    fn take(&mut self, start: usize, values: &mut [E::Compute]) {
        if let Some(first) = &mut self.first {
            let mut copy = [num_traits::zero::<E::Compute>(); PIECE];
            let copy = &mut copy[..values.len()];
            copy.copy_from_slice(values);
            first.write(start, copy);
        }
        if let Some(second) = &mut self.second {
            second.write(start, values);
        }
    }
}

/// A sum of samples.
struct Added<'a, T>(&'a mut [T]);

impl<T: Compute> RealSink<T> for Added<'_, T> {
    fn take(&mut self, start: usize, values: &mut [T]) {
        for (sum, &value) in self.0.iter_mut().skip(start).zip(values.iter()) {
            *sum += value;
        }
    }
}

/// Transforms of the bands used last. They are small, but take a while to make.
pub(crate) type BandCache<T> = Recent<Band, BandTransform<T>, 16>;

/// The transforms of one [`Band`].
pub(crate) struct BandTransform<T: Compute> {
    band: Band,
    /// How many windows overlap.
    width: usize,
    /// The windows over one block of `step` samples: for each group of windows and each group
    /// of samples, [`LANES`] windows of [`LANES`] samples.
    windows: Vec<T>,
    /// What a product of two spectra lacks before it is made into samples.
    factors: Vec<T>,
    forward: Arc<dyn Fft<T>>,
    inverse: Arc<dyn Fft<T>>,
}

impl<T: Compute> BandTransform<T> {
    pub(crate) fn new(band: Band) -> Self {
        let width = match T::DTYPE {
            DType::F64 => 2 * LANES,
            _ => LANES,
        };
        let window = Window::new(band.step, width);
        // So many samples before a block lies the centre of the first window that reaches it.
        let lead = (width / 2 - 1) * band.step;
        let mut windows = Vec::with_capacity(width * band.step);
        for group in (0..width).step_by(LANES) {
            for samples in (0..band.step).step_by(LANES) {
                for i in group..group + LANES {
                    for r in samples..samples + LANES {
                        windows.push(T::rounded(window.at(lead + r, i * band.step)));
                    }
                }
            }
        }
        let (n, step) = (band.fft_size as f64, band.step as f64);
        let factors = (0..band.kept)
            .into_par_iter()
            .map(|f| {
                let both_signs = if f == 0 { 1.0 } else { 2.0 };
                T::rounded(both_signs / n * (step / window.spectrum(f, band.fft_size)).powi(3))
            })
            .collect();
        let mut planner = FftPlanner::new();
        BandTransform {
            band,
            width,
            windows,
            factors,
            forward: planner.plan_fft_forward(band.points()),
            inverse: planner.plan_fft_inverse(band.points()),
        }
    }

    /// How many values of scratch memory the transforms need.
    pub(crate) fn scratch(&self) -> usize {
        self.forward
            .get_inplace_scratch_len()
            .max(self.inverse.get_inplace_scratch_len())
    }

    /// Multiplies a product of two spectra by what it lacks.
    pub(crate) fn scale(&self, spectrum: &mut [Complex<T>]) {
        for (value, &factor) in spectrum.iter_mut().zip(&self.factors) {
            *value *= factor;
        }
    }

    /// The lowest coefficients of a row, times the spectrum of the window, at the start of `spectrum`.
    pub(crate) fn analyse<E: Element<Compute = T>>(
        &self,
        row: &GatedRow<'_, E>,
        spectrum: &mut [Complex<T>],
        scratch: &mut [Complex<T>],
    ) {
        spectrum.fill(Complex::new(T::zero(), T::zero()));
        let mut piece = [T::zero(); PIECE];
        for start in (0..row.samples.len()).step_by(PIECE) {
            row.read(start, &mut piece);
            pulp::Arch::new().dispatch(Smooth {
                transform: self,
                first_block: start / self.band.step,
                samples: &piece,
                places: spectrum,
            });
        }
        self.forward.process_with_scratch(spectrum, scratch);
    }

    /// The row of the coefficients at the start of `spectrum`, times the spectrum of the window,
    /// in `sink`, which takes samples below `length`. Destroys `spectrum`.
    pub(crate) fn synthesise(
        &self,
        spectrum: &mut [Complex<T>],
        length: usize,
        sink: &mut impl RealSink<T>,
        scratch: &mut [Complex<T>],
    ) {
        let kept = self.band.kept.min(spectrum.len());
        spectrum[kept..].fill(Complex::new(T::zero(), T::zero()));
        self.inverse.process_with_scratch(spectrum, scratch);
        let mut piece = [T::zero(); PIECE];
        for start in (0..length).step_by(PIECE) {
            pulp::Arch::new().dispatch(Interpolate {
                transform: self,
                first_block: start / self.band.step,
                places: spectrum,
                samples: &mut piece,
            });
            let values = (length - start).min(PIECE);
            sink.take(start, &mut piece[..values]);
        }
    }

    /// [`BandTransform::synthesise`] of the sum that makes a kernel's gradient, added to `gradient`.
    pub(crate) fn kernel_gradient(
        &self,
        sum: &mut [Complex<T>],
        gradient: &mut [T],
        scratch: &mut [Complex<T>],
    ) {
        self.scale(sum);
        let taps = gradient.len();
        self.synthesise(sum, taps, &mut Added(gradient), scratch);
    }

    /// The place of the first of a group of windows over a block, in a circle of `points`.
    fn place(&self, block: usize, group: usize, points: usize) -> usize {
        (block + group * LANES + points + 1 - self.width / 2) % points
    }

    /// Adds the samples of some blocks, under each of their windows, to the windows' places.
    #[inline(always)]
    fn smooth(&self, first_block: usize, samples: &[T], places: &mut [Complex<T>]) {
        let step = self.band.step;
        for (index, block) in samples.chunks_exact(step).enumerate() {
            for (group, windows) in self.windows.chunks_exact(LANES * step).enumerate() {
                let mut sums = [[T::zero(); LANES]; LANES];
                let (windows, _) = windows.as_chunks::<{ LANES * LANES }>();
                for (x, window) in block.as_chunks::<LANES>().0.iter().zip(windows) {
                    // Counted loops of constant length: they become straight vector code.
                    for i in 0..LANES {
                        for lane in 0..LANES {
                            sums[i][lane] += window[i * LANES + lane] * x[lane];
                        }
                    }
                }
                let mut place = self.place(first_block + index, group, places.len());
                for [a, b, c, d, e, f, g, h] in sums {
                    places[place].re += ((a + e) + (c + g)) + ((b + f) + (d + h));
                    place = if place + 1 == places.len() {
                        0
                    } else {
                        place + 1
                    };
                }
            }
        }
    }

    /// Sets the samples of some blocks to the sum of their windows, times the real parts of the places.
    #[inline(always)]
    fn interpolate(&self, first_block: usize, places: &[Complex<T>], samples: &mut [T]) {
        let step = self.band.step;
        samples.fill(T::zero());
        for (index, block) in samples.chunks_exact_mut(step).enumerate() {
            for (group, windows) in self.windows.chunks_exact(LANES * step).enumerate() {
                let mut heights = [T::zero(); LANES];
                let mut place = self.place(first_block + index, group, places.len());
                for height in &mut heights {
                    *height = places[place].re;
                    place = if place + 1 == places.len() {
                        0
                    } else {
                        place + 1
                    };
                }
                let (windows, _) = windows.as_chunks::<{ LANES * LANES }>();
                for (y, window) in block.as_chunks_mut::<LANES>().0.iter_mut().zip(windows) {
                    for i in 0..LANES {
                        for lane in 0..LANES {
                            y[lane] += heights[i] * window[i * LANES + lane];
                        }
                    }
                }
            }
        }
    }
}

/// [`BandTransform::smooth`], compiled for the widest vector instructions of the processor.
struct Smooth<'a, T: Compute> {
    transform: &'a BandTransform<T>,
    first_block: usize,
    samples: &'a [T],
    places: &'a mut [Complex<T>],
}

impl<T: Compute> pulp::WithSimd for Smooth<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        self.transform
            .smooth(self.first_block, self.samples, self.places);
    }
}

/// [`BandTransform::interpolate`], likewise.
struct Interpolate<'a, T: Compute> {
    transform: &'a BandTransform<T>,
    first_block: usize,
    places: &'a [Complex<T>],
    samples: &'a mut [T],
}

impl<T: Compute> pulp::WithSimd for Interpolate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        self.transform
            .interpolate(self.first_block, self.places, self.samples);
    }
}

/// The window, `exp(β·(√(1 − x²) − 1))` for `−1 < x < 1`.
struct Window {
    /// Samples from the centre to either end.
    half: usize,
    beta: f64,
}

impl Window {
    fn new(step: usize, width: usize) -> Self {
        // A little below the steepest window that leaves the band alone, as the source advises.
        let free = 1.0 - 0.5 / Band::OVERSAMPLING as f64;
        Window {
            half: width / 2 * step,
            beta: 0.98 * std::f64::consts::PI * width as f64 * free,
        }
    }

    /// The height at `position` of the window around `centre`.
    fn at(&self, position: usize, centre: usize) -> f64 {
        let distance = position.abs_diff(centre);
        if distance >= self.half {
            return 0.0;
        }
        let x = distance as f64 / self.half as f64;
        (self.beta * ((1.0 - x * x).sqrt() - 1.0)).exp()
    }

    /// `Σ_s h(s)·cos(2π·f·s/n)`
    fn spectrum(&self, f: usize, n: usize) -> f64 {
        let turn = 2.0 * std::f64::consts::PI / n as f64;
        let one_side: f64 = (1..self.half)
            .map(|s| self.at(s, 0) * (turn * (f * s % n) as f64).cos())
            .sum();
        self.at(0, 0) + 2.0 * one_side
    }
}

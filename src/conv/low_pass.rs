//! Kernels of which only the lowest frequencies are kept.
//!
//! Of the real FFT of a kernel, padded with zeros to `n` points, the coefficients from `kept` on
//! are set to zero. What is left is again a kernel, of `n` taps at lags of both signs: the
//! circular convolution with `g[j] = Σ_{|f| < kept} exp(2πi·f·j/n) / n`. It is computed by the
//! operation that this crate is made of, with channels in the place of batch items, so it runs
//! where that runs and has its gradient: `g` is symmetric, so the gradient is filtered likewise.

use super::plan::Semantics;
use super::recipe::Band;
use super::{check, FlashFftConv, PreparedConv, Recent};
use candle_core::{DType, Device, Module, Result, Tensor};
use rayon::prelude::*;

/// The limit of a [`FlashFftConv`] on the frequencies of its kernels.
pub(crate) struct LowPass {
    /// `n`, the points of the real FFT.
    pub(crate) fft_size: usize,
    /// How many coefficients are kept, from the lowest on.
    pub(crate) kept: usize,
    /// Taps from here on are left out before the transform.
    longest_kernel: usize,
    /// The way without a filter, where there is one.
    band: Option<Band>,
    device: Device,
    filter: Recent<(), PreparedConv>,
}

impl std::fmt::Debug for LowPass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LowPass")
            .field("fft_size", &self.fft_size)
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}

impl LowPass {
    pub(super) fn new(
        fft_size: usize,
        kept: usize,
        longest_kernel: usize,
        device: &Device,
    ) -> Result<Self> {
        check::size("kept frequencies", kept, fft_size / 2 + 1)?;
        Ok(LowPass {
            fft_size,
            kept,
            longest_kernel,
            band: Band::choose(fft_size, kept).filter(|_| device.is_cpu()),
            device: device.clone(),
            filter: Recent::default(),
        })
    }

    /// The way without a filter for rows of `length` samples, where it is the faster one.
    pub(super) fn band(&self, length: usize) -> Option<Band> {
        self.band.filter(|band| band.serves(length))
    }

    /// The taps of `k` that count.
    pub(super) fn counting(&self, k: &Tensor) -> Result<Tensor> {
        k.narrow(1, 0, k.dim(1)?.min(self.longest_kernel))
    }

    /// The acting kernel for rows of `length` samples, and what its taps mean; differentiable.
    pub(super) fn acting(&self, k: &Tensor, length: usize) -> Result<(Semantics, Tensor)> {
        Ok(match self.band(length) {
            Some(band) => (Semantics::Band(band), self.counting(k)?),
            None => (self.semantics(), self.apply(k)?),
        })
    }

    /// How the taps that [`LowPass::apply`] makes act.
    pub(super) fn semantics(&self) -> Semantics {
        Semantics::Circular {
            fft_size: self.fft_size,
        }
    }

    /// `k`, `(H, Lk)`, as a circular kernel `(H, n)`; differentiable.
    pub(super) fn apply(&self, k: &Tensor) -> Result<Tensor> {
        let counting = self.counting(k)?;
        let padded = counting.pad_with_zeros(1, 0, self.fft_size - counting.dim(1)?)?;
        if self.kept == self.fft_size / 2 + 1 {
            return Ok(padded);
        }
        let filter = self.filter.get((), || self.filter())?;
        filter.forward(&padded.unsqueeze(1)?)?.squeeze(1)
    }

    /// The convolution with `g`.
    fn filter(&self) -> Result<PreparedConv> {
        let dtype = match self.device.is_cpu() {
            true => DType::F64,
            false => DType::F32,
        };
        let taps = Tensor::from_vec(self.taps(), (1, self.fft_size), &Device::Cpu)?
            .to_dtype(dtype)?
            .to_device(&self.device)?;
        FlashFftConv::new(self.fft_size, &self.device)?.prepare(&taps)
    }

    /// `g`, by the closed form of the sum: `sin(π(2·kept − 1)j/n) / (n·sin(πj/n))`.
    fn taps(&self) -> Vec<f64> {
        let n = self.fft_size as u64;
        let odd = 2 * self.kept as u64 - 1;
        let half_turn = std::f64::consts::PI / n as f64;
        let mut taps: Vec<f64> = (0..n)
            .into_par_iter()
            .map(|j| match j {
                0 => odd as f64 / n as f64,
                // Reduced before it is rounded; the period of the sine is 2n.
                _ => {
                    let turns = odd * j % (2 * n);
                    (half_turn * turns as f64).sin() / (n as f64 * (half_turn * j as f64).sin())
                }
            })
            .collect();
        // As symmetric as it is exactly.
        for j in 1..taps.len().div_ceil(2) {
            let mirrored = taps.len() - j;
            taps[mirrored] = taps[j];
        }
        taps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closed_form_is_the_sum() -> Result<()> {
        for n in [1usize, 2, 3, 4, 7, 8, 45, 256] {
            for kept in 1..=n.div_ceil(2) {
                let taps = LowPass::new(n, kept, n, &Device::Cpu)?.taps();
                for (j, tap) in taps.iter().enumerate() {
                    let angle =
                        |f: usize| 2.0 * std::f64::consts::PI * (f * j % n) as f64 / n as f64;
                    let sum = 1.0 + (1..kept).map(|f| 2.0 * angle(f).cos()).sum::<f64>();
                    let want = sum / n as f64;
                    assert!(
                        (tap - want).abs() < 1e-13,
                        "n {n} kept {kept} j {j}: {tap} {want}"
                    );
                }
            }
        }
        Ok(())
    }
}

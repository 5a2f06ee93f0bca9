//! Convolutions with a kernel that is transformed once.

use super::check;
use super::low_pass::LowPass;
use super::ops::{computable_kernel, Arrangement, GatedOp, HeldKernel, PreparedOp};
use super::plan::{LagWindow, Semantics};
use super::recipe::Recipe;
use crate::consecutive::consecutive;
use crate::cpu::convolve::spectra;
use crate::cpu::element::Compute;
use crate::cpu::engine::Engine;
use crate::cpu::rows::Rows;
use crate::cpu::spectra::{Spectra, SpectrumCache};
use candle_core::{DType, Device, Module, Result, Storage, Tensor};
use std::sync::Arc;

/// A long convolution with a fixed kernel, whose spectrum is computed once and kept.
///
/// Made by [`FlashFftConv::prepare`](super::FlashFftConv::prepare); for inference and for
/// training with a frozen kernel. All methods are differentiable in their
/// arguments, none in the kernel. Cloning is cheap and shares the spectra.
///
/// # Memory
///
/// Beside the taps, a spectrum of 8 bytes (16 for f64 sequences) a channel and
/// transform point is kept for the last two transform sizes used; the size
/// follows from the length of the sequences and is less than 4/3 of it, or
/// from the number of taps where those are few, or of the frequencies that are
/// [kept](super::FlashFftConv::with_kept_frequencies).
///
/// # Example
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use candle_flashfftconv::{FlashFftConv, PreparedConv};
///
/// let device = Device::Cpu;
/// let kernel = Tensor::new(&[[1f32, 0.5]], &device)?; // one channel, two taps
/// let prepared: PreparedConv = FlashFftConv::causal(1024, &device)?.prepare(&kernel)?;
///
/// let u = Tensor::new(&[[[1f32, 2.0, 3.0]]], &device)?;
/// let y = prepared.forward(&u)?.to_vec3::<f32>()?;
/// for (got, want) in y[0][0].iter().zip([1.0, 2.5, 4.0]) {
///     assert!((got - want).abs() < 1e-6);
/// }
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone)]
pub struct PreparedConv {
    kernel: Arc<PreparedKernel>,
    /// What the plan computes, as its checks need it.
    semantics: Semantics,
    device: Device,
}

impl std::fmt::Debug for PreparedConv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreparedConv")
            .field("semantics", &self.semantics)
            .field("low_pass", &self.kernel.low_pass)
            .field("kernel", &self.kernel.taps.shape())
            .field("device", &self.device.location())
            .finish()
    }
}

impl PreparedConv {
    pub(super) fn new(
        semantics: Semantics,
        low_pass: Option<Arc<LowPass>>,
        k: &Tensor,
        device: &Device,
    ) -> Result<Self> {
        check::kernel(k, semantics, device)?;
        let taps = computable_kernel(&k.detach(), k.dtype())?;
        // Detached from the caller's memory, so that a later change of it cannot
        // make spectra of different sizes disagree.
        let taps = taps.force_contiguous()?;
        Ok(PreparedConv {
            kernel: Arc::new(PreparedKernel {
                semantics: low_pass.as_ref().map_or(semantics, |l| l.semantics()),
                low_pass,
                taps,
                cache: SpectrumCache::default(),
                #[cfg(feature = "cuda")]
                device_cache: Default::default(),
            }),
            semantics,
            device: device.clone(),
        })
    }

    /// `out_gate ⊙ ((in_gate ⊙ u) ∗ k)` of tensors of shape `(B, H, L)`.
    ///
    /// See [`FlashFftConv::forward_gated`](super::FlashFftConv::forward_gated).
    ///
    /// # Errors
    ///
    /// When a rank, shape, dtype or device does not fit the kernel, or `L` exceeds the plan's size.
    ///
    /// # Example
    ///
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use candle_flashfftconv::FlashFftConv;
    ///
    /// let device = Device::Cpu;
    /// let k = Tensor::randn(0f32, 1.0, (4, 129), &device)?;
    /// let prepared = FlashFftConv::causal(129, &device)?.prepare(&k)?;
    /// let u = Tensor::randn(0f32, 1.0, (2, 4, 129), &device)?;
    /// let gate = Tensor::randn(0f32, 1.0, (2, 4, 129), &device)?;
    /// let y = prepared.forward_gated(&u, &gate, &gate)?;
    /// assert_eq!(y.dims(), [2, 4, 129]);
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    pub fn forward_gated(&self, u: &Tensor, in_gate: &Tensor, out_gate: &Tensor) -> Result<Tensor> {
        let (_, channels, length) = check::sequence("u", u, "(B, H, L)", &self.device)?;
        check::gate("in_gate", in_gate, u)?;
        check::gate("out_gate", out_gate, u)?;
        self.check_sizes(channels, length)?;
        consecutive(u)?.apply_op3(
            &consecutive(in_gate)?,
            &consecutive(out_gate)?,
            GatedOp {
                kernel: HeldKernel::Prepared(self.kernel.clone()),
            },
        )
    }

    /// [`PreparedConv::forward_gated`] of `z = [out_gate | in_gate | u]`, `(B, 3H, L)`, without a copy.
    ///
    /// See [`FlashFftConv::forward_projected`](super::FlashFftConv::forward_projected).
    ///
    /// # Errors
    ///
    /// When a rank, shape, dtype or device does not fit the kernel, or `L` exceeds the plan's size.
    ///
    /// # Example
    ///
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use candle_flashfftconv::FlashFftConv;
    ///
    /// let device = Device::Cpu;
    /// let k = Tensor::randn(0f32, 1.0, (4, 129), &device)?;
    /// let prepared = FlashFftConv::causal(129, &device)?.prepare(&k)?;
    /// let z = Tensor::randn(0f32, 1.0, (2, 3 * 4, 129), &device)?;
    /// let y = prepared.forward_projected(&z)?;
    /// assert_eq!(y.dims(), [2, 4, 129]);
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    pub fn forward_projected(&self, z: &Tensor) -> Result<Tensor> {
        let (_, channels, length) = check::arranged(z, Arrangement::Projected, &self.device)?;
        self.check_sizes(channels, length)?;
        self.apply(z, Arrangement::Projected)
    }

    /// `out_gate ⊙ (u ∗ k)` of `z = [out_gate | u]`, `(B, 2H, L)`, without a copy; errors as those of
    /// [`PreparedConv::forward_projected`].
    pub(crate) fn forward_out_gated(&self, z: &Tensor) -> Result<Tensor> {
        let (_, channels, length) = check::arranged(z, Arrangement::OutGated, &self.device)?;
        self.check_sizes(channels, length)?;
        self.apply(z, Arrangement::OutGated)
    }

    fn check_sizes(&self, channels: usize, length: usize) -> Result<()> {
        check::channels(self.kernel.taps.dims(), channels)?;
        check::length(self.semantics, length)?;
        Ok(())
    }

    fn apply(&self, sequences: &Tensor, arrangement: Arrangement) -> Result<Tensor> {
        consecutive(sequences)?.apply_op1(PreparedOp {
            kernel: self.kernel.clone(),
            arrangement,
        })
    }
}

impl Module for PreparedConv {
    /// `u ∗ k` of `u`, `(B, H, L)`.
    ///
    /// See [`FlashFftConv::forward`](super::FlashFftConv::forward).
    fn forward(&self, u: &Tensor) -> Result<Tensor> {
        let (_, channels, length) = check::sequence("u", u, "(B, H, L)", &self.device)?;
        self.check_sizes(channels, length)?;
        self.apply(u, Arrangement::Plain)
    }
}

/// What the clones of a [`PreparedConv`] and its operations share.
pub(crate) struct PreparedKernel {
    /// How the taps of [`PreparedKernel::acting_taps`] act.
    pub(crate) semantics: Semantics,
    low_pass: Option<Arc<LowPass>>,
    /// As it was given: `(H, Lk)`, contiguous, f32 or f64.
    taps: Tensor,
    cache: SpectrumCache,
    #[cfg(feature = "cuda")]
    pub(crate) device_cache: crate::cuda::conv::SpectrumCache,
}

impl PreparedKernel {
    /// What the taps mean on the CPU for rows of `length` samples, and how many act.
    pub(super) fn acting_on(&self, length: usize) -> (Semantics, usize) {
        match self.low_pass.as_ref().and_then(|l| l.band(length)) {
            Some(band) => (
                Semantics::Band(band),
                self.taps.dims().last().copied().unwrap_or(0),
            ),
            None => (self.semantics, self.tap_count()),
        }
    }

    /// How many taps act.
    pub(crate) fn tap_count(&self) -> usize {
        match &self.low_pass {
            Some(low_pass) => low_pass.fft_size,
            None => self.taps.dims().last().copied().unwrap_or(0),
        }
    }

    /// The taps that act, `(H, tap_count)`.
    pub(crate) fn acting_taps(&self, dtype: DType) -> Result<Tensor> {
        let taps = self.taps.to_dtype(dtype)?;
        match &self.low_pass {
            Some(low_pass) => low_pass.apply(&taps),
            None => Ok(taps),
        }
    }

    /// The spectra of all channels for one recipe on the CPU.
    pub(super) fn spectra<T: Compute>(&self, engine: &Engine<T>) -> Result<Arc<Spectra<T>>> {
        self.cache.get(engine, || {
            let (semantics, taps) = match (engine.recipe(), &self.low_pass) {
                (Recipe::Band(band), Some(low_pass)) => {
                    let taps = low_pass.counting(&self.taps.to_dtype(T::DTYPE)?)?;
                    (Semantics::Band(band), taps)
                }
                _ => (self.semantics, self.acting_taps(T::DTYPE)?),
            };
            let (storage, layout) = taps.storage_and_layout();
            let Storage::Cpu(storage) = &*storage else {
                return super::on_gpu::not_there(
                    "the spectrum of a kernel for sequences on the CPU",
                );
            };
            let rows = Rows::<T>::new(storage, layout)?;
            // The spectra serve every length that the transform holds.
            let window = LagWindow::new(semantics, engine.size(), rows.length());
            Ok(spectra(rows, &window, engine))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::FlashFftConv;
    use candle_core::{Device, Result, Tensor, Var};

    #[test]
    fn a_gate_of_the_output_alone_is_one_with_ones() -> Result<()> {
        let device = Device::Cpu;
        let (channels, length) = (3, 77);
        let k = Tensor::randn(0f64, 1.0, (channels, length), &device)?;
        let prepared = FlashFftConv::causal(length, &device)?.prepare(&k)?;
        let z = Var::randn(0f64, 1.0, (2, 2 * channels, length), &device)?;
        let part = |index: usize| z.narrow(1, index * channels, channels);
        let (out_gate, u) = (part(0)?, part(1)?);
        let want = prepared.forward_gated(&u, &u.ones_like()?, &out_gate)?;
        let got = prepared.forward_out_gated(&z)?;
        let gradient = |y: &Tensor| -> Result<Vec<f64>> {
            let gradients = y.sqr()?.sum_all()?.backward()?;
            gradients
                .get(&z)
                .map(|gradient| gradient.flatten_all()?.to_vec1())
                .unwrap_or_else(|| Ok(Vec::new()))
        };
        let (of_want, of_got) = (gradient(&want)?, gradient(&got)?);
        for (got, want) in [
            (
                got.flatten_all()?.to_vec1()?,
                want.flatten_all()?.to_vec1()?,
            ),
            (of_got, of_want),
        ] {
            let largest = want.iter().fold(0.0, |m: f64, w| m.max(w.abs()));
            assert!(largest > 0.1 && got.len() == want.len());
            for (got, want) in got.iter().zip(&want) {
                assert!(
                    (got - want).abs() < 1e-12 * largest,
                    "{got} instead of {want}"
                );
            }
        }
        let odd = z.narrow(1, 0, 2 * channels - 1)?;
        let message = prepared.forward_out_gated(&odd).unwrap_err().to_string();
        assert!(message.contains("(B, 2H, L)"), "{message}");
        Ok(())
    }
}

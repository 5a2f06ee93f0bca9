//! The long convolution: its meaning, its checks and its place in candle's graph.

mod backward;
mod check;
mod low_pass;
pub(crate) mod on_gpu;
mod ops;
mod plan;
mod prepared;
mod recent;
mod recipe;

pub(crate) use ops::{Arrangement, Part};
pub(crate) use plan::LagWindow;
#[cfg(all(test, feature = "cuda"))]
pub(crate) use plan::Semantics;
pub use prepared::PreparedConv;
pub(crate) use recent::Recent;
pub(crate) use recipe::{Band, Recipe};

use crate::consecutive::consecutive;
use candle_core::{Device, Result, Tensor};
use low_pass::LowPass;
use ops::{computable_kernel, GatedOp, HeldKernel, KernelOp};
#[cfg(not(all(test, feature = "cuda")))]
use plan::Semantics;
use std::sync::Arc;

/// A long convolution of sequences with one kernel for each channel, by FFT.
///
/// `y[b, h, t] = out_gate[b, h, t] · Σ_j k[h, j] · (in_gate · u)[b, h, t − j]`
///
/// where the index `t − j` either stays in the sequence
/// ([`FlashFftConv::causal`]) or is taken modulo an FFT size
/// ([`FlashFftConv::new`]). The cost grows with `L·log L`, not with the
/// number of taps.
///
/// * `u`, the gates and `y` have the shape `(B, H, L)`: batch, channels, sequence length.
///   Their dtype is f32, f16, bf16 or, on the CPU, f64. Inputs may be views with any
///   strides and offset; those whose last dimension is not contiguous are copied.
/// * `k` has the shape `(H, Lk)` and is taken as f32, or as f64 with f64 sequences;
///   other float dtypes are converted.
/// * Gradients have the dtype and shape of the tensor they belong to. Second derivatives
///   are not supported.
/// * A skip term `bias[h] · in_gate · u` needs no extra operation: add `bias` to `k[:, 0]`.
/// * Rows are independent: NaN or infinity in one never reaches another. Results are
///   bit-identical from call to call.
///
/// # Errors
///
/// Every method returns a [`candle_core::Error`], made of an [`Error`](crate::Error), when a rank, shape,
/// dtype, device or size is not what is described here.
///
/// # Example
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_flashfftconv::FlashFftConv;
///
/// let device = Device::Cpu;
/// let u = Tensor::randn(0f32, 1.0, (2, 4, 1000), &device)?; // batch 2, 4 channels
/// let k = Tensor::randn(0f32, 1.0, (4, 1000), &device)?;
/// let conv = FlashFftConv::causal(1000, &device)?;
/// let y = conv.forward(&u, &k)?;
/// assert_eq!(y.dims(), u.dims());
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// The operation is that of FlashFFTConv (Fu, Kumbong, Nguyen, Ré, "FlashFFTConv: Efficient
/// Convolutions for Long Sequences with Tensor Cores", ICLR 2024).
#[derive(Debug, Clone)]
pub struct FlashFftConv {
    semantics: Semantics,
    low_pass: Option<Arc<LowPass>>,
    device: Device,
}

impl FlashFftConv {
    /// The circular convolution of size `fft_size`, any from 1 to 2^24, powers of two or not.
    ///
    /// `u` and `k` are padded with zeros to `fft_size`, and the first `L` samples are kept:
    /// `iFFT(FFT(u) · FFT(k))[..L]`. With `fft_size ≥ L + Lk − 1` nothing wraps around,
    /// and the convolution is the causal one.
    ///
    /// # Errors
    ///
    /// When `fft_size` is out of range.
    ///
    /// # Example
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// use candle_flashfftconv::FlashFftConv;
    ///
    /// let u = Tensor::new(&[[[1f32, 0.0, 0.0, 2.0]]], &Device::Cpu)?;
    /// let k = Tensor::new(&[[1f32, 10.0]], &Device::Cpu)?;
    /// let y = FlashFftConv::new(4, &Device::Cpu)?.forward(&u, &k)?;
    /// // The last sample wraps around to the first.
    /// for (got, want) in y.to_vec3::<f32>()?[0][0].iter().zip([21.0, 10.0, 0.0, 2.0]) {
    ///     assert!((got - want).abs() < 1e-5);
    /// }
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    pub fn new(fft_size: usize, device: &Device) -> Result<Self> {
        check::size("fft_size", fft_size, check::MAX_FFT_SIZE)?;
        Ok(FlashFftConv {
            semantics: Semantics::Circular { fft_size },
            low_pass: None,
            device: device.clone(),
        })
    }

    /// The causal convolution of sequences of up to `max_len` samples, any from 1 to 2^23.
    ///
    /// Always linear: nothing wraps around, whatever the lengths. `k` may have any number of
    /// taps; those at `L` and beyond cannot matter.
    ///
    /// # Errors
    ///
    /// When `max_len` is out of range.
    ///
    /// # Example
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// use candle_flashfftconv::FlashFftConv;
    ///
    /// let u = Tensor::new(&[[[1f32, 0.0, 0.0, 2.0]]], &Device::Cpu)?;
    /// let k = Tensor::new(&[[1f32, 10.0]], &Device::Cpu)?;
    /// let y = FlashFftConv::causal(4, &Device::Cpu)?.forward(&u, &k)?;
    /// for (got, want) in y.to_vec3::<f32>()?[0][0].iter().zip([1.0, 10.0, 0.0, 2.0]) {
    ///     assert!((got - want).abs() < 1e-5);
    /// }
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    pub fn causal(max_len: usize, device: &Device) -> Result<Self> {
        check::size("max_len", max_len, check::MAX_CAUSAL_LENGTH)?;
        Ok(FlashFftConv {
            semantics: Semantics::Causal {
                max_length: max_len,
            },
            low_pass: None,
            device: device.clone(),
        })
    }

    /// The same convolution with kernels of which only the `count` lowest frequencies are kept.
    ///
    /// With the FFT size `n`, which is `fft_size` in a plan of [`FlashFftConv::new`] and
    /// `2 · max_len` in one of [`FlashFftConv::causal`], `k` is replaced by
    ///
    /// `k' = irfft(rfft(k, n) ⊙ mask, n)` with `mask[f] = 1` for `f < count` and 0 from there on,
    ///
    /// and the first `L` samples of the circular convolution of size `n` with `k'` are the result.
    /// The real FFT has `⌊n/2⌋ + 1` coefficients, from frequency 0 to half the sampling rate; with as
    /// many kept nothing changes. Gradients are those of this formula.
    ///
    /// * Taps at `max_len` and beyond are left out, as in every causal plan.
    /// * The result is *not* causal: a kernel without high frequencies has taps at negative lags,
    ///   the more the fewer are kept. Nothing wraps around: `n` has room for all lags.
    /// * `n` belongs to the plan, not to the call. A sequence with `L < max_len` has the
    ///   same result as if it were padded with zeros to `max_len`, and frequency `f` is `f/n` cycles
    ///   a sample at every length. For the formula with `n = 2 · L` make a plan with
    ///   `max_len = L`; there, taps between `L` and `max_len` do not count, while in a longer plan
    ///   the filter spreads them onto earlier lags.
    ///
    /// # Cost
    ///
    /// On the CPU, where so few frequencies are kept that `count ≤ n/128`, and a power of two from 16 to
    /// 256 divides `n` into `8 · count` points or more, rows are computed by way of shorter ones
    /// that have these frequencies alone, forward and backward, in less time and memory than with
    /// whole kernels. The result is the same up to the rounding errors of the dtype.
    ///
    /// Otherwise, and on a GPU, the kernel is filtered: a convolution of `n` points for each channel, on the
    /// device of the plan. [`FlashFftConv::prepare`] leads to one for each transform size, the other
    /// methods to one in each call, which at batch 1 takes longer than the convolution itself. What
    /// follows takes the time of a circular convolution of size `n`; fewer frequencies save nothing there.
    ///
    /// # Errors
    ///
    /// When `count` is 0 or more than `⌊n/2⌋ + 1`.
    ///
    /// # Example
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// use candle_flashfftconv::FlashFftConv;
    ///
    /// // One tap has all frequencies in equal parts. Alone, frequency 0 spreads over all 8 lags.
    /// let u = Tensor::new(&[[[8f32, 0.0, 0.0, 0.0]]], &Device::Cpu)?;
    /// let k = Tensor::new(&[[1f32]], &Device::Cpu)?;
    /// let conv = FlashFftConv::causal(4, &Device::Cpu)?.with_kept_frequencies(1)?;
    /// for got in &conv.forward(&u, &k)?.to_vec3::<f32>()?[0][0] {
    ///     assert!((got - 1.0).abs() < 1e-5);
    /// }
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    ///
    /// The "frequency-sparse convolutions" of FlashFFTConv (section 3.3 of the paper).
    pub fn with_kept_frequencies(mut self, count: usize) -> Result<Self> {
        let (fft_size, longest_kernel) = match self.semantics {
            Semantics::Circular { fft_size } | Semantics::Band(Band { fft_size, .. }) => {
                (fft_size, fft_size)
            }
            Semantics::Causal { max_length } => (2 * max_length, max_length),
        };
        let low_pass = LowPass::new(fft_size, count, longest_kernel, &self.device)?;
        self.low_pass = Some(Arc::new(low_pass));
        Ok(self)
    }

    /// `u ∗ k`, differentiable in both.
    ///
    /// `u` is `(B, H, L)`, `k` is `(H, Lk)`, the result has `u`'s shape and dtype.
    ///
    /// # Errors
    ///
    /// When the ranks, channels, devices or dtypes do not fit, when `L` or, in a circular
    /// convolution, `Lk` exceeds the plan's size, or when `k` has no taps.
    ///
    /// # Example
    ///
    /// ```
    /// use candle_core::{Device, Tensor, Var};
    /// use candle_flashfftconv::FlashFftConv;
    ///
    /// let device = Device::Cpu;
    /// let u = Tensor::randn(0f32, 1.0, (2, 4, 129), &device)?;
    /// let k = Var::randn(0f32, 1.0, (4, 129), &device)?;
    /// let y = FlashFftConv::causal(129, &device)?.forward(&u, &k)?;
    /// let gradients = y.sqr()?.sum_all()?.backward()?;
    /// assert_eq!(gradients.get(&k).unwrap().dims(), [4, 129]);
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    pub fn forward(&self, u: &Tensor, k: &Tensor) -> Result<Tensor> {
        let (_, channels, length) = check::sequence("u", u, "(B, H, L)", &self.device)?;
        self.check_kernel(k, channels, length)?;
        self.apply(u, k, Arrangement::Plain)
    }

    /// `out_gate ⊙ ((in_gate ⊙ u) ∗ k)`, differentiable in all four.
    ///
    /// The gates have the shape, dtype and device of `u`, but may be broadcast views.
    /// When `k` needs a gradient the three sequences are first copied into one tensor;
    /// [`FlashFftConv::forward_projected`] avoids that.
    ///
    /// # Errors
    ///
    /// Those of [`FlashFftConv::forward`], and when a gate does not fit `u`.
    ///
    /// # Example
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// use candle_flashfftconv::FlashFftConv;
    ///
    /// let device = Device::Cpu;
    /// let u = Tensor::randn(0f32, 1.0, (2, 4, 372), &device)?;
    /// let k = Tensor::randn(0f32, 1.0, (4, 372), &device)?;
    /// let in_gate = Tensor::randn(0f32, 1.0, (2, 4, 372), &device)?;
    /// let out_gate = in_gate.ones_like()?;
    /// let y = FlashFftConv::causal(372, &device)?.forward_gated(&u, &k, &in_gate, &out_gate)?;
    /// assert_eq!(y.dims(), [2, 4, 372]);
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    pub fn forward_gated(
        &self,
        u: &Tensor,
        k: &Tensor,
        in_gate: &Tensor,
        out_gate: &Tensor,
    ) -> Result<Tensor> {
        let (_, channels, length) = check::sequence("u", u, "(B, H, L)", &self.device)?;
        check::gate("in_gate", in_gate, u)?;
        check::gate("out_gate", out_gate, u)?;
        self.check_kernel(k, channels, length)?;
        if k.track_op() {
            // A custom operation takes three tensors at most.
            let z = Tensor::cat(&[out_gate, in_gate, u], 1)?;
            return self.apply(&z, k, Arrangement::Projected);
        }
        let (semantics, taps) = self.acting_kernel(k, u)?;
        consecutive(u)?.apply_op3(
            &consecutive(in_gate)?,
            &consecutive(out_gate)?,
            GatedOp {
                kernel: HeldKernel::Taps(semantics, taps),
            },
        )
    }

    /// [`FlashFftConv::forward_gated`] of `z = [out_gate | in_gate | u]`, `(B, 3H, L)`, as one
    /// projection makes them; no copy; differentiable in `z` and `k`.
    ///
    /// # Errors
    ///
    /// Those of [`FlashFftConv::forward`], and when 3 does not divide the middle dimension of `z`.
    ///
    /// # Example
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// use candle_flashfftconv::FlashFftConv;
    ///
    /// let device = Device::Cpu;
    /// let z = Tensor::randn(0f32, 1.0, (2, 3 * 4, 372), &device)?;
    /// let k = Tensor::randn(0f32, 1.0, (4, 372), &device)?;
    /// let y = FlashFftConv::causal(372, &device)?.forward_projected(&z, &k)?;
    /// assert_eq!(y.dims(), [2, 4, 372]);
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    pub fn forward_projected(&self, z: &Tensor, k: &Tensor) -> Result<Tensor> {
        let (_, channels, length) = check::arranged(z, Arrangement::Projected, &self.device)?;
        self.check_kernel(k, channels, length)?;
        self.apply(z, k, Arrangement::Projected)
    }

    /// Transforms `k`, `(H, Lk)`, once for many calls. The result gives `k` no gradient.
    ///
    /// # Errors
    ///
    /// When `k`'s rank, dtype, device or number of taps is not as [`FlashFftConv::forward`] needs it.
    ///
    /// # Example
    ///
    /// ```
    /// use candle_core::{Device, Module, Tensor};
    /// use candle_flashfftconv::FlashFftConv;
    ///
    /// let device = Device::Cpu;
    /// let k = Tensor::randn(0f32, 1.0, (4, 129), &device)?;
    /// let prepared = FlashFftConv::causal(129, &device)?.prepare(&k)?;
    /// for _ in 0..3 {
    ///     let u = Tensor::randn(0f32, 1.0, (2, 4, 129), &device)?;
    ///     assert_eq!(prepared.forward(&u)?.dims(), u.dims());
    /// }
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    pub fn prepare(&self, k: &Tensor) -> Result<PreparedConv> {
        PreparedConv::new(self.semantics, self.low_pass.clone(), k, &self.device)
    }

    fn check_kernel(&self, k: &Tensor, channels: usize, length: usize) -> Result<()> {
        check::kernel(k, self.semantics, &self.device)?;
        check::channels(k.dims(), channels)?;
        check::length(self.semantics, length)?;
        Ok(())
    }

    /// The kernel as the operations take it, and what its taps mean.
    fn acting_kernel(&self, k: &Tensor, sequences: &Tensor) -> Result<(Semantics, Tensor)> {
        let k = computable_kernel(k, sequences.dtype())?;
        match &self.low_pass {
            None => Ok((self.semantics, k)),
            Some(low_pass) => low_pass.acting(&k, sequences.dim(2)?),
        }
    }

    fn apply(&self, sequences: &Tensor, k: &Tensor, arrangement: Arrangement) -> Result<Tensor> {
        let (semantics, k) = self.acting_kernel(k, sequences)?;
        consecutive(sequences)?.apply_op2(
            &k,
            KernelOp {
                semantics,
                arrangement,
            },
        )
    }
}

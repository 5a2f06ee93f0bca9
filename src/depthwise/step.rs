//! One sample at a time: what decoding needs of a causal convolution.

use super::geometry::{Correlation, Padding};
use super::{check_device, check_float, Conv1dLayout, FlashDepthwiseConv1d};
use crate::Error;
use candle_core::{DType, Result, Tensor, D};

impl FlashDepthwiseConv1d {
    /// The state before the first sample, `(B, H, K − 1)`: zeros.
    ///
    /// # Errors
    /// When the convolution is not causal.
    pub fn initial_state(&self, batch: usize, dtype: DType) -> Result<Tensor> {
        self.check_causal()?;
        let shape = (batch, self.channels, self.taps - 1);
        Tensor::zeros(shape, dtype, self.weight.device())
    }

    /// The state after the samples of `x`, `(B, H, K − 1)`: the last `K − 1` of them,
    /// with zeros before them where `x`, `(B, H, L)` or `(B, L, H)` by the layout, has fewer.
    ///
    /// So a prompt goes through [`forward`](candle_core::Module::forward) at once, and
    /// [`FlashDepthwiseConv1d::step`] goes on behind it.
    ///
    /// # Errors
    /// When the convolution is not causal, and those of `forward` on `x`.
    pub fn state_after(&self, x: &Tensor) -> Result<Tensor> {
        self.check_causal()?;
        self.geometry_of(x)?;
        let rows = match self.layout {
            Conv1dLayout::Bhl => x.clone(),
            Conv1dLayout::Blh => x.transpose(1, 2)?,
        };
        let (length, kept) = (rows.dim(2)?, self.taps - 1);
        match kept.checked_sub(length) {
            None | Some(0) => rows.narrow(2, length - kept, kept)?.contiguous(),
            Some(missing) => rows.contiguous()?.pad_with_zeros(2, missing, 0),
        }
    }

    /// Takes one sample of every channel: `(state, y)` from the state before it and
    /// `x`, `(B, H)`, where `y`, `(B, H)`, is what [`forward`](candle_core::Module::forward)
    /// gives at that sample. The new state holds the last `K − 1` samples, `x` among
    /// them; the old one is left as it was.
    ///
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use candle_flashfftconv::{Conv1dLayout, FlashDepthwiseConv1d};
    ///
    /// let device = Device::Cpu;
    /// let weight = Tensor::new(&[[1f32, 10., 100.]], &device)?; // one channel, three taps
    /// let convolution = FlashDepthwiseConv1d::causal(weight, None, Conv1dLayout::Bhl)?;
    ///
    /// let mut state = convolution.initial_state(1, DType::F32)?;
    /// let mut outputs = vec![];
    /// for sample in [1f32, 2., 3., 4.] {
    ///     let x = Tensor::new(&[[sample]], &device)?; // (B, H) = (1, 1)
    ///     let (next, y) = convolution.step(&state, &x)?;
    ///     outputs.extend(y.flatten_all()?.to_vec1::<f32>()?);
    ///     state = next;
    /// }
    /// assert_eq!(outputs, [100., 210., 321., 432.]);
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the convolution is not causal, when `x` is not `(B, H)` or `state` not
    /// `(B, H, K − 1)` in the dtype of `x`, and when they are on another device than
    /// the weight.
    pub fn step(&self, state: &Tensor, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.check_causal()?;
        let &[batch, channels] = x.dims() else {
            return Err(Error::Rank {
                tensor: "x",
                expected: 2,
                layout: "(B, H)",
                got: x.rank(),
                shape: x.dims().to_vec(),
            }
            .into());
        };
        if channels != self.channels {
            Err(Error::Shape {
                tensor: "x",
                expected: format!("(B, H) with H = {} as in the weight", self.channels),
                got: x.dims().to_vec(),
            })?
        }
        check_float("x", x)?;
        check_device("x", x, &self.weight)?;
        let kept = self.taps - 1;
        if state.dims() != [batch, channels, kept] {
            Err(Error::Shape {
                tensor: "state",
                expected: format!("({batch}, {channels}, {kept}), (B, H, K − 1)"),
                got: state.dims().to_vec(),
            })?
        }
        if state.dtype() != x.dtype() {
            Err(Error::DType {
                tensor: "state",
                expected: format!("{:?} as x has", x.dtype()),
                got: state.dtype(),
            })?
        }
        check_device("state", state, &self.weight)?;

        let sample = x.unsqueeze(D::Minus1)?;
        let window = match kept {
            0 => sample,
            _ => Tensor::cat(&[state, &sample], D::Minus1)?,
        };
        let dims = (batch, channels, self.taps);
        let geometry = Correlation::new(dims, self.taps, Padding::Symmetric(0), Conv1dLayout::Bhl)?;
        let y = self.correlate(&window, geometry)?.squeeze(D::Minus1)?;
        Ok((window.narrow(D::Minus1, 1, kept)?, y))
    }

    fn check_causal(&self) -> std::result::Result<(), Error> {
        match self.padding {
            Padding::Causal => Ok(()),
            Padding::Symmetric(padding) => Err(Error::OutOfRange {
                quantity: "padding",
                expected: "that of a causal convolution, whose outputs need no later samples"
                    .into(),
                got: format!("{padding} on either side"),
            }),
        }
    }
}

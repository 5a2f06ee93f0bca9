//! The short depthwise convolution: every channel with its own few taps.

mod front;
mod geometry;
mod gradients;
mod operation;
mod step;

#[cfg(any(feature = "cuda", test))]
pub(crate) use front::FRONT_TAPS;
pub(crate) use front::{FrontGates, GatedFront};
pub(crate) use geometry::{Activation, Correlation};
#[cfg(feature = "cuda")]
pub(crate) use gradients::{Gradients, Wanted};

#[cfg(feature = "cuda")]
use crate::consecutive::is_consecutive;
use crate::consecutive::{consecutive, transposed};
use crate::Error;
use candle_core::{DType, Module, Result, Tensor};
use geometry::Padding;
use operation::{Depthwise, DepthwiseWithBias};

/// The order of the dimensions of a short convolution's input and output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Conv1dLayout {
    /// `(B, H, L)`: batch, channels, sequence length; samples of a channel are neighbours.
    Bhl,
    /// `(B, L, H)`: batch, sequence length, channels; channels of a sample are neighbours.
    Blh,
}

impl Conv1dLayout {
    /// The dimensions by name, as error messages print them.
    fn name(self) -> &'static str {
        match self {
            Conv1dLayout::Bhl => "(B, H, L)",
            Conv1dLayout::Blh => "(B, L, H)",
        }
    }
}

/// A depthwise convolution over the sequence, with a few taps for each channel.
///
/// `y[b, h, t] = bias[h] + Σ_j weight[h, j] · x[b, h, t + j − padding]`, with `x`
/// zero outside of its `L` samples: the cross-correlation that
/// [`Tensor::conv1d`] computes with as many groups as channels.
///
/// | | shape | dtype |
/// |---|---|---|
/// | `weight` | `(H, K)` or `(H, 1, K)`, `K ≥ 1` | f32, f16, bf16, f64 |
/// | `bias` | `(H,)` | f32, f16, bf16, f64 |
/// | `x` | `(B, H, L)` or `(B, L, H)` | f32, f16, bf16, f64 |
/// | `y` | `(B, H, L')` or `(B, L', H)`, `L' = L + 2 · padding − K + 1` | that of `x` |
///
/// `x` need not have the dtype of `weight`. Sums are accumulated in f32, in f64
/// where `x` is f64 (on the CPU; an error on a GPU). The last dimension of `x` is
/// read in place however the others are strided; any other view is made contiguous first,
/// and on a GPU so are channels-last tensors that have no kernel as they lie (README, "What runs where").
///
/// Differentiable in `x`, `weight` and `bias`; each gradient has the dtype and
/// shape of what it belongs to, and is bit-identical from call to call.
///
/// [`FlashDepthwiseConv1d::with_silu`] has `silu(y)` as the output instead, in the
/// same pass; [`FlashDepthwiseConv1d::step`] takes one sample at a time, for decoding.
///
/// In PyTorch: `torch.nn.functional.conv1d(x, weight[:, None], bias, padding=padding, groups=H)`.
///
/// ```
/// use candle_core::{Device, Module, Tensor};
/// use candle_flashfftconv::{Conv1dLayout, FlashDepthwiseConv1d};
///
/// let device = Device::Cpu;
/// let weight = Tensor::new(&[[1f32, 10., 100.]], &device)?; // one channel, three taps
/// let x = Tensor::new(&[[[1f32, 2., 3., 4.]]], &device)?; // (B, H, L) = (1, 1, 4)
///
/// let same = FlashDepthwiseConv1d::new(weight.clone(), None, 1, Conv1dLayout::Bhl)?;
/// assert_eq!(same.forward(&x)?.to_vec3::<f32>()?, [[[210., 321., 432., 43.]]]);
///
/// let causal = FlashDepthwiseConv1d::causal(weight, None, Conv1dLayout::Bhl)?;
/// assert_eq!(causal.forward(&x)?.to_vec3::<f32>()?, [[[100., 210., 321., 432.]]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct FlashDepthwiseConv1d {
    weight: Tensor,
    bias: Option<Tensor>,
    padding: Padding,
    activation: Activation,
    layout: Conv1dLayout,
    channels: usize,
    taps: usize,
}

impl FlashDepthwiseConv1d {
    /// A convolution with `padding` zeros on either side of the row: the output
    /// has `L + 2 · padding − K + 1` samples.
    ///
    /// # Errors
    /// When `weight` is not a floating-point `(H, K)` or `(H, 1, K)` with `K ≥ 1`,
    /// or `bias` is not a floating-point `(H,)` on the same device.
    pub fn new(
        weight: Tensor,
        bias: Option<Tensor>,
        padding: usize,
        layout: Conv1dLayout,
    ) -> Result<Self> {
        Self::with_padding(weight, bias, Padding::Symmetric(padding), layout)
    }

    /// A convolution that looks back only: `K − 1` zeros in front, an output of
    /// `L` samples, of which none depends on a later input. The last tap is the
    /// current sample's.
    ///
    /// # Errors
    /// Those of [`FlashDepthwiseConv1d::new`].
    pub fn causal(weight: Tensor, bias: Option<Tensor>, layout: Conv1dLayout) -> Result<Self> {
        Self::with_padding(weight, bias, Padding::Causal, layout)
    }

    fn with_padding(
        weight: Tensor,
        bias: Option<Tensor>,
        padding: Padding,
        layout: Conv1dLayout,
    ) -> Result<Self> {
        let (channels, taps) = match *weight.dims() {
            [channels, taps] | [channels, 1, taps] => (channels, taps),
            [_, _, _] => Err(Error::Shape {
                tensor: "weight",
                expected: "(H, K) or (H, 1, K)".into(),
                got: weight.dims().to_vec(),
            })?,
            _ => Err(Error::Rank {
                tensor: "weight",
                expected: 2,
                layout: "(H, K)",
                got: weight.rank(),
                shape: weight.dims().to_vec(),
            })?,
        };
        if taps == 0 {
            Err(Error::OutOfRange {
                quantity: "taps",
                expected: "at least 1".into(),
                got: "0".into(),
            })?
        }
        check_float("weight", &weight)?;
        if let Some(bias) = &bias {
            if bias.dims() != [channels] {
                Err(Error::Shape {
                    tensor: "bias",
                    expected: format!("({channels},), one number a channel"),
                    got: bias.dims().to_vec(),
                })?
            }
            check_float("bias", bias)?;
            check_device("bias", bias, &weight)?;
        }
        Ok(Self {
            weight,
            bias,
            padding,
            activation: Activation::None,
            layout,
            channels,
            taps,
        })
    }

    /// The same convolution with the activation `silu(z) = z · sigmoid(z)` on its
    /// output, computed before the output is rounded to the dtype of `x`.
    ///
    /// In PyTorch: `torch.nn.functional.silu(conv1d(...))`.
    ///
    /// ```
    /// use candle_core::{Device, Module, Tensor};
    /// use candle_flashfftconv::{Conv1dLayout, FlashDepthwiseConv1d};
    ///
    /// let device = Device::Cpu;
    /// let weight = Tensor::new(&[[1f32]], &device)?; // one tap: y = silu(x)
    /// let silu = FlashDepthwiseConv1d::causal(weight, None, Conv1dLayout::Bhl)?.with_silu();
    /// let x = Tensor::new(&[[[0f32, 2.]]], &device)?;
    /// assert_eq!(silu.forward(&x)?.to_vec3::<f32>()?, [[[0., 1.761594]]]);
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    pub fn with_silu(mut self) -> Self {
        self.activation = Activation::Silu;
        self
    }

    /// The taps, as they were given.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias, as it was given.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// The order of the dimensions of input and output.
    pub fn layout(&self) -> Conv1dLayout {
        self.layout
    }
}

impl Module for FlashDepthwiseConv1d {
    /// Applies the convolution to `x`, `(B, H, L)` or `(B, L, H)` by the layout.
    ///
    /// # Errors
    /// When `x` has another rank, another number of channels, an integer dtype or
    /// another device than the weight, when `K > L + 2 · padding + 1` (where both are
    /// equal, the output is empty), and on a device that has no implementation. On a GPU
    /// also when `x` is f64, when a length, the padding or `K` exceeds 2^28, and when there are
    /// more channels than a grid counts: 2097120, or 65535 of long channels-first rows.
    /// The backward pass has limits of its own there, 2^30 batch items and 2^32 taps in all.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.correlate(x, self.geometry_of(x)?)
    }
}

impl FlashDepthwiseConv1d {
    /// What the convolution of `x` computes, where it takes such an input.
    fn geometry_of(&self, x: &Tensor) -> Result<Correlation> {
        let &[batch, dim1, dim2] = x.dims() else {
            return Err(Error::Rank {
                tensor: "x",
                expected: 3,
                layout: self.layout.name(),
                got: x.rank(),
                shape: x.dims().to_vec(),
            }
            .into());
        };
        let geometry = Correlation::new((batch, dim1, dim2), self.taps, self.padding, self.layout)?;
        if geometry.channels != self.channels {
            Err(Error::Shape {
                tensor: "x",
                expected: format!(
                    "{} with H = {} as in the weight",
                    self.layout.name(),
                    self.channels
                ),
                got: x.dims().to_vec(),
            })?
        }
        check_float("x", x)?;
        check_device("x", x, &self.weight)?;
        Ok(geometry)
    }

    /// The operation on an input that has been checked.
    fn correlate(&self, x: &Tensor, geometry: Correlation) -> Result<Tensor> {
        if let Some(x) = channels_first(&geometry, x)? {
            let layout = Conv1dLayout::Bhl;
            return transposed(&self.apply(&x, Correlation { layout, ..geometry })?);
        }
        self.apply(&consecutive(x)?, geometry)
    }

    fn apply(&self, x: &Tensor, geometry: Correlation) -> Result<Tensor> {
        let activation = self.activation;
        let weight = on_gpu_not_f64(&self.weight)?;
        match &self.bias {
            None => x.apply_op2(&weight, Depthwise(geometry, activation)),
            Some(bias) => {
                let bias = on_gpu_not_f64(bias)?;
                x.apply_op3(&weight, &bias, DepthwiseWithBias(geometry, activation))
            }
        }
    }
}

/// A channels-last tensor as `(B, H, L)`, where a GPU has no kernel for it as it is.
#[cfg(feature = "cuda")]
fn channels_first(geometry: &Correlation, x: &Tensor) -> Result<Option<Tensor>> {
    use crate::cuda::depthwise::SHORT_TAPS;
    if geometry.layout == Conv1dLayout::Bhl || geometry.taps <= SHORT_TAPS || !x.device().is_cuda()
    {
        return Ok(None);
    }
    let view = x.transpose(1, 2)?;
    if is_consecutive(&view) && !is_consecutive(x) {
        return Ok(Some(view));
    }
    let x = consecutive(x)?;
    match is_taken_as_it_lies(geometry, &x)? {
        true => Ok(None),
        false => transposed(&x).map(Some),
    }
}

/// Whether there is a kernel for a consecutive channels-last tensor on a GPU.
#[cfg(feature = "cuda")]
fn is_taken_as_it_lies(geometry: &Correlation, x: &Tensor) -> Result<bool> {
    use candle_core::Storage;
    match &*x.storage_and_layout().0 {
        Storage::Cuda(storage) => {
            crate::cuda::depthwise::has_kernel(geometry, (storage, x.layout()))
        }
        _ => Ok(true),
    }
}

#[cfg(not(feature = "cuda"))]
fn channels_first(_: &Correlation, _: &Tensor) -> Result<Option<Tensor>> {
    Ok(None)
}

/// A parameter in f32 where it is f64 on a GPU, whose kernels sum in f32.
fn on_gpu_not_f64(parameter: &Tensor) -> Result<Tensor> {
    match (parameter.device().is_cuda(), parameter.dtype()) {
        (true, DType::F64) => parameter.to_dtype(DType::F32),
        _ => Ok(parameter.clone()),
    }
}

fn check_float(name: &'static str, tensor: &Tensor) -> std::result::Result<(), Error> {
    match tensor.dtype() {
        DType::F32 | DType::F16 | DType::BF16 | DType::F64 => Ok(()),
        got => Err(Error::DType {
            tensor: name,
            expected: "F32, F16, BF16 or F64".into(),
            got,
        }),
    }
}

fn check_device(
    name: &'static str,
    tensor: &Tensor,
    other: &Tensor,
) -> std::result::Result<(), Error> {
    if tensor.device().same_device(other.device()) {
        return Ok(());
    }
    Err(Error::Device {
        tensor: name,
        expected: other.device().location(),
        got: tensor.device().location(),
    })
}

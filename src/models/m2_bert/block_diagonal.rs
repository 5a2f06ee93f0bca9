//! A linear layer whose matrix has blocks along its diagonal.

use crate::Error;
use candle_core::{Module, Result, Tensor};
use candle_nn::{Init, VarBuilder};

/// A linear layer with a block-diagonal matrix, `y = diag(W₁, …, W_n) x + b`:
/// the `n` consecutive chunks of the input make those of the output, each by a
/// matrix of its own. A Monarch matrix has two of these as its factors.
///
/// Fu et al., *Monarch Mixer* (2023).
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use candle_flashfftconv::models::m2_bert::BlockDiagonalLinear;
/// # fn main() -> candle_core::Result<()> {
/// // Two blocks of one input and one output each.
/// let weight = Tensor::new(&[[[2f32]], [[10.]]], &Device::Cpu)?;
/// let layer = BlockDiagonalLinear::new(weight, None)?;
/// let y = layer.forward(&Tensor::new(&[[1f32, 3.]], &Device::Cpu)?)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[2., 30.]]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct BlockDiagonalLinear {
    /// `(n, outputs / n, inputs / n)`.
    weight: Tensor,
    bias: Option<Tensor>,
}

impl BlockDiagonalLinear {
    /// A layer of the given `weight`, `(n, outputs / n, inputs / n)`, and `bias`, `(outputs)`.
    ///
    /// # Errors
    /// When `weight` has another rank or the bias does not fit it.
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        let &[blocks, outputs, _] = weight.dims() else {
            return Err(Error::Rank {
                tensor: "weight",
                expected: 3,
                layout: "(n, outputs / n, inputs / n)",
                got: weight.rank(),
                shape: weight.dims().to_vec(),
            }
            .into());
        };
        let outputs = blocks.saturating_mul(outputs);
        if let Some(bias) = &bias {
            if bias.dims() != [outputs] {
                return Err(Error::Shape {
                    tensor: "bias",
                    expected: format!("({outputs})"),
                    got: bias.dims().to_vec(),
                }
                .into());
            }
        }
        Ok(Self { weight, bias })
    }

    /// Reads `weight`, `(blocks, outputs / blocks, inputs / blocks)` or, without
    /// `blocks`, a dense `(outputs, inputs)`, and the `bias` if there is to be one.
    pub(super) fn load(
        inputs: usize,
        outputs: usize,
        blocks: Option<usize>,
        with_bias: bool,
        deviation: f64,
        vb: VarBuilder,
    ) -> Result<Self> {
        let initial = Init::Randn {
            mean: 0.0,
            stdev: deviation,
        };
        let weight = match blocks {
            Some(blocks) => {
                let n = blocks.max(1);
                vb.get_with_hints((blocks, outputs / n, inputs / n), "weight", initial)?
            }
            None => vb
                .get_with_hints((outputs, inputs), "weight", initial)?
                .unsqueeze(0)?,
        };
        let bias = match with_bias {
            true => Some(vb.get_with_hints(outputs, "bias", Init::Const(0.0))?),
            false => None,
        };
        Self::new(weight, bias)
    }
}

impl BlockDiagonalLinear {
    /// The bias, `(outputs)`.
    pub(super) fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// The products alone: `x` is `(…, inputs)`, the result `(…, outputs)`.
    pub(super) fn without_bias(&self, x: &Tensor) -> Result<Tensor> {
        let (blocks, outputs, inputs) = self.weight.dims3()?;
        let width = blocks.saturating_mul(inputs);
        let leading = match x.dims().split_last() {
            Some((&last, leading)) if last == width => leading,
            _ => {
                return Err(Error::Shape {
                    tensor: "x",
                    expected: format!("(…, {width})"),
                    got: x.dims().to_vec(),
                }
                .into())
            }
        };
        let rows = leading.iter().product::<usize>();
        let shape = [leading, &[blocks * outputs]].concat();
        if rows == 0 || width == 0 || blocks * outputs == 0 {
            return Tensor::zeros(shape, x.dtype(), x.device());
        }
        let chunks = x.reshape((rows, blocks, inputs))?.transpose(0, 1)?;
        chunks
            .contiguous()?
            .matmul(&self.weight.transpose(1, 2)?.contiguous()?)?
            .transpose(0, 1)?
            .reshape(shape)
    }
}

impl Module for BlockDiagonalLinear {
    /// `x`: `(…, inputs)`; the result is `(…, outputs)`, of the same dtype.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.without_bias(x)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

//! What mixes the channels of a layer.

use super::{BlockDiagonalLinear, Config};
use crate::models::layers::residual::add_branch;
use crate::models::layers::{LayerNorm, Pointwise};
use candle_core::{Module, Result, Tensor};
use candle_nn::VarBuilder;

/// The MLP of an M2-BERT layer, with its residual connection and norm:
///
/// ```text
/// [a | b] = W_in x;  y = LayerNorm(W_out (GELU(a) ⊙ b) + b_out + x)
/// ```
///
/// Without gating (`use_glu_mlp` false) there is no `b`. The GELU is the exact
/// one. The matrices are block-diagonal, and the halves `a` and `b` are those
/// of the whole output, not of each block.
///
/// # Names of the parameters
/// `gated_layers.weight`, `wo.weight`, `wo.bias`, `layernorm.weight`, `layernorm.bias`.
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use candle_flashfftconv::models::m2_bert::{Config, GatedMlp};
/// use candle_nn::{VarBuilder, VarMap};
/// # fn main() -> candle_core::Result<()> {
/// let parameters = VarMap::new();
/// let vb = VarBuilder::from_varmap(&parameters, DType::F32, &Device::Cpu);
/// let config = Config { hidden_size: 8, intermediate_size: 16, ..Config::retrieval_80m(64) };
/// let mlp = GatedMlp::new(&config, vb)?;
/// let x = Tensor::randn(0f32, 1.0, (2, 5, 8), &Device::Cpu)?;
/// assert_eq!(mlp.forward(&x)?.dims(), x.dims());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct GatedMlp {
    gated: bool,
    inner: usize,
    enter: BlockDiagonalLinear,
    leave: BlockDiagonalLinear,
    norm: LayerNorm,
}

impl GatedMlp {
    /// Reads the parameters, or makes fresh ones in a [`VarMap`](candle_nn::VarMap).
    ///
    /// # Errors
    /// When the configuration is not valid, and when a parameter is missing or
    /// has another shape.
    pub fn new(config: &Config, vb: VarBuilder) -> Result<Self> {
        config.validate()?;
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let blocks = config.mlp_blocks();
        let deviation = config.initializer_range;
        Ok(Self {
            gated: config.use_glu_mlp,
            inner,
            enter: BlockDiagonalLinear::load(
                width,
                config.mlp_outputs(),
                blocks,
                false,
                deviation,
                vb.pp("gated_layers"),
            )?,
            leave: BlockDiagonalLinear::load(inner, width, blocks, true, deviation, vb.pp("wo"))?,
            norm: LayerNorm::load(width, config.layer_norm_eps, vb.pp("layernorm"))?,
        })
    }
}

impl Module for GatedMlp {
    /// `x`: `(…, D)`; the result has its shape and dtype.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if x.elem_count() == 0 {
            return x.zeros_like();
        }
        let wide = self.enter.forward(x)?;
        let inside = if self.gated && Pointwise::runs_on(&[&wide]) {
            Pointwise::GatedGelu.of(&wide)?
        } else if self.gated {
            let last = wide.rank().saturating_sub(1);
            let active = wide.narrow(last, 0, self.inner)?.contiguous()?;
            let gate = wide.narrow(last, self.inner, self.inner)?;
            active.gelu_erf()?.mul(&gate)?
        } else {
            wide.gelu_erf()?
        };
        let mapped = match self.leave.bias() {
            Some(bias) => add_branch(x, &self.leave.without_bias(&inside)?, bias)?,
            None => (x + self.leave.forward(&inside)?)?,
        };
        self.norm.forward(&mapped)
    }
}

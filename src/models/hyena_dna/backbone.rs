//! Embedding, blocks and final norm: ids in, hidden states out.

use super::{Config, HyenaOperator, HyenaOperatorConfig};
use crate::models::kernel_cache::default_budget;
use crate::models::layers::residual::add_branch;
use crate::models::layers::{bias_gelu, LayerNorm, Pointwise};
use crate::models::token_ids::Limits;
use candle_core::{DType, Module, Result, Tensor};
use candle_nn::{Init, Linear, VarBuilder};

/// Positions whose wide activations exist at a time in inference.
const MLP_POSITIONS: usize = 8192;
/// The same on a GPU, where launches have to be worth their while: more gains little, and takes memory.
const MLP_POSITIONS_ON_GPU: usize = 1 << 16;
/// On a GPU sequences are as long as a multiple of this, so that rows of samples are aligned: matrix
/// products and convolutions of other rows take up to several times as long.
const GPU_POSITIONS: usize = 8;
/// Shorter sequences stay as they are.
const SHORTEST_PADDED: usize = 64;

/// Two dense layers with a GELU (tanh approximation) between them.
#[derive(Debug, Clone)]
struct Mlp {
    /// Without its bias, which goes with the GELU.
    fc1: Linear,
    fc1_bias: Tensor,
    /// Without its bias, which goes with the residual connection.
    fc2: Linear,
    fc2_bias: Tensor,
}

impl Mlp {
    fn load(config: &Config, vb: VarBuilder) -> Result<Self> {
        let deviation = config.initializer_range;
        let layers = config.n_layer.max(1) as f64;
        let (fc1, fc1_bias) = dense(config.d_model, config.d_inner, deviation, vb.pp("fc1"))?;
        // The residual stream sums two branches a layer.
        let deviation = deviation / (2.0 * layers).sqrt();
        let (fc2, fc2_bias) = dense(config.d_inner, config.d_model, deviation, vb.pp("fc2"))?;
        Ok(Self {
            fc1: Linear::new(fc1, None),
            fc1_bias,
            fc2: Linear::new(fc2, None),
            fc2_bias,
        })
    }
}

impl Mlp {
    /// The branch before the last bias is added.
    fn without_bias(&self, x: &Tensor) -> Result<Tensor> {
        let wide = bias_gelu(&self.fc1.forward(x)?, &self.fc1_bias)?;
        self.fc2.forward(&wide)
    }
}

/// Weight and bias of a dense layer.
fn dense(inputs: usize, outputs: usize, stdev: f64, vb: VarBuilder) -> Result<(Tensor, Tensor)> {
    let initial = Init::Randn { mean: 0.0, stdev };
    let weight = vb.get_with_hints((outputs, inputs), "weight", initial)?;
    let bias = vb.get_with_hints(outputs, "bias", Init::Const(0.0))?;
    Ok((weight, bias))
}

/// `x += Mixer(LN₁(x)); x += MLP(LN₂(x))`.
#[derive(Debug, Clone)]
struct Block {
    norm1: LayerNorm,
    mixer: HyenaOperator,
    norm2: LayerNorm,
    mlp: Mlp,
}

impl Block {
    fn load(config: &Config, vb: VarBuilder) -> Result<Self> {
        let epsilon = config.layer_norm_epsilon;
        // With checkpointing on, the original code wraps both branches.
        let branch = |name: &str, probe: &str| match vb.pp(name) {
            vb if vb.pp("layer").contains_tensor(probe) => vb.pp("layer"),
            vb => vb,
        };
        Ok(Self {
            norm1: LayerNorm::load(config.d_model, epsilon, vb.pp("norm1"))?,
            mixer: HyenaOperator::new(
                HyenaOperatorConfig::from(config),
                branch("mixer", "in_proj.weight"),
            )?,
            norm2: LayerNorm::load(config.d_model, epsilon, vb.pp("norm2"))?,
            mlp: Mlp::load(config, branch("mlp", "fc1.weight"))?,
        })
    }

    /// `x` is the residual stream, which may be wider than `dtype`, that of the branches.
    fn forward(&self, x: &Tensor, dtype: DType) -> Result<Tensor> {
        let mixed = self.mixer.without_bias(&self.norm1.forward_as(x, dtype)?)?;
        let x = add_branch(x, &mixed, self.mixer.out_bias())?;
        drop(mixed);
        let map = |x: &Tensor| self.mlp.without_bias(&self.norm2.forward_as(x, dtype)?);
        let bias = &self.mlp.fc2_bias;
        // The inside of the MLP is the widest of all, so it is made piecemeal.
        let (batch, length, width) = x.dims3()?;
        if Pointwise::runs_on(&[&x, bias]) && x.is_contiguous() && bias.elem_count() == width {
            let rows = x.reshape((batch * length, width))?;
            for (start, count) in pieces(batch * length, MLP_POSITIONS_ON_GPU) {
                let piece = rows.narrow(0, start, count)?;
                // Nobody else has seen this sum yet.
                Pointwise::Residual.in_place_of_three(&piece, &map(&piece)?, bias)?;
            }
            return Ok(x);
        }
        if x.track_op() || length <= MLP_POSITIONS {
            return add_branch(&x, &map(&x)?, bias);
        }
        let pieces = pieces(length, MLP_POSITIONS)
            .map(|(start, count)| {
                let piece = x.narrow(1, start, count)?;
                add_branch(&piece, &map(&piece)?, bias)
            })
            .collect::<Result<Vec<_>>>()?;
        Tensor::cat(&pieces, 1)
    }
}

/// First positions and lengths of the pieces of a sequence.
fn pieces(length: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..length)
        .step_by(most)
        .map(move |start| (start, most.min(length - start)))
}

/// Everything of a model but its head.
#[derive(Debug, Clone)]
pub(super) struct Backbone {
    config: Config,
    embedding: Tensor,
    blocks: Vec<Block>,
    final_norm: LayerNorm,
}

impl Backbone {
    pub(super) fn load(config: &Config, vb: VarBuilder) -> Result<Self> {
        config.validate()?;
        let initial = Init::Randn {
            mean: 0.0,
            stdev: config.initializer_range,
        };
        let embedding = vb.pp("embeddings").pp("word_embeddings").get_with_hints(
            (config.padded_vocab_size(), config.d_model),
            "weight",
            initial,
        )?;
        let layers = vb.pp("layers");
        let blocks = (0..config.n_layer)
            .map(|layer| Block::load(config, layers.pp(layer)))
            .collect::<Result<_>>()?;
        let backbone = Self {
            embedding,
            blocks,
            final_norm: LayerNorm::load(config.d_model, config.layer_norm_epsilon, vb.pp("ln_f"))?,
            config: config.clone(),
        };
        backbone.set_cache_bytes(default_budget(vb.device()));
        Ok(backbone)
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// The embedding matrix, `(padded vocabulary, D)`.
    pub(super) fn embedding(&self) -> &Tensor {
        &self.embedding
    }

    pub(super) fn mixer(&self, layer: usize) -> Option<&HyenaOperator> {
        self.blocks.get(layer).map(|block| &block.mixer)
    }

    /// Shares a budget for kept spectra equally between the layers.
    pub(super) fn set_cache_bytes(&self, bytes: usize) {
        let share = bytes / self.blocks.len().max(1);
        for block in &self.blocks {
            block.mixer.set_cache_bytes(share);
        }
    }

    pub(super) fn check_ids(&self, ids: &Tensor) -> Result<Tensor> {
        let limits = Limits {
            tensor: "ids",
            element: "token id",
            count: self.config.padded_vocab_size(),
            max_len: self.config.max_seq_len,
            max_len_name: "max_seq_len",
        };
        limits.check(ids, self.embedding.device())
    }

    /// The final hidden states `(B, L, D)` of checked ids; `observe` sees the
    /// residual stream before each block and after the last one.
    pub(super) fn forward(&self, ids: &Tensor, mut observe: impl FnMut(&Tensor)) -> Result<Tensor> {
        let dtype = self.embedding.dtype();
        let (batch, length) = ids.dims2()?;
        let width = self.config.d_model;
        if batch == 0 || length == 0 {
            return Tensor::zeros((batch, length, width), dtype, self.embedding.device());
        }
        let residual_dtype = match dtype {
            DType::F16 | DType::BF16 if self.config.residual_in_fp32 => DType::F32,
            dtype => dtype,
        };
        // What follows a position does not change it.
        let padded = self.padded(length);
        let ids = match padded > length {
            true => ids.pad_with_zeros(1, 0, padded - length)?,
            false => ids.clone(),
        };
        let mut x = self
            .embedding
            .index_select(&ids.flatten_all()?, 0)?
            .reshape((batch, padded, width))?
            .to_dtype(residual_dtype)?;
        for block in &self.blocks {
            observe(&x.narrow(1, 0, length)?);
            x = block.forward(&x, dtype)?;
        }
        observe(&x.narrow(1, 0, length)?);
        self.final_norm
            .forward_as(&x, dtype)?
            .narrow(1, 0, length)?
            .contiguous()
    }

    /// How long a sequence of `length` positions should be on this device.
    fn padded(&self, length: usize) -> usize {
        let device = self.embedding.device();
        if !device.is_cuda() || self.config.bidirectional || length < SHORTEST_PADDED {
            return length;
        }
        length.next_multiple_of(GPU_POSITIONS)
    }
}

//! The whole encoder.

use super::embeddings::Embeddings;
use super::{weights, Config, GatedMlp, MonarchMixer, MonarchMixerConfig};
use crate::models::kernel_cache::default_budget;
use crate::models::weight_files;
use crate::Error;
use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::{Init, VarBuilder};
use std::collections::HashMap;
use std::path::Path;

/// Positions that the MLP works on at once in inference.
const MLP_POSITIONS: usize = 4096;
/// The same on a GPU, where a launch has to be worth its while.
const MLP_POSITIONS_ON_GPU: usize = 1 << 15;

/// One layer of [`M2Bert`]: a [`MonarchMixer`], then a [`GatedMlp`].
///
/// There is neither a residual connection nor a norm around the mixer; those of
/// the MLP are the only ones.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_flashfftconv::models::m2_bert::{Config, M2BertLayer};
/// use candle_nn::{VarBuilder, VarMap};
/// # fn main() -> candle_core::Result<()> {
/// let parameters = VarMap::new();
/// let vb = VarBuilder::from_varmap(&parameters, DType::F32, &Device::Cpu);
/// let config = Config { hidden_size: 8, intermediate_size: 16, ..Config::retrieval_80m(64) };
/// let layer = M2BertLayer::new(&config, vb)?;
/// let x = Tensor::randn(0f32, 1.0, (1, 64, 8), &Device::Cpu)?;
/// assert_eq!(layer.forward(&x)?.dims(), x.dims());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct M2BertLayer {
    mixer: MonarchMixer,
    mlp: GatedMlp,
}

impl M2BertLayer {
    /// Reads the parameters, below `attention` and `mlp`, or makes fresh ones
    /// in a [`VarMap`](candle_nn::VarMap).
    ///
    /// # Errors
    /// When the configuration is not valid, and when a parameter is missing or
    /// has another shape.
    pub fn new(config: &Config, vb: VarBuilder) -> Result<Self> {
        config.validate()?;
        Ok(Self {
            mixer: MonarchMixer::new(MonarchMixerConfig::from(config), vb.pp("attention"))?,
            mlp: GatedMlp::new(config, vb.pp("mlp"))?,
        })
    }

    /// The hidden states `(B, L, D)` after this layer from those before it.
    ///
    /// # Errors
    /// Those of [`MonarchMixer::forward`].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mixed = self.mixer.forward(x)?;
        let length = mixed.dim(1)?;
        let positions = match x.device().is_cpu() {
            true => MLP_POSITIONS,
            false => MLP_POSITIONS_ON_GPU,
        };
        if mixed.track_op() || length <= positions {
            return self.mlp.forward(&mixed);
        }
        // The inside of the MLP is the widest of all, so it is made piecemeal.
        let pieces = (0..length)
            .step_by(positions)
            .map(|start| {
                let count = positions.min(length - start);
                self.mlp.forward(&mixed.narrow(1, start, count)?)
            })
            .collect::<Result<Vec<_>>>()?;
        Tensor::cat(&pieces, 1)
    }

    /// The mixer of the positions.
    pub fn mixer(&self) -> &MonarchMixer {
        &self.mixer
    }

    /// The mixer of the channels.
    pub fn mlp(&self) -> &GatedMlp {
        &self.mlp
    }
}

/// The M2-BERT encoder: token ids in, a hidden state for each position out.
///
/// ```text
/// x = LayerNorm(word[id] + token_type[type] + position[t]);  per layer: x = MLP(Mixer(x))
/// ```
///
/// No position is masked, padding included. The published retrieval models were
/// trained on input padded to their longest length and expect it so.
///
/// # Inference and training
/// Models read from files have constant weights and keep the spectra of their
/// filters between calls, see [`set_cache_bytes`](Self::set_cache_bytes). Made
/// from a [`VarMap`](candle_nn::VarMap), the weights are variables, `forward`
/// is differentiable in all of them, and filters are computed in each call.
/// No dropout is applied in either case.
///
/// Fu et al., [Monarch Mixer](https://arxiv.org/abs/2310.12109) (2023).
///
/// ```no_run
/// use candle_core::{DType, Device, Tensor};
/// use candle_flashfftconv::models::m2_bert::{Config, M2Bert};
/// # fn main() -> candle_core::Result<()> {
/// let device = Device::Cpu;
/// let config = Config::from_file("config.json")?;
/// let model = M2Bert::from_files(config, &["pytorch_model.bin"], DType::F32, &device)?;
/// let ids = Tensor::new(&[[101u32, 7592, 102]], &device)?; // [CLS] hello [SEP]
/// let ids = ids.pad_with_zeros(1, 0, 2048 - 3)?;
/// let hidden = model.forward(&ids, None)?;
/// assert_eq!(hidden.dims(), &[1, 2048, 768]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct M2Bert {
    config: Config,
    embeddings: Embeddings,
    layers: Vec<M2BertLayer>,
    pooler: Option<Pooler>,
}

#[derive(Debug, Clone)]
struct Pooler {
    weight: Tensor,
    bias: Tensor,
}

impl M2Bert {
    /// Reads the parameters, or makes fresh ones in a [`VarMap`](candle_nn::VarMap).
    ///
    /// The builder has them under the names `embeddings`, `encoder.layer.{n}`
    /// and `pooler`, with or without a prefix `bert` or `model.bert`. A file
    /// without a pooler makes a model without one. The parameters take the
    /// builder's dtype, those of the filters f32 or f64.
    ///
    /// # Errors
    /// When the configuration is not valid, and when a parameter is missing or
    /// has another shape.
    ///
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use candle_flashfftconv::models::m2_bert::{Config, M2Bert};
    /// use candle_nn::{VarBuilder, VarMap};
    /// # fn main() -> candle_core::Result<()> {
    /// let parameters = VarMap::new();
    /// let vb = VarBuilder::from_varmap(&parameters, DType::F32, &Device::Cpu);
    /// let config = Config {
    ///     vocab_size: 50, hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1,
    ///     ..Config::retrieval_80m(64)
    /// };
    /// let model = M2Bert::new(config, vb)?;
    /// let hidden = model.forward(&Tensor::new(&[[7u32, 8, 9]], &Device::Cpu)?, None)?;
    /// assert_eq!(model.pooled(&hidden)?.dims(), &[1, 8]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(config: Config, vb: VarBuilder) -> Result<Self> {
        config.validate()?;
        let vb = weights::encoder(&vb);
        let embeddings = Embeddings::load(&config, vb.pp("embeddings"))?;
        let layers = vb.pp("encoder.layer");
        let layers = (0..config.num_hidden_layers)
            .map(|layer| M2BertLayer::new(&config, layers.pp(layer)))
            .collect::<Result<_>>()?;
        let model = Self {
            pooler: Pooler::load(&config, vb.pp("pooler.dense"))?,
            embeddings,
            layers,
            config,
        };
        model.set_cache_bytes(default_budget(vb.device()));
        Ok(model)
    }

    /// Reads weight files, safetensors or PyTorch archives (`pytorch_model.bin`),
    /// with the names of [`new`](Self::new) or below other wrappers of training
    /// code (`module.`, `model.`, `state_dict.`). Heads are ignored.
    /// The tensors may be spread over several files.
    ///
    /// # Errors
    /// When a file cannot be read, and those of [`from_tensors`](Self::from_tensors).
    pub fn from_files<P: AsRef<Path>>(
        config: Config,
        paths: &[P],
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        Self::from_tensors(config, weight_files::read(paths)?, dtype, device)
    }

    /// A model of the given weights, by any of the names that
    /// [`from_files`](Self::from_files) takes. Tables of positions and decay
    /// rates are computed where they are absent.
    ///
    /// # Errors
    /// When the configuration is not valid, and when a parameter of the encoder
    /// is missing, unknown, or has another shape than the configuration asks
    /// for: an [`Error::Malformed`] that names it.
    pub fn from_tensors(
        config: Config,
        tensors: HashMap<String, Tensor>,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let tensors = weights::canonical(&config, tensors)?;
        Self::new(config, VarBuilder::from_tensors(tensors, dtype, device))
    }

    /// The configuration of the model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The hidden states after the last layer, `(B, L, D)`, of token ids
    /// `(B, L)` of dtype u32, u8 or i64 and their types of the same shape, all
    /// 0 where none are given.
    ///
    /// # Errors
    /// When the ids have another rank or dtype, an id lies outside its table,
    /// the shapes differ, or `L` is greater than [`Config::max_len`]. Empty
    /// inputs give empty outputs.
    pub fn forward(&self, ids: &Tensor, token_type_ids: Option<&Tensor>) -> Result<Tensor> {
        let mut x = self.embeddings.forward(ids, token_type_ids)?;
        for layer in &self.layers {
            x = layer.forward(&x)?;
        }
        Ok(x)
    }

    /// The embeddings `(B, L, D)` and then the hidden states after each layer:
    /// `num_hidden_layers + 1` tensors, the last one that of [`forward`](Self::forward).
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward).
    pub fn all_hidden_states(
        &self,
        ids: &Tensor,
        token_type_ids: Option<&Tensor>,
    ) -> Result<Vec<Tensor>> {
        let mut x = self.embeddings.forward(ids, token_type_ids)?;
        let mut states = vec![x.clone()];
        for layer in &self.layers {
            x = layer.forward(&x)?;
            states.push(x.clone());
        }
        Ok(states)
    }

    /// One vector for each sequence, `(B, D)`, of hidden states `(B, L, D)`:
    /// `tanh(W x[0] + b)` of the first position, the token `[CLS]`.
    ///
    /// # Errors
    /// When `hidden` has another shape or no positions, when the weights had no
    /// pooler, and when the configuration asks for `pool_all`.
    pub fn pooled(&self, hidden: &Tensor) -> Result<Tensor> {
        let width = self.config.hidden_size;
        match hidden.dims() {
            &[_, length, last] if length > 0 && last == width => {}
            dims => {
                return Err(Error::Shape {
                    tensor: "hidden",
                    expected: format!("(B, L, {width}) with L of at least 1"),
                    got: dims.to_vec(),
                }
                .into())
            }
        }
        if self.config.pool_all {
            return Err(Error::OutOfRange {
                quantity: "pool_all",
                expected: "false".to_string(),
                got: "true".to_string(),
            }
            .into());
        }
        let Some(pooler) = &self.pooler else {
            return Err(Error::Malformed {
                source_name: "weights of the model".to_string(),
                expected: "a pooler, pooler.dense.weight".to_string(),
                got: "none".to_string(),
            }
            .into());
        };
        let first = hidden.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?;
        if first.elem_count() == 0 {
            return Ok(first);
        }
        first
            .matmul(&pooler.weight.t()?)?
            .broadcast_add(&pooler.bias)?
            .tanh()
    }

    /// A layer, from 0; none beyond the last one.
    pub fn layer(&self, index: usize) -> Option<&M2BertLayer> {
        self.layers.get(index)
    }

    /// Sets how many bytes of filters and their spectra the whole model may keep
    /// between calls: at first 1 GiB, or a quarter of a GPU's memory; 0 keeps none.
    /// Each layer has an equal share.
    pub fn set_cache_bytes(&self, bytes: usize) {
        let share = bytes / self.layers.len().max(1);
        for layer in &self.layers {
            layer.mixer.set_cache_bytes(share);
        }
    }
}

impl Pooler {
    /// None when the builder reads weights that lack it.
    fn load(config: &Config, vb: VarBuilder) -> Result<Option<Self>> {
        let width = config.hidden_size;
        let initial = Init::Randn {
            mean: 0.0,
            stdev: config.initializer_range,
        };
        let stored = vb.contains_tensor("weight") || vb.contains_tensor("bias");
        let weight = vb.get_with_hints((width, width), "weight", initial);
        let bias = vb.get_with_hints(width, "bias", Init::Const(0.0));
        match (weight, bias) {
            (Ok(weight), Ok(bias)) => Ok(Some(Self { weight, bias })),
            (Err(error), _) | (_, Err(error)) if stored => Err(error),
            _ => Ok(None),
        }
    }
}

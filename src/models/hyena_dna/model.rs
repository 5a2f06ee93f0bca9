//! HyenaDNA with its language-modelling head.

use super::backbone::Backbone;
use super::{weights, Config, HyenaOperator};
use crate::models::weight_files;
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Init, VarBuilder, VarMap};
use std::collections::HashMap;
use std::path::Path;

/// The HyenaDNA language model: token ids in, a score for each next token out.
///
/// ```text
/// x = embedding[ids];  per block: x += Mixer(LN₁(x)); x += MLP(LN₂(x))
/// hidden = LN_f(x);  logits = hidden · headᵀ
/// ```
///
/// The mixer is a [`HyenaOperator`]. No position is masked, padding included:
/// put padding on the left and read scores at the right end.
///
/// # Dtypes
/// Weights of dtype f16 or bf16 halve the memory; filters are computed in f32
/// all the same, and so is the residual stream when the configuration's
/// `residual_in_fp32` says so, as that of all published models does.
///
/// # Inference and training
/// Models read from files have constant weights and keep the spectra of their
/// filters between calls, see [`set_cache_bytes`](Self::set_cache_bytes). Made
/// from a [`VarMap`], the weights are variables, `forward` is differentiable in
/// all of them, and filters are computed in each call. Dropout, used in the
/// published training, is not applied in either case.
///
/// Nguyen et al., [HyenaDNA](https://arxiv.org/abs/2306.15794) (2023).
///
/// ```no_run
/// use candle_core::{DType, Device, Tensor};
/// use candle_flashfftconv::models::hyena_dna::{CharacterTokenizer, Config, HyenaDna};
/// # fn main() -> candle_core::Result<()> {
/// let device = Device::Cpu;
/// let config = Config::from_file("config.json")?;
/// let model = HyenaDna::from_files(config, &["model.safetensors"], DType::F32, &device)?;
/// let ids = CharacterTokenizer::default().encode("ACGTN");
/// let logits = model.forward(&Tensor::new(ids, &device)?.unsqueeze(0)?)?;
/// assert_eq!(logits.dims(), &[1, 7, 16]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct HyenaDna {
    backbone: Backbone,
    /// `(padded vocabulary, D)`; the embedding where the two are tied.
    head: Tensor,
}

impl HyenaDna {
    /// Reads the parameters, or makes fresh ones in a [`VarMap`], with the
    /// initial distributions of the original code.
    ///
    /// Below the builder's prefix the backbone is `backbone`, `hyena.backbone`
    /// or `model.backbone`, and the head, where it is not tied to the
    /// embedding, `lm_head.weight` or `model.lm_head.weight`. The parameters
    /// take the builder's dtype, those of the filters f32 or f64.
    ///
    /// # Errors
    /// When the configuration is not valid, and when a parameter is missing or
    /// has another shape.
    ///
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use candle_flashfftconv::models::hyena_dna::{Config, HyenaDna};
    /// use candle_nn::{VarBuilder, VarMap};
    /// # fn main() -> candle_core::Result<()> {
    /// let parameters = VarMap::new();
    /// let vb = VarBuilder::from_varmap(&parameters, DType::F32, &Device::Cpu);
    /// let model = HyenaDna::new(Config { n_layer: 1, ..Config::tiny_1k() }, vb)?;
    /// let logits = model.forward(&Tensor::new(&[[7u32, 8, 9, 10]], &Device::Cpu)?)?;
    /// let targets = Tensor::new(&[8u32, 9, 10, 7], &Device::Cpu)?;
    /// let loss = candle_nn::loss::cross_entropy(&logits.flatten_to(1)?, &targets)?;
    /// let gradients = loss.backward()?;
    /// assert!(parameters.all_vars().iter().all(|v| gradients.get(v).is_some()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(config: Config, vb: VarBuilder) -> Result<Self> {
        let backbone = Backbone::load(&config, weights::backbone(&vb))?;
        let vb = weights::lm_head(&vb);
        let own_head = match config.tie_word_embeddings {
            Some(tied) => !tied,
            None => vb.contains_tensor("weight"),
        };
        let head = if own_head {
            let initial = Init::Randn {
                mean: 0.0,
                stdev: config.initializer_range,
            };
            vb.get_with_hints(
                (config.padded_vocab_size(), config.d_model),
                "weight",
                initial,
            )?
        } else {
            backbone.embedding().clone()
        };
        Ok(Self { backbone, head })
    }

    /// Reads weight files: safetensors or PyTorch checkpoints (`.ckpt`, `.bin`,
    /// `.pt`), with the names of the `-hf` models, of the original
    /// checkpoints, or of a [`VarMap`] saved after training with this crate.
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
    /// rates are computed where they are absent. Metrics that training code
    /// stored (`torchmetrics`) and classification heads are ignored.
    ///
    /// # Errors
    /// When the configuration is not valid, and when a parameter is missing,
    /// unknown, or has another shape than the configuration asks for: an
    /// [`Error::Malformed`](crate::Error::Malformed) that names it.
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
        self.backbone.config()
    }

    /// Scores of the next token at each position, `(B, L, padded vocabulary)`,
    /// of token ids `(B, L)` of dtype u32, u8 or i64.
    ///
    /// # Errors
    /// When `ids` has another rank or dtype, an id lies outside the padded
    /// vocabulary, or `L` is greater than `max_seq_len`. Empty inputs give
    /// empty outputs.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        self.logits(&self.hidden_states(ids)?)
    }

    /// Scores of the token that follows the whole sequence, `(B, padded
    /// vocabulary)`: the last position of [`forward`](Self::forward), without
    /// computing the others' scores.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward), and when `L` is zero.
    pub fn next_token_logits(&self, ids: &Tensor) -> Result<Tensor> {
        let hidden = self.hidden_states(ids)?;
        let Some(last) = hidden.dim(1)?.checked_sub(1) else {
            return Err(crate::Error::OutOfRange {
                quantity: "sequence length L",
                expected: "at least 1".to_string(),
                got: "0".to_string(),
            }
            .into());
        };
        self.logits(&hidden.narrow(1, last, 1)?)?.squeeze(1)
    }

    /// The hidden states after the final norm, `(B, L, D)`: embeddings of the
    /// positions in their context.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward).
    pub fn hidden_states(&self, ids: &Tensor) -> Result<Tensor> {
        self.backbone
            .forward(&self.backbone.check_ids(ids)?, |_| ())
    }

    /// The residual stream `(B, L, D)` before each block and after the last
    /// one, and then [`hidden_states`](Self::hidden_states): `n_layer + 2`
    /// tensors.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward).
    pub fn all_hidden_states(&self, ids: &Tensor) -> Result<Vec<Tensor>> {
        let mut states = Vec::new();
        let ids = self.backbone.check_ids(ids)?;
        let last = self.backbone.forward(&ids, |x| states.push(x.clone()))?;
        states.push(last);
        Ok(states)
    }

    /// The head alone, on hidden states `(…, D)`: `hidden · headᵀ`.
    ///
    /// # Errors
    /// When the last dimension or the dtype does not fit.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        let width = self.config().d_model;
        let Some((&last, leading)) = hidden.dims().split_last() else {
            return Err(shape_error(hidden, width));
        };
        if last != width {
            return Err(shape_error(hidden, width));
        }
        let rows = leading.iter().product::<usize>();
        let vocabulary = self.head.dim(0)?;
        hidden
            .reshape((rows, width))?
            .matmul(&self.head.t()?)?
            .reshape([leading, &[vocabulary]].concat())
    }

    /// The mixer of a block, from 0; none beyond the last one.
    pub fn mixer(&self, layer: usize) -> Option<&HyenaOperator> {
        self.backbone.mixer(layer)
    }

    /// Sets how many bytes of filters and their spectra the whole model may keep
    /// between calls: at first 1 GiB, or a quarter of a GPU's memory; 0 keeps none.
    /// Each layer has an equal share, and keeps the last few lengths that fit into
    /// it (about `15 · D · L` bytes for each in f32). Filters that do not fit are
    /// computed anew in each call.
    pub fn set_cache_bytes(&self, bytes: usize) {
        self.backbone.set_cache_bytes(bytes);
    }
}

fn shape_error(hidden: &Tensor, width: usize) -> candle_core::Error {
    crate::Error::Shape {
        tensor: "hidden",
        expected: format!("(…, {width})"),
        got: hidden.dims().to_vec(),
    }
    .into()
}

/// Reads weight files of either layout into a [`VarMap`], to train from them:
/// [`HyenaDna::new`] with a builder of that map takes the values up.
///
/// The variables have this crate's names, the position tables and decay rates
/// among them; no gradient reaches those. A classification head in the file is
/// taken along. Parameters of the filters become f32 (f64 for `dtype` f64),
/// the others `dtype`.
///
/// # Errors
/// Those of [`HyenaDna::from_files`].
///
/// ```no_run
/// use candle_core::{DType, Device};
/// use candle_flashfftconv::models::hyena_dna::{variables_from_files, Config, HyenaDna};
/// use candle_nn::VarBuilder;
/// # fn main() -> candle_core::Result<()> {
/// let (config, device) = (Config::tiny_1k(), Device::Cpu);
/// let variables = variables_from_files(&config, &["weights.ckpt"], DType::F32, &device)?;
/// let vb = VarBuilder::from_varmap(&variables, DType::F32, &device);
/// let model = HyenaDna::new(config, vb)?;
/// # Ok(())
/// # }
/// ```
pub fn variables_from_files<P: AsRef<Path>>(
    config: &Config,
    paths: &[P],
    dtype: DType,
    device: &Device,
) -> Result<VarMap> {
    let variables = VarMap::new();
    for (name, tensor) in weights::canonical(config, weight_files::read(paths)?)? {
        let dtype = match dtype {
            DType::F16 | DType::BF16 if name.contains(".filter_fn.") => DType::F32,
            dtype => dtype,
        };
        let tensor = tensor.to_device(device)?.to_dtype(dtype)?;
        let variable = candle_core::Var::from_tensor(&tensor)?;
        let mut data = variables
            .data()
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        data.insert(name, variable);
    }
    Ok(variables)
}

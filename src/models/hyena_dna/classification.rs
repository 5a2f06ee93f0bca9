//! HyenaDNA with a head that classifies whole sequences.

use super::backbone::Backbone;
use super::{weights, Config};
use crate::models::weight_files;
use crate::Error;
use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::{Init, Linear, VarBuilder};
use std::path::Path;

/// How a classifier makes one vector of a sequence's hidden states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// The state before the first padding token, or the last state when there
    /// is none or the padding comes first (Hugging Face).
    LastToken,
    /// The mean over all positions, padding included (the original code).
    Mean,
}

/// A HyenaDNA backbone and a linear layer on the pooled hidden states.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_flashfftconv::models::hyena_dna::{Config, HyenaDnaForSequenceClassification, Pooling};
/// use candle_nn::{VarBuilder, VarMap};
/// # fn main() -> candle_core::Result<()> {
/// let parameters = VarMap::new();
/// let vb = VarBuilder::from_varmap(&parameters, DType::F32, &Device::Cpu);
/// let config = Config { n_layer: 1, ..Config::tiny_1k() };
/// let model = HyenaDnaForSequenceClassification::new(config, 3, Pooling::Mean, vb)?;
/// let ids = Tensor::new(&[[7u32, 8, 9, 10]], &Device::Cpu)?;
/// assert_eq!(model.forward(&ids)?.dims(), &[1, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct HyenaDnaForSequenceClassification {
    backbone: Backbone,
    score: Linear,
    labels: usize,
    pooling: Pooling,
}

impl HyenaDnaForSequenceClassification {
    /// Reads the parameters, or makes fresh ones in a
    /// [`VarMap`](candle_nn::VarMap): those of the backbone as
    /// [`HyenaDna::new`](super::HyenaDna::new), and `score.weight`,
    /// `(labels, D)`. [`Pooling::Mean`] has `score.bias` as well,
    /// [`Pooling::LastToken`] only when the builder holds it.
    ///
    /// # Errors
    /// When the configuration is not valid, `labels` is zero, or a parameter
    /// is missing or has another shape.
    pub fn new(config: Config, labels: usize, pooling: Pooling, vb: VarBuilder) -> Result<Self> {
        if labels == 0 {
            return Err(Error::OutOfRange {
                quantity: "number of labels",
                expected: "at least 1".to_string(),
                got: "0".to_string(),
            }
            .into());
        }
        let backbone = Backbone::load(&config, weights::backbone(&vb))?;
        let vb = vb.pp("score");
        let initial = Init::Randn {
            mean: 0.0,
            stdev: config.initializer_range,
        };
        let weight = vb.get_with_hints((labels, config.d_model), "weight", initial)?;
        let bias = match pooling {
            Pooling::LastToken if !vb.contains_tensor("bias") => None,
            _ => Some(vb.get_with_hints(labels, "bias", Init::Const(0.0))?),
        };
        Ok(Self {
            backbone,
            score: Linear::new(weight, bias),
            labels,
            pooling,
        })
    }

    /// Reads weight files of either layout, as
    /// [`HyenaDna::from_files`](super::HyenaDna::from_files) does. The number
    /// of labels is that of the stored head; the pooling is the mean when the
    /// head has a bias, as the original code's has, and otherwise the last token.
    ///
    /// # Errors
    /// When a file cannot be read, has no classification head, or does not fit
    /// the configuration.
    pub fn from_files<P: AsRef<Path>>(
        config: Config,
        paths: &[P],
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let tensors = weights::canonical(&config, weight_files::read(paths)?)?;
        let Some(&[labels, _]) = tensors.get("score.weight").map(|weight| weight.dims()) else {
            return Err(Error::Malformed {
                source_name: "parameter score.weight".to_string(),
                expected: format!("a tensor of shape (labels, {})", config.d_model),
                got: "no such matrix".to_string(),
            }
            .into());
        };
        let pooling = if tensors.contains_key("score.bias") {
            Pooling::Mean
        } else {
            Pooling::LastToken
        };
        let vb = VarBuilder::from_tensors(tensors, dtype, device);
        Self::new(config, labels, pooling, vb)
    }

    /// The configuration of the backbone.
    pub fn config(&self) -> &Config {
        self.backbone.config()
    }

    /// How hidden states are pooled.
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// Scores `(B, labels)` of token ids `(B, L)` of dtype u32, u8 or i64.
    ///
    /// # Errors
    /// When `ids` has another rank or dtype, an id lies outside the padded
    /// vocabulary, or `L` is zero or greater than `max_seq_len`.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let ids = self.backbone.check_ids(ids)?;
        let (batch, length) = ids.dims2()?;
        if length == 0 {
            return Err(Error::OutOfRange {
                quantity: "sequence length L",
                expected: "at least 1: an empty sequence has no class".to_string(),
                got: "0".to_string(),
            }
            .into());
        }
        let hidden = self.backbone.forward(&ids, |_| ())?;
        if batch == 0 {
            return Tensor::zeros((0, self.labels), hidden.dtype(), hidden.device());
        }
        let pooled = match self.pooling {
            Pooling::Mean => hidden.mean(1)?,
            Pooling::LastToken => {
                let pad = self.backbone.config().pad_token_id;
                let rows = ids.to_vec2::<u32>()?;
                let picked = rows.iter().enumerate().map(|(row, ids)| {
                    let last = last_token(ids, pad);
                    u32::try_from(row * length + last).map_err(candle_core::Error::wrap)
                });
                let picked = picked.collect::<Result<Vec<_>>>()?;
                let picked = Tensor::from_vec(picked, batch, hidden.device())?;
                hidden.flatten_to(1)?.index_select(&picked, 0)?
            }
        };
        self.score.forward(&pooled)
    }
}

/// The position before the first padding token; the last one when there is no
/// padding, or nothing before it.
fn last_token(ids: &[u32], pad: u32) -> usize {
    let end = ids
        .iter()
        .position(|&id| id == pad)
        .filter(|&first| first > 0);
    end.unwrap_or(ids.len()).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::last_token;

    #[test]
    fn the_last_token_comes_before_right_padding() {
        assert_eq!(last_token(&[7, 8, 4, 4], 4), 1);
        assert_eq!(last_token(&[7, 8, 9], 4), 2);
        assert_eq!(last_token(&[4, 7, 8], 4), 2);
        assert_eq!(last_token(&[], 4), 0);
    }
}

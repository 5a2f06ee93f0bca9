//! From token ids to the first hidden states.

use super::Config;
use crate::models::layers::LayerNorm;
use crate::models::token_ids::Limits;
use crate::Error;
use candle_core::{Module, Result, Tensor};
use candle_nn::{Init, VarBuilder};

/// `LayerNorm(word[id] + token_type[type] + position[t])`.
#[derive(Debug, Clone)]
pub(super) struct Embeddings {
    words: Tensor,
    token_types: Tensor,
    positions: Option<Tensor>,
    norm: LayerNorm,
    max_len: usize,
}

impl Embeddings {
    pub(super) fn load(config: &Config, vb: VarBuilder) -> Result<Self> {
        let width = config.hidden_size;
        let table = |name: &str, rows: usize| {
            let initial = Init::Randn {
                mean: 0.0,
                stdev: config.initializer_range,
            };
            vb.pp(name).get_with_hints((rows, width), "weight", initial)
        };
        let positions = match config.use_positional_encodings {
            true => Some(table(
                "position_embeddings",
                config.max_position_embeddings,
            )?),
            false => None,
        };
        Ok(Self {
            words: table("word_embeddings", config.vocab_size)?,
            token_types: table("token_type_embeddings", config.type_vocab_size)?,
            positions,
            norm: LayerNorm::load(width, config.layer_norm_eps, vb.pp("LayerNorm"))?,
            max_len: config.max_len(),
        })
    }

    /// `ids`, `token_type_ids`: `(B, L)`; the result is `(B, L, D)`.
    pub(super) fn forward(&self, ids: &Tensor, token_type_ids: Option<&Tensor>) -> Result<Tensor> {
        let ids = self.check(ids, "ids", "token id", &self.words)?;
        let (batch, length) = ids.dims2()?;
        let width = self.words.dim(1)?;
        let types = match token_type_ids {
            Some(types) => {
                let types =
                    self.check(types, "token_type_ids", "token type id", &self.token_types)?;
                if types.dims() != ids.dims() {
                    return Err(Error::Shape {
                        tensor: "token_type_ids",
                        expected: format!("{:?}, that of ids", ids.dims()),
                        got: types.dims().to_vec(),
                    }
                    .into());
                }
                Some(types)
            }
            None => None,
        };
        if batch == 0 || length == 0 {
            let shape = (batch, length, width);
            return Tensor::zeros(shape, self.words.dtype(), self.words.device());
        }
        let look_up = |table: &Tensor, ids: &Tensor| {
            table
                .index_select(&ids.flatten_all()?, 0)?
                .reshape((batch, length, width))
        };
        let x = look_up(&self.words, &ids)?;
        let x = match &types {
            Some(types) => x.add(&look_up(&self.token_types, types)?)?,
            // All of type 0.
            None => x.broadcast_add(&self.token_types.narrow(0, 0, 1)?)?,
        };
        let x = match &self.positions {
            Some(positions) => x.broadcast_add(&positions.narrow(0, 0, length)?)?,
            None => x,
        };
        self.norm.forward(&x)
    }

    fn check(
        &self,
        ids: &Tensor,
        tensor: &'static str,
        element: &'static str,
        table: &Tensor,
    ) -> Result<Tensor> {
        let limits = Limits {
            tensor,
            element,
            count: table.dim(0)?,
            max_len: self.max_len,
            max_len_name: "the model's longest sequence",
        };
        limits.check(ids, table.device())
    }
}

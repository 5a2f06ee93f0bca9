//! The hyper-parameters of an M2-BERT model.

use crate::Error;
use candle_core::Result;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::Path;

/// Far more than any configuration needs, so that a wrong path cannot fill the memory.
const MAX_BYTES: u64 = 1 << 20;
/// Far beyond every published size; keeps products of two sizes from overflowing.
const MAX_SIZE: usize = 1 << 28;
const MAX_LAYERS: usize = 4096;

/// The hyper-parameters of an M2-BERT encoder, under the names of the published `config.json`.
///
/// Fields that a file lacks have the values that the reference configuration
/// class gives them; only `long_conv_l_max` is required. Fields that concern
/// training alone are ignored.
///
/// ```
/// use candle_flashfftconv::models::m2_bert::Config;
///
/// let config = Config::from_json(r#"{
///     "hidden_size": 960, "intermediate_size": 3840, "long_conv_l_max": 128,
///     "use_glu_mlp": true, "use_monarch_mlp": true, "use_positional_encodings": true
/// }"#)?;
/// assert_eq!(config.num_hidden_layers, 12);
///
/// let small = Config { num_hidden_layers: 2, ..Config::retrieval_80m(2048) };
/// small.validate()?;
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Number of rows of the word embedding. The published models round 30522 up to 30528.
    pub vocab_size: usize,
    /// Number of token types, usually 2.
    pub type_vocab_size: usize,
    /// Width of the model, `D`.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Width of the inside of the MLP, `I`; a gated MLP computes twice as many values.
    pub intermediate_size: usize,
    /// Number of learned positions, the longest sequence where they are used.
    pub max_position_embeddings: usize,
    /// Added to the variance in every layer norm.
    pub layer_norm_eps: f64,
    /// Standard deviation of freshly drawn weights.
    pub initializer_range: f64,
    /// The token that fills a batch up. Nothing masks it.
    pub pad_token_id: u32,
    /// Longest filter. Filters are functions of `position / long_conv_l_max`, so
    /// this is part of the model even when the input is shorter.
    #[serde(default = "absent")]
    pub long_conv_l_max: usize,
    /// Width of the network that makes a filter.
    pub hyena_filter_order: usize,
    /// Number of features of a position: odd, at least 3.
    pub hyena_emb_dim: usize,
    /// Initial frequency of the filter's sines.
    pub hyena_w: f64,
    /// Constant factor on the frequencies of the filter's sines.
    pub hyena_w_mod: f64,
    /// Whether a position sees those after it too.
    pub bidirectional: bool,
    /// Whether a second, ungated long convolution runs beside the gated one.
    pub residual_long_conv: bool,
    /// Whether the MLP is gated.
    pub use_glu_mlp: bool,
    /// Whether the matrices of the MLP are block-diagonal.
    pub use_monarch_mlp: bool,
    /// Number of blocks of such a matrix.
    pub monarch_mlp_nblocks: usize,
    /// Whether there is a learned embedding of the positions.
    pub use_positional_encodings: bool,
    /// Whether the pooler reads all positions. Not supported by
    /// [`M2Bert::pooled`](super::M2Bert::pooled); no published model does.
    pub pool_all: bool,
    /// False for the reference code's attention models, which are refused.
    pub monarch_mixer_sequence_mixing: bool,
    /// Extra layers inside the mixer; refused, no published model has them.
    pub hyena_training_additions: bool,
}

/// Stands for a field that a file has to have: no valid model has this value.
fn absent() -> usize {
    0
}

impl Default for Config {
    /// What the reference configuration class gives absent fields; not a valid
    /// model until `long_conv_l_max` is set.
    fn default() -> Self {
        Self {
            vocab_size: 30522,
            type_vocab_size: 2,
            hidden_size: 768,
            num_hidden_layers: 12,
            intermediate_size: 3072,
            max_position_embeddings: 512,
            layer_norm_eps: 1e-12,
            initializer_range: 0.02,
            pad_token_id: 0,
            long_conv_l_max: absent(),
            hyena_filter_order: 64,
            hyena_emb_dim: 3,
            hyena_w: 10.0,
            hyena_w_mod: 1.0,
            bidirectional: true,
            residual_long_conv: false,
            use_glu_mlp: false,
            use_monarch_mlp: false,
            monarch_mlp_nblocks: 4,
            use_positional_encodings: false,
            pool_all: false,
            monarch_mixer_sequence_mixing: true,
            hyena_training_additions: false,
        }
    }
}

impl Config {
    /// Reads a `config.json`; see [`Config::from_json`].
    ///
    /// # Errors
    /// When the file cannot be read, is larger than 1 MiB or is not what [`Config::from_json`] takes.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
            .map_err(|e| malformed(&name, "a readable text file", e))?;
        if text.len() as u64 > MAX_BYTES {
            let expected = format!("a configuration of at most {MAX_BYTES} bytes");
            return Err(malformed(&name, expected, "a larger file"));
        }
        parse(&text, &name)
    }

    /// Parses the text of a `config.json`.
    ///
    /// # Errors
    /// Text that is not JSON, a field of the wrong type, and whatever [`Config::validate`] refuses.
    pub fn from_json(text: &str) -> Result<Self> {
        parse(text, "config.json")
    }

    /// The published 80M retrieval models, for sequences of `max_len` tokens:
    /// 2048, 8192 or 32768.
    pub fn retrieval_80m(max_len: usize) -> Self {
        Self {
            vocab_size: 30528,
            max_position_embeddings: max_len,
            long_conv_l_max: max_len,
            hyena_filter_order: 128,
            hyena_emb_dim: 5,
            residual_long_conv: true,
            use_glu_mlp: true,
            use_monarch_mlp: true,
            use_positional_encodings: true,
            ..Self::default()
        }
    }

    /// The longest sequence that the model takes.
    pub fn max_len(&self) -> usize {
        if self.use_positional_encodings {
            self.long_conv_l_max.min(self.max_position_embeddings)
        } else {
            self.long_conv_l_max
        }
    }

    /// Checks that the sizes make a model that this crate computes.
    ///
    /// # Errors
    /// An [`Error::OutOfRange`] that names the field.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("vocab_size", self.vocab_size, MAX_SIZE),
            ("type_vocab_size", self.type_vocab_size, MAX_SIZE),
            ("hidden_size", self.hidden_size, MAX_SIZE),
            ("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS),
            ("intermediate_size", self.intermediate_size, MAX_SIZE),
            (
                "max_position_embeddings",
                self.max_position_embeddings,
                MAX_SIZE,
            ),
            // The bidirectional convolution has twice this size.
            ("long_conv_l_max", self.long_conv_l_max, 1 << 23),
            ("hyena_filter_order", self.hyena_filter_order, MAX_SIZE),
            ("monarch_mlp_nblocks", self.monarch_mlp_nblocks, MAX_SIZE),
        ];
        for (quantity, got, most) in sizes {
            if got == 0 || got > most {
                return Err(out_of_range(quantity, format!("1 to {most}"), got));
            }
        }
        if self.hyena_emb_dim < 3 || self.hyena_emb_dim.is_multiple_of(2) {
            let expected = "an odd number, at least 3";
            return Err(out_of_range("hyena_emb_dim", expected, self.hyena_emb_dim));
        }
        let numbers = [
            ("layer_norm_eps", self.layer_norm_eps),
            ("initializer_range", self.initializer_range),
            ("hyena_w", self.hyena_w),
            ("hyena_w_mod", self.hyena_w_mod),
        ];
        for (quantity, got) in numbers {
            if !got.is_finite() || got < 0.0 {
                return Err(out_of_range(quantity, "a number of at least 0", got));
            }
        }
        let blocks = self.mlp_blocks().unwrap_or(1);
        for (quantity, size) in [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
        ] {
            if !size.is_multiple_of(blocks) {
                let expected = format!("a multiple of monarch_mlp_nblocks = {blocks}");
                return Err(out_of_range(quantity, expected, size));
            }
        }
        if !self.monarch_mixer_sequence_mixing {
            let expected = "true: attention models are another architecture";
            return Err(out_of_range(
                "monarch_mixer_sequence_mixing",
                expected,
                false,
            ));
        }
        if self.hyena_training_additions {
            return Err(out_of_range("hyena_training_additions", "false", true));
        }
        Ok(())
    }

    /// Number of blocks of the MLP's matrices, or none when they are dense.
    pub(super) fn mlp_blocks(&self) -> Option<usize> {
        self.use_monarch_mlp.then_some(self.monarch_mlp_nblocks)
    }

    /// Number of values that the first matrix of the MLP computes.
    pub(super) fn mlp_outputs(&self) -> usize {
        let parts = if self.use_glu_mlp { 2 } else { 1 };
        self.intermediate_size.saturating_mul(parts)
    }
}

fn parse(text: &str, source_name: &str) -> Result<Config> {
    let config: Config = serde_json::from_str(text)
        .map_err(|e| malformed(source_name, "an M2-BERT configuration in JSON", e))?;
    if config.long_conv_l_max == absent() {
        let expected = "`long_conv_l_max` to be a length of at least 1";
        return Err(malformed(source_name, expected, "nothing or 0"));
    }
    config.validate()?;
    Ok(config)
}

fn out_of_range(
    quantity: &'static str,
    expected: impl ToString,
    got: impl ToString,
) -> candle_core::Error {
    Error::OutOfRange {
        quantity,
        expected: expected.to_string(),
        got: got.to_string(),
    }
    .into()
}

fn malformed(source_name: &str, expected: impl ToString, got: impl ToString) -> candle_core::Error {
    Error::Malformed {
        source_name: source_name.to_string(),
        expected: expected.to_string(),
        got: got.to_string(),
    }
    .into()
}

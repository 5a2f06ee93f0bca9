//! The hyper-parameters of a HyenaDNA model.
//!
//! Two layouts of `config.json` are in use: the flat one beside the `-hf`
//! weights and the original one, whose operator settings are nested under
//! `layer`. The reading of both is in `config_json`.

use super::config_json;
use crate::Error;
use candle_core::Result;
use std::path::Path;

/// The hyper-parameters of a HyenaDNA model, under the names of the published Hugging Face configuration.
///
/// The model: token embedding, `n_layer` blocks of `x += Mixer(LN(x)); x += MLP(LN(x))`,
/// a final layer norm and a linear head without bias
/// ([Nguyen et al. 2023](https://arxiv.org/abs/2306.15794)).
///
/// ```
/// use candle_flashfftconv::models::hyena_dna::Config;
///
/// let config = Config::from_json(r#"{
///     "model_type": "hyenadna", "d_model": 128, "n_layer": 2, "max_seq_len": 1026, "vocab_size": 12
/// }"#)?;
/// assert_eq!(config.d_inner, 512); // 4 · d_model unless the file says otherwise
/// assert_eq!(config.padded_vocab_size(), 16);
///
/// // A model of one's own, starting from a published one:
/// let config = Config { n_layer: 4, max_seq_len: 4096, ..Config::tiny_1k() };
/// config.validate()?;
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Width of the model, `D`: channels of the embedding and of every block.
    pub d_model: usize,
    /// Number of blocks.
    pub n_layer: usize,
    /// Width of the hidden layer of each MLP. `4 · d_model` when the file has none.
    pub d_inner: usize,
    /// Number of tokens in the vocabulary, before rounding up; see [`Config::padded_vocab_size`].
    pub vocab_size: usize,
    /// The embedding and the head have `vocab_size` rounded up to a multiple of this many rows.
    pub pad_vocab_size_multiple: usize,
    /// The longest sequence, in tokens; `l_max` in the original layout. The
    /// filters are functions of `position / max_seq_len`, so this is part of
    /// the model even when the input is shorter.
    pub max_seq_len: usize,
    /// Number `N ≥ 2` of gates and values of the Hyena operator: it has `N − 1` long convolutions.
    /// Every published model has 2. `order` in the original layout.
    pub hyena_order: usize,
    /// Taps of the short causal depthwise convolution.
    pub short_filter_order: usize,
    /// Width of the network that makes the implicit filter.
    pub filter_order: usize,
    /// Size of the positional features that the filter network reads: time, and
    /// `(emb_dim − 1) / 2` pairs of a cosine and a sine. Odd, at least 3.
    pub emb_dim: usize,
    /// What the trained frequency of the filter network's sines starts from; `w` in the original layout.
    pub activation_freq: f64,
    /// Whether that frequency was trained. It is stored with the weights either way.
    pub train_freq: bool,
    /// Hidden layers of the filter network between its first and its last one.
    pub num_inner_mlps: usize,
    /// Added to the variance in every layer norm.
    pub layer_norm_epsilon: f64,
    /// Whether the long convolution has its skip term, `d ⊙ p`. (The projections
    /// and the short convolution have biases in any case.)
    pub use_bias: bool,
    /// Whether the sum over the blocks is kept in float32 when the weights have half precision.
    /// `true` where the Hugging Face layout says nothing, because that code
    /// always does so; `false` where the original layout says nothing.
    pub residual_in_fp32: bool,
    /// Whether the filter is multiplied by `exp(−t·|δ|) + filter_shift`.
    pub modulate: bool,
    /// The part of the filter that does not decay. 0.05 in the published inference
    /// code, which no published configuration overrides; `shift` in the original layout.
    pub filter_shift: f64,
    /// Whether the filter is divided by its L1 norm over the channels at each time step.
    pub normalized: bool,
    /// Whether the input of the long convolution is delayed by half its length
    /// and convolved circularly (experimental upstream, no published weights).
    pub bidirectional: bool,
    /// Where the output head comes from. `Some(true)`: the embedding matrix is
    /// the head, whatever the file holds. `Some(false)`: the head is its own
    /// tensor, and the file has to hold it. `None`: the head that the file
    /// holds, or the embedding when it holds none.
    pub tie_word_embeddings: Option<bool>,
    /// The token that fills a batch up on the left. Nothing masks it.
    pub pad_token_id: u32,
    /// Standard deviation of freshly drawn weights.
    pub initializer_range: f64,
    /// Dropout of the embedding in the published training. Kept for [`Config::to_hf_json`]; nothing here drops.
    pub embed_dropout: f64,
    /// Dropout of the operator in the published training, see [`Config::embed_dropout`].
    pub hyena_dropout: f64,
    /// Dropout of the filter in the published training, see [`Config::embed_dropout`].
    pub hyena_filter_dropout: f64,
}

/// The published models, by the names that [`Config::published`] takes, smallest first.
pub const PUBLISHED: [&str; 7] = [
    "tiny-1k-seqlen",
    "tiny-1k-seqlen-d256",
    "tiny-16k-seqlen-d128",
    "small-32k-seqlen",
    "medium-160k-seqlen",
    "medium-450k-seqlen",
    "large-1m-seqlen",
];

impl Config {
    /// Reads a `config.json` of either layout; see [`Config::from_json`].
    ///
    /// # Errors
    /// When the file cannot be read, is larger than 1 MiB or is not what [`Config::from_json`] takes.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        config_json::read(path.as_ref())
    }

    /// Parses the text of a `config.json`.
    ///
    /// With a nested `layer` object it is the original layout, otherwise the
    /// flat Hugging Face one; either may lie under the key `model`, as in the
    /// configuration of a training run. `d_model`, `n_layer` and `max_seq_len`
    /// (`layer.l_max`) are required. Any other absent field has the value that
    /// the reference implementation of that layout gives it. Unknown fields
    /// are ignored, save those that would make another model of it (attention
    /// layers, several heads or blocks).
    ///
    /// # Errors
    /// Text that is not JSON, a field of the wrong type, and whatever [`Config::validate`] refuses.
    pub fn from_json(text: &str) -> Result<Self> {
        config_json::parse(text, "config.json")
    }

    /// A flat `config.json` as the Hugging Face code reads it. [`Config::from_json`] gives the same configuration back.
    ///
    /// Settings that the Hugging Face code does not know (`filter_shift`,
    /// `modulate`, `normalized`, `bidirectional`, `residual_in_fp32`) are
    /// written only where they differ from what that code does.
    pub fn to_hf_json(&self) -> String {
        config_json::write_hf(self)
    }

    /// The configuration of a published model.
    ///
    /// `name` is one of [`PUBLISHED`], also with the prefix `LongSafari/` or `hyenadna-` and the suffix `-hf`.
    ///
    /// # Errors
    /// Any other name.
    ///
    /// ```
    /// use candle_flashfftconv::models::hyena_dna::Config;
    ///
    /// let config = Config::published("LongSafari/hyenadna-large-1m-seqlen-hf")?;
    /// assert_eq!(config.max_seq_len, 1_000_002);
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    pub fn published(name: &str) -> Result<Self> {
        let short = name.strip_prefix("LongSafari/").unwrap_or(name);
        let short = short.strip_prefix("hyenadna-").unwrap_or(short);
        let short = short.strip_suffix("-hf").unwrap_or(short);
        match short {
            "tiny-1k-seqlen" => Ok(Self::tiny_1k()),
            "tiny-1k-seqlen-d256" => Ok(Self::tiny_1k_d256()),
            "tiny-16k-seqlen-d128" => Ok(Self::tiny_16k()),
            "small-32k-seqlen" => Ok(Self::small_32k()),
            "medium-160k-seqlen" => Ok(Self::medium_160k()),
            "medium-450k-seqlen" => Ok(Self::medium_450k()),
            "large-1m-seqlen" => Ok(Self::large_1m()),
            _ => Err(Error::OutOfRange {
                quantity: "name of a published HyenaDNA model",
                expected: format!("one of {}", PUBLISHED.join(", ")),
                got: name.to_string(),
            }
            .into()),
        }
    }

    /// `hyenadna-tiny-1k-seqlen`: 2 blocks of 128 channels, 1,026 tokens, 0.44 M parameters.
    pub fn tiny_1k() -> Self {
        Self {
            d_model: 128,
            n_layer: 2,
            d_inner: 512,
            vocab_size: 12,
            pad_vocab_size_multiple: 8,
            max_seq_len: 1026,
            hyena_order: 2,
            short_filter_order: 3,
            filter_order: 64,
            emb_dim: 5,
            activation_freq: 10.0,
            train_freq: true,
            num_inner_mlps: 2,
            layer_norm_epsilon: 1e-5,
            use_bias: true,
            residual_in_fp32: true,
            modulate: true,
            filter_shift: 0.05,
            normalized: false,
            bidirectional: false,
            tie_word_embeddings: None,
            pad_token_id: 4,
            initializer_range: 0.02,
            embed_dropout: 0.1,
            hyena_dropout: 0.0,
            hyena_filter_dropout: 0.0,
        }
    }

    /// `hyenadna-tiny-1k-seqlen-d256`: 2 blocks of 256 channels, 1,026 tokens, 1.6 M parameters.
    pub fn tiny_1k_d256() -> Self {
        Self {
            d_model: 256,
            d_inner: 1024,
            ..Self::tiny_1k()
        }
    }

    /// `hyenadna-tiny-16k-seqlen-d128`: 2 blocks of 128 channels, 16,386 tokens, 0.44 M parameters.
    pub fn tiny_16k() -> Self {
        Self {
            max_seq_len: 16_386,
            ..Self::tiny_1k()
        }
    }

    /// `hyenadna-small-32k-seqlen`: 4 blocks of 256 channels, 32,770 tokens, 3.3 M parameters.
    pub fn small_32k() -> Self {
        Self {
            n_layer: 4,
            max_seq_len: 32_770,
            ..Self::tiny_1k_d256()
        }
    }

    /// `hyenadna-medium-160k-seqlen`: 8 blocks of 256 channels, 160,002 tokens, 6.6 M parameters.
    pub fn medium_160k() -> Self {
        Self {
            n_layer: 8,
            max_seq_len: 160_002,
            ..Self::tiny_1k_d256()
        }
    }

    /// `hyenadna-medium-450k-seqlen`: 8 blocks of 256 channels, 450,002 tokens, 6.6 M parameters.
    pub fn medium_450k() -> Self {
        Self {
            max_seq_len: 450_002,
            ..Self::medium_160k()
        }
    }

    /// `hyenadna-large-1m-seqlen`: 8 blocks of 256 channels, 1,000,002 tokens, 6.6 M parameters.
    pub fn large_1m() -> Self {
        Self {
            max_seq_len: 1_000_002,
            ..Self::medium_160k()
        }
    }

    /// Rows of the embedding and of the head: `vocab_size` rounded up to a multiple of `pad_vocab_size_multiple`.
    pub fn padded_vocab_size(&self) -> usize {
        let multiple = self.pad_vocab_size_multiple.max(1);
        self.vocab_size.div_ceil(multiple).saturating_mul(multiple)
    }

    /// Number of trained parameters, with the head counted only when it is its own tensor
    /// (`tie_word_embeddings` of `Some(false)`). Position tables and decay rates are not trained.
    ///
    /// Saturates instead of overflowing, so it is safe to call before [`Config::validate`].
    pub fn parameter_count(&self) -> u64 {
        let mul = |factors: &[usize]| {
            factors
                .iter()
                .fold(1u64, |product, &f| product.saturating_mul(f as u64))
        };
        let sum = |terms: &[u64]| terms.iter().fold(0u64, |sum, &t| sum.saturating_add(t));
        let (d, inner, f) = (self.d_model, self.d_inner, self.filter_order);
        let convolutions = self.hyena_order.saturating_sub(1);
        let projected = d.saturating_mul(self.hyena_order.saturating_add(1));
        let embedding = mul(&[self.padded_vocab_size(), d]);
        let filter = sum(&[
            mul(&[f, self.emb_dim.saturating_add(1)]),
            mul(&[self.num_inner_mlps, f, f.saturating_add(1)]),
            mul(&[f, d, convolutions]),
            f as u64,                // frequency of the sines
            mul(&[d, convolutions]), // skip term
        ]);
        let block = sum(&[
            mul(&[4, d]), // two layer norms
            mul(&[projected, d.saturating_add(1)]),
            mul(&[projected, self.short_filter_order.saturating_add(1)]),
            mul(&[d, d.saturating_add(1)]),
            mul(&[inner, d.saturating_add(1)]),
            mul(&[d, inner.saturating_add(1)]),
            filter,
        ]);
        let head = match self.tie_word_embeddings {
            Some(false) => embedding,
            _ => 0,
        };
        sum(&[
            embedding,
            block.saturating_mul(self.n_layer as u64),
            mul(&[2, d]),
            head,
        ])
    }

    /// Checks every field, and that no size of the model can overflow.
    ///
    /// The ranges are wide: they keep out zeros and nonsense, and the sizes
    /// that would exhaust any memory before the weights could disagree.
    ///
    /// # Errors
    /// The first field outside its range, with the range and what was got.
    pub fn validate(&self) -> Result<()> {
        let within = |quantity: &'static str, got: usize, low: usize, high: usize| {
            if (low..=high).contains(&got) {
                return Ok(());
            }
            Err(Error::OutOfRange {
                quantity,
                expected: format!("{low} to {high}"),
                got: got.to_string(),
            })
        };
        within("d_model", self.d_model, 1, 1 << 16)?;
        within("n_layer", self.n_layer, 1, 1 << 12)?;
        within("d_inner", self.d_inner, 1, 1 << 20)?;
        within("vocab_size", self.vocab_size, 1, 1 << 24)?;
        within(
            "pad_vocab_size_multiple",
            self.pad_vocab_size_multiple,
            1,
            1 << 16,
        )?;
        // The longest causal plan of this crate has 2^23 samples.
        within("max_seq_len", self.max_seq_len, 2, 1 << 23)?;
        within("hyena_order", self.hyena_order, 2, 64)?;
        within("short_filter_order", self.short_filter_order, 1, 1 << 12)?;
        within("filter_order", self.filter_order, 1, 1 << 16)?;
        within("emb_dim", self.emb_dim, 3, (1 << 12) + 1)?;
        if self.emb_dim.is_multiple_of(2) {
            return Err(Error::OutOfRange {
                quantity: "emb_dim",
                expected: "an odd number: time, and pairs of a cosine and a sine".to_string(),
                got: self.emb_dim.to_string(),
            }
            .into());
        }
        within("num_inner_mlps", self.num_inner_mlps, 0, 64)?;
        let last_token = self.padded_vocab_size() - 1;
        within("pad_token_id", self.pad_token_id as usize, 0, last_token)?;

        let number = |quantity: &'static str, got: f64, good: bool, expected: &str| {
            if good && got.is_finite() {
                return Ok(());
            }
            Err(Error::OutOfRange {
                quantity,
                expected: expected.to_string(),
                got: got.to_string(),
            })
        };
        let epsilon = self.layer_norm_epsilon;
        number(
            "layer_norm_epsilon",
            epsilon,
            (0.0..=1.0).contains(&epsilon),
            "0 to 1",
        )?;
        number(
            "activation_freq",
            self.activation_freq,
            true,
            "a finite number",
        )?;
        number("filter_shift", self.filter_shift, true, "a finite number")?;
        let deviation = self.initializer_range;
        number(
            "initializer_range",
            deviation,
            deviation >= 0.0,
            "a finite number of at least 0",
        )?;
        for (quantity, rate) in [
            ("embed_dropout", self.embed_dropout),
            ("hyena_dropout", self.hyena_dropout),
            ("hyena_filter_dropout", self.hyena_filter_dropout),
        ] {
            number(quantity, rate, (0.0..=1.0).contains(&rate), "0 to 1")?;
        }

        // Each field is in range, but their products need not be.
        let parameters = self.parameter_count();
        let tables = (self.max_seq_len as u64)
            .saturating_mul(self.emb_dim as u64 + 1)
            .saturating_mul(self.n_layer as u64);
        let limit = 1u64 << 36;
        if parameters.saturating_add(tables) > limit {
            return Err(Error::OutOfRange {
                quantity: "parameters and position tables of the model",
                expected: format!("at most {limit} numbers"),
                got: format!("{parameters} and {tables}"),
            }
            .into());
        }
        Ok(())
    }
}

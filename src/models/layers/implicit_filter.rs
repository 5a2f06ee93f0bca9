//! A long filter that a small network computes from positions.

use super::filter_functions::{biased_sine, decayed};
use super::filter_tables;
use crate::Error;
use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{Init, VarBuilder};

const MAX_INNER_LAYERS: usize = 256;

/// What a filter is divided by after its decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FilterNormalization {
    /// Nothing: all published models.
    #[default]
    None,
    /// At each position, the sum of the absolute values over all channels.
    OverChannels,
}

/// Sizes and options of an [`ImplicitFilter`].
///
/// ```
/// use candle_flashfftconv::models::layers::ImplicitFilterConfig;
/// let config = ImplicitFilterConfig {
///     shift: 0.0,
///     ..ImplicitFilterConfig::new(256, 1026)
/// };
/// assert_eq!(config.filter_order, 64);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ImplicitFilterConfig {
    /// Number of filters `C`: the width of the model, times `order − 1`.
    pub channels: usize,
    /// Width `F` of the network.
    pub filter_order: usize,
    /// Number `E` of features of a position: odd, at least 3.
    pub emb_dim: usize,
    /// Longest filter; positions are relative to it.
    pub max_len: usize,
    /// Initial frequency of the sines.
    pub frequency: f64,
    /// Whether gradients reach the frequencies of the sines.
    pub trainable_frequency: bool,
    /// Constant factor on the frequencies of the sines (`w_mod` of M2-BERT).
    pub frequency_factor: f64,
    /// Number of `(F, F)` layers between the first and the last layer.
    pub num_inner_layers: usize,
    /// Whether the filters decay with time.
    pub modulate: bool,
    /// Added to the decay, so that a filter does not decay to zero.
    pub shift: f64,
    /// What the decayed filter is divided by.
    pub normalized: FilterNormalization,
    /// Whether gradients reach the features of the positions, `pos_emb.z`. They
    /// are a parameter of M2-BERT and a constant of HyenaDNA.
    pub trainable_positions: bool,
    /// Fresh weights are normal with this standard deviation and fresh biases
    /// zero; without it both are uniform up to `1 / sqrt(inputs)`.
    pub initial_deviation: Option<f64>,
}

impl ImplicitFilterConfig {
    /// The options of the published HyenaDNA models for `channels` filters of
    /// up to `max_len` taps.
    pub fn new(channels: usize, max_len: usize) -> Self {
        Self {
            channels,
            filter_order: 64,
            emb_dim: 5,
            max_len,
            frequency: 10.0,
            trainable_frequency: true,
            frequency_factor: 1.0,
            num_inner_layers: 2,
            modulate: true,
            shift: 0.05,
            normalized: FilterNormalization::None,
            trainable_positions: false,
            initial_deviation: None,
        }
    }

    fn validate(&self) -> Result<()> {
        let positive = [
            ("channels of an implicit filter", self.channels),
            ("filter_order of an implicit filter", self.filter_order),
            ("max_len of an implicit filter", self.max_len),
        ];
        for (quantity, got) in positive {
            if got == 0 {
                return Err(out_of_range(quantity, "at least 1", got));
            }
        }
        if self.emb_dim < 3 || self.emb_dim.is_multiple_of(2) {
            return Err(out_of_range(
                "emb_dim of an implicit filter",
                "an odd number, at least 3",
                self.emb_dim,
            ));
        }
        // So that a nonsensical file cannot ask for endless layers.
        if self.num_inner_layers > MAX_INNER_LAYERS {
            return Err(out_of_range(
                "num_inner_layers of an implicit filter",
                format!("at most {MAX_INNER_LAYERS}"),
                self.num_inner_layers,
            ));
        }
        let elements = self
            .channels
            .max(self.filter_order)
            .max(self.emb_dim)
            .checked_mul(self.max_len.max(self.filter_order));
        if elements.is_none_or(|n| n > isize::MAX as usize / 16) {
            return Err(out_of_range(
                "max_len of an implicit filter",
                "a length that fits in memory",
                self.max_len,
            ));
        }
        Ok(())
    }

    /// How a fresh layer of `inputs` inputs starts: weight and bias.
    fn initial(&self, inputs: usize) -> (Init, Init) {
        match self.initial_deviation {
            Some(stdev) => (Init::Randn { mean: 0.0, stdev }, Init::Const(0.0)),
            None => {
                let bound = 1.0 / (inputs.max(1) as f64).sqrt();
                let uniform = Init::Uniform {
                    lo: -bound,
                    up: bound,
                };
                (uniform, uniform)
            }
        }
    }
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

/// The network of a filter: `filter_order`-wide layers with sines between them.
#[derive(Debug, Clone)]
struct Network {
    /// Weight `(F, inputs)` and bias `(F)` of the layers that a sine follows.
    hidden: Vec<(Tensor, Tensor)>,
    /// Weight `(C, F)` of the last layer.
    last: Tensor,
}

impl Network {
    fn load(config: &ImplicitFilterConfig, vb: &VarBuilder) -> Result<Self> {
        let order = config.filter_order;
        let layers = config.num_inner_layers.saturating_add(1);
        let mut hidden = Vec::new();
        // A sine stands between two layers, which is why their indices are even.
        for index in 0..layers {
            let inputs = if index == 0 { config.emb_dim } else { order };
            let vb = vb.pp(2 * index);
            let (weight, bias) = config.initial(inputs);
            hidden.push((
                vb.get_with_hints((order, inputs), "weight", weight)?,
                vb.get_with_hints(order, "bias", bias)?,
            ));
        }
        let (weight, _) = config.initial(order);
        let last = vb
            .pp(2 * layers)
            .get_with_hints((config.channels, order), "weight", weight)?;
        Ok(Self { hidden, last })
    }

    fn is_tracked(&self) -> bool {
        let hidden = self
            .hidden
            .iter()
            .any(|(w, b)| w.track_op() || b.track_op());
        hidden || self.last.track_op()
    }
}

/// What the forward and the reverse filter of a layer share.
#[derive(Debug, Clone)]
struct Shared {
    /// Features of the positions, `(1, max_len, E)`.
    features: Tensor,
    /// Times of the positions, `(1, max_len, 1)`.
    times: Tensor,
    /// Decay rates, `(1, 1, C)`.
    rates: Tensor,
    /// Frequencies of the sines, `(1, F)`.
    frequencies: Tensor,
    /// Weight of the input itself, `(C)`.
    skip: Tensor,
}

/// Long convolution filters, computed from their positions by a small network
/// with sines and made to decay: the filter of Hyena, HyenaDNA and M2-BERT.
///
/// With `t[n] = n / (max_len − 1)`, the features `z[n]` of a position, the
/// frequencies `ω` and the decay rates `δ`,
///
/// ```text
/// h = sin(ω ⊙ (W₀ z + b₀)),  h = sin(ω ⊙ (W₂ h + b₂)), …,
/// k[c, n] = (W₆ h[n])[c] · (exp(−t[n]·|δ[c]|) + shift)
/// ```
///
/// Positions are relative to the *longest* length, so a shorter filter is the
/// start of a longer one.
///
/// Computed in f32 (in f64 for a builder of dtype f64), whatever the dtype of
/// the model: the sines have large arguments. Memory beside the result is a few
/// tensors of `(F, length)` and one of the result's size.
///
/// Poli et al., *Hyena Hierarchy* (2023), section 3.3 and appendix D.3.
///
/// # Names of the parameters
/// `pos_emb.z` and `pos_emb.t` (computed when absent), `implicit_filter.{0, 2, …}.weight`
/// and `.bias`, one `freq` under any of `implicit_filter.{1, 3, …}.freq`,
/// `modulation.deltas` (computed when absent), `bias`.
/// With a fresh [`VarMap`](candle_nn::VarMap) the constant tables are not made
/// variables, so that no optimiser moves them.
///
/// ```
/// use candle_core::{DType, Device};
/// use candle_flashfftconv::models::layers::{ImplicitFilter, ImplicitFilterConfig};
/// use candle_nn::{VarBuilder, VarMap};
/// # fn main() -> candle_core::Result<()> {
/// let parameters = VarMap::new();
/// let vb = VarBuilder::from_varmap(&parameters, DType::F32, &Device::Cpu);
/// let filter = ImplicitFilter::new(ImplicitFilterConfig::new(8, 100), vb)?;
/// assert_eq!(filter.kernel(60)?.dims(), &[8, 60]);
/// assert!(filter.kernel(101).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ImplicitFilter {
    config: ImplicitFilterConfig,
    network: Network,
    shared: Shared,
}

impl ImplicitFilter {
    /// Reads the parameters, or makes fresh ones in a
    /// [`VarMap`](candle_nn::VarMap).
    ///
    /// # Errors
    /// When a size is zero or `emb_dim` even, and when a parameter is missing
    /// or has another shape.
    pub fn new(config: ImplicitFilterConfig, vb: VarBuilder) -> Result<Self> {
        config.validate()?;
        let dtype = match vb.dtype() {
            DType::F64 => DType::F64,
            _ => DType::F32,
        };
        let vb = vb.set_dtype(dtype);
        let shared = Shared {
            features: load_features(&config, &vb.pp("pos_emb"))?,
            times: load_constant(&vb.pp("pos_emb"), "t", (1, config.max_len, 1), || {
                filter_tables::times(config.max_len)
            })?,
            rates: load_constant(
                &vb.pp("modulation"),
                "deltas",
                (1, 1, config.channels),
                || filter_tables::decay_rates(config.channels),
            )?,
            frequencies: load_frequencies(&config, &vb.pp("implicit_filter"))?,
            skip: vb.get_with_hints(
                config.channels,
                "bias",
                Init::Randn {
                    mean: 0.0,
                    stdev: 1.0,
                },
            )?,
        };
        let network = Network::load(&config, &vb.pp("implicit_filter"))?;
        Ok(Self {
            config,
            network,
            shared,
        })
    }

    /// A filter with a network of its own, `vb`, that shares everything else
    /// with this one: the reverse filter of M2-BERT, with
    /// `vb.pp("implicit_filter_rev")` of the builder that made this one.
    ///
    /// # Errors
    /// When a parameter is missing or has another shape.
    pub fn sharing(&self, vb: VarBuilder) -> Result<Self> {
        let vb = vb.set_dtype(self.shared.frequencies.dtype());
        Ok(Self {
            config: self.config.clone(),
            network: Network::load(&self.config, &vb)?,
            shared: self.shared.clone(),
        })
    }

    /// The options that this filter was made with.
    pub fn config(&self) -> &ImplicitFilterConfig {
        &self.config
    }

    /// The weight of the convolution's input itself, `(C)`: the parameter `bias`.
    pub fn skip(&self) -> &Tensor {
        &self.shared.skip
    }

    /// Whether a parameter is a variable, so that kernels must be computed anew
    /// after each step of an optimiser. Otherwise a kernel may be kept.
    pub fn is_tracked(&self) -> bool {
        let shared = &self.shared;
        self.network.is_tracked()
            || shared.features.track_op()
            || shared.frequencies.track_op()
            || shared.skip.track_op()
    }

    /// The first `length` taps of the filters, `(C, length)`. Differentiable in
    /// all parameters.
    ///
    /// # Errors
    /// When `length` is greater than `max_len`.
    pub fn kernel(&self, length: usize) -> Result<Tensor> {
        let config = &self.config;
        let shared = &self.shared;
        if length > config.max_len {
            return Err(out_of_range(
                "length of an implicit filter",
                format!("at most max_len = {}", config.max_len),
                length,
            ));
        }
        if length == 0 {
            let frequencies = &shared.frequencies;
            return Tensor::zeros(
                (config.channels, 0),
                frequencies.dtype(),
                frequencies.device(),
            );
        }
        // Positions are the last dimension throughout, as they are in the result.
        let mut h = shared.features.narrow(1, 0, length)?.squeeze(0)?.t()?;
        // The frequencies go into the small weights instead of the long activations.
        let frequencies = (shared.frequencies.t()? * config.frequency_factor)?;
        for (weight, bias) in &self.network.hidden {
            let weight = weight.broadcast_mul(&frequencies)?;
            let bias = bias.unsqueeze(1)?.mul(&frequencies)?;
            h = biased_sine(&weight.matmul(&h)?, &bias)?;
        }
        let mut kernel = self.network.last.matmul(&h)?;
        drop(h);
        if config.modulate {
            let times = shared.times.narrow(1, 0, length)?;
            kernel = decayed(&kernel, &shared.rates, &times, config.shift)?;
        }
        match config.normalized {
            FilterNormalization::None => Ok(kernel),
            FilterNormalization::OverChannels => {
                kernel.broadcast_div(&kernel.abs()?.sum_keepdim(0)?)
            }
        }
    }

    /// [`kernel`](Self::kernel) with [`skip`](Self::skip) added to the first
    /// tap: convolving with it gives `conv(x, k) + skip ⊙ x` at no further cost.
    ///
    /// # Errors
    /// Those of [`kernel`](Self::kernel).
    pub fn kernel_with_skip(&self, length: usize) -> Result<Tensor> {
        let kernel = self.kernel(length)?;
        if length == 0 {
            return Ok(kernel);
        }
        let first = kernel
            .narrow(1, 0, 1)?
            .add(&self.shared.skip.unsqueeze(1)?)?;
        if length == 1 {
            return Ok(first);
        }
        Tensor::cat(&[first, kernel.narrow(1, 1, length - 1)?], 1)
    }
}

/// A table from `values`, row-major.
fn table(
    values: Vec<f64>,
    shape: (usize, usize, usize),
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    Tensor::from_vec(values, shape, &Device::Cpu)?
        .to_dtype(dtype)?
        .to_device(device)
}

/// A table that never gets a gradient: the stored one, or by formula.
fn load_constant(
    vb: &VarBuilder,
    name: &str,
    shape: (usize, usize, usize),
    formula: impl FnOnce() -> Vec<f64>,
) -> Result<Tensor> {
    if vb.contains_tensor(name) {
        Ok(vb.get(shape, name)?.detach())
    } else {
        table(formula(), shape, vb.dtype(), vb.device())
    }
}

fn load_features(config: &ImplicitFilterConfig, vb: &VarBuilder) -> Result<Tensor> {
    let shape = (1, config.max_len, config.emb_dim);
    let formula = || filter_tables::position_features(config.max_len, config.emb_dim);
    if !config.trainable_positions {
        return load_constant(vb, "z", shape, formula);
    }
    if vb.contains_tensor("z") {
        return vb.get(shape, "z");
    }
    let values = table(formula(), shape, vb.dtype(), vb.device())?;
    // A builder without the name either makes a variable or, reading a
    // checkpoint, fails: then the formula stands in.
    match vb.get_with_hints(shape, "z", Init::Const(0.0)) {
        Ok(fresh) if fresh.is_variable() => {
            Var::from_tensor(&fresh)?.set(&values)?;
            Ok(fresh)
        }
        _ => Ok(values),
    }
}

/// The one frequency vector, which checkpoints store under one or several names.
fn load_frequencies(config: &ImplicitFilterConfig, vb: &VarBuilder) -> Result<Tensor> {
    let sines = config.num_inner_layers.saturating_add(1);
    let stored = (0..sines)
        .map(|sine| vb.pp(2 * sine + 1))
        .find(|vb| vb.contains_tensor("freq"));
    let shape = (1, config.filter_order);
    let initial = Init::Const(config.frequency);
    match (stored, config.trainable_frequency) {
        (Some(vb), true) => vb.get(shape, "freq"),
        (Some(vb), false) => Ok(vb.get(shape, "freq")?.detach()),
        (None, true) => vb.pp(1).get_with_hints(shape, "freq", initial),
        (None, false) => Tensor::full(config.frequency, shape, vb.device())?.to_dtype(vb.dtype()),
    }
}

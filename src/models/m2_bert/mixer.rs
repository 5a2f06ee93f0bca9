//! What mixes the positions of a layer: a gated long convolution that may look
//! both ways, and a second one beside it.

use super::Config;
use crate::depthwise::FrontGates;
use crate::models::kernel_cache::{prepared_bytes, KernelCache};
use crate::models::layers::channels_first::{check_mixer_input, project_out};
use crate::models::layers::front::Front;
use crate::models::layers::{ImplicitFilter, ImplicitFilterConfig};
use crate::{Error, FlashFftConv, PreparedConv};
use candle_core::{Device, Module, Result, Tensor};
use candle_nn::{Init, VarBuilder};
use std::sync::Arc;

/// Memory for kept spectra of a mixer of its own; a model sets its layers' share.
const DEFAULT_CACHE_BYTES: usize = 256 << 20;
/// Taps of the short convolution, the same in all models.
const SHORT_TAPS: usize = 3;

/// Sizes and options of a [`MonarchMixer`].
///
/// ```
/// use candle_flashfftconv::models::m2_bert::{Config, MonarchMixerConfig};
/// let config = MonarchMixerConfig::from(&Config::retrieval_80m(2048));
/// assert!(config.bidirectional && config.residual_long_conv);
/// assert_eq!(config.filter.max_len, 2048);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct MonarchMixerConfig {
    /// Width `D` of input and output.
    pub d_model: usize,
    /// Whether a position sees those after it too.
    pub bidirectional: bool,
    /// Whether a second, ungated long convolution of the input is added.
    pub residual_long_conv: bool,
    /// The filters of both long convolutions, `d_model` channels each.
    pub filter: ImplicitFilterConfig,
    /// Standard deviation of fresh weights of the projections.
    pub initializer_range: f64,
}

impl From<&Config> for MonarchMixerConfig {
    fn from(config: &Config) -> Self {
        Self {
            d_model: config.hidden_size,
            bidirectional: config.bidirectional,
            residual_long_conv: config.residual_long_conv,
            filter: ImplicitFilterConfig {
                filter_order: config.hyena_filter_order,
                emb_dim: config.hyena_emb_dim,
                frequency: config.hyena_w,
                frequency_factor: config.hyena_w_mod,
                shift: 0.0,
                trainable_positions: true,
                ..ImplicitFilterConfig::new(config.hidden_size, config.long_conv_l_max)
            },
            initializer_range: config.initializer_range,
        }
    }
}

/// The sequence mixer of M2-BERT.
///
/// ```text
/// [x₁ | x₂ | v] = short_conv(W_in u + b_in)
/// y = x₂ ⊙ long(x₁ ⊙ v) + long₂(u)
/// out = W_out y + b_out
/// ```
///
/// where each long convolution has filters of its own and
///
/// ```text
/// long(p)[t] = Σ_{i ≤ t} k[t − i] p[i] + Σ_{i > t} k_rev[i − t − 1] p[i] + d p[t]
/// ```
///
/// The second sum is there when `bidirectional`, the term `long₂(u)` when
/// `residual_long_conv`. The short convolution of three taps is causal in any
/// case. Nothing is masked: padding changes the result at all positions.
///
/// Compared with the [Hyena operator](crate::models::hyena_dna::HyenaOperator)
/// the gates stand in another order: the first third of the projection is the
/// in-gate and the second the out-gate.
///
/// # Kept spectra
/// While the parameters of the filters are constants, their spectra are kept
/// for the last few lengths, see [`set_cache_bytes`](Self::set_cache_bytes).
/// When one of them is a variable the filters are computed in each call, and
/// gradients reach them.
///
/// # Names of the parameters
/// `in_linear`, `short_filter`, `out_linear`, each with `weight` and `bias`,
/// and those of [`ImplicitFilter`] below `filter_fn` and `filter_fn2`. The
/// network of a reverse filter is `implicit_filter_rev`; the rest of it is
/// shared with the forward one.
///
/// Fu et al., *Monarch Mixer* (2023).
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_flashfftconv::models::m2_bert::{Config, MonarchMixer, MonarchMixerConfig};
/// use candle_nn::{VarBuilder, VarMap};
/// # fn main() -> candle_core::Result<()> {
/// let parameters = VarMap::new();
/// let vb = VarBuilder::from_varmap(&parameters, DType::F32, &Device::Cpu);
/// let config = Config { hidden_size: 8, ..Config::retrieval_80m(64) };
/// let mixer = MonarchMixer::new(MonarchMixerConfig::from(&config), vb)?;
/// let u = Tensor::randn(0f32, 1.0, (2, 50, 8), &Device::Cpu)?;
/// assert_eq!(mixer.forward(&u)?.dims(), u.dims());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct MonarchMixer {
    config: MonarchMixerConfig,
    front: Front,
    out_weight: Tensor,
    out_bias: Tensor,
    gated: LongFilter,
    residual: Option<LongFilter>,
    /// Clones share it.
    cache: Arc<KernelCache<Prepared>>,
    device: Device,
}

/// The convolutions of one length.
#[derive(Debug)]
struct Prepared {
    gated: PreparedConv,
    residual: Option<PreparedConv>,
}

impl MonarchMixer {
    /// Reads the parameters, or makes fresh ones in a [`VarMap`](candle_nn::VarMap).
    ///
    /// # Errors
    /// When a size is out of range, and when a parameter is missing or has
    /// another shape.
    pub fn new(config: MonarchMixerConfig, vb: VarBuilder) -> Result<Self> {
        let width = config.d_model;
        let projected = match width.checked_mul(3) {
            Some(projected) if width > 0 => projected,
            _ => {
                return Err(Error::OutOfRange {
                    quantity: "d_model of a Monarch mixer",
                    expected: "at least 1, and three times it within the address space".to_string(),
                    got: width.to_string(),
                }
                .into())
            }
        };
        if config.filter.channels != width {
            return Err(Error::OutOfRange {
                quantity: "channels of the filter of a Monarch mixer",
                expected: format!("d_model = {width}"),
                got: config.filter.channels.to_string(),
            }
            .into());
        }
        let normal = Init::Randn {
            mean: 0.0,
            stdev: config.initializer_range,
        };
        let zero = Init::Const(0.0);
        let bound = 1.0 / (SHORT_TAPS as f64).sqrt();
        let short = Init::Uniform {
            lo: -bound,
            up: bound,
        };
        let in_linear = vb.pp("in_linear");
        let out_linear = vb.pp("out_linear");
        let short_filter = vb.pp("short_filter");
        let residual = match config.residual_long_conv {
            true => Some(LongFilter::load(&config, vb.pp("filter_fn2"))?),
            false => None,
        };
        Ok(Self {
            front: Front::new(
                in_linear.get_with_hints((projected, width), "weight", normal)?,
                in_linear.get_with_hints(projected, "bias", zero)?,
                short_filter.get_with_hints((projected, 1, SHORT_TAPS), "weight", short)?,
                short_filter.get_with_hints(projected, "bias", short)?,
                FrontGates::InFirst,
            )?,
            out_weight: out_linear.get_with_hints((width, width), "weight", normal)?,
            out_bias: out_linear.get_with_hints(width, "bias", zero)?,
            gated: LongFilter::load(&config, vb.pp("filter_fn"))?,
            residual,
            cache: Arc::new(KernelCache::new(DEFAULT_CACHE_BYTES)),
            device: vb.device().clone(),
            config,
        })
    }

    /// The options that this mixer was made with.
    pub fn config(&self) -> &MonarchMixerConfig {
        &self.config
    }

    /// Sets how many bytes of spectra may be kept, 256 MiB at first; 0 keeps
    /// none. A length whose spectra need more (about `38 · D · L` bytes in f32)
    /// is computed anew in each call.
    pub fn set_cache_bytes(&self, bytes: usize) {
        self.cache.set_budget(bytes);
    }

    /// Mixes the positions of `u`, `(B, L, D)`, any float dtype that the
    /// parameters have. The result has its shape and dtype.
    ///
    /// # Errors
    /// When `u` has another rank or width, and when `L` exceeds the filter's `max_len`.
    pub fn forward(&self, u: &Tensor) -> Result<Tensor> {
        let (width, max_len) = (self.config.d_model, self.config.filter.max_len);
        let (batch, length) = check_mixer_input(u, width, max_len, "long_conv_l_max")?;
        if batch == 0 || length == 0 {
            return u.zeros_like();
        }
        let y = self.convolutions(u, length)?;
        project_out(&y, &self.out_weight)?.broadcast_add(&self.out_bias)
    }

    /// `x₂ ⊙ long(x₁ ⊙ v) + long₂(uᵀ)` of `z = [x₁ | x₂ | v]`, the projections of `u`; all but `u` are channels first.
    fn convolutions(&self, u: &Tensor, length: usize) -> Result<Tensor> {
        let rows = u.transpose(1, 2)?;
        let tracked =
            self.gated.is_tracked() || self.residual.as_ref().is_some_and(LongFilter::is_tracked);
        if tracked {
            let conv = self.convolution(length)?;
            let [in_gate, out_gate, v] = self.parts(&self.front.forward(u)?)?;
            let y = conv.forward_gated(&v, &self.gated.kernel(length)?, &in_gate, &out_gate)?;
            return match &self.residual {
                Some(residual) => y + conv.forward(&rows, &residual.kernel(length)?)?,
                None => Ok(y),
            };
        }
        let prepared = self
            .cache
            .get_or_make(length, self.kept_bytes(length), || {
                let conv = self.convolution(length)?;
                let prepare = |filter: &LongFilter| conv.prepare(&filter.kernel(length)?);
                Ok(Prepared {
                    gated: prepare(&self.gated)?,
                    residual: self.residual.as_ref().map(prepare).transpose()?,
                })
            })?;
        let y = match self.front.convolve(u, &prepared.gated)? {
            Some(y) => y,
            None => {
                let [in_gate, out_gate, v] = self.parts(&self.front.forward(u)?)?;
                prepared.gated.forward_gated(&v, &in_gate, &out_gate)?
            }
        };
        match &prepared.residual {
            Some(residual) => y + residual.forward(&rows)?,
            None => Ok(y),
        }
    }

    /// `x₁`, `x₂` and `v`.
    fn parts(&self, z: &Tensor) -> Result<[Tensor; 3]> {
        let part = |index: usize| z.narrow(1, index * self.config.d_model, self.config.d_model);
        Ok([part(0)?, part(1)?, part(2)?])
    }

    /// The plan for one length.
    fn convolution(&self, length: usize) -> Result<FlashFftConv> {
        if self.config.bidirectional {
            FlashFftConv::new(length.saturating_mul(2), &self.device)
        } else {
            FlashFftConv::causal(length, &self.device)
        }
    }

    /// About how much memory the taps and spectra of one length need.
    fn kept_bytes(&self, length: usize) -> usize {
        let (width, dtype) = (self.config.d_model, self.front.dtype());
        let channels = width.saturating_mul(if self.residual.is_some() { 2 } else { 1 });
        let bidirectional = self.config.bidirectional;
        prepared_bytes(&self.device, dtype, channels, length, bidirectional)
    }
}

/// The filter of a long convolution that may look both ways.
#[derive(Debug, Clone)]
struct LongFilter {
    forward: ImplicitFilter,
    reverse: Option<ImplicitFilter>,
}

impl LongFilter {
    fn load(config: &MonarchMixerConfig, vb: VarBuilder) -> Result<Self> {
        let forward = ImplicitFilter::new(config.filter.clone(), vb.clone())?;
        let reverse = match config.bidirectional {
            true => Some(forward.sharing(vb.pp("implicit_filter_rev"))?),
            false => None,
        };
        Ok(Self { forward, reverse })
    }

    fn is_tracked(&self) -> bool {
        let reverse = self.reverse.as_ref();
        self.forward.is_tracked() || reverse.is_some_and(ImplicitFilter::is_tracked)
    }

    /// The taps for sequences of `length` samples, the skip term among them:
    /// `(D, length)`, or `(D, 2·length)` for a circular convolution of that
    /// size, where tap `2·length − 1 − j` has lag `−1 − j`.
    fn kernel(&self, length: usize) -> Result<Tensor> {
        let taps = self.forward.kernel_with_skip(length)?;
        match &self.reverse {
            Some(reverse) => Tensor::cat(&[taps, backwards(&reverse.kernel(length)?)?], 1),
            None => Ok(taps),
        }
    }
}

/// The columns of a matrix from last to first.
fn backwards(x: &Tensor) -> Result<Tensor> {
    let last = u32::try_from(x.dim(1)?).map_err(candle_core::Error::wrap)?;
    let order: Vec<u32> = (0..last).rev().collect();
    x.index_select(&Tensor::new(order, x.device())?, 1)
}

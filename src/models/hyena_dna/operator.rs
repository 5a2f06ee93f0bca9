//! The Hyena operator: what mixes the positions of a sequence.

use super::Config;
use crate::depthwise::FrontGates;
use crate::models::kernel_cache::{prepared_bytes, KernelCache};
use crate::models::layers::channels_first::{check_mixer_input, project_out};
use crate::models::layers::front::Front;
use crate::models::layers::{FilterNormalization, ImplicitFilter, ImplicitFilterConfig};
use crate::{Error, FlashFftConv, PreparedConv};
use candle_core::{Device, Module, Result, Tensor};
use candle_nn::{Init, VarBuilder};
use std::sync::Arc;

/// Memory for kept spectra of an operator of its own; a model sets its layers' share.
const DEFAULT_CACHE_BYTES: usize = 256 << 20;

/// Sizes and options of a [`HyenaOperator`].
///
/// ```
/// use candle_flashfftconv::models::hyena_dna::{Config, HyenaOperatorConfig};
/// let config = HyenaOperatorConfig::from(&Config::tiny_1k());
/// assert_eq!(config.filter.channels, 128);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct HyenaOperatorConfig {
    /// Width `D` of input and output.
    pub d_model: usize,
    /// Number `N ≥ 2` of gates and values; there are `N − 1` long convolutions.
    pub order: usize,
    /// Taps of the short convolution.
    pub short_filter_order: usize,
    /// Whether the long convolutions have their skip term.
    pub use_bias: bool,
    /// Whether the input of a long convolution is delayed by half its length
    /// and convolved circularly with size `2L` (experimental, no published weights).
    pub bidirectional: bool,
    /// The implicit filter, of `(order − 1) · d_model` channels, rows ordered by
    /// convolution first.
    pub filter: ImplicitFilterConfig,
    /// Standard deviation of fresh weights of the projections.
    pub initializer_range: f64,
    /// Factor on the deviation of the fresh output projection; deep models
    /// start with `1 / sqrt(2 · layers)`.
    pub output_init_scale: f64,
}

impl From<&Config> for HyenaOperatorConfig {
    fn from(config: &Config) -> Self {
        let convolutions = config.hyena_order.saturating_sub(1);
        let filter = ImplicitFilterConfig {
            filter_order: config.filter_order,
            emb_dim: config.emb_dim,
            frequency: config.activation_freq,
            trainable_frequency: config.train_freq,
            num_inner_layers: config.num_inner_mlps,
            modulate: config.modulate,
            shift: config.filter_shift,
            normalized: if config.normalized {
                FilterNormalization::OverChannels
            } else {
                FilterNormalization::None
            },
            initial_deviation: Some(config.initializer_range),
            ..ImplicitFilterConfig::new(
                config.d_model.saturating_mul(convolutions),
                config.max_seq_len,
            )
        };
        Self {
            d_model: config.d_model,
            order: config.hyena_order,
            short_filter_order: config.short_filter_order,
            use_bias: config.use_bias,
            bidirectional: config.bidirectional,
            filter,
            initializer_range: config.initializer_range,
            output_init_scale: (2.0 * config.n_layer.max(1) as f64).sqrt().recip(),
        }
    }
}

/// The Hyena operator of order `N`: gates and long convolutions in turn.
///
/// ```text
/// [x₀ | … | x_{N−1} | v] = short_conv(W_in u + b_in)
/// v ← conv(x_{N−1} ⊙ v, k₀) + d₀ ⊙ (x_{N−1} ⊙ v), … , with x₁ and k_{N−2}
/// y = W_out (x₀ ⊙ v) + b_out
/// ```
///
/// The long filters `k` come from an [`ImplicitFilter`]. The gated convolution
/// of order 2, the only one published, is one call without copies: the
/// projection already lies as [`FlashFftConv::forward_projected`] wants it.
///
/// # Kept spectra
/// While the filter's parameters are constants, the spectra of the filters are
/// kept for the last few lengths, in bounded memory; see
/// [`set_cache_bytes`](Self::set_cache_bytes). When one of them is a variable
/// they are computed in each call, and gradients reach them.
///
/// # Names of the parameters
/// `in_proj`, `short_filter`, `out_proj`, each with `weight` and `bias`, and
/// those of [`ImplicitFilter`] below `filter_fn`.
///
/// Poli et al., *Hyena Hierarchy* (2023), section 3.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_flashfftconv::models::hyena_dna::{Config, HyenaOperator, HyenaOperatorConfig};
/// use candle_nn::{VarBuilder, VarMap};
/// # fn main() -> candle_core::Result<()> {
/// let parameters = VarMap::new();
/// let vb = VarBuilder::from_varmap(&parameters, DType::F32, &Device::Cpu);
/// let config = HyenaOperatorConfig::from(&Config::tiny_1k());
/// let operator = HyenaOperator::new(config, vb)?;
/// let u = Tensor::randn(0f32, 1.0, (2, 77, 128), &Device::Cpu)?;
/// assert_eq!(operator.forward(&u)?.dims(), u.dims());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct HyenaOperator {
    config: HyenaOperatorConfig,
    front: Front,
    out_weight: Tensor,
    out_bias: Tensor,
    filter: ImplicitFilter,
    /// One convolution for each step. Clones share it.
    cache: Arc<KernelCache<Vec<PreparedConv>>>,
    device: Device,
}

impl HyenaOperator {
    /// Reads the parameters, or makes fresh ones in a
    /// [`VarMap`](candle_nn::VarMap).
    ///
    /// # Errors
    /// When a size is out of range, and when a parameter is missing or has
    /// another shape.
    pub fn new(config: HyenaOperatorConfig, vb: VarBuilder) -> Result<Self> {
        let (width, projected) = config.widths()?;
        let projection = |stdev| Init::Randn { mean: 0.0, stdev };
        let zero = Init::Const(0.0);
        let bound = 1.0 / (config.short_filter_order.max(1) as f64).sqrt();
        let short = Init::Uniform {
            lo: -bound,
            up: bound,
        };
        let in_proj = vb.pp("in_proj");
        let out_proj = vb.pp("out_proj");
        let short_filter = vb.pp("short_filter");
        let taps = (projected, 1, config.short_filter_order);
        let deviation = config.initializer_range;
        let out_deviation = deviation * config.output_init_scale;
        Ok(Self {
            front: Front::new(
                in_proj.get_with_hints((projected, width), "weight", projection(deviation))?,
                in_proj.get_with_hints(projected, "bias", zero)?,
                short_filter.get_with_hints(taps, "weight", short)?,
                short_filter.get_with_hints(projected, "bias", short)?,
                FrontGates::OutFirst,
            )?,
            out_weight: out_proj.get_with_hints(
                (width, width),
                "weight",
                projection(out_deviation),
            )?,
            out_bias: out_proj.get_with_hints(width, "bias", zero)?,
            filter: ImplicitFilter::new(config.filter.clone(), vb.pp("filter_fn"))?,
            cache: Arc::new(KernelCache::new(DEFAULT_CACHE_BYTES)),
            device: vb.device().clone(),
            config,
        })
    }

    /// The options that this operator was made with.
    pub fn config(&self) -> &HyenaOperatorConfig {
        &self.config
    }

    /// The filter of the long convolutions, rows ordered by convolution first.
    pub fn filter(&self) -> &ImplicitFilter {
        &self.filter
    }

    /// Sets how many bytes of kernels and their spectra may be kept, 256 MiB at
    /// first; 0 keeps none. A length that needs more (about `15 · (order − 1) · D · L`
    /// bytes in f32; on a GPU `4 · L + 8 · P` a channel in f32, `4 · L + 4 · P` in half
    /// precision, `P` the power of two from `L` on) is computed anew in each call.
    pub fn set_cache_bytes(&self, bytes: usize) {
        self.cache.set_budget(bytes);
    }

    /// Mixes the positions of `u`, `(B, L, D)`, any float dtype that the
    /// parameters have. The result has its shape and dtype.
    ///
    /// # Errors
    /// When `u` has another rank or width, and when `L` exceeds the filter's `max_len`.
    pub fn forward(&self, u: &Tensor) -> Result<Tensor> {
        check_mixer_input(
            u,
            self.config.d_model,
            self.config.filter.max_len,
            "max_seq_len",
        )?;
        self.without_bias(u)?.broadcast_add(&self.out_bias)
    }

    /// The bias of the last projection, `(D)`.
    pub(super) fn out_bias(&self) -> &Tensor {
        &self.out_bias
    }

    /// [`forward`](Self::forward) before that bias is added. Positions beyond the filter's
    /// `max_len` are without meaning, and do no harm to those before them.
    pub(super) fn without_bias(&self, u: &Tensor) -> Result<Tensor> {
        let (batch, length, _) = u.dims3()?;
        if batch == 0 || length == 0 {
            return u.zeros_like();
        }
        let y = self.convolutions(u, length)?;
        project_out(&y, &self.out_weight)
    }

    /// From `u` to `x₀ ⊙ v`, `(B, D, L)`.
    fn convolutions(&self, u: &Tensor, length: usize) -> Result<Tensor> {
        if self.filter.is_tracked() {
            let z = self.front.forward(u)?;
            let conv = self.convolution(length)?;
            let kernels = self.kernels(length)?;
            return self.mix(&z, |step, operand| match operand {
                Operand::Projected(z) => conv.forward_projected(z, &kernels[step]),
                Operand::InGated(u) => conv.forward(u, &kernels[step]),
                Operand::Gated(u, in_gate, out_gate) => {
                    conv.forward_gated(u, &kernels[step], in_gate, out_gate)
                }
            });
        }
        let prepared = self
            .cache
            .get_or_make(length, self.kept_bytes(length), || {
                let conv = self.convolution(length)?;
                let kernels = self.kernels(length)?;
                kernels.iter().map(|k| conv.prepare(k)).collect()
            })?;
        if let [long] = prepared.as_slice() {
            if let Some(y) = self.front.convolve(u, long)? {
                return Ok(y);
            }
        }
        let z = self.front.forward(u)?;
        self.mix(&z, |step, operand| match operand {
            Operand::Projected(z) => prepared[step].forward_projected(z),
            Operand::InGated(u) => prepared[step].forward(u),
            Operand::Gated(u, in_gate, out_gate) => {
                prepared[step].forward_gated(u, in_gate, out_gate)
            }
        })
    }

    /// The recurrence over the gates, with `convolve(step, operand)` for the `N − 1` steps.
    fn mix(
        &self,
        z: &Tensor,
        convolve: impl Fn(usize, Operand) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let (order, width) = (self.config.order, self.config.d_model);
        if order == 2 {
            return convolve(0, Operand::Projected(z));
        }
        let part = |index: usize| z.narrow(1, index * width, width);
        let mut v = part(order)?;
        for step in 0..order - 2 {
            let u = part(order - 1 - step)?.mul(&v)?;
            v = convolve(step, Operand::InGated(&u))?;
        }
        convolve(order - 2, Operand::Gated(&v, &part(1)?, &part(0)?))
    }

    /// The plan for one length.
    fn convolution(&self, length: usize) -> Result<FlashFftConv> {
        if self.config.bidirectional {
            FlashFftConv::new(length.saturating_mul(2), &self.device)
        } else {
            FlashFftConv::causal(length, &self.device)
        }
    }

    /// The kernels of the `N − 1` convolutions with their skip terms.
    fn kernels(&self, length: usize) -> Result<Vec<Tensor>> {
        let length = length.min(self.config.filter.max_len);
        let kernel = match (self.config.bidirectional, self.config.use_bias) {
            (false, true) => self.filter.kernel_with_skip(length)?,
            (false, false) => self.filter.kernel(length)?,
            (true, _) => self.delayed_kernel(length)?,
        };
        let width = self.config.d_model;
        (0..self.config.order - 1)
            .map(|step| kernel.narrow(0, step * width, width))
            .collect()
    }

    /// The `2L` taps of the bidirectional option: delaying the input by half
    /// its length is delaying the filter, but the skip term is not delayed.
    fn delayed_kernel(&self, length: usize) -> Result<Tensor> {
        let delay = length / 2;
        let kernel = self.filter.kernel(length)?;
        let delayed = kernel.pad_with_zeros(1, delay, length - delay)?;
        if !self.config.use_bias {
            return Ok(delayed);
        }
        let skip = self.filter.skip().unsqueeze(1)?;
        delayed + skip.pad_with_zeros(1, 0, 2 * length - 1)?
    }

    /// About how much memory the kernels and spectra of one length need.
    fn kept_bytes(&self, length: usize) -> usize {
        let (channels, dtype) = (self.config.filter.channels, self.front.dtype());
        let bidirectional = self.config.bidirectional;
        prepared_bytes(&self.device, dtype, channels, length, bidirectional)
    }
}

/// What one step of the recurrence convolves.
enum Operand<'a> {
    /// Out-gate, in-gate and input in one tensor.
    Projected(&'a Tensor),
    /// An input that is multiplied with its in-gate.
    InGated(&'a Tensor),
    /// Input, in-gate and out-gate.
    Gated(&'a Tensor, &'a Tensor, &'a Tensor),
}

impl HyenaOperatorConfig {
    /// Checks the sizes; gives `D` and `(N + 1)·D`.
    fn widths(&self) -> Result<(usize, usize)> {
        let range = |quantity, expected: &str, got: usize| Error::OutOfRange {
            quantity,
            expected: expected.to_string(),
            got: got.to_string(),
        };
        if self.order < 2 {
            return Err(range("order of a Hyena operator", "at least 2", self.order).into());
        }
        if self.d_model == 0 {
            return Err(range("d_model of a Hyena operator", "at least 1", 0).into());
        }
        if self.short_filter_order == 0 {
            return Err(range("short_filter_order of a Hyena operator", "at least 1", 0).into());
        }
        let projected = self
            .order
            .checked_add(1)
            .and_then(|parts| parts.checked_mul(self.d_model))
            .filter(|&projected| projected.checked_mul(self.d_model).is_some())
            .ok_or_else(|| {
                range(
                    "d_model of a Hyena operator",
                    "a width that fits in memory",
                    self.d_model,
                )
            })?;
        if self.filter.channels != (self.order - 1) * self.d_model {
            return Err(Error::OutOfRange {
                quantity: "channels of the filter of a Hyena operator",
                expected: format!(
                    "(order − 1) · d_model = {}",
                    (self.order - 1) * self.d_model
                ),
                got: self.filter.channels.to_string(),
            }
            .into());
        }
        Ok((self.d_model, projected))
    }
}

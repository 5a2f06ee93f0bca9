//! Layers that several long-convolution models share.

pub(super) mod channels_first;
mod filter_functions;
mod filter_tables;
pub(super) mod front;
mod gelu;
mod implicit_filter;
mod layer_norm;
mod pointwise;
pub(super) mod residual;

pub use gelu::bias_gelu;
pub use implicit_filter::{FilterNormalization, ImplicitFilter, ImplicitFilterConfig};
pub use layer_norm::LayerNorm;
pub(crate) use pointwise::Pointwise;

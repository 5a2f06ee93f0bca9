//! M2-BERT: a BERT encoder whose attention is a gated long convolution and
//! whose matrices are block-diagonal.
//!
//! [`M2Bert`] is the encoder, [`MonarchMixer`] what mixes its positions,
//! [`GatedMlp`] what mixes its channels, [`BlockDiagonalLinear`] the matrix
//! that the latter is made of.

mod block_diagonal;
mod config;
mod embeddings;
mod mixer;
mod mlp;
mod model;
mod weights;

pub use block_diagonal::BlockDiagonalLinear;
pub use config::Config;
pub use mixer::{MonarchMixer, MonarchMixerConfig};
pub use mlp::GatedMlp;
pub use model::{M2Bert, M2BertLayer};

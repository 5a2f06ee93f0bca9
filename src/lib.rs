// In the documentation the README's links and its picture lead elsewhere than in the repository:
// of two definitions of a link Markdown takes the first one.
#![doc = concat!("[fused]: data:image/svg+xml;base64,", include_str!("../docs/fused.svg.base64"))]
//! [`FlashFftConv`]: crate::FlashFftConv
//! [`PreparedConv`]: crate::PreparedConv
//! [`FlashDepthwiseConv1d`]: crate::FlashDepthwiseConv1d
//! [`candle_flashfftconv::Error`]: crate::Error
//! [HyenaDNA]: crate::models::hyena_dna
//! [LICENSE-MIT]: https://opensource.org/license/mit
//! [LICENSE-APACHE]: https://www.apache.org/licenses/LICENSE-2.0
//!
#![doc = include_str!("../README.md")]

mod conv;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod depthwise;
mod error;
pub mod models;

pub use conv::{FlashFftConv, PreparedConv};
pub use depthwise::{Conv1dLayout, FlashDepthwiseConv1d};
pub use error::Error;

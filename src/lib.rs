// In the documentation the README's links and its picture lead elsewhere than in the repository:
// of two definitions of a link Markdown takes the first one.
#![doc = concat!("[fused]: data:image/svg+xml;base64,", include_str!("../docs/fused.svg.base64"))]
#![doc = concat!("[gpu]: data:image/svg+xml;base64,", include_str!("../docs/gpu.svg.base64"))]
//! [`FlashFftConv`]: crate::FlashFftConv
//! [`PreparedConv`]: crate::PreparedConv
//! [`FlashDepthwiseConv1d`]: crate::FlashDepthwiseConv1d
//! [`candle_flashfftconv::Error`]: crate::Error
//! [`self_test`]: crate::self_test()
//! [HyenaDNA]: crate::models::hyena_dna
//! [M2-BERT]: crate::models::m2_bert
//! [docs/architecture.md]: crate::guide::architecture
//! [docs/cpu-convolution.md]: crate::guide::cpu_convolution
//! [docs/models.md]: crate::guide::models
//! [docs/performance.md]: crate::guide::performance
//! [docs/performance-depthwise.md]: crate::guide::performance_depthwise
//! [docs/training.md]: crate::guide::training
//! [LICENSE-MIT]: https://opensource.org/license/mit
//! [LICENSE-APACHE]: https://www.apache.org/licenses/LICENSE-2.0
//!
#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod consecutive;
mod conv;
mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;
mod depthwise;
mod error;
pub mod models;
mod self_test;

pub use conv::{FlashFftConv, PreparedConv};
pub use depthwise::{Conv1dLayout, FlashDepthwiseConv1d};
pub use error::Error;
pub use self_test::{self_test, SelfTestCase, SelfTestReport};

/// The pages of the folder `docs`, as part of the documentation alone.
#[cfg(all(doc, not(doctest)))]
pub mod guide {
    #[doc = include_str!("../docs/architecture.md")]
    pub mod architecture {}
    #[doc = include_str!("../docs/cpu-convolution.md")]
    pub mod cpu_convolution {}
    #[doc = include_str!("../docs/models.md")]
    pub mod models {}
    #[doc = include_str!("../docs/performance.md")]
    pub mod performance {}
    #[doc = include_str!("../docs/performance-depthwise.md")]
    pub mod performance_depthwise {}
    #[doc = include_str!("../docs/training.md")]
    pub mod training {}
}

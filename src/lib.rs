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

//! What runs on a CUDA device: the compiled kernels, and what the device can hold.

#[cfg(feature = "cuda")]
pub(crate) mod conv;
pub(crate) mod depthwise;
#[cfg(feature = "cuda")]
mod device;
pub(crate) mod pointwise;
#[cfg(feature = "cuda")]
mod ptx;
pub(crate) mod transposition;

#[cfg(feature = "cuda")]
pub(crate) use device::{describe, probe, total_memory};

//! What runs on a CUDA device: the compiled kernels, and what the device can hold.

pub(crate) mod conv;
mod device;
mod ptx;

pub(crate) use device::{describe, probe};

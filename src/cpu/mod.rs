//! The operations on the CPU: the fallback, and the reference of the GPU.

mod band;
pub(crate) mod convolve;
pub(crate) mod depthwise;
pub(crate) mod element;
pub(crate) mod engine;
pub(crate) mod gradient;
mod pieces;
mod pool;
mod right_angle;
pub(crate) mod rows;
mod signal;
pub(crate) mod spectra;

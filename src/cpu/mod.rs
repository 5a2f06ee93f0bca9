//! The operations on the CPU: the fallback, and the reference of the GPU.

pub(crate) mod convolve;
pub(crate) mod depthwise;
pub(crate) mod element;
pub(crate) mod gradient;
mod pool;
pub(crate) mod right_angle;
pub(crate) mod rows;
mod signal;
pub(crate) mod spectra;

//! The operations on the CPU: the fallback, and the reference of the GPU.

pub(crate) mod depthwise;

//! What runs on a CUDA device: the compiled kernels, and what the device can hold.
// The operations have no kernels yet; these are the means to load and check them.
#![allow(dead_code)]

mod device;
mod ptx;

pub(crate) use device::{describe, probe};

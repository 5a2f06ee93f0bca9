//! Launches of `cuda/pointwise.cu`: what the models compute between matrix products and
//! convolutions.

#[cfg(feature = "cuda")]
mod launch;
mod recipe;

#[cfg(feature = "cuda")]
pub(crate) use launch::{run, run_in_place};

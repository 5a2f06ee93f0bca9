//! Launches of `cuda/transposition.cu`: contiguous copies of tensors whose last two dimensions are swapped.

// The recipe is tested without the feature too, where nothing else uses it.
#![cfg_attr(not(feature = "cuda"), allow(dead_code))]

#[cfg(feature = "cuda")]
mod launch;
mod recipe;

#[cfg(feature = "cuda")]
pub(crate) use launch::transpose;
#[cfg(feature = "cuda")]
pub(crate) use recipe::MOST;

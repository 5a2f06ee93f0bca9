//! The short convolution on a CUDA device.
//!
//! [`recipe`] chooses the kernel and its grid, [`forward`], [`front`] and [`backward`] launch it. The
//! kernels read their inputs in place and allocate only their outputs and the partial sums of
//! a gradient; nothing is uploaded or waited for.

// The recipe is tested without the feature too, where nothing else uses it.
#![cfg_attr(not(feature = "cuda"), allow(dead_code, unused_imports))]

#[cfg(feature = "cuda")]
mod arguments;
#[cfg(feature = "cuda")]
mod backward;
#[cfg(feature = "cuda")]
mod card;
#[cfg(feature = "cuda")]
mod forward;
#[cfg(feature = "cuda")]
mod front;
#[cfg(feature = "cuda")]
mod operand;
mod recipe;

#[cfg(feature = "cuda")]
pub(crate) use backward::{gradients, parameter_gradients, takes_long_frames};
#[cfg(feature = "cuda")]
pub(crate) use forward::{correlate, has_kernel};
#[cfg(feature = "cuda")]
pub(crate) use front::gated_front;
#[cfg(feature = "cuda")]
pub(in crate::cuda) use operand::{address, address_mut, signal};
#[cfg(feature = "cuda")]
pub(crate) use operand::{Operand, TapOrder};
#[cfg(feature = "cuda")]
pub(in crate::cuda) use recipe::ElementType;
#[cfg(feature = "cuda")]
pub(crate) use recipe::{takes_front, EXACT_TAPS, SHORT_TAPS};

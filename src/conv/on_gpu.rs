//! The convolution on a GPU, where the build has kernels for one.

use super::ops::Arrangement;
use super::plan::Semantics;
use super::prepared::PreparedKernel;
use crate::Error;
use candle_core::{CudaStorage, Layout, Result, Shape};

/// A tensor on the GPU.
pub(crate) type View<'a> = (&'a CudaStorage, &'a Layout);

/// The sequences of a call.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "cuda"), allow(dead_code))]
pub(crate) enum Sequences<'a> {
    /// `u` or `z`.
    Arranged(Arrangement, View<'a>),
    /// `u`, `in_gate` and `out_gate`.
    Gated([View<'a>; 3]),
}

/// The kernel of a call.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "cuda"), allow(dead_code))]
pub(crate) enum Kernel<'a> {
    /// Transformed for this call alone.
    Taps(Semantics, View<'a>),
    /// Transformed once for each transform.
    Prepared(&'a PreparedKernel),
}

/// The convolution, as new storage of shape `(B, H, L)`.
#[cfg(feature = "cuda")]
pub(super) fn forward(
    sequences: Sequences<'_>,
    kernel: Kernel<'_>,
) -> Result<(CudaStorage, Shape)> {
    crate::cuda::conv::forward(sequences, kernel)
}

/// Without the feature no tensor is on a GPU.
#[cfg(not(feature = "cuda"))]
pub(super) fn forward(_: Sequences<'_>, _: Kernel<'_>) -> Result<(CudaStorage, Shape)> {
    not_there("the long convolution")
}

/// What a GPU has no kernel for.
pub(crate) fn not_there<T>(operation: &'static str) -> Result<T> {
    Err(Error::NotOnDevice {
        operation,
        device: "CUDA",
        advice: "move the tensors to the CPU",
    }
    .into())
}

//! The arguments of the short convolution's kernels, as `cuda/depthwise.cuh` declares them.

use super::recipe;
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;

/// A tensor of three dimensions whose last one is contiguous.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(in crate::cuda) struct Signal {
    /// Address of the first element.
    pub data: u64,
    /// Strides in elements.
    pub batch_stride: i64,
    pub line_stride: i64,
}

/// A weight, `(H, K)`, or a bias, `(H,)`, or the gradient of one.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Parameter {
    /// Address of the first element; 0: there is none.
    pub data: u64,
    /// Strides in elements.
    pub channel_stride: i64,
    pub tap_stride: i64,
    /// The dtype, see `ElementType::kind`.
    pub kind: i32,
}

impl Parameter {
    pub const NONE: Self = Self {
        data: 0,
        channel_stride: 0,
        tap_stride: 0,
        kind: 0,
    };
}

/// How blocks share the tiles of groups of channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Sharing {
    /// Blocks of each group.
    pub parts: i32,
    /// Tiles of each group that further blocks take.
    pub helped: i32,
}

impl From<recipe::Sharing> for Sharing {
    fn from(sharing: recipe::Sharing) -> Self {
        Self {
            parts: sharing.parts as i32,
            helped: sharing.helped as i32,
        }
    }
}

/// One launch of a correlation.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct CorrelationArguments {
    pub x: Signal,
    pub y: u64,
    pub weight: Parameter,
    pub bias: Parameter,
    pub batch: i32,
    pub channels: i32,
    pub input_length: i32,
    pub output_length: i32,
    pub taps: i32,
    pub left: i32,
    pub silu: i32,
    pub sharing: Sharing,
}

/// One launch of the gradients.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct GradientArguments {
    pub x: Signal,
    pub dy: Signal,
    /// 0: not wanted.
    pub dx: u64,
    /// Partial sums, `(pieces, H, K + 1)`; 0: a block has the whole sum.
    pub pieces: u64,
    pub weight: Parameter,
    pub bias: Parameter,
    pub weight_gradient: Parameter,
    pub bias_gradient: Parameter,
    pub batch: i32,
    pub channels: i32,
    pub input_length: i32,
    pub output_length: i32,
    pub taps: i32,
    pub left: i32,
    pub vectors_a_row: i32,
    pub sharing: Sharing,
}

// SAFETY: C structures of integers, the same as the kernels' parameters.
unsafe impl DeviceRepr for CorrelationArguments {}
// SAFETY: as above.
unsafe impl DeviceRepr for GradientArguments {}
// SAFETY: as above.
unsafe impl DeviceRepr for Parameter {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn the_layout_is_that_of_the_kernels() {
        assert_eq!(offset_of!(CorrelationArguments, weight), 32);
        assert_eq!(offset_of!(CorrelationArguments, bias), 64);
        assert_eq!(offset_of!(CorrelationArguments, batch), 96);
        assert_eq!(offset_of!(CorrelationArguments, sharing), 124);
        assert_eq!(size_of::<CorrelationArguments>(), 136);
        assert_eq!(offset_of!(GradientArguments, weight), 64);
        assert_eq!(offset_of!(GradientArguments, weight_gradient), 128);
        assert_eq!(offset_of!(GradientArguments, batch), 192);
        assert_eq!(offset_of!(GradientArguments, sharing), 220);
        assert_eq!(size_of::<GradientArguments>(), 232);
    }
}

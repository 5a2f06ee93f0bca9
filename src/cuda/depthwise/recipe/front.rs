//! The launch of the short convolution in front of a gated long one (`cuda/depthwise_front.cuh`).

use super::ElementType;
use crate::depthwise::FRONT_TAPS;
use candle_core::DType;

/// Numbers of each channel: its taps, bias, and the value of samples before the sequence.
pub(crate) const FRONT_PARAMETERS: usize = FRONT_TAPS + 2;

/// Threads of a block, and vectors of 16 bytes of a thread, as in `cuda/depthwise_front.cuh`.
const THREADS: usize = 64;
const VECTORS: usize = 2;

/// Most blocks of a grid in its second and third dimension.
const MOST: usize = 65535;

/// A kernel and its grid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cuda::depthwise) struct FrontLaunch {
    pub function: String,
    pub threads: u32,
    /// Blocks along the row and over channels; those over the batch are as many as its items.
    pub grid: (u32, u32),
    /// Most batch items of a launch.
    pub batches: usize,
}

/// Whether there is a kernel for rows of `length` samples in each of three times `channels`, which begin at multiples of 16
/// bytes: of whole vectors, and not of f16, whose range a product of two samples can leave.
pub(crate) fn takes_front(channels: usize, length: usize, dtype: DType) -> bool {
    let element = match dtype {
        DType::F32 => ElementType::F32,
        DType::BF16 => ElementType::Bf16,
        _ => return false,
    };
    launch(channels, length, element).is_some()
}

/// None where there is no kernel.
pub(in crate::cuda::depthwise) fn launch(
    channels: usize,
    length: usize,
    element: ElementType,
) -> Option<FrontLaunch> {
    let fits = element != ElementType::F16
        && (1..=MOST).contains(&channels)
        && length.is_multiple_of(element.vector())
        && i32::try_from(length).is_ok_and(|length| length <= i32::MAX - (1 << 16));
    fits.then(|| FrontLaunch {
        function: format!("depthwise_front_{}", element.name()),
        threads: THREADS as u32,
        grid: (
            length.div_ceil(THREADS * VECTORS * element.vector()) as u32,
            channels as u32,
        ),
        batches: MOST,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_the_rows() {
        let of = |length, element| launch(768, length, element).map(|launch| launch.grid);
        assert_eq!(of(8192, ElementType::Bf16), Some((8, 768)));
        assert_eq!(of(1032, ElementType::Bf16), Some((2, 768)));
        assert_eq!(of(1028, ElementType::F32), Some((3, 768)));
    }

    #[test]
    fn whole_vectors_of_wide_ranges_alone() {
        assert!(takes_front(256, 1_000_008, DType::BF16));
        assert!(takes_front(256, 1_000_004, DType::F32));
        assert!(!takes_front(256, 1_000_004, DType::BF16));
        assert!(!takes_front(256, 1_000_002, DType::F32));
        assert!(!takes_front(256, 1024, DType::F16));
        assert!(!takes_front(256, 1024, DType::F64));
        assert!(!takes_front(0, 1024, DType::F32));
        assert!(!takes_front(MOST + 1, 1024, DType::F32));
        assert!(!takes_front(1, 1 << 31, DType::F32));
    }
}

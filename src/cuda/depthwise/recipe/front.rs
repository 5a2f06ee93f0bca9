//! The launch of the short convolution in front of a gated long one (`cuda/depthwise_front.cuh`).

use super::{ElementType, Family, Launch, MOST_BLOCKS, MOST_POSITIONS};
use crate::depthwise::FRONT_TAPS;
use candle_core::DType;

/// Numbers of each channel: its taps, bias, and the value of samples before the sequence.
pub(crate) const FRONT_PARAMETERS: usize = FRONT_TAPS + 2;

/// Threads of a block, and vectors of 16 bytes of a thread, as in `cuda/depthwise_front.cuh`.
const THREADS: usize = 64;
const VECTORS: usize = 2;

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
) -> Option<Launch> {
    let fits = element != ElementType::F16
        && (1..=MOST_BLOCKS).contains(&channels)
        && length.is_multiple_of(element.vector())
        && length <= MOST_POSITIONS;
    let along = length.div_ceil(THREADS * VECTORS * element.vector());
    fits.then(|| Launch {
        batches: MOST_BLOCKS,
        ..Launch::new(
            Family::Front,
            format!("depthwise_front_{}", element.name()),
            (along, channels, MOST_BLOCKS),
            (THREADS, 1),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_the_rows() {
        let of = |length, element| {
            launch(768, length, element).map(|launch| (launch.grid.0, launch.grid.1))
        };
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
        assert!(!takes_front(MOST_BLOCKS + 1, 1024, DType::F32));
        assert!(!takes_front(1, 1 << 31, DType::F32));
    }
}

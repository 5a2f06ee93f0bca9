//! The dtypes of the short convolution, and the dtypes that they are summed in.

use super::taps::vectorised;
use super::{unsupported, Operand};
use crate::Error;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, WithDType};
use half::slice::HalfFloatSliceExt;
use half::vec::HalfBitsVecExt;
use half::{bf16, f16};
use std::ops::{Add, AddAssign, Mul};

/// What products are summed in: f32 or f64.
pub(crate) trait Accumulator:
    WithDType + Default + Add<Output = Self> + Mul<Output = Self> + AddAssign
{
    /// `z · sigmoid(z)`
    fn silu(self) -> Self;
}

impl Accumulator for f32 {
    fn silu(self) -> Self {
        self / (1.0 + (-self).exp())
    }
}

impl Accumulator for f64 {
    fn silu(self) -> Self {
        self / (1.0 + (-self).exp())
    }
}

/// What a tensor holds.
pub(crate) trait Element: WithDType {
    type Accumulator: Accumulator;

    /// Whether elements are summed in their own dtype, so that no conversion is needed.
    const IN_PLACE: bool;

    /// Converts each element; both slices have the same length.
    fn widen(from: &[Self], to: &mut [Self::Accumulator]);

    /// Rounds each sum; both slices have the same length.
    fn round(from: &[Self::Accumulator], to: &mut [Self]);

    /// The slice itself, where [`Self::IN_PLACE`].
    fn as_accumulators(elements: &[Self]) -> Option<&[Self::Accumulator]>;

    /// The slice itself, where [`Self::IN_PLACE`].
    fn as_accumulators_mut(elements: &mut [Self]) -> Option<&mut [Self::Accumulator]>;

    /// So many zeros, or an error where there is not so much memory.
    fn zeros(count: usize) -> Result<Vec<Self>>;
}

macro_rules! summed_in_itself {
    ($type:ty) => {
        impl Element for $type {
            type Accumulator = $type;
            const IN_PLACE: bool = true;

            fn widen(from: &[$type], to: &mut [$type]) {
                to.copy_from_slice(from)
            }

            fn round(from: &[$type], to: &mut [$type]) {
                to.copy_from_slice(from)
            }

            fn as_accumulators(elements: &[$type]) -> Option<&[$type]> {
                Some(elements)
            }

            fn as_accumulators_mut(elements: &mut [$type]) -> Option<&mut [$type]> {
                Some(elements)
            }

            fn zeros(count: usize) -> Result<Vec<$type>> {
                ensure_memory::<$type>(count)?;
                Ok(vec![0.0; count])
            }
        }
    };
}

summed_in_itself!(f32);
summed_in_itself!(f64);

macro_rules! summed_in_f32 {
    ($type:ty, $widen:expr, $round:expr) => {
        impl Element for $type {
            type Accumulator = f32;
            const IN_PLACE: bool = false;

            fn widen(from: &[$type], to: &mut [f32]) {
                $widen(from, to)
            }

            fn round(from: &[f32], to: &mut [$type]) {
                $round(from, to)
            }

            fn as_accumulators(_: &[$type]) -> Option<&[f32]> {
                None
            }

            fn as_accumulators_mut(_: &mut [$type]) -> Option<&mut [f32]> {
                None
            }

            fn zeros(count: usize) -> Result<Vec<$type>> {
                ensure_memory::<$type>(count)?;
                // Integers, because the allocator hands them out zeroed.
                Ok(vec![0u16; count].reinterpret_into())
            }
        }
    };
}

// `half` converts slices of f16 with the processor's own instructions.
summed_in_f32!(
    f16,
    |from: &[f16], to: &mut [f32]| from.convert_to_f32_slice(to),
    |from: &[f32], to: &mut [f16]| to.convert_from_f32_slice(from)
);
summed_in_f32!(bf16, widen_bf16, round_to_bf16);

/// bf16 is the upper half of an f32.
fn widen_bf16(from: &[bf16], to: &mut [f32]) {
    vectorised(|| {
        for (to, from) in to.iter_mut().zip(from) {
            *to = f32::from_bits(u32::from(from.to_bits()) << 16);
        }
    })
}

/// To the nearest, ties to even; without branches, which keeps it vectorisable.
fn round_to_bf16(from: &[f32], to: &mut [bf16]) {
    vectorised(|| {
        for (to, from) in to.iter_mut().zip(from) {
            let bits = from.to_bits();
            // Just under half of the last place kept, or half where that is odd.
            let rounded = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1));
            // The rounding could carry a NaN's payload away: keep it quiet instead.
            let quiet = bits | 0x0040_0000;
            let bits = if from.is_nan() { quiet } else { rounded };
            *to = bf16::from_bits((bits >> 16) as u16);
        }
    })
}

/// An error, where a plain allocation of `count` elements would end the process.
fn ensure_memory<T>(count: usize) -> Result<()> {
    Vec::<T>::new().try_reserve_exact(count).map_err(|_| {
        Error::OutOfRange {
            quantity: "output size",
            expected: "an output that fits the memory".into(),
            got: format!("{count} elements of {} bytes", size_of::<T>()),
        }
        .into()
    })
}

/// All numbers of a weight or bias, in row-major order, in the dtype that sums of `T` are made in.
pub(super) fn parameters<T: Element>(
    (storage, layout): Operand,
    name: &'static str,
) -> Result<Vec<T::Accumulator>> {
    let mut offsets = vec![layout.start_offset()];
    for (&size, &stride) in layout.dims().iter().zip(layout.stride()) {
        offsets = offsets
            .iter()
            .flat_map(|offset| (0..size).map(move |i| offset + i * stride))
            .collect();
    }
    fn gather<S: WithDType, A: WithDType>(elements: &[S], offsets: &[usize]) -> Vec<A> {
        offsets
            .iter()
            .map(|&offset| A::from_f64(elements[offset].to_f64()))
            .collect()
    }
    match storage {
        CpuStorage::F32(elements) => Ok(gather(elements, &offsets)),
        CpuStorage::F16(elements) => Ok(gather(elements, &offsets)),
        CpuStorage::BF16(elements) => Ok(gather(elements, &offsets)),
        CpuStorage::F64(elements) => Ok(gather(elements, &offsets)),
        other => Err(unsupported(name, other.dtype())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_rounds_as_half_does() {
        let halves = (0..=u16::MAX).map(|upper| u32::from(upper) << 16);
        let values: Vec<f32> = halves
            .flat_map(|upper| [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF].map(|lower| upper | lower))
            .map(f32::from_bits)
            .collect();
        let mut got = vec![bf16::ZERO; values.len()];
        bf16::round(&values, &mut got);
        let mut back = vec![0f32; values.len()];
        bf16::widen(&got, &mut back);
        for ((&value, got), back) in values.iter().zip(got).zip(back) {
            let want = bf16::from_f32(value);
            assert_eq!(got.is_nan(), want.is_nan(), "{value}");
            assert!(want.is_nan() || got.to_bits() == want.to_bits(), "{value}");
            assert!(want.is_nan() || back.to_bits() == want.to_f32().to_bits());
        }
    }
}

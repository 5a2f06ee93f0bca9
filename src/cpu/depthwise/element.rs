//! The dtypes of the short convolution, and the dtypes that they are summed in.

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
}

impl Accumulator for f32 {}
impl Accumulator for f64 {}

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
    ($type:ty) => {
        impl Element for $type {
            type Accumulator = f32;
            const IN_PLACE: bool = false;

            fn widen(from: &[$type], to: &mut [f32]) {
                from.convert_to_f32_slice(to)
            }

            fn round(from: &[f32], to: &mut [$type]) {
                to.convert_from_f32_slice(from)
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

summed_in_f32!(f16);
summed_in_f32!(bf16);

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

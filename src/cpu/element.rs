//! The dtypes that the CPU computes with, and how stored values become computed ones.

use super::band::BandCache;
use super::pool::Pool;
use super::right_angle::TransformCache;
use super::spectra::{Spectra, SpectrumCache};
use crate::conv::{Recent, Recipe};
use candle_core::WithDType;
use half::slice::HalfFloatSliceExt;
use half::vec::HalfBitsVecExt;
use half::{bf16, f16};
use rustfft::FftNum;

/// A float type that convolutions are computed in.
pub(crate) trait Compute: Element<Compute = Self> + FftNum + Default {
    /// Rounds a float64.
    fn rounded(value: f64) -> Self;
    /// The scratch memory shared by all calls of this type.
    fn pool() -> &'static Pool<Self>;
    /// The transforms shared by all calls of this type.
    fn transforms() -> &'static TransformCache<Self>;
    /// The transforms of bands shared by all calls of this type.
    fn bands() -> &'static BandCache<Self>;
    /// The part of a prepared kernel's spectra that has this type.
    fn recent_spectra(cache: &SpectrumCache) -> &Recent<Recipe, Spectra<Self>>;
}

/// A float type that tensors are stored in.
pub(crate) trait Element: WithDType {
    /// The type that convolutions of this type are computed in.
    type Compute: Compute;
    /// `count` zeros, from pages that the operating system clears where possible.
    fn zeros(count: usize) -> Vec<Self>;
    /// `source` in the compute type, in `buffer` unless nothing needs converting.
    /// `buffer` must be at least as long as `source`.
    fn widen<'a>(source: &'a [Self], buffer: &'a mut [Self::Compute]) -> &'a [Self::Compute];
    /// Rounds `values` into `target`, which has the same length.
    fn narrow(values: &[Self::Compute], target: &mut [Self]);
}

macro_rules! computed_as_stored {
    ($float:ty, $spectra:ident) => {
        impl Compute for $float {
            fn rounded(value: f64) -> Self {
                value as $float
            }
            fn pool() -> &'static Pool<Self> {
                static POOL: Pool<$float> = Pool::new();
                &POOL
            }
            fn transforms() -> &'static TransformCache<Self> {
                static TRANSFORMS: TransformCache<$float> = TransformCache::new();
                &TRANSFORMS
            }
            fn bands() -> &'static BandCache<Self> {
                static BANDS: BandCache<$float> = Recent::new();
                &BANDS
            }
            fn recent_spectra(cache: &SpectrumCache) -> &Recent<Recipe, Spectra<Self>> {
                &cache.$spectra
            }
        }

        impl Element for $float {
            type Compute = $float;
            fn zeros(count: usize) -> Vec<Self> {
                vec![0.0; count]
            }
            fn widen<'a>(source: &'a [Self], _: &'a mut [Self]) -> &'a [Self] {
                source
            }
            fn narrow(values: &[Self], target: &mut [Self]) {
                target.copy_from_slice(values);
            }
        }
    };
}

computed_as_stored!(f32, single);
computed_as_stored!(f64, double);

macro_rules! stored_in_half {
    ($half:ty) => {
        impl Element for $half {
            type Compute = f32;
            fn zeros(count: usize) -> Vec<Self> {
                vec![0u16; count].reinterpret_into()
            }
            fn widen<'a>(source: &'a [Self], buffer: &'a mut [f32]) -> &'a [f32] {
                let widened = &mut buffer[..source.len()];
                source.convert_to_f32_slice(widened);
                widened
            }
            fn narrow(values: &[f32], target: &mut [Self]) {
                target.convert_from_f32_slice(values);
            }
        }
    };
}

stored_in_half!(f16);
stored_in_half!(bf16);

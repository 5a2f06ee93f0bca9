//! Spectra of kernels: their taps, transformed once for all rows of a channel.

use super::full_rows::FullRecipe;
use super::long_full_rows::recipe::LongFullRecipe;
use super::long_full_rows::transform_taps;
use super::long_rows::recipe::LongRecipe;
use super::recipe::{Form, HalfRecipe};
use crate::conv::LagWindow;
use crate::cuda::device::{load_with_shared_memory, uninitialized};
use crate::Error;
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, CudaStream, DevicePtr, DevicePtrMut, DeviceRepr, LaunchConfig, PushKernelArg,
    SyncOnDrop,
};
use candle_core::cuda_backend::WrapErr;
use candle_core::{CudaDevice, Layout, Result};

/// A spectrum in f16 for the kernels of [`HalfRecipe`], in the order of its family.
pub(crate) struct HalfSpectrum {
    /// Pairs of f16: as many as the transform has points, for each channel.
    pub(super) words: CudaSlice<u32>,
    /// For each channel the power of two by which its spectrum was divided.
    pub(super) unscale: CudaSlice<f32>,
}

/// A spectrum in f32 for the kernels of [`FullRecipe`] or of
/// [`LongFullRecipe`](super::long_full_rows::recipe::LongFullRecipe), in their order, divided by
/// the number of points: two values for each of them and each channel.
pub(crate) struct FullSpectrum {
    pub(super) values: CudaSlice<f32>,
}

/// What the memory of this module is for.
pub(super) const SPECTRA: &str = "the spectra of the kernels";

/// Taps `(channel, tap)` on the device.
#[derive(Clone, Copy)]
pub(super) struct Taps<'a> {
    slice: &'a CudaSlice<f32>,
    /// Of the first tap.
    offset: usize,
    /// How many of a channel's taps come before that.
    before: usize,
    pub(super) channels: usize,
    pub(super) count: usize,
    channel_stride: usize,
}

impl<'a> Taps<'a> {
    /// The taps of an `(H, Lk)` tensor whose last dimension is contiguous.
    pub(super) fn new(slice: &'a CudaSlice<f32>, layout: &Layout) -> Result<Self> {
        let outside = || {
            Error::Shape {
                tensor: "kernel",
                expected: "(H, Lk), a contiguous last dimension, inside its storage".to_string(),
                got: layout.dims().to_vec(),
            }
            .into()
        };
        let (&[channels, count], &[channel_stride, stride]) = (layout.dims(), layout.stride())
        else {
            return Err(outside());
        };
        let taps = Taps {
            slice,
            offset: layout.start_offset(),
            before: 0,
            channels,
            count,
            channel_stride,
        };
        let consecutive = stride == 1 || count <= 1;
        if consecutive && taps.end().is_some_and(|end| end <= slice.len()) {
            return Ok(taps);
        }
        Err(outside())
    }

    /// Those from tap `first` on, of which there may be none.
    fn from(&self, first: usize) -> Self {
        let first = first.min(self.count);
        Taps {
            offset: self.offset + first,
            before: self.before + first,
            count: self.count - first,
            ..*self
        }
    }

    /// One past the last tap, if it can be counted.
    fn end(&self) -> Option<usize> {
        if self.channels == 0 || self.count == 0 {
            return Some(0);
        }
        (self.channels - 1)
            .checked_mul(self.channel_stride)?
            .checked_add(self.offset)?
            .checked_add(self.count)
    }
}

/// The argument of the kernels, as `cuda/taps.cuh` declares it.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct TapArguments {
    data: u64,
    channel_stride: i64,
    forward: i64,
    backward_first: i64,
    backward_end: i64,
    period: i64,
    channels: i64,
    weight: f32,
}

// SAFETY: a C structure of integers, the same as the kernels' parameter.
unsafe impl DeviceRepr for TapArguments {}

/// The spectrum of a kernel for rows that one transform holds.
pub(super) fn half(
    device: &CudaDevice,
    recipe: &HalfRecipe,
    taps: &Taps<'_>,
    window: &LagWindow,
) -> Result<HalfSpectrum> {
    let window = lags_of(recipe.form, recipe.size, taps, window);
    let launch = half_launch(recipe, taps.channels)?;
    // SAFETY: the kernel writes every word and every scale before anything reads them.
    let (mut words, mut unscale) = unsafe {
        (
            uninitialized::<u32>(device, taps.channels.saturating_mul(recipe.size), SPECTRA)?,
            uninitialized::<f32>(device, taps.channels, SPECTRA)?,
        )
    };
    if taps.channels > 0 {
        let stream = device.cuda_stream();
        let (arguments, _taps) = tap_arguments(&stream, taps, &window, recipe.form)?;
        let function = format!("spectrum_half_p{}", recipe.size);
        let kernel = load_with_shared_memory(device, "spectrum", &function, 0)?;
        let mut builder = stream.launch_builder(&kernel);
        builder.arg(&arguments).arg(&mut words).arg(&mut unscale);
        // SAFETY: the kernel takes these arguments; it reads the taps of the window, which
        // `arguments` has compared with those there are, and writes `recipe.size` words and
        // one scale for each channel.
        unsafe { builder.launch(launch) }.w()?;
    }
    Ok(HalfSpectrum { words, unscale })
}

/// The argument of the kernels of `cuda/long_spectrum.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct LongSpectrum {
    /// Addresses.
    values: u64,
    words: u64,
    unscale: u64,
    sums: u64,
    full_outer: i32,
    full_inner: i32,
    size: i32,
    rows: i32,
    inner: i32,
    segments: i32,
}

// SAFETY: a C structure of numbers, the same as the kernels' parameter.
unsafe impl DeviceRepr for LongSpectrum {}

/// The same for rows in several passes.
pub(super) fn long(
    device: &CudaDevice,
    recipe: &LongRecipe,
    full: &LongFullRecipe,
    taps: &Taps<'_>,
    window: &LagWindow,
) -> Result<HalfSpectrum> {
    let window = lags_of(recipe.form, recipe.size, taps, window);
    from_f32(device, recipe, full, &[(*taps, window)])
}

/// The spectra of a causal kernel for rows of so many segments, as long as the transform: one for each
/// distance of two of them, with one scale for all.
pub(super) fn segments(
    device: &CudaDevice,
    recipe: &LongRecipe,
    full: &LongFullRecipe,
    taps: &Taps<'_>,
    segments: usize,
) -> Result<HalfSpectrum> {
    let spectra: Vec<_> = (0..segments)
        .map(|distance| {
            let lag = distance * recipe.size;
            let taps = taps.from(lag);
            (taps, lags_of_segment(lag, recipe.size, &taps))
        })
        .collect();
    from_f32(device, recipe, full, &spectra)
}

/// Spectra of every channel, one after the other, from those in f32 of a few channels at a time.
fn from_f32(
    device: &CudaDevice,
    recipe: &LongRecipe,
    full: &LongFullRecipe,
    spectra: &[(Taps<'_>, LagWindow)],
) -> Result<HalfSpectrum> {
    if full.size != recipe.size {
        return Err(Error::OutOfRange {
            quantity: "points of the transform in f32",
            expected: recipe.size.to_string(),
            got: full.size.to_string(),
        }
        .into());
    }
    let (segments, parts) = (spectra.len(), LONG_PARTS as usize);
    let channels = spectra.first().map_or(0, |(taps, _)| taps.channels);
    let in_group = (full.rows_in_group() / segments.max(1)).clamp(1, channels.max(1));
    let (all_words, group_values) = (segments * recipe.size, 2 * in_group * full.size);
    // SAFETY: the kernels write every word and every scale before anything reads them, and the
    // values of a group before they make words of them.
    let (mut words, mut unscale, mut values, mut sums) = unsafe {
        (
            uninitialized::<u32>(device, channels.saturating_mul(all_words), SPECTRA)?,
            uninitialized::<f32>(device, channels, SPECTRA)?,
            uninitialized::<f32>(device, segments * group_values, SPECTRA)?,
            uninitialized::<f64>(device, in_group * segments * parts, SPECTRA)?,
        )
    };
    let stream = device.cuda_stream();
    {
        let (words, _words) = words.device_ptr_mut(&stream);
        let (unscale, _unscale) = unscale.device_ptr_mut(&stream);
        let (values, _values) = values.device_ptr_mut(&stream);
        let (sums, _sums) = sums.device_ptr_mut(&stream);
        for first in (0..channels).step_by(in_group) {
            let count = in_group.min(channels - first);
            let values_of =
                |segment: usize| values + (segment * group_values * size_of::<f32>()) as u64;
            // Of one of the spectra of each channel.
            let arguments = |segment: usize, part_of_sums: usize| LongSpectrum {
                values: values_of(segment),
                words: words
                    + ((first * segments + segment) * recipe.size * size_of::<u32>()) as u64,
                unscale: unscale + (first * size_of::<f32>()) as u64,
                sums: sums + (part_of_sums * size_of::<f64>()) as u64,
                full_outer: full.outer as i32,
                full_inner: full.inner as i32,
                size: recipe.size as i32,
                rows: recipe.first_points() as i32,
                inner: recipe.middle as i32,
                segments: segments as i32,
            };
            let launch = |function: &str, arguments: LongSpectrum, grid_dim| -> Result<()> {
                let kernel = load_with_shared_memory(device, "long_spectrum", function, 0)?;
                let mut builder = stream.launch_builder(&kernel);
                builder.arg(&arguments);
                let config = LaunchConfig {
                    grid_dim,
                    block_dim: (LONG_THREADS, 1, 1),
                    shared_mem_bytes: 0,
                };
                // SAFETY: the kernel takes this structure; there are values, words and scales for
                // the channels of the group, which the guards keep until the launch is queued.
                unsafe { builder.launch(config) }.w()?;
                Ok(())
            };
            for (segment, (taps, window)) in spectra.iter().enumerate() {
                let to = values_of(segment);
                transform_taps(device, full, taps, window, recipe.form, (first, count), to)?;
                let arguments = arguments(segment, segment * parts);
                launch(
                    "long_spectrum_sums",
                    arguments,
                    (LONG_PARTS, count as u32, 1),
                )?;
            }
            let blocks = recipe.last as u32 / 2 / LONG_THREADS;
            let grid = (blocks, recipe.first_points() as u32, count as u32);
            let words = format!("long_spectrum_words_{}", recipe.butterfly_points());
            for segment in 0..segments {
                launch(&words, arguments(segment, 0), grid)?;
            }
        }
    }
    Ok(HalfSpectrum { words, unscale })
}

/// Threads of a block of those kernels, and parts of the sums of squares of a channel.
const LONG_THREADS: u32 = 256;
const LONG_PARTS: u32 = 64;

/// The lags of a kernel in a transform.
fn lags_of(form: Form, size: usize, taps: &Taps<'_>, window: &LagWindow) -> LagWindow {
    match form {
        Form::RightAngle => window.clone(),
        // A tap at lag −m is the one at lag P − m.
        Form::Cyclic => LagWindow {
            forward: taps.count.min(size),
            backward: 1..1,
            ..*window
        },
    }
}

/// The lags around `lag`, from which on the taps are, at which those of a segment of `size` samples act on
/// a segment so far behind it.
fn lags_of_segment(lag: usize, size: usize, taps: &Taps<'_>) -> LagWindow {
    let all = taps.before + taps.count;
    let first = (lag + 1).saturating_sub(all).max(1);
    let backward = match lag > 0 && first < size {
        true => first..size,
        false => 1..1,
    };
    LagWindow {
        forward: taps.count.min(size),
        backward,
        period: lag - taps.before.min(lag),
    }
}

/// The same in f32.
pub(super) fn full(
    device: &CudaDevice,
    recipe: &FullRecipe,
    taps: &Taps<'_>,
    window: &LagWindow,
) -> Result<FullSpectrum> {
    let launch = launch_config(
        taps.channels,
        recipe.rows_per_block(),
        recipe.threads(),
        recipe.shared_bytes(),
    )?;
    let count = taps.channels.saturating_mul(2 * recipe.size);
    // SAFETY: the kernel writes every value before anything reads them.
    let mut values = unsafe { uninitialized::<f32>(device, count, SPECTRA)? };
    if taps.channels > 0 {
        let stream = device.cuda_stream();
        let (arguments, _taps) = tap_arguments(&stream, taps, window, Form::RightAngle)?;
        let function = recipe.spectrum_function();
        let bytes = recipe.shared_bytes();
        let kernel = load_with_shared_memory(device, "full_rows", &function, bytes)?;
        let mut builder = stream.launch_builder(&kernel);
        builder.arg(&arguments).arg(&mut values);
        // SAFETY: as in `half`, with two values for each point.
        unsafe { builder.launch(launch) }.w()?;
    }
    Ok(FullSpectrum { values })
}

/// The argument, and what must live until the launch is queued.
pub(super) fn tap_arguments<'a>(
    stream: &'a CudaStream,
    taps: &Taps<'a>,
    window: &LagWindow,
    form: Form,
) -> Result<(TapArguments, SyncOnDrop<'a>)> {
    if needed_taps(window, taps.before).is_none_or(|needed| needed > taps.count) {
        return Err(Error::OutOfRange {
            quantity: "taps",
            expected: format!("enough for {window:?}"),
            got: taps.count.to_string(),
        }
        .into());
    }
    let (base, guard) = taps.slice.device_ptr(stream);
    let arguments = TapArguments {
        data: base + (taps.offset * size_of::<f32>()) as u64,
        channel_stride: taps.channel_stride as i64,
        forward: window.forward as i64,
        backward_first: window.backward.start as i64,
        backward_end: window.backward.end as i64,
        period: window.period as i64,
        channels: taps.channels as i64,
        weight: form.weight() as f32,
    };
    Ok((arguments, guard))
}

/// How many taps the lags of a window reach; none if they reach more than `before` taps before the first.
fn needed_taps(window: &LagWindow, before: usize) -> Option<usize> {
    if window.backward.is_empty() {
        return Some(window.forward);
    }
    let period = window.period + before;
    let first = (period + 1).checked_sub(window.backward.end)?;
    let last = period.checked_sub(window.backward.start)?;
    (first <= last).then_some(window.forward.max((last + 1).saturating_sub(before)))
}

/// A block of at least two warps; 16 points a thread, `first_points` groups a channel.
fn half_launch(recipe: &HalfRecipe, channels: usize) -> Result<LaunchConfig> {
    let threads_per_group = recipe.size / recipe.first_points / 16;
    let threads = threads_per_group.max(64);
    let groups = channels.saturating_mul(recipe.first_points);
    launch_config(groups, threads / threads_per_group.max(1), threads, 0)
}

/// Blocks of `threads` threads for `groups` things, `per_block` of them in each block.
pub(super) fn launch_config(
    groups: usize,
    per_block: usize,
    threads: usize,
    shared_bytes: usize,
) -> Result<LaunchConfig> {
    const MOST_BLOCKS: usize = i32::MAX as usize;
    let blocks = groups.div_ceil(per_block.max(1));
    if blocks > MOST_BLOCKS {
        return Err(Error::OutOfRange {
            quantity: "rows",
            expected: format!("at most {MOST_BLOCKS} blocks of {per_block} on a GPU"),
            got: groups.to_string(),
        }
        .into());
    }
    Ok(LaunchConfig {
        grid_dim: (blocks as u32, 1, 1),
        block_dim: (threads as u32, 1, 1),
        shared_mem_bytes: shared_bytes as u32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_need_the_taps_that_they_reach() {
        let window = |forward, backward, period| LagWindow {
            forward,
            backward,
            period,
        };
        assert_eq!(needed_taps(&window(5, 1..1, 0), 0), Some(5));
        assert_eq!(needed_taps(&window(5, 1..5, 8), 0), Some(8));
        assert_eq!(needed_taps(&window(5, 4..5, 8), 0), Some(5));
        assert_eq!(needed_taps(&window(5, 1..10, 8), 0), None);
        // Taps before the first one.
        assert_eq!(needed_taps(&window(5, 1..9, 0), 8), Some(5));
        assert_eq!(needed_taps(&window(0, 3..9, 0), 8), Some(0));
        assert_eq!(needed_taps(&window(5, 1..10, 0), 8), None);
    }

    #[test]
    fn a_group_has_16_points_a_thread() {
        for (length, channels, blocks, threads) in [
            (128, 9, 2, 64),
            (512, 3, 2, 64),
            (4096, 3, 12, 64),
            (8192, 3, 24, 64),
            (32768, 3, 48, 128),
        ] {
            let recipe = HalfRecipe::choose(length, 227 << 10).unwrap();
            let launch = half_launch(&recipe, channels).unwrap();
            assert_eq!(launch.grid_dim.0, blocks, "{length}");
            assert_eq!(launch.block_dim.0, threads, "{length}");
        }
    }

    #[test]
    fn the_argument_is_that_of_the_kernels() {
        assert_eq!(std::mem::offset_of!(TapArguments, weight), 56);
        assert_eq!(size_of::<TapArguments>(), 64);
    }
}

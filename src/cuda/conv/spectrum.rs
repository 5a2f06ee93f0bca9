//! Spectra of kernels: their taps, transformed once for all rows of a channel.

use super::full_rows::FullRecipe;
use super::long_rows::recipe::LongRecipe;
use super::recipe::{Form, HalfRecipe};
use crate::conv::LagWindow;
use crate::cuda::device::load_with_shared_memory;
use crate::Error;
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, CudaStream, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg, SyncOnDrop,
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

/// A spectrum in f32 for the kernels of [`FullRecipe`], in their order, divided by the
/// number of points: two values for each of them and each channel.
pub(crate) struct FullSpectrum {
    pub(super) values: CudaSlice<f32>,
}

/// Taps `(channel, tap)` on the device.
#[derive(Clone, Copy)]
pub(super) struct Taps<'a> {
    slice: &'a CudaSlice<f32>,
    /// Of the first tap.
    offset: usize,
    channels: usize,
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
struct Arguments {
    data: u64,
    channel_stride: i64,
    forward: i64,
    backward_first: i64,
    backward_end: i64,
    period: i64,
    block: i64,
    channels: i64,
    weight: f32,
}

// SAFETY: a C structure of integers, the same as the kernels' parameter.
unsafe impl DeviceRepr for Arguments {}

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
            device.alloc::<u32>(taps.channels.saturating_mul(recipe.size).max(1))?,
            device.alloc::<f32>(taps.channels.max(1))?,
        )
    };
    if taps.channels > 0 {
        let stream = device.cuda_stream();
        let (arguments, _taps) = arguments(&stream, taps, &window, 0, recipe.form)?;
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

/// The same for rows in several passes.
pub(super) fn long(
    device: &CudaDevice,
    recipe: &LongRecipe,
    taps: &Taps<'_>,
    window: &LagWindow,
) -> Result<HalfSpectrum> {
    let window = lags_of(recipe.form, recipe.size, taps, window);
    let groups = taps.channels.saturating_mul(recipe.first_points());
    let launch = launch_config(groups, 1, 128, 0)?;
    // SAFETY: the kernel writes every word and every scale before anything reads them.
    let (mut words, mut unscale) = unsafe {
        (
            device.alloc::<u32>(taps.channels.saturating_mul(recipe.size).max(1))?,
            device.alloc::<f32>(taps.channels.max(1))?,
        )
    };
    if taps.channels > 0 {
        let stream = device.cuda_stream();
        let (arguments, _taps) = arguments(&stream, taps, &window, 0, recipe.form)?;
        let (first_points, middle) = (recipe.first_points() as i32, recipe.middle as i32);
        let kernel = load_with_shared_memory(device, "spectrum", "spectrum_long", 0)?;
        let mut builder = stream.launch_builder(&kernel);
        builder.arg(&arguments).arg(&mut words).arg(&mut unscale);
        builder.arg(&first_points).arg(&middle);
        // SAFETY: as in `half`.
        unsafe { builder.launch(launch) }.w()?;
    }
    Ok(HalfSpectrum { words, unscale })
}

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

/// The same in f32, of the lags around `block · recipe.size`: block 0 is the whole kernel of
/// rows that one transform holds.
pub(super) fn full(
    device: &CudaDevice,
    recipe: &FullRecipe,
    taps: &Taps<'_>,
    window: &LagWindow,
    block: i64,
) -> Result<FullSpectrum> {
    let launch = launch_config(
        taps.channels,
        recipe.rows_per_block(),
        recipe.threads(),
        recipe.shared_bytes(),
    )?;
    // SAFETY: the kernel writes every value before anything reads them.
    let mut values =
        unsafe { device.alloc::<f32>(taps.channels.saturating_mul(2 * recipe.size).max(1))? };
    if taps.channels > 0 {
        let stream = device.cuda_stream();
        let (arguments, _taps) = arguments(&stream, taps, window, block, Form::RightAngle)?;
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
fn arguments<'a>(
    stream: &'a CudaStream,
    taps: &Taps<'a>,
    window: &LagWindow,
    block: i64,
    form: Form,
) -> Result<(Arguments, SyncOnDrop<'a>)> {
    if needed_taps(window).is_none_or(|needed| needed > taps.count) {
        return Err(Error::OutOfRange {
            quantity: "taps",
            expected: format!("enough for {window:?}"),
            got: taps.count.to_string(),
        }
        .into());
    }
    let (base, guard) = taps.slice.device_ptr(stream);
    let arguments = Arguments {
        data: base + (taps.offset * size_of::<f32>()) as u64,
        channel_stride: taps.channel_stride as i64,
        forward: window.forward as i64,
        backward_first: window.backward.start as i64,
        backward_end: window.backward.end as i64,
        period: window.period as i64,
        block,
        channels: taps.channels as i64,
        weight: form.weight() as f32,
    };
    Ok((arguments, guard))
}

/// How many taps the lags of a window reach; none if they reach below the first.
fn needed_taps(window: &LagWindow) -> Option<usize> {
    if window.backward.is_empty() {
        return Some(window.forward);
    }
    let first = (window.period + 1).checked_sub(window.backward.end)?;
    let last = window.period.checked_sub(window.backward.start)?;
    (first <= last).then_some(window.forward.max(last + 1))
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
        assert_eq!(needed_taps(&window(5, 1..1, 0)), Some(5));
        assert_eq!(needed_taps(&window(5, 1..5, 8)), Some(8));
        assert_eq!(needed_taps(&window(5, 4..5, 8)), Some(5));
        assert_eq!(needed_taps(&window(5, 1..10, 8)), None);
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
        assert_eq!(std::mem::offset_of!(Arguments, weight), 64);
        assert_eq!(size_of::<Arguments>(), 72);
    }
}

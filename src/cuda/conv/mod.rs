//! The long convolution on a CUDA device: from candle's storage to launches.
//!
//! f16 and bf16 rows take the tensor-core kernels: in one pass, where a multiprocessor holds them
//! ([`half_rows`]) or a cluster of them ([`cluster_rows`]), else in several ([`long_rows`]). f32 rows take those in
//! full precision, in one pass ([`full_rows`]) or in several ([`long_full_rows`]). Rows that are long beside their
//! kernel are cut into pieces for the kernels of one pass ([`pieces`]), where that is faster.

mod arguments;
mod cluster_rows;
mod full_rows;
mod half_rows;
mod long_full_rows;
mod long_rows;
mod made_once;
mod pieces;
pub(crate) mod recipe;
mod sequences;
mod side_streams;
mod spectrum;
mod tables;

use super::device::{uninitialized, Limits};
use crate::conv::on_gpu::{Kernel, Sequences, View};
use crate::conv::{LagWindow, Recent};
use crate::Error;
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::CudaDType;
use candle_core::{CudaDevice, CudaStorage, DType, Layout, Result, Shape, Storage};
use cluster_rows::recipe::ClusterRecipe;
use cluster_rows::OnClusters;
use full_rows::{Direction, FullRecipe};
use half_rows::HalfSample;
use long_full_rows::recipe::LongFullRecipe;
use long_rows::recipe::LongRecipe;
use pieces::cost::Samples;
use pieces::Pieces;
use recipe::{Form, HalfRecipe};
use sequences::{Inputs, Rows};
use spectrum::{FullSpectrum, HalfSpectrum, Taps};
use std::sync::Arc;

/// The spectra that a prepared kernel keeps on its device.
#[derive(Default)]
pub(crate) struct SpectrumCache {
    /// By transform size and form.
    half: Recent<(usize, Form, Served), HalfSpectrum>,
    /// By transform size.
    full: Recent<(usize, Served), FullSpectrum>,
}

/// What the transform of a spectrum takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Served {
    Rows,
    /// So many to a row.
    Segments(usize),
    /// Pieces of rows with so many samples before their outputs.
    Pieces {
        before: usize,
    },
}

impl Served {
    fn by(pieces: Option<Pieces>) -> Self {
        pieces.map_or(Served::Rows, |pieces| Served::Pieces {
            before: pieces.before,
        })
    }
}

/// The convolution, as new storage of shape `(B, H, L)`.
pub(crate) fn forward(
    sequences: Sequences<'_>,
    kernel: Kernel<'_>,
) -> Result<(CudaStorage, Shape)> {
    let shape = sequences.shape()?;
    let y = match sequences.storage().dtype() {
        DType::BF16 => half_forward::<half::bf16>(sequences, kernel)?,
        DType::F16 => half_forward::<half::f16>(sequences, kernel)?,
        DType::F32 => full_forward(sequences, kernel)?,
        got => {
            return Err(Error::DType {
                tensor: "u",
                expected: "f32, f16 or bf16 (f64 on the CPU only)".to_string(),
                got,
            }
            .into())
        }
    };
    Ok((y, shape))
}

fn half_forward<T: HalfSample + CudaDType>(
    sequences: Sequences<'_>,
    kernel: Kernel<'_>,
) -> Result<CudaStorage> {
    let device = sequences.storage().device();
    let inputs = sequences.inputs::<T>()?;
    let limits = Limits::of(device)?;
    let length = inputs.u.length;
    let window = kernel.window(length);
    let samples = match (inputs.are_vectors(&device.cuda_stream()), T::NAME) {
        (true, "bf16") => Samples::AlignedBf16,
        (true, _) => Samples::AlignedF16,
        (false, _) => Samples::Unaligned,
    };
    let in_pieces = pieces::of_half_rows(samples, length, &window, limits.shared_memory_bytes)
        .map(|(recipe, pieces)| (recipe, Some(pieces)));
    let in_one = || {
        let recipe = HalfRecipe::choose(length, limits.shared_memory_bytes)?;
        Some((recipe.for_window(&window), None))
    };
    let Some((recipe, pieces)) = in_pieces.or_else(in_one) else {
        return match LongRecipe::choose(length, limits.shared_memory_bytes) {
            Some(recipe) => long_forward(device, &recipe, &inputs, kernel),
            None => by_way_of_f32(sequences, kernel),
        };
    };
    // SAFETY: the convolution writes every sample.
    let mut y = unsafe { uninitialized::<T>(device, inputs.u.count(), "the output")? };
    if inputs.u.count() > 0 {
        let spectrum = kernel.half_spectrum(device, &recipe, pieces)?;
        half_rows::convolve(device, &recipe, pieces, &inputs, &spectrum, &mut y)?;
    }
    Ok(CudaStorage::wrap_cuda_slice(y, device.clone()))
}

fn long_forward<T: HalfSample + CudaDType>(
    device: &CudaDevice,
    recipe: &LongRecipe,
    inputs: &Inputs<'_, T>,
    kernel: Kernel<'_>,
) -> Result<CudaStorage> {
    // SAFETY: the convolution writes every sample.
    let mut y = unsafe { uninitialized::<T>(device, inputs.u.count(), "the output")? };
    if inputs.u.count() > 0 {
        let recipe = recipe.for_window(&kernel.window(inputs.u.length));
        let shared_memory_bytes = Limits::of(device)?.shared_memory_bytes;
        let on_clusters = ClusterRecipe::choose(inputs.u.length, &recipe, shared_memory_bytes);
        if let Some(mut clusters) = OnClusters::new(device, on_clusters, inputs)? {
            let spectrum = match clusters.recipe.segments {
                1 => kernel.long_spectrum(device, &recipe)?,
                segments => kernel.segment_spectra(device, segments)?,
            };
            clusters.convolve(device, inputs, &spectrum, &mut y)?;
            return Ok(CudaStorage::wrap_cuda_slice(y, device.clone()));
        }
        let mut workspace = long_rows::Workspace::new(device, &recipe, inputs)?;
        let spectrum = kernel.long_spectrum(device, &recipe)?;
        long_rows::convolve(device, &recipe, inputs, &spectrum, &mut workspace, &mut y)?;
    }
    Ok(CudaStorage::wrap_cuda_slice(y, device.clone()))
}

fn full_forward(sequences: Sequences<'_>, kernel: Kernel<'_>) -> Result<CudaStorage> {
    let device = sequences.storage().device();
    let inputs = sequences.inputs::<f32>()?;
    // SAFETY: the convolution writes every sample.
    let mut y = unsafe { uninitialized::<f32>(device, inputs.u.count(), "the output")? };
    if inputs.u.count() > 0 {
        let direction = Direction::Convolution;
        match full_recipe(device, inputs.u.length, &kernel)? {
            Full::Direct(recipe, pieces) => {
                let spectrum = kernel.full_spectrum(recipe.size, pieces, |taps, window| {
                    spectrum::full(device, &recipe, taps, window)
                })?;
                full_rows::apply(
                    device, &recipe, pieces, &inputs, &spectrum, direction, &mut y,
                )?;
            }
            Full::InPasses(recipe) => {
                let mut workspace = long_full_rows::workspace(device, &recipe, &inputs)?;
                let spectrum = kernel.full_spectrum(recipe.size, None, |taps, window| {
                    long_full_rows::spectrum(device, &recipe, taps, window)
                })?;
                long_full_rows::apply(
                    device,
                    &recipe,
                    &inputs,
                    &spectrum,
                    direction,
                    &mut workspace,
                    &mut y,
                )?;
            }
        }
    }
    Ok(CudaStorage::wrap_cuda_slice(y, device.clone()))
}

/// How rows of f32 are computed.
enum Full {
    /// In one transform each, or in pieces of which that is true.
    Direct(FullRecipe, Option<Pieces>),
    InPasses(LongFullRecipe),
}

fn full_recipe(device: &CudaDevice, length: usize, kernel: &Kernel<'_>) -> Result<Full> {
    let shared_memory_bytes = Limits::of(device)?.shared_memory_bytes;
    let window = kernel.window(length);
    if let Some((recipe, pieces)) = pieces::of_full_rows(length, &window, shared_memory_bytes) {
        return Ok(Full::Direct(recipe, Some(pieces)));
    }
    if let Some(recipe) = FullRecipe::choose(length, shared_memory_bytes) {
        return Ok(Full::Direct(recipe, None));
    }
    long_full_recipe(length, shared_memory_bytes).map(Full::InPasses)
}

fn long_full_recipe(length: usize, shared_memory_bytes: usize) -> Result<LongFullRecipe> {
    LongFullRecipe::choose(length, shared_memory_bytes).ok_or_else(|| {
        let [samples, bytes] = LongFullRecipe::NEEDS;
        Error::OutOfRange {
            quantity: "samples of a row, and bytes of shared memory",
            expected: format!("at most {samples}, and at least {bytes}"),
            got: format!("{length}, and {shared_memory_bytes}"),
        }
        .into()
    })
}

/// [`full_forward`] of f32 copies, rounded to the dtype of the sequences.
fn by_way_of_f32(sequences: Sequences<'_>, kernel: Kernel<'_>) -> Result<CudaStorage> {
    let dtype = sequences.storage().dtype();
    let copy = |(storage, layout): View<'_>| -> Result<(CudaStorage, Layout)> {
        let copy = storage.to_dtype(layout, DType::F32)?;
        Ok((copy, Layout::contiguous(layout.shape())))
    };
    let y = match sequences {
        Sequences::Arranged(arrangement, view) => {
            let (storage, layout) = copy(view)?;
            full_forward(
                Sequences::Arranged(arrangement, (&storage, &layout)),
                kernel,
            )?
        }
        Sequences::Gated([u, in_gate, out_gate]) => {
            let (u, in_gate, out_gate) = (copy(u)?, copy(in_gate)?, copy(out_gate)?);
            let views = [&u, &in_gate, &out_gate].map(|(storage, layout)| (storage, layout));
            full_forward(Sequences::Gated(views), kernel)?
        }
    };
    y.to_dtype(&Layout::contiguous(sequences.shape()?), dtype)
}

impl<'a> Sequences<'a> {
    /// The view of `u`, or of `z`.
    fn first(&self) -> View<'a> {
        match self {
            Sequences::Arranged(_, first) | Sequences::Gated([first, ..]) => *first,
        }
    }

    fn storage(&self) -> &'a CudaStorage {
        self.first().0
    }

    /// `(B, H, L)`
    fn shape(&self) -> Result<Shape> {
        let (batch, channels, length) = self.first().1.shape().dims3()?;
        Ok(Shape::from(match self {
            Sequences::Arranged(arrangement, _) => {
                (batch, channels / arrangement.parts().len(), length)
            }
            Sequences::Gated(_) => (batch, channels, length),
        }))
    }

    /// The rows, of samples `T`.
    fn inputs<T: CudaDType>(&self) -> Result<Inputs<'a, T>> {
        let rows = |(storage, layout): View<'a>| Rows::new(storage.as_cuda_slice::<T>()?, layout);
        Ok(match self {
            Sequences::Arranged(arrangement, z) => Inputs::arranged(*arrangement, rows(*z)?),
            Sequences::Gated([u, in_gate, out_gate]) => Inputs {
                u: rows(*u)?,
                in_gate: Some(rows(*in_gate)?),
                out_gate: Some(rows(*out_gate)?),
            },
        })
    }
}

impl Kernel<'_> {
    /// The lags at which the taps act on rows of `length` samples.
    fn window(&self, length: usize) -> LagWindow {
        let (semantics, taps) = match self {
            Kernel::Taps(semantics, (_, layout)) => {
                (*semantics, layout.dims().last().copied().unwrap_or(0))
            }
            Kernel::Prepared(kernel) => (kernel.semantics, kernel.tap_count()),
        };
        LagWindow::new(semantics, length, taps)
    }

    /// The same in transforms of `size` points, of rows or of pieces: of rows of every length that such a
    /// transform holds.
    fn window_in(&self, size: usize, pieces: Option<Pieces>) -> LagWindow {
        pieces.map_or_else(|| self.window(size), |pieces| pieces.window())
    }

    /// The spectra for transforms of f16.
    fn half_spectrum(
        &self,
        device: &CudaDevice,
        recipe: &HalfRecipe,
        pieces: Option<Pieces>,
    ) -> Result<Arc<HalfSpectrum>> {
        self.kept_half(recipe.size, recipe.form, Served::by(pieces), || {
            let window = self.window_in(recipe.size, pieces);
            self.with_taps(|taps| spectrum::half(device, recipe, taps, &window))
        })
    }

    /// The spectra for transforms of f16 in several passes: of other sizes than those in one.
    fn long_spectrum(&self, device: &CudaDevice, recipe: &LongRecipe) -> Result<Arc<HalfSpectrum>> {
        self.kept_half(recipe.size, recipe.form, Served::Rows, || {
            let window = self.window(recipe.size);
            let full = long_full_recipe(recipe.size, Limits::of(device)?.shared_memory_bytes)?;
            self.with_taps(|taps| spectrum::long(device, recipe, &full, taps, &window))
        })
    }

    /// The spectra of a causal kernel for rows of so many segments.
    fn segment_spectra(&self, device: &CudaDevice, segments: usize) -> Result<Arc<HalfSpectrum>> {
        let size = cluster_rows::recipe::SIZE;
        self.kept_half(size, Form::RightAngle, Served::Segments(segments), || {
            let shared_memory_bytes = Limits::of(device)?.shared_memory_bytes;
            let full = long_full_recipe(size, shared_memory_bytes)?;
            let recipe =
                LongRecipe::choose(size, shared_memory_bytes).ok_or_else(|| Error::OutOfRange {
                    quantity: "samples of a segment",
                    expected: "those of rows in several passes".to_string(),
                    got: size.to_string(),
                })?;
            self.with_taps(|taps| spectrum::segments(device, &recipe, &full, taps, segments))
        })
    }

    /// Spectra by the size and form of the transforms, and what they serve: computed anew where they are
    /// not kept.
    fn kept_half(
        &self,
        size: usize,
        form: Form,
        served: Served,
        compute: impl FnOnce() -> Result<HalfSpectrum>,
    ) -> Result<Arc<HalfSpectrum>> {
        match self {
            Kernel::Taps(..) => compute().map(Arc::new),
            Kernel::Prepared(kernel) => {
                let kept = &kernel.device_cache.half;
                kept.get((size, form, served), compute)
            }
        }
    }

    /// The spectra for transforms of f32 of so many points, as `compute` makes them.
    fn full_spectrum(
        &self,
        size: usize,
        pieces: Option<Pieces>,
        compute: impl FnOnce(&Taps<'_>, &LagWindow) -> Result<FullSpectrum>,
    ) -> Result<Arc<FullSpectrum>> {
        let compute = || {
            let window = self.window_in(size, pieces);
            self.with_taps(|taps| compute(taps, &window))
        };
        match self {
            Kernel::Taps(..) => compute().map(Arc::new),
            Kernel::Prepared(kernel) => {
                let key = (size, Served::by(pieces));
                kernel.device_cache.full.get(key, compute)
            }
        }
    }

    /// Calls `body` with the taps.
    fn with_taps<R>(&self, body: impl FnOnce(&Taps<'_>) -> Result<R>) -> Result<R> {
        let run = |(storage, layout): View<'_>| {
            body(&Taps::new(storage.as_cuda_slice::<f32>()?, layout)?)
        };
        match self {
            Kernel::Taps(_, view) => run(*view),
            Kernel::Prepared(kernel) => {
                let taps = kernel.acting_taps(DType::F32)?;
                let (storage, layout) = taps.storage_and_layout();
                match &*storage {
                    Storage::Cuda(storage) => run((storage, layout)),
                    _ => crate::conv::on_gpu::not_there("a kernel on the CPU"),
                }
            }
        }
    }
}

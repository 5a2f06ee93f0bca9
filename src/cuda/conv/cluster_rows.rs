//! Launches for rows of bf16 that a cluster of blocks holds, or that come in segments of which it does:
//! one for all rows of a call. See `cuda/cluster_rows.cuh` and `cuda/segments.cuh`.

pub(crate) mod recipe;

use super::half_rows::{with_both_gates, HalfSample};
use super::made_once::MadeOnce;
use super::recipe::Form;
use super::sequences::Inputs;
use super::spectrum::HalfSpectrum;
use super::tables::cluster_tables;
use crate::cuda::device::{is_compiled, load_with_shared_memory, uninitialized, Limits};
use candle_core::cuda_backend::cudarc::driver::sys::CUresult;
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaSlice, DevicePtr, DevicePtrMut, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::WrapErr;
use candle_core::{CudaDevice, Result};
use recipe::ClusterRecipe;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

const MODULE: &str = "cluster_rows";

/// By size and form.
static TABLES: MadeOnce<(usize, Form), u32> = MadeOnce::new();

/// How the rows of a call are convolved on clusters.
pub(super) struct OnClusters {
    pub(super) recipe: ClusterRecipe,
    kernel: CudaFunction,
    /// That are launched.
    clusters: usize,
    /// The transforms of the segments of the rows in flight.
    kept: Option<CudaSlice<u32>>,
}

impl OnClusters {
    /// None where the device has no such clusters, or where the rows are not of bf16, or do not begin
    /// and end at multiples of 16 bytes.
    pub(super) fn new<T: HalfSample>(
        device: &CudaDevice,
        recipe: Option<ClusterRecipe>,
        inputs: &Inputs<'_, T>,
    ) -> Result<Option<Self>> {
        let Some(recipe) =
            recipe.filter(|_| T::NAME == "bf16" && inputs.are_vectors(&device.cuda_stream()))
        else {
            return Ok(None);
        };
        let whole = inputs.u.length == recipe.segments * recipe.size;
        let function = recipe.function(inputs.out_gate.is_some(), whole);
        if !is_compiled(&Limits::of(device)?, MODULE, &function) {
            return Ok(None);
        }
        let kernel = load_with_shared_memory(device, MODULE, &function, recipe.shared_bytes)?;
        let at_a_time = clusters_on(device, &recipe, &kernel, function)?;
        if at_a_time == 0 {
            return Ok(None);
        }
        let rows = inputs.u.batch.saturating_mul(inputs.u.channels);
        let clusters = recipe.clusters(rows, at_a_time);
        let kept = match recipe.kept_words(clusters) {
            0 => None,
            // SAFETY: the kernel reads what it has written.
            words => Some(unsafe { uninitialized::<u32>(device, words, "the workspace")? }),
        };
        Ok(Some(OnClusters {
            recipe,
            kernel,
            clusters,
            kept,
        }))
    }

    /// `y = out_gate ⊙ ((in_gate ⊙ u) ∗ k)` for contiguous `y`.
    pub(super) fn convolve<T: HalfSample>(
        &mut self,
        device: &CudaDevice,
        inputs: &Inputs<'_, T>,
        spectrum: &HalfSpectrum,
        y: &mut CudaSlice<T>,
    ) -> Result<()> {
        let recipe = self.recipe;
        let tables = TABLES.on(device, (recipe.size, recipe.form), || {
            cluster_tables(&recipe)
        })?;
        let stream = device.cuda_stream();
        with_both_gates(device, inputs, |inputs| {
            inputs.for_each_launch(None, |part, offset| {
                let (batch, channels) = (part.u.batch, part.u.channels);
                let (words, _words) = spectrum.words.device_ptr(&stream);
                let (unscale, _unscale) = spectrum.unscale.device_ptr(&stream);
                let (tables, _tables) = tables.device_ptr(&stream);
                // What the warps see of the range of each row.
                let mut seen_of_rows = device.alloc_zeros::<u32>(batch * channels)?;
                let segments = recipe.segments as i32;
                let kept = self.kept.as_mut().map(|kept| kept.device_ptr_mut(&stream));
                let kept_address = kept.as_ref().map_or(0, |(address, _)| *address);
                part.with_addresses(&stream, y, offset, |rows| {
                    let arguments = rows.convolution(words, unscale, tables);
                    let config = LaunchConfig {
                        grid_dim: ((self.clusters * recipe.blocks) as u32, 1, 1),
                        ..launch_config(&recipe)
                    };
                    let mut builder = stream.launch_builder(&self.kernel);
                    builder
                        .arg(&arguments)
                        .arg(&mut seen_of_rows)
                        .arg(&segments)
                        .arg(&kept_address);
                    // The kernel takes this structure, a word for each row, the number of segments and room for
                    // what they keep. Rows begin at multiples of 16 bytes, and those of `y` fill it.
                    // SAFETY: all rows lie inside their slices (`Rows::new`), spectrum, scales and tables are
                    // those of the recipe; the guards keep them until the launch is queued, and order it.
                    unsafe { builder.launch(config) }.w()?;
                    Ok(())
                })
            })
        })
    }
}

/// For one cluster.
fn launch_config(recipe: &ClusterRecipe) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (recipe.blocks as u32, 1, 1),
        block_dim: (recipe.threads() as u32, 1, 1),
        shared_mem_bytes: recipe.shared_bytes as u32,
    }
}

/// How many clusters of a kernel the device holds at a time: asked once in a process.
fn clusters_on(
    device: &CudaDevice,
    recipe: &ClusterRecipe,
    kernel: &CudaFunction,
    function: String,
) -> Result<usize> {
    static KNOWN: LazyLock<Mutex<HashMap<(usize, String), usize>>> = LazyLock::new(Mutex::default);
    let stream = device.cuda_stream();
    let key = (stream.context().ordinal(), function);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(clusters) = known.get(&key) {
        return Ok(*clusters);
    }
    let clusters = match kernel.occupancy_max_active_clusters(launch_config(recipe), &stream) {
        Ok(clusters) => clusters as usize,
        // The device has no clusters of so many blocks.
        Err(error)
            if matches!(
                error.0,
                CUresult::CUDA_ERROR_INVALID_CLUSTER_SIZE
                    | CUresult::CUDA_ERROR_INVALID_VALUE
                    | CUresult::CUDA_ERROR_NOT_SUPPORTED
            ) =>
        {
            0
        }
        Err(error) => return Err(error).w(),
    };
    known.insert(key, clusters);
    Ok(clusters)
}

//! Launches of the correlations: the forward pass, and the gradient of the input by itself.

use super::arguments::{CorrelationArguments, Parameter};
use super::card::card;
use super::operand::{
    address, address_mut, is_aligned, line_starts, parameter, signal, Operand, TapOrder,
};
use super::recipe::{self, ElementType, Launch};
use crate::cuda::device::load_with_shared_memory;
use crate::depthwise::{Activation, Correlation};
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::WrapErr;
use candle_core::{CudaStorage, Result};

/// Whether there is a kernel for a correlation of channels-last `x`, whose last dimension is contiguous, as it lies.
pub(crate) fn has_kernel(c: &Correlation, x: Operand) -> Result<bool> {
    let element = ElementType::of("x", x.0.dtype())?;
    Ok(recipe::takes_frames(c, element, is_aligned("x", x)?))
}

/// The output of a correlation and its activation, contiguous, in the dtype of `x`.
///
/// The last dimension of `x` must be contiguous. Not all channels-last tensors have a kernel, see [`has_kernel`].
pub(crate) fn correlate(
    c: &Correlation,
    x: Operand,
    weight: Operand,
    bias: Option<Operand>,
    activation: Activation,
    order: TapOrder,
) -> Result<CudaStorage> {
    let device = x.0.device();
    let element = ElementType::of("x", x.0.dtype())?;
    let (dim0, dim1, dim2) = c.output_shape();
    // SAFETY: the kernel writes all outputs.
    let mut y = unsafe { element.allocate(device, dim0 * dim1 * dim2) }?;
    if dim0 * dim1 * dim2 == 0 {
        return Ok(y);
    }

    let stream = device.cuda_stream();
    let (x_base, _x) = address("x", x.0, &stream)?;
    let (weight_base, _weight) = address("weight", weight.0, &stream)?;
    let (y_base, _y) = address_mut("y", &mut y, &stream)?;
    let x_signal = signal("x", x_base, element, x.1)?;
    let same_type = weight.0.dtype() == x.0.dtype();
    let weight = parameter("weight", weight_base, weight, order)?;
    let (bias, _bias) = match bias {
        Some(bias) => {
            let (base, guard) = address("bias", bias.0, &stream)?;
            (
                parameter("bias", base, bias, TapOrder::AsGiven)?,
                Some(guard),
            )
        }
        None => (Parameter::NONE, None),
    };
    let starts = line_starts(&x_signal, element, c);
    let launch = recipe::correlation(c, element, starts, same_type, card(device)?)?;
    let kernel = load_with_shared_memory(
        device,
        recipe::module(launch.family, element),
        &launch.function,
        launch.shared_bytes as usize,
    )?;
    for first in (0..c.batch).step_by(launch.batches.max(1)) {
        let batch = launch.batches.min(c.batch - first);
        let mut part = x_signal;
        part.data += (first as u64) * (x_signal.batch_stride as u64) * element.bytes() as u64;
        let arguments = CorrelationArguments {
            x: part,
            y: y_base + (first * dim1 * dim2 * element.bytes()) as u64,
            weight,
            bias,
            batch: batch as i32,
            channels: c.channels as i32,
            input_length: c.input_length as i32,
            output_length: c.output_length as i32,
            taps: c.taps as i32,
            left: c.left as i32,
            silu: i32::from(activation == Activation::Silu),
            sharing: launch.sharing.into(),
        };
        let mut builder = stream.launch_builder(&kernel);
        builder.arg(&arguments);
        // SAFETY: the kernel takes this structure. It reads `x` inside its rows and the
        // parameters inside their layouts, which candle keeps inside the storages, and writes
        // `y`, which has room for the output. The guards keep them and order the streams.
        unsafe { builder.launch(config(&launch, batch)) }.w()?;
    }
    drop((_x, _weight, _y, _bias));
    Ok(y)
}

/// The grid of a launch, whose third dimension is the batch where the recipe says so.
pub(super) fn config(launch: &Launch, batch: usize) -> LaunchConfig {
    let (x, y, z) = launch.grid;
    LaunchConfig {
        grid_dim: (x, y, z.min(batch as u32).max(1)),
        block_dim: launch.block,
        shared_mem_bytes: launch.shared_bytes,
    }
}

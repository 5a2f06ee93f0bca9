//! Launches of the short convolution in front of a gated long one.

use super::arguments::Signal;
use super::forward::config;
use super::operand::{address, address_mut, lines_are_aligned, signal, Operand};
use super::recipe::{self, ElementType, FRONT_PARAMETERS};
use crate::cuda::device::load;
use crate::depthwise::FrontGates;
use crate::Error;
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, PushKernelArg};
use candle_core::cuda_backend::WrapErr;
use candle_core::{CudaStorage, DType, Result, Shape};

/// The kernels' parameter, as `cuda/depthwise_front.cuh` declares it.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Arguments {
    x: Signal,
    /// Addresses.
    y: u64,
    parameters: u64,
    channels: i32,
    length: i32,
    /// Which third of the channels is which gate.
    out: i32,
    r#in: i32,
}

// SAFETY: a C structure of integers without gaps, the same as the kernels' parameter.
unsafe impl DeviceRepr for Arguments {}

/// `[s(out) | s(in) ⊙ s(v)]`, contiguous `(B, 2H, L)`, of `x`, `(B, 3H, L)`, with `parameters`, `(3H, 5)` of f32.
pub(crate) fn gated_front(
    gates: FrontGates,
    x: Operand,
    parameters: Operand,
) -> Result<(CudaStorage, Shape)> {
    let device = x.0.device();
    let element = ElementType::of("x", x.0.dtype())?;
    let (batch, tripled, length) = x.1.shape().dims3()?;
    let channels = tripled / 3;
    let expected = [tripled, FRONT_PARAMETERS];
    let fit = parameters.1.dims() == expected && parameters.1.is_contiguous();
    if !tripled.is_multiple_of(3) || !fit || parameters.0.dtype() != DType::F32 {
        return Err(Error::Shape {
            tensor: "parameters",
            expected: format!(
                "contiguous {expected:?} of f32, as many as three groups of channels"
            ),
            got: parameters.1.dims().to_vec(),
        }
        .into());
    }
    let shape = Shape::from((batch, 2 * channels, length));
    // SAFETY: the kernel writes all outputs.
    let mut y = unsafe { element.allocate(device, shape.elem_count()) }?;
    if shape.elem_count() == 0 {
        return Ok((y, shape));
    }

    let stream = device.cuda_stream();
    let (x_base, _x) = address("x", x.0, &stream)?;
    let (parameters_base, _parameters) = address("parameters", parameters.0, &stream)?;
    let (y_base, _y) = address_mut("y", &mut y, &stream)?;
    let x_signal = signal("x", x_base, element, x.1)?;
    let launch = recipe::front(channels, length, element)
        .filter(|_| lines_are_aligned(&x_signal, element))
        .ok_or_else(|| Error::Shape {
            tensor: "x",
            expected: "(B, 3H, L), f32 or bf16, rows of whole vectors of 16 bytes".into(),
            got: x.1.dims().to_vec(),
        })?;
    let kernel = load(
        device,
        recipe::module(launch.family, element),
        &launch.function,
    )?;
    for first in (0..batch).step_by(launch.batches) {
        let items = launch.batches.min(batch - first);
        let mut part = x_signal;
        part.data += first as u64 * part.batch_stride as u64 * element.bytes() as u64;
        let arguments = Arguments {
            x: part,
            y: y_base + (first * 2 * channels * length * element.bytes()) as u64,
            parameters: parameters_base + (parameters.1.start_offset() * size_of::<f32>()) as u64,
            channels: channels as i32,
            length: length as i32,
            out: gates.out_gate() as i32,
            r#in: gates.in_gate() as i32,
        };
        let mut builder = stream.launch_builder(&kernel);
        builder.arg(&arguments);
        // The kernel takes this structure, and reads `x` inside its rows, which begin at multiples of 16 bytes.
        // SAFETY: candle keeps rows and parameters inside their storages, `y` has room for the output; the guards
        // keep all of them and order the streams.
        unsafe { builder.launch(config(&launch, items)) }.w()?;
    }
    drop((_x, _parameters, _y));
    Ok((y, shape))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn the_layout_is_that_of_the_kernels() {
        assert_eq!(offset_of!(Arguments, y), 24);
        assert_eq!(offset_of!(Arguments, channels), 40);
        assert_eq!(size_of::<Arguments>(), 56);
    }
}

//! The short convolution on the CPU.
//!
//! `rows` holds the loops for channels-first tensors, where a row's samples are
//! neighbours; `frames` those for channels-last ones, where the channels of a
//! sample are. Both read their input through a [`View`], in blocks whose sizes
//! the [`recipe`] gives, and sum in the element's accumulator.

mod element;
mod frames;
mod gradients;
mod recipe;
mod rows;
mod taps;
mod view;

use crate::depthwise::{Activation, Conv1dLayout, Correlation};
use crate::Error;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Layout, Result, WithDType};
use element::{parameters, Element};
use half::{bf16, f16};
use view::View;

/// A tensor's storage, with where in it the tensor lies.
pub(crate) type Operand<'a> = (&'a CpuStorage, &'a Layout);

/// The output of a correlation and its activation, contiguous, in the dtype of `x`.
///
/// `weight` holds `channels × taps` numbers, `bias` one for each channel. The
/// last dimension of `x` must be contiguous.
pub(crate) fn correlate(
    geometry: &Correlation,
    x: Operand,
    weight: Operand,
    bias: Option<Operand>,
    activation: Activation,
) -> Result<CpuStorage> {
    let order = Order::AsGiven;
    match x.0.dtype() {
        DType::F32 => correlate_typed::<f32>(geometry, x, weight, bias, activation, order),
        DType::F16 => correlate_typed::<f16>(geometry, x, weight, bias, activation, order),
        DType::BF16 => correlate_typed::<bf16>(geometry, x, weight, bias, activation, order),
        DType::F64 => correlate_typed::<f64>(geometry, x, weight, bias, activation, order),
        got => Err(unsupported("x", got)),
    }
}

/// The gradient of the input, in the dtype of `dy`, for the operation `forward`.
pub(crate) fn input_gradient(
    forward: &Correlation,
    dy: Operand,
    weight: Operand,
) -> Result<CpuStorage> {
    let geometry = &forward.transposed();
    let (activation, order) = (Activation::None, Order::Reversed);
    match dy.0.dtype() {
        DType::F32 => correlate_typed::<f32>(geometry, dy, weight, None, activation, order),
        DType::F16 => correlate_typed::<f16>(geometry, dy, weight, None, activation, order),
        DType::BF16 => correlate_typed::<bf16>(geometry, dy, weight, None, activation, order),
        DType::F64 => correlate_typed::<f64>(geometry, dy, weight, None, activation, order),
        got => Err(unsupported("dy", got)),
    }
}

/// Whether a channel's taps are used as they are or from the last to the first.
#[derive(PartialEq)]
enum Order {
    AsGiven,
    Reversed,
}

fn correlate_typed<T: Element>(
    geometry: &Correlation,
    x: Operand,
    weight: Operand,
    bias: Option<Operand>,
    activation: Activation,
    order: Order,
) -> Result<CpuStorage> {
    let mut weight = parameters::<T>(weight, "weight")?;
    if order == Order::Reversed {
        weight
            .chunks_exact_mut(geometry.taps)
            .for_each(<[_]>::reverse);
    }
    let bias = match bias {
        Some(bias) => parameters::<T>(bias, "bias")?,
        None => vec![T::Accumulator::default(); geometry.channels],
    };
    let x = View::<T>::new(x.0, x.1)?;
    let (dim0, dim1, dim2) = geometry.output_shape();
    let mut y = T::zeros(dim0 * dim1 * dim2)?;
    if !y.is_empty() {
        match geometry.layout {
            Conv1dLayout::Bhl => rows::correlate(geometry, &x, &weight, &bias, activation, &mut y),
            Conv1dLayout::Blh => {
                frames::correlate(geometry, &x, &weight, &bias, activation, &mut y)
            }
        }
    }
    Ok(T::to_cpu_storage_owned(y))
}

/// The gradients of the taps and, in the last column, of the bias, `(H, K + 1)`,
/// in the dtype of the sums, for the operation `forward`.
pub(crate) fn parameter_gradients(
    forward: &Correlation,
    x: Operand,
    dy: Operand,
) -> Result<CpuStorage> {
    match x.0.dtype() {
        DType::F32 => parameter_gradients_typed::<f32>(forward, x, dy),
        DType::F16 => parameter_gradients_typed::<f16>(forward, x, dy),
        DType::BF16 => parameter_gradients_typed::<bf16>(forward, x, dy),
        DType::F64 => parameter_gradients_typed::<f64>(forward, x, dy),
        got => Err(unsupported("x", got)),
    }
}

fn parameter_gradients_typed<T: Element>(
    forward: &Correlation,
    x: Operand,
    dy: Operand,
) -> Result<CpuStorage> {
    let x = View::<T>::new(x.0, x.1)?;
    let dy = View::<T>::new(dy.0, dy.1)?;
    let sums = gradients::parameter_gradients(forward, &x, &dy);
    Ok(<T::Accumulator as WithDType>::to_cpu_storage_owned(sums))
}

fn unsupported(tensor: &'static str, got: DType) -> candle_core::Error {
    Error::DType {
        tensor,
        expected: "F32, F16, BF16 or F64".into(),
        got,
    }
    .into()
}

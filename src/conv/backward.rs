//! The backward pass of the operations: from candle's tensors to the rows of the CPU and back.

use super::on_gpu;
use super::ops::{for_dtype, Arrangement, CpuKernel, HeldKernel};
use super::plan::Semantics;
use crate::consecutive::consecutive;
use crate::cpu::convolve::{Filter, Inputs};
use crate::cpu::element::Element;
use crate::cpu::engine::Engine;
use crate::cpu::gradient::{gradients, Targets};
use crate::cpu::rows::Rows;
use candle_core::{Device, Result, Storage, Tensor, WithDType};

/// The CPU storage and layout of a tensor, for as long as the guard lives.
macro_rules! on_cpu {
    ($storage:ident, $layout:ident, $tensor:expr) => {
        let (guard, $layout) = $tensor.storage_and_layout();
        let $storage = match &*guard {
            Storage::Cpu(storage) => storage,
            _ => return on_gpu::not_there("the gradient of the long convolution"),
        };
    };
}

/// The gradients of `u` or `z` and of `k`, each where its tensor is tracked.
pub(super) fn of_sequences_and_kernel(
    arrangement: Arrangement,
    sequences: &Tensor,
    kernel: (Semantics, &Tensor),
    output_gradient: &Tensor,
) -> Result<(Option<Tensor>, Option<Tensor>)> {
    let (semantics, k) = kernel;
    on_cpu!(k_storage, k_layout, k);
    of_sequences(
        arrangement,
        sequences,
        CpuKernel::Taps(semantics, k_storage, k_layout),
        k.track_op().then(|| k.dims()),
        output_gradient,
    )
}

/// The gradient of `u` or `z`, and of a kernel of the given shape if there is one.
pub(super) fn of_sequences(
    arrangement: Arrangement,
    sequences: &Tensor,
    kernel: CpuKernel<'_>,
    kernel_shape: Option<&[usize]>,
    output_gradient: &Tensor,
) -> Result<(Option<Tensor>, Option<Tensor>)> {
    let output_gradient = &comparable(output_gradient, sequences)?;
    on_cpu!(storage, layout, sequences);
    on_cpu!(gradient_storage, gradient_layout, output_gradient);
    for_dtype!(sequences.dtype(), E => {
        let inputs = Inputs::arranged(arrangement, Rows::<E>::new(storage, layout)?);
        let dy = Rows::<E>::new(gradient_storage, gradient_layout)?;
        let mut target = sequences.track_op().then(|| E::zeros(sequences.elem_count()));
        let buffer = target.as_deref_mut();
        let targets = Targets::arranged(arrangement, &inputs.u, buffer);
        let kernel_gradient = run(inputs, dy, kernel, kernel_shape, targets)?;
        Ok((
            target.map(|values| tensor(values, sequences.dims())).transpose()?,
            kernel_gradient,
        ))
    })
}

/// The gradients of `u`, `in_gate` and `out_gate`, each where its tensor is tracked.
pub(super) fn of_gated(
    u: &Tensor,
    in_gate: &Tensor,
    out_gate: &Tensor,
    kernel: &HeldKernel,
    output_gradient: &Tensor,
) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
    let output_gradient = &comparable(output_gradient, u)?;
    on_cpu!(u_storage, u_layout, u);
    on_cpu!(in_storage, in_layout, in_gate);
    on_cpu!(out_storage, out_layout, out_gate);
    on_cpu!(gradient_storage, gradient_layout, output_gradient);
    for_dtype!(u.dtype(), E => {
        let inputs = Inputs::<E> {
            u: Rows::new(u_storage, u_layout)?,
            in_gate: Some(Rows::new(in_storage, in_layout)?),
            out_gate: Some(Rows::new(out_storage, out_layout)?),
        };
        let dy = Rows::<E>::new(gradient_storage, gradient_layout)?;
        let buffer = |t: &Tensor| t.track_op().then(|| E::zeros(t.elem_count()));
        let (mut du, mut d_in, mut d_out) = (buffer(u), buffer(in_gate), buffer(out_gate));
        let targets = Targets::separate(
            &inputs.u,
            du.as_deref_mut(),
            d_in.as_deref_mut(),
            d_out.as_deref_mut(),
        );
        kernel.with(|kernel| run(inputs, dy, kernel, None, targets))?;
        let done = |values: Option<Vec<E>>| values.map(|v| tensor(v, u.dims())).transpose();
        Ok((done(du)?, done(d_in)?, done(d_out)?))
    })
}

/// Fills `targets` and returns the gradient of a kernel of the given shape, if there is one.
fn run<E: Element>(
    inputs: Inputs<'_, E>,
    output_gradient: Rows<'_, E>,
    kernel: CpuKernel<'_>,
    kernel_shape: Option<&[usize]>,
    targets: Targets<'_, E>,
) -> Result<Option<Tensor>> {
    let length = inputs.u.length();
    if inputs.u.batch() == 0 || inputs.u.channels() == 0 || length == 0 {
        return kernel_shape
            .map(|shape| Tensor::zeros(shape, <E::Compute as WithDType>::DTYPE, &Device::Cpu))
            .transpose();
    }
    let (window, recipe) = kernel.plan(length);
    let engine = Engine::new(recipe);
    match kernel {
        CpuKernel::Prepared(kernel) => {
            let spectra = kernel.spectra(&engine)?;
            let filter = Filter::Spectra(&spectra);
            gradients(
                inputs,
                output_gradient,
                &filter,
                &window,
                None,
                targets,
                &engine,
            );
            Ok(None)
        }
        CpuKernel::Taps(_, storage, layout) => {
            let rows = Rows::<E::Compute>::new(storage, layout)?;
            let taps = kernel_shape.map(|_| rows.length());
            let filter = Filter::Taps(rows);
            let dk = gradients(
                inputs,
                output_gradient,
                &filter,
                &window,
                taps,
                targets,
                &engine,
            );
            kernel_shape.map(|shape| tensor(dk, shape)).transpose()
        }
    }
}

/// The output's gradient in the dtype of the sequences, with rows of consecutive samples.
fn comparable(output_gradient: &Tensor, sequences: &Tensor) -> Result<Tensor> {
    consecutive(&output_gradient.to_dtype(sequences.dtype())?)
}

fn tensor<E: Element>(values: Vec<E>, shape: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(values, shape, &Device::Cpu)
}

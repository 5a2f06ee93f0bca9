//! The convolution as operations of candle's graph.
//!
//! Candle's custom operations take up to three tensors and keep nothing for the
//! backward pass, so there is one operation for each set of tensors:
//! `(u, k)` and `(z, k)` with gradients for both, and, for a kernel that needs no
//! gradient, `(u)`, `(z)` and `(u, in_gate, out_gate)`.

use super::backward;
use super::on_gpu::{self, Kernel, Sequences};
use super::plan::{LagWindow, Semantics};
use super::prepared::PreparedKernel;
use super::recipe::Recipe;
use crate::consecutive::consecutive;
use crate::cpu::convolve::{convolve, Filter, Inputs};
use crate::cpu::element::Element;
use crate::cpu::engine::Engine;
use crate::cpu::rows::Rows;
use crate::Error;
use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, MetalStorage, Result,
    Shape, Storage, Tensor,
};
use std::sync::Arc;

const NAME: &str = "flash-fft-conv";

/// Runs `$body` with `$element` standing for the Rust type of `$dtype`.
macro_rules! for_dtype {
    ($dtype:expr, $element:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $element = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $element = f64;
                $body
            }
            candle_core::DType::F16 => {
                type $element = half::f16;
                $body
            }
            candle_core::DType::BF16 => {
                type $element = half::bf16;
                $body
            }
            got => Err(crate::Error::DType {
                tensor: "u",
                expected: "f32, f16, bf16 or f64".to_string(),
                got,
            }
            .into()),
        }
    };
}

pub(super) use for_dtype;

/// How the sequences of an operation are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrangement {
    /// `u` alone, without gates.
    Plain,
    /// `z = [out_gate | in_gate | u]`.
    Projected,
    /// `z = [out_gate | u]`.
    OutGated,
}

/// What a group of the channels of such sequences is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    OutGate,
    InGate,
    U,
}

impl Arrangement {
    /// The groups of channels, in order; the last one is `u`.
    pub(crate) fn parts(self) -> &'static [Part] {
        match self {
            Arrangement::Plain => &[Part::U],
            Arrangement::Projected => &[Part::OutGate, Part::InGate, Part::U],
            Arrangement::OutGated => &[Part::OutGate, Part::U],
        }
    }

    /// `u`, and the gates of input and output that there are: `group(i, n)` is the `i`-th of `n` groups of channels.
    pub(crate) fn split<R>(self, group: impl Fn(usize, usize) -> R) -> (R, Option<R>, Option<R>) {
        let parts = self.parts();
        let gate = |part| {
            let place = parts.iter().position(|&of| of == part)?;
            Some(group(place, parts.len()))
        };
        (
            group(parts.len() - 1, parts.len()),
            gate(Part::InGate),
            gate(Part::OutGate),
        )
    }
}

/// A kernel as the CPU receives it.
#[derive(Clone, Copy)]
pub(super) enum CpuKernel<'a> {
    Taps(Semantics, &'a CpuStorage, &'a Layout),
    Prepared(&'a PreparedKernel),
}

impl CpuKernel<'_> {
    /// The lags at which the taps act on sequences of `length` samples, and the transforms for them.
    pub(super) fn plan(&self, length: usize) -> (LagWindow, Recipe) {
        let (semantics, taps) = match self {
            CpuKernel::Taps(semantics, _, layout) => {
                (*semantics, layout.dims().last().copied().unwrap_or(0))
            }
            CpuKernel::Prepared(kernel) => kernel.acting_on(length),
        };
        let window = LagWindow::new(semantics, length, taps);
        let recipe = match semantics {
            Semantics::Band(band) => Recipe::Band(band),
            _ => Recipe::choose(length, &window),
        };
        (window, recipe)
    }
}

/// The convolution of `inputs`, as new storage of shape `(B, H, L)`.
fn forward<E: Element>(
    inputs: Inputs<'_, E>,
    kernel: CpuKernel<'_>,
) -> Result<(CpuStorage, Shape)> {
    let (batch, channels, length) = (inputs.u.batch(), inputs.u.channels(), inputs.u.length());
    let output = if batch == 0 || channels == 0 || length == 0 {
        Vec::new()
    } else {
        let (window, recipe) = kernel.plan(length);
        let engine = Engine::new(recipe);
        match kernel {
            CpuKernel::Taps(_, storage, layout) => {
                let taps = Rows::<E::Compute>::new(storage, layout)?;
                convolve(inputs, &Filter::Taps(taps), &window, &engine)?
            }
            CpuKernel::Prepared(kernel) => {
                let spectra = kernel.spectra(&engine)?;
                convolve(inputs, &Filter::Spectra(&spectra), &window, &engine)?
            }
        }
    };
    Ok((
        E::to_cpu_storage_owned(output),
        (batch, channels, length).into(),
    ))
}

/// `k` as the operations take it: in the dtype that `u` is computed in, rows of consecutive taps.
pub(super) fn computable_kernel(k: &Tensor, sequence: DType) -> Result<Tensor> {
    let k = match sequence {
        DType::F64 => k.to_dtype(DType::F64)?,
        _ => k.to_dtype(DType::F32)?,
    };
    consecutive(&k)
}

fn not_on_metal<T>() -> Result<T> {
    Err(Error::NotOnDevice {
        operation: "the long convolution",
        device: "Metal",
        advice: "move the tensors to the CPU",
    }
    .into())
}

/// `u` or `z` with `k`; differentiable in both.
pub(super) struct KernelOp {
    pub(super) semantics: Semantics,
    pub(super) arrangement: Arrangement,
}

impl CustomOp2 for KernelOp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        sequences: &CpuStorage,
        layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let kernel = CpuKernel::Taps(self.semantics, k, k_layout);
        for_dtype!(sequences.dtype(), E => {
            forward(Inputs::arranged(self.arrangement, Rows::<E>::new(sequences, layout)?), kernel)
        })
    }

    fn cuda_fwd(
        &self,
        sequences: &CudaStorage,
        layout: &Layout,
        k: &CudaStorage,
        k_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        on_gpu::forward(
            Sequences::Arranged(self.arrangement, (sequences, layout)),
            Kernel::Taps(self.semantics, (k, k_layout)),
        )
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        not_on_metal()
    }

    fn bwd(
        &self,
        sequences: &Tensor,
        k: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let kernel = (self.semantics, k);
        backward::of_sequences_and_kernel(self.arrangement, sequences, kernel, gradient)
    }
}

/// `u` or `z` with a prepared kernel; differentiable in the tensor.
pub(super) struct PreparedOp {
    pub(super) kernel: Arc<PreparedKernel>,
    pub(super) arrangement: Arrangement,
}

impl CustomOp1 for PreparedOp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, sequences: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let kernel = CpuKernel::Prepared(&self.kernel);
        for_dtype!(sequences.dtype(), E => {
            forward(Inputs::arranged(self.arrangement, Rows::<E>::new(sequences, layout)?), kernel)
        })
    }

    fn cuda_fwd(&self, sequences: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        on_gpu::forward(
            Sequences::Arranged(self.arrangement, (sequences, layout)),
            Kernel::Prepared(&self.kernel),
        )
    }

    fn metal_fwd(&self, _: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        not_on_metal()
    }

    fn bwd(
        &self,
        sequences: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<Option<Tensor>> {
        let kernel = CpuKernel::Prepared(&self.kernel);
        backward::of_sequences(self.arrangement, sequences, kernel, None, gradient)
            .map(|(gradient, _)| gradient)
    }
}

/// The kernel of a [`GatedOp`], which needs no gradient.
pub(super) enum HeldKernel {
    Prepared(Arc<PreparedKernel>),
    Taps(Semantics, Tensor),
}

impl HeldKernel {
    /// Calls `body` with the kernel, whose tensor is locked meanwhile.
    pub(super) fn with<R>(&self, body: impl FnOnce(CpuKernel<'_>) -> Result<R>) -> Result<R> {
        match self {
            HeldKernel::Prepared(kernel) => body(CpuKernel::Prepared(kernel)),
            HeldKernel::Taps(semantics, taps) => {
                let (storage, layout) = taps.storage_and_layout();
                match &*storage {
                    Storage::Cpu(storage) => body(CpuKernel::Taps(*semantics, storage, layout)),
                    _ => on_gpu::not_there("the gradient of the long convolution"),
                }
            }
        }
    }
}

/// `u`, `in_gate` and `out_gate` with a kernel that needs no gradient; differentiable in all three.
pub(super) struct GatedOp {
    pub(super) kernel: HeldKernel,
}

impl CustomOp3 for GatedOp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        u: &CpuStorage,
        u_layout: &Layout,
        in_gate: &CpuStorage,
        in_layout: &Layout,
        out_gate: &CpuStorage,
        out_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        for_dtype!(u.dtype(), E => {
            let inputs = Inputs::<E> {
                u: Rows::new(u, u_layout)?,
                in_gate: Some(Rows::new(in_gate, in_layout)?),
                out_gate: Some(Rows::new(out_gate, out_layout)?),
            };
            self.kernel.with(|kernel| forward(inputs, kernel))
        })
    }

    fn cuda_fwd(
        &self,
        u: &CudaStorage,
        u_layout: &Layout,
        in_gate: &CudaStorage,
        in_layout: &Layout,
        out_gate: &CudaStorage,
        out_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let sequences =
            Sequences::Gated([(u, u_layout), (in_gate, in_layout), (out_gate, out_layout)]);
        match &self.kernel {
            HeldKernel::Prepared(kernel) => on_gpu::forward(sequences, Kernel::Prepared(kernel)),
            HeldKernel::Taps(semantics, taps) => {
                let (storage, layout) = taps.storage_and_layout();
                match &*storage {
                    Storage::Cuda(storage) => {
                        on_gpu::forward(sequences, Kernel::Taps(*semantics, (storage, layout)))
                    }
                    _ => on_gpu::not_there("a kernel on the CPU"),
                }
            }
        }
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        not_on_metal()
    }

    fn bwd(
        &self,
        u: &Tensor,
        in_gate: &Tensor,
        out_gate: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        backward::of_gated(u, in_gate, out_gate, &self.kernel, gradient)
    }
}

//! What stands before the long convolutions of a mixer.

use super::channels_first::project_in;
use super::Pointwise;
use crate::depthwise::{FrontGates, GatedFront};
use crate::{Conv1dLayout, FlashDepthwiseConv1d, PreparedConv};
use candle_core::{DType, Module, Result, Tensor};

/// A projection and a causal short convolution of its channels, `z = short(W u + b)`.
#[derive(Debug, Clone)]
pub(in crate::models) struct Front {
    weight: Tensor,
    bias: Tensor,
    short: FlashDepthwiseConv1d,
    folded: Option<Folded>,
}

/// The same convolution of `W u` alone: in its interior `b` adds `b · Σ taps` to the outputs.
#[derive(Debug, Clone)]
struct Folded {
    /// With that in its bias.
    short: FlashDepthwiseConv1d,
    /// `b` times the taps that lie before the sequence, which that bias has too much: `(D', K − 1)`,
    /// for the first outputs; nothing for one tap.
    edge: Option<Tensor>,
    /// The same with its gate, where there is a kernel for so many taps. Samples before the sequence are `−b` there.
    gated: Option<GatedFront>,
}

impl Front {
    /// `weight`: `(D', D)`, `bias`: `(D')`, `taps`: `(D', 1, K)` with a `tap_bias`, `(D')`; `gates`: what is where in
    /// a `z` of three parts, for [`convolve`](Self::convolve) alone.
    pub(in crate::models) fn new(
        weight: Tensor,
        bias: Tensor,
        taps: Tensor,
        tap_bias: Tensor,
        gates: FrontGates,
    ) -> Result<Self> {
        let constant = [&bias, &taps, &tap_bias].iter().all(|t| !t.track_op());
        let folded = match constant && taps.device().is_cuda() && bias.dtype() != DType::F64 {
            true => Some(Folded::new(&bias, &taps, &tap_bias, gates)?),
            false => None,
        };
        Ok(Self {
            short: FlashDepthwiseConv1d::causal(taps, Some(tap_bias), Conv1dLayout::Bhl)?,
            weight,
            bias,
            folded,
        })
    }

    /// Of `W`, which is that of the results.
    pub(in crate::models) fn dtype(&self) -> DType {
        self.weight.dtype()
    }

    /// `z`, `(B, D', L)`, of `u`, `(B, L, D)`.
    pub(in crate::models) fn forward(&self, u: &Tensor) -> Result<Tensor> {
        // In one expression each, so that the widest tensors live no longer than they have to.
        match &self.folded {
            Some(folded) if !u.track_op() && !self.weight.track_op() => {
                folded.forward(&project_in(u, &self.weight, None)?)
            }
            _ => self
                .short
                .forward(&project_in(u, &self.weight, Some(&self.bias))?),
        }
    }

    /// `out ⊙ ((in ⊙ v) ∗ k)` of the three parts of `z`, `(B, D, L)`, where the short convolution makes the product that
    /// the long one takes, in the same pass over the projections. None where that has no kernel, or where a gradient is
    /// wanted.
    pub(in crate::models) fn convolve(
        &self,
        u: &Tensor,
        long: &PreparedConv,
    ) -> Result<Option<Tensor>> {
        let constant = !u.track_op() && !self.weight.track_op();
        let gated = self
            .folded
            .as_ref()
            .and_then(|folded| folded.gated.as_ref());
        let Some(gated) = gated else { return Ok(None) };
        if !constant || !gated.takes(u.dim(1)?, self.dtype()) {
            return Ok(None);
        }
        let z = gated.forward(&project_in(u, &self.weight, None)?)?;
        long.forward_out_gated(&z).map(Some)
    }
}

impl Folded {
    fn new(bias: &Tensor, taps: &Tensor, tap_bias: &Tensor, gates: FrontGates) -> Result<Self> {
        let device = taps.device();
        let channels = bias.elem_count();
        let taps = taps.to_dtype(DType::F32)?.reshape((channels, ()))?;
        let count = taps.dim(1)?;
        let before = bias.to_dtype(DType::F32)?.neg()?;
        let bias = bias.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        let mut sums = tap_bias.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        let mut edge = Vec::with_capacity(channels * count.saturating_sub(1));
        for ((taps, bias), sum) in taps.to_vec2::<f32>()?.iter().zip(bias).zip(&mut sums) {
            // Output t misses the taps before the last t + 1.
            let missing = |t: usize| taps.iter().rev().skip(t + 1).sum::<f32>();
            edge.extend((0..count - 1).map(|t| bias * missing(t)));
            *sum += bias * taps.iter().sum::<f32>();
        }
        let edge = match edge.is_empty() {
            true => None,
            false => Some(Tensor::from_vec(edge, (channels, count - 1), device)?),
        };
        let sums = Tensor::from_vec(sums, channels, device)?;
        Ok(Self {
            gated: GatedFront::new(gates, &taps, &sums, &before)?,
            short: FlashDepthwiseConv1d::causal(taps, Some(sums), Conv1dLayout::Bhl)?,
            edge,
        })
    }

    fn forward(&self, projected: &Tensor) -> Result<Tensor> {
        let z = self.short.forward(projected)?;
        if let Some(edge) = &self.edge {
            let count = edge.dim(1)?;
            Pointwise::Leading { count }.in_place_of_two(&z, edge)?;
        }
        Ok(z)
    }
}

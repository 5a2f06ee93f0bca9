//! Linear maps between positions-first sequences `(B, L, D)`, which models
//! keep, and channels-first ones `(B, D, L)`, which convolutions take.

use super::Pointwise;
use crate::Error;
use candle_core::{Result, Tensor};

/// `W u + b` of `u`, `(B, L, D)`, as `(B, D', L)`; `W` is `(D', D)`, `b` is `(D')` or nothing.
pub(in crate::models) fn project_in(
    u: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    // cuBLAS takes no views with gaps.
    let u = match u.device().is_cpu() {
        true => u.clone(),
        false => u.contiguous()?,
    };
    let z = weight
        .broadcast_left(u.dim(0)?)?
        .matmul(&u.transpose(1, 2)?)?;
    let Some(bias) = bias else { return Ok(z) };
    if bias.dtype() == z.dtype() && Pointwise::runs_on(&[&z, bias]) {
        return Pointwise::ChannelBias.of_two(&z, bias);
    }
    z.broadcast_add(&bias.unsqueeze(1)?)
}

/// `W y` of `y`, `(B, D, L)`, as `(B, L, D')`; `W` is `(D', D)`.
pub(in crate::models) fn project_out(y: &Tensor, weight: &Tensor) -> Result<Tensor> {
    // Not a broadcast view: candle's CPU product of a transposed tensor
    // with one reads the wrong rows for a batch of more than one.
    let weight = weight.t()?.broadcast_left(y.dim(0)?)?.contiguous()?;
    y.transpose(1, 2)?.matmul(&weight)
}

/// Checks the input of a mixer of `width` channels whose filter has
/// `max_len` taps, a number that the configuration calls `limit`, and returns
/// its batch and length.
pub(in crate::models) fn check_mixer_input(
    u: &Tensor,
    width: usize,
    max_len: usize,
    limit: &str,
) -> Result<(usize, usize)> {
    let &[batch, length, got] = u.dims() else {
        return Err(Error::Rank {
            tensor: "u",
            expected: 3,
            layout: "(B, L, D)",
            got: u.rank(),
            shape: u.dims().to_vec(),
        }
        .into());
    };
    if got != width {
        return Err(Error::Shape {
            tensor: "u",
            expected: format!("(B, L, D) with D = {width}"),
            got: u.dims().to_vec(),
        }
        .into());
    }
    if length > max_len {
        return Err(Error::OutOfRange {
            quantity: "sequence length L",
            expected: format!("at most {limit} = {max_len}"),
            got: length.to_string(),
        }
        .into());
    }
    Ok((batch, length))
}

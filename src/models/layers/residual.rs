//! What joins a branch to the residual stream.

use super::Pointwise;
use candle_core::{Result, Tensor};

/// `x + (branch + bias)`, in the dtype of `x`; `x` and `branch`: `(…, D)`, `bias`: `(D)`, both of
/// one dtype that may be narrower than that of `x`.
pub(in crate::models) fn add_branch(x: &Tensor, branch: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let fits = x.dims() == branch.dims()
        && x.dims().last() == Some(&bias.elem_count())
        && branch.dtype() == bias.dtype();
    if fits && Pointwise::runs_on(&[x, branch, bias]) {
        return Pointwise::Residual.of_three(x, branch, bias);
    }
    x + branch.broadcast_add(bias)?.to_dtype(x.dtype())?
}

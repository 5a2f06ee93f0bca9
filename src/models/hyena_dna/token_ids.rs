//! Checks token ids before they index anything.

use crate::Error;
use candle_core::{DType, Device, Result, Tensor};

/// `ids` as a contiguous `(B, L)` tensor of u32 on `device`, every one below
/// `vocabulary`, at most `max_seq_len` in a row.
pub(super) fn check(
    ids: &Tensor,
    vocabulary: usize,
    max_seq_len: usize,
    device: &Device,
) -> Result<Tensor> {
    let &[_, length] = ids.dims() else {
        return Err(Error::Rank {
            tensor: "ids",
            expected: 2,
            layout: "(B, L)",
            got: ids.rank(),
            shape: ids.dims().to_vec(),
        }
        .into());
    };
    if !matches!(ids.dtype(), DType::U32 | DType::U8 | DType::I64) {
        return Err(Error::DType {
            tensor: "ids",
            expected: "U32, U8 or I64".to_string(),
            got: ids.dtype(),
        }
        .into());
    }
    if !ids.device().same_device(device) {
        return Err(Error::Device {
            tensor: "ids",
            expected: device.location(),
            got: ids.device().location(),
        }
        .into());
    }
    if length > max_seq_len {
        return Err(Error::OutOfRange {
            quantity: "sequence length L",
            expected: format!("at most max_seq_len = {max_seq_len}"),
            got: length.to_string(),
        }
        .into());
    }
    if ids.elem_count() == 0 {
        return ids.to_dtype(DType::U32);
    }
    let flat = ids.flatten_all()?;
    let extreme = |id: Tensor| id.to_dtype(DType::I64)?.to_scalar::<i64>();
    for id in [extreme(flat.min(0)?)?, extreme(flat.max(0)?)?] {
        if !usize::try_from(id).is_ok_and(|id| id < vocabulary) {
            return Err(Error::OutOfRange {
                quantity: "token id",
                expected: format!(
                    "0 to {}, the padded vocabulary",
                    vocabulary.saturating_sub(1)
                ),
                got: id.to_string(),
            }
            .into());
        }
    }
    ids.to_dtype(DType::U32)?.contiguous()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_cpu(ids: &Tensor) -> Result<Vec<Vec<u32>>> {
        check(ids, 16, 4, &Device::Cpu)?.to_vec2::<u32>()
    }

    #[test]
    fn takes_three_integer_types_and_views() -> Result<()> {
        let ids = Tensor::new(&[[0u32, 15], [7, 3]], &Device::Cpu)?;
        assert_eq!(check_cpu(&ids.t()?)?, [[0, 7], [15, 3]]);
        for dtype in [DType::U8, DType::I64] {
            assert_eq!(check_cpu(&ids.to_dtype(dtype)?)?, [[0, 15], [7, 3]]);
        }
        let empty = Tensor::zeros((0, 4), DType::U32, &Device::Cpu)?;
        assert!(check_cpu(&empty)?.is_empty());
        Ok(())
    }

    #[test]
    fn errors_say_expected_and_got() -> Result<()> {
        let cpu = &Device::Cpu;
        let said = |ids: Result<Tensor>| {
            let error = ids.and_then(|ids| check_cpu(&ids)).unwrap_err();
            error.to_string()
        };
        assert!(said(Tensor::new(&[1u32], cpu)).contains("(B, L)"));
        assert!(said(Tensor::new(&[[1f32]], cpu)).contains("F32"));
        assert!(said(Tensor::new(&[[1u32, 16]], cpu)).contains("0 to 15"));
        assert!(said(Tensor::new(&[[u32::MAX, 1]], cpu)).contains("4294967295"));
        assert!(said(Tensor::new(&[[-1i64, 1]], cpu)).contains("-1"));
        assert!(said(Tensor::new(&[[1i64 << 40]], cpu)).contains("1099511627776"));
        assert!(said(Tensor::zeros((1, 5), DType::U32, cpu)).contains("max_seq_len = 4"));
        Ok(())
    }
}

//! Checks token ids before they index anything.

use crate::Error;
use candle_core::{DType, Device, Result, Tensor};

/// What a tensor of ids may hold.
pub(super) struct Limits {
    /// The argument's name, for messages.
    pub(super) tensor: &'static str,
    /// What one of its elements is called.
    pub(super) element: &'static str,
    /// Every id is below this number.
    pub(super) count: usize,
    /// Longest sequence.
    pub(super) max_len: usize,
    /// The setting that the longest sequence comes from.
    pub(super) max_len_name: &'static str,
}

impl Limits {
    /// `ids` as a contiguous `(B, L)` tensor of u32 on `device`, all within the limits.
    pub(super) fn check(&self, ids: &Tensor, device: &Device) -> Result<Tensor> {
        let &[_, length] = ids.dims() else {
            return Err(Error::Rank {
                tensor: self.tensor,
                expected: 2,
                layout: "(B, L)",
                got: ids.rank(),
                shape: ids.dims().to_vec(),
            }
            .into());
        };
        if !matches!(ids.dtype(), DType::U32 | DType::U8 | DType::I64) {
            return Err(Error::DType {
                tensor: self.tensor,
                expected: "U32, U8 or I64".to_string(),
                got: ids.dtype(),
            }
            .into());
        }
        if !ids.device().same_device(device) {
            return Err(Error::Device {
                tensor: self.tensor,
                expected: device.location(),
                got: ids.device().location(),
            }
            .into());
        }
        if length > self.max_len {
            return Err(Error::OutOfRange {
                quantity: "sequence length L",
                expected: format!("at most {} = {}", self.max_len_name, self.max_len),
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
            if !usize::try_from(id).is_ok_and(|id| id < self.count) {
                return Err(Error::OutOfRange {
                    quantity: self.element,
                    expected: format!("0 to {}", self.count.saturating_sub(1)),
                    got: id.to_string(),
                }
                .into());
            }
        }
        ids.to_dtype(DType::U32)?.contiguous()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_cpu(ids: &Tensor) -> Result<Vec<Vec<u32>>> {
        let limits = Limits {
            tensor: "ids",
            element: "token id",
            count: 16,
            max_len: 4,
            max_len_name: "max_seq_len",
        };
        limits.check(ids, &Device::Cpu)?.to_vec2::<u32>()
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

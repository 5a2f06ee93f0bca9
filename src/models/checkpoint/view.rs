//! A tensor as a strided view of a storage, checked against it.

use super::error::sizes;
use super::pickle::StoredTensor;
use candle_core::DType;

/// A view that lies within its storage and is no larger. Offset and strides are in elements.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct View {
    offset: usize,
    pub shape: Vec<usize>,
    strides: Vec<usize>,
    /// Number of elements.
    pub count: usize,
}

impl View {
    /// Checks a tensor against the size of its storage in elements.
    ///
    /// # Errors
    /// What was expected and what was got.
    pub fn new(tensor: &StoredTensor, storage_elements: u64) -> Result<Self, (String, String)> {
        let StoredTensor {
            offset,
            shape,
            strides,
            ..
        } = tensor;
        let described = || {
            format!(
                "shape {}, offset {offset}, strides {}",
                sizes(shape),
                sizes(strides)
            )
        };
        // A zero among the sizes must not hide an overflow from those who multiply in another order.
        let upper = shape
            .iter()
            .try_fold(1u64, |product, &size| product.checked_mul(size.max(1)))
            .ok_or_else(|| ("a countable number of elements".to_string(), described()))?;
        let count = if shape.contains(&0) { 0 } else { upper };
        // A dimension of stride 0 repeats its elements as often as it claims.
        if count > storage_elements {
            return Err((
                format!("no more than the {storage_elements} elements of its storage"),
                described(),
            ));
        }
        let last = shape
            .iter()
            .zip(strides)
            .try_fold(*offset, |last, (&size, &stride)| {
                last.checked_add(size.saturating_sub(1).checked_mul(stride)?)
            });
        let within = match last {
            Some(last) => count == 0 || last < storage_elements,
            None => false,
        };
        let narrow = |sizes: &[u64]| -> Option<Vec<usize>> {
            sizes
                .iter()
                .map(|&size| usize::try_from(size).ok())
                .collect()
        };
        let view = || {
            Some(Self {
                offset: usize::try_from(*offset).ok()?,
                shape: narrow(shape)?,
                strides: narrow(strides)?,
                count: usize::try_from(count).ok()?,
            })
        };
        within.then(view).flatten().ok_or_else(|| {
            (
                format!("a view within a storage of {storage_elements} elements"),
                described(),
            )
        })
    }

    /// The view's elements in row-major order, `None` when `storage` is smaller than was said.
    pub fn gather(&self, storage: &[u8], dtype: DType) -> Option<Vec<u8>> {
        let width = dtype.size_in_bytes();
        let element = |index: usize, count: usize| {
            let start = index.checked_mul(width)?;
            storage.get(start..start.checked_add(count.checked_mul(width)?)?)
        };
        if self.count == 0 {
            return Some(Vec::new());
        }
        if self.is_contiguous() {
            return element(self.offset, self.count).map(<[u8]>::to_vec);
        }
        // Counts through the elements like an odometer, the last dimension fastest.
        let mut bytes = Vec::with_capacity(self.count.checked_mul(width)?);
        let mut place = vec![0usize; self.shape.len()];
        let mut index = self.offset;
        for _ in 0..self.count {
            bytes.extend_from_slice(element(index, 1)?);
            for ((at, &size), &stride) in place.iter_mut().zip(&self.shape).zip(&self.strides).rev()
            {
                *at = at.saturating_add(1);
                if *at < size {
                    index = index.checked_add(stride)?;
                    break;
                }
                *at = 0;
                index = index.checked_sub(size.saturating_sub(1).checked_mul(stride)?)?;
            }
        }
        Some(bytes)
    }

    fn is_contiguous(&self) -> bool {
        let mut expected = 1usize;
        for (&size, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if size != 1 && stride != expected {
                return false;
            }
            expected = expected.saturating_mul(size);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::checkpoint::pickle;

    fn view(
        offset: u64,
        shape: &[u64],
        strides: &[u64],
        storage: u64,
    ) -> Result<View, (String, String)> {
        View::new(&pickle::stored_tensor(offset, shape, strides), storage)
    }

    fn gathered(offset: u64, shape: &[u64], strides: &[u64]) -> Vec<u8> {
        let storage: Vec<u8> = (0..24).collect();
        view(offset, shape, strides, 24)
            .unwrap()
            .gather(&storage, DType::U8)
            .unwrap()
    }

    #[test]
    fn gathers_in_row_major_order() {
        assert_eq!(gathered(0, &[2, 3], &[3, 1]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(gathered(4, &[2, 3], &[1, 2]), [4, 6, 8, 5, 7, 9]);
        assert_eq!(
            gathered(1, &[2, 2, 2], &[12, 4, 2]),
            [1, 3, 5, 7, 13, 15, 17, 19]
        );
        assert_eq!(gathered(0, &[3, 1, 2], &[2, 99, 1]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(gathered(0, &[2, 2], &[0, 1]), [0, 1, 0, 1]);
        assert_eq!(gathered(23, &[], &[]), [23]);
        assert!(gathered(24, &[0, 5], &[5, 1]).is_empty());
    }

    #[test]
    fn multi_byte_elements_stay_whole() {
        let storage: Vec<u8> = (0..16).collect();
        let transposed = view(0, &[2, 2], &[1, 2], 4).unwrap();
        assert_eq!(
            transposed.gather(&storage, DType::F32).unwrap(),
            [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15]
        );
        assert_eq!(transposed.gather(&storage[..15], DType::F32), None);
    }

    #[test]
    fn refuses_what_leaves_the_storage() {
        let big = u64::MAX;
        for (offset, shape, strides) in [
            (19, &[2u64, 3][..], &[3u64, 1][..]),
            (25, &[], &[]),
            (24, &[1], &[1]),
            (0, &[25], &[0]),
            (0, &[2], &[24]),
            (0, &[big, big], &[1, 1]),
            (0, &[big, big, 0], &[1, 1, 1]),
            (0, &[2], &[big]),
            (big, &[2], &[1]),
            (big, &[2, 2], &[big, big]),
        ] {
            let (expected, got) = view(offset, shape, strides, 24).unwrap_err();
            assert!(!expected.is_empty() && got.contains("shape"), "{got}");
        }
    }
}

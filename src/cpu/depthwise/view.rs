//! A three-dimensional tensor whose last dimension is contiguous, read in place.

use super::Element;
use crate::Error;
use candle_core::{CpuStorage, Layout, Result};

/// Lines of `line_length` neighbours, at any distance from each other: rows of
/// samples in a channels-first tensor, frames of channels in a channels-last one.
pub(super) struct View<'a, T> {
    elements: &'a [T],
    strides: (usize, usize),
    line_length: usize,
}

impl<'a, T: Element> View<'a, T> {
    pub fn new(storage: &'a CpuStorage, layout: &Layout) -> Result<Self> {
        let elements = T::cpu_storage_as_slice(storage)?;
        let (&[dim0, dim1, dim2], &[stride0, stride1, stride2]) = (layout.dims(), layout.stride())
        else {
            return Err(Error::Rank {
                tensor: "x",
                expected: 3,
                layout: "",
                got: layout.dims().len(),
                shape: layout.dims().to_vec(),
            }
            .into());
        };
        if dim2 > 1 && stride2 != 1 {
            candle_core::bail!(
                "x: expected a contiguous last dimension, got strides {:?}",
                layout.stride()
            )
        }
        let elements = match dim0 * dim1 * dim2 {
            0 => &[],
            _ => {
                let last = (dim0 - 1) * stride0 + (dim1 - 1) * stride1;
                &elements[layout.start_offset()..][..last + dim2]
            }
        };
        Ok(Self {
            elements,
            strides: (stride0, stride1),
            line_length: dim2,
        })
    }

    /// Line `line` of batch item `batch`, both below the sizes of the tensor.
    pub fn line(&self, batch: usize, line: usize) -> &'a [T] {
        if self.elements.is_empty() {
            return &[];
        }
        &self.elements[batch * self.strides.0 + line * self.strides.1..][..self.line_length]
    }
}

//! The arguments of the long convolution's kernels, as `cuda/convolution.cuh` declares them.

use super::pieces::Pieces;
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;

/// Rows of consecutive samples on the device.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Sequence {
    /// Address of the first sample.
    pub(super) data: u64,
    /// Strides in samples.
    pub(super) batch_stride: i64,
    pub(super) channel_stride: i64,
}

/// One launch.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Convolution {
    pub(super) u: Sequence,
    pub(super) in_gate: Sequence,
    pub(super) out_gate: Sequence,
    pub(super) y: Sequence,
    /// Addresses of the spectra, their scales and the tables.
    pub(super) spectrum: u64,
    pub(super) unscale: u64,
    pub(super) tables: u64,
    /// Batch items, times the pieces of a row.
    pub(super) batch: i32,
    pub(super) channels: i32,
    pub(super) length: i32,
    /// Whether all rows begin at multiples of 16 bytes and hold whole vectors of 16 bytes.
    pub(super) vectors: i32,
    /// `y += …` instead of `y = …`.
    pub(super) accumulate: i32,
    /// Pieces of a row, outputs of a piece, and its samples before the first of them.
    pub(super) pieces: i32,
    pub(super) step: i32,
    pub(super) before: i32,
}

impl Convolution {
    /// The same with rows in pieces.
    pub(super) fn in_pieces(self, pieces: Option<Pieces>) -> Self {
        match pieces {
            None => self,
            Some(pieces) => Convolution {
                batch: self.batch * pieces.count as i32,
                pieces: pieces.count as i32,
                step: pieces.step as i32,
                before: pieces.before as i32,
                ..self
            },
        }
    }
}

// SAFETY: a C structure of integers, the same as the kernels' parameter.
unsafe impl DeviceRepr for Convolution {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_the_kernels() {
        assert_eq!(std::mem::offset_of!(Convolution, y), 72);
        assert_eq!(std::mem::offset_of!(Convolution, spectrum), 96);
        assert_eq!(std::mem::offset_of!(Convolution, batch), 120);
        assert_eq!(std::mem::offset_of!(Convolution, pieces), 140);
        assert_eq!(size_of::<Convolution>(), 152);
    }
}

//! Views of candle's tensors as rows on the device.

use super::arguments::{Convolution, Sequence};
use super::pieces::Pieces;
use crate::conv::Arrangement;
use crate::Error;
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, CudaStream, DevicePtr, DevicePtrMut, SyncOnDrop,
};
use candle_core::{Layout, Result};

/// Most rows that one launch counts.
const MOST_ROWS: usize = i32::MAX as usize;

/// Rows `(batch, channel)` of `length` consecutive samples in a device's memory.
pub(super) struct Rows<'a, T> {
    slice: &'a CudaSlice<T>,
    /// Of the first sample.
    offset: usize,
    pub(super) batch: usize,
    pub(super) channels: usize,
    pub(super) length: usize,
    batch_stride: usize,
    channel_stride: usize,
}

impl<'a, T> Rows<'a, T> {
    /// The rows of a `(B, H, L)` tensor whose last dimension is contiguous.
    pub(super) fn new(slice: &'a CudaSlice<T>, layout: &Layout) -> Result<Self> {
        let outside = || {
            Error::Shape {
                tensor: "view",
                expected: "(B, H, L), a contiguous last dimension, inside its storage".to_string(),
                got: layout.dims().to_vec(),
            }
            .into()
        };
        let (&[batch, channels, length], &[batch_stride, channel_stride, stride]) =
            (layout.dims(), layout.stride())
        else {
            return Err(outside());
        };
        let rows = Rows {
            slice,
            offset: layout.start_offset(),
            batch,
            channels,
            length,
            // Of one item the stride is never taken, and may be odd.
            batch_stride: if batch > 1 { batch_stride } else { 0 },
            channel_stride: if channels > 1 { channel_stride } else { 0 },
        };
        let consecutive = stride == 1 || length <= 1;
        if consecutive && rows.end().is_some_and(|end| end <= slice.len()) {
            return Ok(rows);
        }
        Err(outside())
    }

    /// How many samples there are.
    pub(super) fn count(&self) -> usize {
        self.batch * self.channels * self.length
    }

    /// One past the last sample, if it can be counted.
    fn end(&self) -> Option<usize> {
        if self.batch == 0 || self.channels == 0 || self.length == 0 {
            return Some(0);
        }
        let batches = (self.batch - 1).checked_mul(self.batch_stride)?;
        let channels = (self.channels - 1).checked_mul(self.channel_stride)?;
        self.offset
            .checked_add(batches)?
            .checked_add(channels)?
            .checked_add(self.length)
    }

    /// The `index`-th of `parts` equal groups of channels.
    pub(super) fn channel_group(&self, index: usize, parts: usize) -> Self {
        let channels = self.channels / parts;
        Rows {
            offset: self.offset + index * channels * self.channel_stride,
            channels,
            ..*self
        }
    }

    /// Batch items `first .. first + count`.
    pub(super) fn batch_items(&self, first: usize, count: usize) -> Self {
        Rows {
            offset: self.offset + first * self.batch_stride,
            batch: count,
            ..*self
        }
    }

    /// The kernels' argument, and what must live until the launch is queued.
    pub(super) fn argument(&self, stream: &'a CudaStream) -> (Sequence, SyncOnDrop<'a>) {
        let (base, guard) = self.slice.device_ptr(stream);
        (
            sequence::<T>(base, self.offset, self.batch_stride, self.channel_stride),
            guard,
        )
    }
}

/// Where the rows of a launch are.
pub(super) struct Addresses {
    u: Sequence,
    in_gate: Sequence,
    out_gate: Sequence,
    y: Sequence,
    batch: usize,
    channels: usize,
    length: usize,
    /// Whether all begin at multiples of 16 bytes and hold whole vectors of 16 bytes.
    pub(super) vectors: bool,
}

impl Addresses {
    /// The kernels' argument, with the addresses of spectra, their scales, and tables.
    pub(super) fn convolution(&self, spectrum: u64, unscale: u64, tables: u64) -> Convolution {
        Convolution {
            u: self.u,
            in_gate: self.in_gate,
            out_gate: self.out_gate,
            y: self.y,
            spectrum,
            unscale,
            tables,
            batch: self.batch as i32,
            channels: self.channels as i32,
            length: self.length as i32,
            vectors: i32::from(self.vectors),
            accumulate: 0,
            pieces: 1,
            step: i32::MAX,
            before: 0,
        }
    }
}

/// The argument for a gate that is not there.
pub(super) const NOTHING: Sequence = Sequence {
    data: 0,
    batch_stride: 0,
    channel_stride: 0,
};

/// Rows from sample `offset` of memory at `base`.
pub(super) fn sequence<T>(
    base: u64,
    offset: usize,
    batch_stride: usize,
    channel_stride: usize,
) -> Sequence {
    Sequence {
        data: base + (offset * size_of::<T>()) as u64,
        batch_stride: batch_stride as i64,
        channel_stride: channel_stride as i64,
    }
}

impl Sequence {
    /// Whether all rows begin at multiples of 16 bytes, with samples of `bytes` bytes.
    pub(super) fn is_aligned(&self, bytes: i64) -> bool {
        self.data.is_multiple_of(16)
            && (self.batch_stride * bytes) % 16 == 0
            && (self.channel_stride * bytes) % 16 == 0
    }
}

/// What a convolution reads.
pub(super) struct Inputs<'a, T> {
    pub(super) u: Rows<'a, T>,
    pub(super) in_gate: Option<Rows<'a, T>>,
    pub(super) out_gate: Option<Rows<'a, T>>,
}

impl<'a, T> Inputs<'a, T> {
    /// The parts of `z`, `(B, parts · H, L)`.
    pub(super) fn arranged(arrangement: Arrangement, z: Rows<'a, T>) -> Self {
        let (u, in_gate, out_gate) = arrangement.split(|i, n| z.channel_group(i, n));
        Inputs {
            u,
            in_gate,
            out_gate,
        }
    }

    /// The same for a part of all rows.
    pub(super) fn map(&self, part: impl Fn(&Rows<'a, T>) -> Rows<'a, T>) -> Self {
        Inputs {
            u: part(&self.u),
            in_gate: self.in_gate.as_ref().map(&part),
            out_gate: self.out_gate.as_ref().map(&part),
        }
    }

    /// Whether a kernel with gates has to take an input without one.
    pub(super) fn lack_in_gate(&self) -> bool {
        self.out_gate.is_some() && self.in_gate.is_none()
    }

    /// The same with a gate of `ones`, as many as there are samples in a row at least.
    pub(super) fn with_in_gate<'b>(&'b self, ones: &'b CudaSlice<T>) -> Inputs<'b, T> {
        let mut inputs: Inputs<'b, T> = self.map(|rows| Rows { ..*rows });
        inputs.in_gate = Some(Rows {
            slice: ones,
            offset: 0,
            batch_stride: 0,
            channel_stride: 0,
            ..inputs.u
        });
        inputs
    }

    /// Whether all rows begin at multiples of 16 bytes and hold whole vectors of 16 bytes.
    pub(super) fn are_vectors(&self, stream: &CudaStream) -> bool {
        let bytes = size_of::<T>();
        let gates = self.in_gate.iter().chain(&self.out_gate);
        (self.u.length * bytes).is_multiple_of(16)
            && std::iter::once(&self.u)
                .chain(gates)
                .all(|rows| rows.argument(stream).0.is_aligned(bytes as i64))
    }

    /// Calls `body` with batch items that make up as many rows, or pieces of rows, as one launch counts,
    /// and with the number of samples before theirs in contiguous outputs.
    pub(super) fn for_each_launch(
        &self,
        pieces: Option<Pieces>,
        mut body: impl FnMut(&Self, usize) -> Result<()>,
    ) -> Result<()> {
        let rows = &self.u;
        let of_item = rows
            .channels
            .saturating_mul(pieces.map_or(1, |pieces| pieces.count));
        if of_item > MOST_ROWS {
            return Err(Error::OutOfRange {
                quantity: "channels",
                expected: format!("at most {MOST_ROWS} rows or pieces of rows on a GPU"),
                got: rows.channels.to_string(),
            }
            .into());
        }
        if rows.count() == 0 {
            return Ok(());
        }
        let items = (MOST_ROWS / of_item).min(rows.batch).max(1);
        for first in (0..rows.batch).step_by(items) {
            let count = items.min(rows.batch - first);
            let part = self.map(|rows| rows.batch_items(first, count));
            body(&part, first * rows.channels * rows.length)?;
        }
        Ok(())
    }

    /// Calls `body` with the kernels' arguments for these rows and contiguous outputs from sample
    /// `offset` of `y`. What it queues on the stream is ordered among the streams that use them.
    pub(super) fn with_addresses<R>(
        &self,
        stream: &CudaStream,
        y: &mut CudaSlice<T>,
        offset: usize,
        body: impl FnOnce(&Addresses) -> Result<R>,
    ) -> Result<R> {
        let (u, _u) = self.u.argument(stream);
        let gates = [&self.in_gate, &self.out_gate];
        let gates = gates.map(|gate| gate.as_ref().map(|gate| gate.argument(stream)));
        let [in_gate, out_gate] = gates
            .each_ref()
            .map(|gate| gate.as_ref().map_or(NOTHING, |(gate, _)| *gate));
        let (channels, length) = (self.u.channels, self.u.length);
        let (y, _y) = y.device_ptr_mut(stream);
        let y = sequence::<T>(y, offset, channels * length, length);
        let vectors = self.are_vectors(stream) && y.is_aligned(size_of::<T>() as i64);
        body(&Addresses {
            u,
            in_gate,
            out_gate,
            y,
            batch: self.u.batch,
            channels,
            length,
            vectors,
        })
    }
}

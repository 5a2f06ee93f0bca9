//! The rows of a strided tensor: slices of consecutive samples, one for each batch and channel.

use crate::Error;
use candle_core::{CpuStorage, Layout, Result, WithDType};

/// A `(B, H, L)` view whose samples are consecutive along the last dimension.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a, E> {
    data: &'a [E],
    batch: usize,
    channels: usize,
    length: usize,
    batch_stride: usize,
    channel_stride: usize,
}

impl<'a, E: WithDType> Rows<'a, E> {
    /// Views a tensor of rank 3, or of rank 2 as a batch of one.
    pub(crate) fn new(storage: &'a CpuStorage, layout: &Layout) -> Result<Self> {
        let data = E::cpu_storage_as_slice(storage)?;
        let (dims, strides) = (layout.dims(), layout.stride());
        let (batch, channels, length, batch_stride, channel_stride, sample_stride) =
            match (dims, strides) {
                (&[b, h, l], &[sb, sh, sl]) => (b, h, l, sb, sh, sl),
                (&[h, l], &[sh, sl]) => (1, h, l, 0, sh, sl),
                _ => {
                    return Err(Error::Rank {
                        tensor: "view",
                        expected: 3,
                        layout: "(B, H, L)",
                        got: dims.len(),
                        shape: dims.to_vec(),
                    }
                    .into())
                }
            };
        let empty = batch == 0 || channels == 0 || length == 0;
        if sample_stride != 1 && length > 1 && !empty {
            return Err(Error::Shape {
                tensor: "view",
                expected: "consecutive samples".to_string(),
                got: strides.to_vec(),
            }
            .into());
        }
        let data = match empty {
            true => Some(&data[..0]),
            false => data.get(layout.start_offset()..),
        };
        let end = match empty {
            true => Some(0),
            false => last_offset(batch, batch_stride)
                .zip(last_offset(channels, channel_stride))
                .and_then(|(b, h)| b.checked_add(h)?.checked_add(length)),
        };
        match (data, end) {
            (Some(data), Some(end)) if end <= data.len() => Ok(Rows {
                data,
                batch,
                channels,
                length,
                batch_stride: if empty { 0 } else { batch_stride },
                channel_stride: if empty { 0 } else { channel_stride },
            }),
            _ => Err(Error::Shape {
                tensor: "view",
                expected: "a layout inside its storage".to_string(),
                got: dims.to_vec(),
            }
            .into()),
        }
    }

    pub(crate) fn batch(&self) -> usize {
        self.batch
    }

    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// The `index`-th of `parts` equal groups of channels.
    pub(crate) fn channel_group(&self, index: usize, parts: usize) -> Self {
        let channels = self.channels / parts;
        let first = index * channels;
        let skipped = match first < self.channels && !self.data.is_empty() {
            true => first * self.channel_stride,
            false => 0,
        };
        Rows {
            data: &self.data[skipped..],
            channels,
            ..*self
        }
    }

    /// The samples of one batch item and channel. Both must be below their counts.
    pub(crate) fn row(&self, batch: usize, channel: usize) -> &'a [E] {
        debug_assert!(batch < self.batch && channel < self.channels);
        // `new` made sure that every row lies inside the storage.
        let start = batch * self.batch_stride + channel * self.channel_stride;
        &self.data[start..start + self.length]
    }
}

fn last_offset(count: usize, stride: usize) -> Option<usize> {
    count.saturating_sub(1).checked_mul(stride)
}

//! From candle's storage to addresses and strides.

use super::arguments::{Parameter, Signal};
use super::recipe::{ElementType, LineStarts};
use crate::depthwise::{Conv1dLayout, Correlation};
use crate::Error;
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{CudaStream, DevicePtr, DevicePtrMut, SyncOnDrop};
use candle_core::cuda_backend::CudaStorageSlice;
use candle_core::{CudaDevice, CudaStorage, DType, Layout, Result};
use half::{bf16, f16};

/// A tensor's storage, with where in it the tensor lies.
pub(crate) type Operand<'a> = (&'a CudaStorage, &'a Layout);

/// Whether a channel's taps are used as they are or from the last to the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TapOrder {
    AsGiven,
    Reversed,
}

fn unsupported(tensor: &'static str, got: DType) -> candle_core::Error {
    Error::DType {
        tensor,
        expected: "F32, F16 or BF16 on a GPU".into(),
        got,
    }
    .into()
}

impl ElementType {
    /// The element type of a dtype that the kernels take.
    pub(in crate::cuda) fn of(tensor: &'static str, dtype: DType) -> Result<Self> {
        match dtype {
            DType::F32 => Ok(ElementType::F32),
            DType::F16 => Ok(ElementType::F16),
            DType::BF16 => Ok(ElementType::Bf16),
            got => Err(unsupported(tensor, got)),
        }
    }

    /// Memory for `count` elements, not initialised.
    ///
    /// # Safety
    /// Every element has to be written before it is read.
    pub(in crate::cuda) unsafe fn allocate(
        self,
        device: &CudaDevice,
        count: usize,
    ) -> Result<CudaStorage> {
        let count = count.max(1); // the driver has no allocations of nothing
        let slice = match self {
            // SAFETY: the caller's.
            ElementType::F32 => CudaStorageSlice::F32(unsafe { device.alloc::<f32>(count) }?),
            // SAFETY: the caller's.
            ElementType::F16 => CudaStorageSlice::F16(unsafe { device.alloc::<f16>(count) }?),
            // SAFETY: the caller's.
            ElementType::Bf16 => CudaStorageSlice::BF16(unsafe { device.alloc::<bf16>(count) }?),
        };
        Ok(CudaStorage {
            slice,
            device: device.clone(),
        })
    }
}

/// The address of a storage's first element, with a guard that orders the launches that use it.
pub(in crate::cuda) fn address<'a>(
    name: &'static str,
    storage: &'a CudaStorage,
    stream: &'a CudaStream,
) -> Result<(u64, SyncOnDrop<'a>)> {
    match &storage.slice {
        CudaStorageSlice::F32(slice) => Ok(slice.device_ptr(stream)),
        CudaStorageSlice::F16(slice) => Ok(slice.device_ptr(stream)),
        CudaStorageSlice::BF16(slice) => Ok(slice.device_ptr(stream)),
        _ => Err(unsupported(name, storage.dtype())),
    }
}

/// [`address`] of a storage to write to.
pub(in crate::cuda) fn address_mut<'a>(
    name: &'static str,
    storage: &'a mut CudaStorage,
    stream: &'a CudaStream,
) -> Result<(u64, SyncOnDrop<'a>)> {
    let dtype = storage.dtype();
    match &mut storage.slice {
        CudaStorageSlice::F32(slice) => Ok(slice.device_ptr_mut(stream)),
        CudaStorageSlice::F16(slice) => Ok(slice.device_ptr_mut(stream)),
        CudaStorageSlice::BF16(slice) => Ok(slice.device_ptr_mut(stream)),
        _ => Err(unsupported(name, dtype)),
    }
}

/// A three-dimensional tensor at `base`, whose last dimension has to be contiguous.
pub(in crate::cuda) fn signal(
    name: &'static str,
    base: u64,
    element: ElementType,
    layout: &Layout,
) -> Result<Signal> {
    let (&[_, _, dim2], &[batch_stride, line_stride, stride2]) = (layout.dims(), layout.stride())
    else {
        return Err(Error::Rank {
            tensor: name,
            expected: 3,
            layout: "",
            got: layout.dims().len(),
            shape: layout.dims().to_vec(),
        }
        .into());
    };
    if dim2 > 1 && stride2 != 1 {
        candle_core::bail!(
            "{name}: expected a contiguous last dimension, got strides {:?}",
            layout.stride()
        )
    }
    Ok(Signal {
        data: base + (layout.start_offset() * element.bytes()) as u64,
        batch_stride: batch_stride as i64,
        line_stride: line_stride as i64,
    })
}

/// Whether every line of a signal begins at a multiple of 16 bytes.
pub(super) fn lines_are_aligned(signal: &Signal, element: ElementType) -> bool {
    let aligned = |stride: i64| stride.wrapping_mul(element.bytes() as i64) % 16 == 0;
    signal.data.is_multiple_of(16) && aligned(signal.batch_stride) && aligned(signal.line_stride)
}

/// Whether every line of an operand begins at a multiple of 16 bytes.
pub(super) fn is_aligned(name: &'static str, operand: Operand) -> Result<bool> {
    let element = ElementType::of(name, operand.0.dtype())?;
    let stream = operand.0.device().cuda_stream();
    let (base, _guard) = address(name, operand.0, &stream)?;
    let signal = signal(name, base, element, operand.1)?;
    Ok(lines_are_aligned(&signal, element))
}

/// Where the lines of a signal begin, of a correlation with a contiguous output.
pub(super) fn line_starts(signal: &Signal, element: ElementType, c: &Correlation) -> LineStarts {
    let (lines, line) = match c.layout {
        Conv1dLayout::Bhl => (c.channels, c.output_length),
        Conv1dLayout::Blh => (c.output_length, c.channels),
    };
    // From one to the next of so many.
    let is_whole = |count: usize, stride: i64, of_outputs: usize| {
        let further = stride.wrapping_sub(of_outputs as i64);
        count <= 1 || further.wrapping_mul(element.bytes() as i64) % 16 == 0
    };
    let like_outputs = is_whole(c.batch, signal.batch_stride, lines * line)
        && is_whole(lines, signal.line_stride, line);
    LineStarts {
        aligned: lines_are_aligned(signal, element),
        further: like_outputs.then_some((signal.data % 16) as usize / element.bytes()),
    }
}

/// A weight, `(H, K)` or `(H, 1, K)`, or a bias, `(H,)`, at `base`.
pub(super) fn parameter(
    name: &'static str,
    base: u64,
    (storage, layout): Operand,
    order: TapOrder,
) -> Result<Parameter> {
    let element = ElementType::of(name, storage.dtype())?;
    let (taps, channel_stride, tap_stride) = match (layout.dims(), layout.stride()) {
        ([_], &[channel_stride]) => (1, channel_stride, 0),
        ([_, taps], &[channel_stride, tap_stride])
        | ([_, _, taps], &[channel_stride, _, tap_stride]) => (*taps, channel_stride, tap_stride),
        _ => candle_core::bail!(
            "{name}: expected up to 3 dimensions, got {:?}",
            layout.dims()
        ),
    };
    let (first, tap_stride) = match order {
        TapOrder::AsGiven => (0, tap_stride as i64),
        TapOrder::Reversed => (taps.saturating_sub(1) * tap_stride, -(tap_stride as i64)),
    };
    Ok(Parameter {
        data: base + ((layout.start_offset() + first) * element.bytes()) as u64,
        channel_stride: channel_stride as i64,
        tap_stride,
        kind: element.kind(),
    })
}

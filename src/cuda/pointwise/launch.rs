//! From candle's storages to a launch.

use super::recipe::{self, Geometry};
use crate::conv::on_gpu::View;
use crate::cuda::device::{load, Limits};
use crate::models::layers::Pointwise;
use crate::Error;
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, CudaStream, DevicePtr, DevicePtrMut, DeviceRepr, LaunchConfig, PushKernelArg,
    SyncOnDrop,
};
use candle_core::cuda_backend::{CudaStorageSlice, WrapErr};
use candle_core::{CudaDevice, CudaStorage, DType, Layout, Result, Shape};
use half::{bf16, f16};

/// The kernels' parameter, as `cuda/pointwise.cu` declares it.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Arguments {
    /// Addresses of the first elements.
    x: u64,
    second: u64,
    third: u64,
    y: u64,
    rows: i64,
    width: i64,
    channels: i64,
    /// What is added: to a variance, or to a decay.
    parameter: f32,
    padding: i32,
}

// SAFETY: a C structure of numbers without gaps, the same as the kernels' parameter.
unsafe impl DeviceRepr for Arguments {}

/// The operation of contiguous operands, as new storage.
pub(crate) fn run(operation: Pointwise, operands: &[View<'_>]) -> Result<(CudaStorage, Shape)> {
    let Some(&(x, x_layout)) = operands.first() else {
        candle_core::bail!("expected an operand")
    };
    let geometry = Geometry::new(operation, x_layout.dims())?;
    let expected: Vec<usize> = std::iter::once(x_layout.shape().elem_count())
        .chain(geometry.others.iter().copied())
        .collect();
    if expected.len() != operands.len() {
        candle_core::bail!(
            "expected {} operands, got {}",
            expected.len(),
            operands.len()
        )
    }
    let dtypes: Vec<DType> = operands
        .iter()
        .map(|(storage, _)| storage.dtype())
        .collect();
    let result_dtype = match (operation, dtypes.as_slice()) {
        (Pointwise::LayerNorm { .. }, &[_, weight, ..]) => weight,
        _ => x.dtype(),
    };

    let device = x.device();
    let stream = device.cuda_stream();
    let mut addresses = [0; 3];
    let mut guards = Vec::with_capacity(operands.len());
    for ((address, &operand), &count) in addresses.iter_mut().zip(operands).zip(&expected) {
        let (begin, guard) = begin(operand, count, &stream)?;
        *address = begin;
        guards.push(guard);
    }
    let count = geometry.rows * geometry.width;
    // SAFETY: the kernel writes all elements.
    let mut y = unsafe { allocate(device, result_dtype, count) }?;
    let (y_address, y_guard) = address_mut(&mut y, &stream)?;

    // The rates and the biases of channels are read one by one.
    let by_row = |index: usize| {
        use Pointwise as P;
        index == 1 && matches!(operation, P::ChannelBias | P::Sine | P::Decay { .. })
    };
    let aligned: Vec<(u64, usize)> = addresses
        .iter()
        .zip(&dtypes)
        .enumerate()
        .filter(|(index, _)| !by_row(*index))
        .map(|(_, (&address, dtype))| (address, dtype.size_in_bytes()))
        .chain([(y_address, result_dtype.size_in_bytes())])
        .collect();
    let vector = recipe::vector(geometry.width, &aligned);
    let kernel = load(
        device,
        "pointwise",
        &recipe::function(operation, &dtypes, vector)?,
    )?;
    let multiprocessors = Limits::of(device)?.multiprocessors;
    let (grid_x, grid_y) = recipe::grid(operation, &geometry, vector, multiprocessors);
    let arguments = Arguments {
        x: addresses[0],
        second: addresses[1],
        third: addresses[2],
        y: y_address,
        rows: geometry.rows as i64,
        width: geometry.width as i64,
        channels: geometry.channels as i64,
        parameter: match operation {
            Pointwise::LayerNorm { epsilon } => epsilon,
            Pointwise::Decay { shift } => shift,
            _ => 0.0,
        },
        padding: 0,
    };
    let config = LaunchConfig {
        grid_dim: (grid_x, grid_y, 1),
        block_dim: (recipe::THREADS as u32, 1, 1),
        shared_mem_bytes: 0,
    };
    let mut builder = stream.launch_builder(&kernel);
    builder.arg(&arguments);
    // SAFETY: the kernel takes this structure. The operands have the number of elements that it
    // reads (`begin`), `y` that which it writes, and vectors begin at multiples of their size. The
    // guards keep all of them until the launch is queued, and order it among the streams.
    unsafe { builder.launch(config) }.w()?;
    drop((guards, y_guard));
    Ok((y, Shape::from(geometry.shape)))
}

/// The address of the first of `count` elements.
fn begin<'a>(
    (storage, layout): View<'a>,
    count: usize,
    stream: &'a CudaStream,
) -> Result<(u64, SyncOnDrop<'a>)> {
    match &storage.slice {
        CudaStorageSlice::F32(slice) => begin_of(slice, layout, count, stream),
        CudaStorageSlice::F16(slice) => begin_of(slice, layout, count, stream),
        CudaStorageSlice::BF16(slice) => begin_of(slice, layout, count, stream),
        _ => Err(unsupported(storage.dtype())),
    }
}

fn begin_of<'a, T>(
    slice: &'a CudaSlice<T>,
    layout: &Layout,
    count: usize,
    stream: &'a CudaStream,
) -> Result<(u64, SyncOnDrop<'a>)> {
    match layout.contiguous_offsets() {
        Some((start, end)) if end <= slice.len() && end.checked_sub(start) == Some(count) => {
            let (base, guard) = slice.device_ptr(stream);
            Ok((base + (start * size_of::<T>()) as u64, guard))
        }
        _ => Err(Error::Shape {
            tensor: "operand",
            expected: format!("{count} contiguous elements"),
            got: layout.dims().to_vec(),
        }
        .into()),
    }
}

fn unsupported(got: DType) -> candle_core::Error {
    Error::DType {
        tensor: "operand",
        expected: "f32, f16 or bf16".to_string(),
        got,
    }
    .into()
}

/// # Safety
/// The memory holds anything until it is written.
unsafe fn allocate(device: &CudaDevice, dtype: DType, count: usize) -> Result<CudaStorage> {
    let slice = match dtype {
        // SAFETY: passed on to the caller.
        DType::F32 => CudaStorageSlice::F32(unsafe { device.alloc::<f32>(count) }?),
        // SAFETY: passed on to the caller.
        DType::F16 => CudaStorageSlice::F16(unsafe { device.alloc::<f16>(count) }?),
        // SAFETY: passed on to the caller.
        DType::BF16 => CudaStorageSlice::BF16(unsafe { device.alloc::<bf16>(count) }?),
        got => return Err(unsupported(got)),
    };
    Ok(CudaStorage {
        slice,
        device: device.clone(),
    })
}

fn address_mut<'a>(
    storage: &'a mut CudaStorage,
    stream: &'a CudaStream,
) -> Result<(u64, SyncOnDrop<'a>)> {
    match &mut storage.slice {
        CudaStorageSlice::F32(slice) => Ok(slice.device_ptr_mut(stream)),
        CudaStorageSlice::F16(slice) => Ok(slice.device_ptr_mut(stream)),
        CudaStorageSlice::BF16(slice) => Ok(slice.device_ptr_mut(stream)),
        _ => candle_core::bail!("expected f32, f16 or bf16"),
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;

    #[test]
    fn the_layout_is_that_of_the_kernels() {
        assert_eq!(std::mem::offset_of!(Arguments, rows), 32);
        assert_eq!(std::mem::offset_of!(Arguments, parameter), 56);
        assert_eq!(size_of::<Arguments>(), 64);
    }
}

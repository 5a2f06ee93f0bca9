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
    /// Samples of a row of an edge.
    leading: i32,
}

// SAFETY: a C structure of numbers without gaps, the same as the kernels' parameter.
unsafe impl DeviceRepr for Arguments {}

/// The operation of contiguous operands, as new storage.
pub(crate) fn run(operation: Pointwise, operands: &[View<'_>]) -> Result<(CudaStorage, Shape)> {
    let Some((&(x, x_layout), others)) = operands.split_first() else {
        candle_core::bail!("expected an operand")
    };
    let geometry = Geometry::new(operation, x_layout.dims())?;
    let device = x.device();
    let stream = device.cuda_stream();
    let dtype = match (operation, others) {
        (Pointwise::LayerNorm { .. }, [(weight, _), ..]) => weight.dtype(),
        _ => x.dtype(),
    };
    let (begin, _x) = begin((x, x_layout), x_layout.shape().elem_count(), &stream)?;
    // SAFETY: the kernel writes all elements.
    let mut y = unsafe { allocate(device, dtype, geometry.rows * geometry.width) }?;
    {
        let (result, _y) = address_mut(&mut y, &stream)?;
        let (x, y) = ((begin, x.dtype()), (result, dtype));
        launch(device, operation, &geometry, x, others, y)?;
    }
    Ok((y, Shape::from(geometry.shape)))
}

/// The operation of contiguous operands, in place of the first one.
pub(crate) fn run_in_place(
    operation: Pointwise,
    (x, layout): (&mut CudaStorage, &Layout),
    others: &[View<'_>],
) -> Result<()> {
    let geometry = Geometry::new(operation, layout.dims())?;
    let count = layout.shape().elem_count();
    let in_place = matches!(operation, Pointwise::Residual | Pointwise::Leading { .. });
    if !in_place || count != geometry.rows * geometry.width {
        candle_core::bail!("{operation:?}: expected an operation that can be done in place")
    }
    let device = x.device().clone();
    let stream = device.cuda_stream();
    let dtype = x.dtype();
    // The bounds are those of reading.
    let (begin, guard) = begin((x, layout), count, &stream)?;
    drop(guard);
    let (_, _x) = address_mut(x, &stream)?;
    let x = (begin, dtype);
    launch(&device, operation, &geometry, x, others, x)
}

/// `x` and `y` are addresses and dtypes; whoever calls this keeps both until it returns.
fn launch(
    device: &CudaDevice,
    operation: Pointwise,
    geometry: &Geometry,
    x: (u64, DType),
    others: &[View<'_>],
    y: (u64, DType),
) -> Result<()> {
    if geometry.others.len() != others.len() {
        candle_core::bail!(
            "expected {} operands, got {}",
            1 + geometry.others.len(),
            1 + others.len()
        )
    }
    let stream = device.cuda_stream();
    let dtypes: Vec<DType> = std::iter::once(x.1)
        .chain(others.iter().map(|(storage, _)| storage.dtype()))
        .collect();
    let mut addresses = [x.0, 0, 0];
    let mut guards = Vec::with_capacity(others.len());
    let places = addresses.iter_mut().skip(1);
    for ((address, &operand), &count) in places.zip(others).zip(&geometry.others) {
        let (begin, guard) = begin(operand, count, &stream)?;
        *address = begin;
        guards.push(guard);
    }

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
        .chain([(y.0, y.1.size_in_bytes())])
        .collect();
    let vector = match operation {
        Pointwise::Leading { .. } => 1,
        // A warp takes a row: all of its lanes should have a part.
        Pointwise::LayerNorm { .. } => {
            recipe::vector(geometry.width, &aligned).min(recipe::vector_of_warp(geometry.width))
        }
        _ => recipe::vector(geometry.width, &aligned),
    };
    let kernel = load(
        device,
        "pointwise",
        &recipe::function(operation, &dtypes, vector)?,
    )?;
    let multiprocessors = Limits::of(device)?.multiprocessors;
    let (grid_x, grid_y) = recipe::grid(operation, geometry, vector, multiprocessors);
    let arguments = Arguments {
        x: addresses[0],
        second: addresses[1],
        third: addresses[2],
        y: y.0,
        rows: geometry.rows as i64,
        width: geometry.width as i64,
        channels: geometry.channels as i64,
        parameter: match operation {
            Pointwise::LayerNorm { epsilon } => epsilon,
            Pointwise::Decay { shift } => shift,
            _ => 0.0,
        },
        leading: match operation {
            Pointwise::Leading { count } => count as i32,
            _ => 0,
        },
    };
    let config = LaunchConfig {
        grid_dim: (grid_x, grid_y, 1),
        block_dim: (recipe::THREADS as u32, 1, 1),
        shared_mem_bytes: 0,
    };
    let mut builder = stream.launch_builder(&kernel);
    builder.arg(&arguments);
    // SAFETY: the kernel takes this structure. The operands have as many elements as it reads (`begin`),
    // `y` as it writes, and vectors begin at multiples of their size. The guards, and those of the caller,
    // keep all of them until the launch is queued, and order it among the streams.
    unsafe { builder.launch(config) }.w()?;
    Ok(())
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

//! From candle's storage to a launch.

use super::recipe::{self, Source};
use crate::cuda::depthwise::{address, address_mut, signal, ElementType, Operand};
use crate::cuda::device::load;
use crate::Error;
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::WrapErr;
use candle_core::{CudaStorage, Result, Shape};

/// The most batch items of a launch.
const MOST_ITEMS: usize = 65535;

/// The kernels' parameter, as `cuda/transposition.cu` declares it.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Arguments {
    /// Addresses of the first elements.
    x: u64,
    y: u64,
    /// In elements.
    batch_stride: i64,
    row_stride: i64,
    rows: i32,
    columns: i32,
}

// SAFETY: a C structure of numbers without gaps, the same as the kernels' parameter.
unsafe impl DeviceRepr for Arguments {}

/// `y[b, c, r] = x[b, r, c]`, contiguous, of a tensor of f32, f16 or bf16 whose rows are contiguous.
pub(crate) fn transpose(x: Operand<'_>) -> Result<(CudaStorage, Shape)> {
    let (storage, layout) = x;
    let (batch, rows, columns) = layout.shape().dims3()?;
    let device = storage.device();
    let stream = device.cuda_stream();
    let element = ElementType::of("x", storage.dtype())?;
    let shape = Shape::from((batch, columns, rows));
    // SAFETY: the kernel writes all elements.
    let mut y = unsafe { element.allocate(device, batch * rows * columns) }?;
    if batch * rows * columns == 0 {
        return Ok((y, shape));
    }
    {
        let (x_base, _x) = address("x", storage, &stream)?;
        let (y_base, _y) = address_mut("y", &mut y, &stream)?;
        let x = signal("x", x_base, element, layout)?;
        let source = Source {
            element_bytes: element.bytes(),
            address: x.data,
            rows,
            columns,
            batch_stride: x.batch_stride as usize,
            row_stride: x.line_stride as usize,
        };
        let (function, blocks) = recipe::choose(&source).ok_or_else(|| Error::Shape {
            tensor: "a tensor to transpose",
            expected: format!(
                "at most {} rows and columns, 2^31 tiles of them",
                recipe::MOST
            ),
            got: layout.dims().to_vec(),
        })?;
        let kernel = load(device, "transposition", function)?;
        for first in (0..batch).step_by(MOST_ITEMS) {
            let arguments = Arguments {
                x: x.data + (first * source.batch_stride * element.bytes()) as u64,
                y: y_base + (first * rows * columns * element.bytes()) as u64,
                batch_stride: x.batch_stride,
                row_stride: x.line_stride,
                rows: rows as i32,
                columns: columns as i32,
            };
            let config = LaunchConfig {
                grid_dim: (blocks, 1, MOST_ITEMS.min(batch - first) as u32),
                block_dim: (recipe::THREADS, 1, 1),
                shared_mem_bytes: 0,
            };
            let mut builder = stream.launch_builder(&kernel);
            builder.arg(&arguments);
            // SAFETY: the kernel takes this structure. It reads `x` inside its layout, which candle keeps inside
            // the storage, and writes `y`, which has room for as many elements. The guards keep both until the
            // launch is queued, and order it among the streams.
            unsafe { builder.launch(config) }.w()?;
        }
    }
    Ok((y, shape))
}

#[cfg(test)]
mod tests {
    use super::Arguments;

    #[test]
    fn the_layout_is_that_of_the_kernels() {
        assert_eq!(std::mem::offset_of!(Arguments, rows), 32);
        assert_eq!(size_of::<Arguments>(), 40);
    }
}

//! Launches of the gradients: all of them in one pass, or those of taps and bias.

use super::arguments::{GradientArguments, Parameter, Signal};
use super::operand::{
    address, address_mut, lines_are_aligned, parameter, signal, Operand, TapOrder,
};
use super::recipe::{self, ElementType, Launch};
use crate::cuda::device::load;
use crate::depthwise::{Activation, Conv1dLayout, Correlation, Wanted};
use crate::Error;
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::WrapErr;
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, Result, Storage, Tensor};

/// Columns and rows of a block of `depthwise_sum_pieces`.
const SUM_BLOCK: (u32, u32) = (32, 16);

/// The gradient of `x` and the sums `(H, K + 1)` of taps and bias, in f32, of those that are
/// wanted; `None` where no kernel makes them in one pass. The last dimension of `x` and `dy`
/// must be contiguous.
pub(crate) fn gradients(
    c: &Correlation,
    activation: Activation,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    dy: &Tensor,
    wanted: Wanted,
) -> Result<Option<(Option<Tensor>, Option<Tensor>)>> {
    let (x_storage, x_layout) = x.storage_and_layout();
    let (dy_storage, dy_layout) = dy.storage_and_layout();
    let (weight_storage, weight_layout) = weight.storage_and_layout();
    let bias = bias.map(Tensor::storage_and_layout);
    let (Storage::Cuda(x), Storage::Cuda(dy), Storage::Cuda(weight)) =
        (&*x_storage, &*dy_storage, &*weight_storage)
    else {
        return Ok(None);
    };
    let element = ElementType::of("x", x.dtype())?;
    if dy.dtype() != x.dtype() {
        return Err(Error::DType {
            tensor: "dy",
            expected: format!("{:?} as x has", x.dtype()),
            got: dy.dtype(),
        }
        .into());
    }
    let (dim0, dim1, dim2) = c.input_shape();
    if dim0 * dim1 * dim2 == 0 || c.output_length == 0 {
        return Ok(None);
    }

    let device = x.device();
    let stream = device.cuda_stream();
    let (x_base, _x) = address("x", x, &stream)?;
    let (dy_base, _dy) = address("dy", dy, &stream)?;
    let (weight_base, _weight) = address("weight", weight, &stream)?;
    let x_signal = signal("x", x_base, element, x_layout)?;
    let dy_signal = signal("dy", dy_base, element, dy_layout)?;
    let aligned = lines_are_aligned(&x_signal, element) && lines_are_aligned(&dy_signal, element);
    let Some(launch) = recipe::gradients(c, activation, element, aligned)? else {
        return Ok(None);
    };
    let weight = (weight, weight_layout);
    let weight = parameter("weight", weight_base, weight, TapOrder::AsGiven)?;
    let (bias, _bias) = match &bias {
        Some((storage, layout)) => match &**storage {
            Storage::Cuda(storage) => {
                let (base, guard) = address("bias", storage, &stream)?;
                let bias = parameter("bias", base, (storage, layout), TapOrder::AsGiven)?;
                (bias, Some(guard))
            }
            _ => return Ok(None),
        },
        None => (Parameter::NONE, None),
    };

    let mut dx = match wanted.x {
        // SAFETY: the kernel writes every sample.
        true => Some(unsafe { element.allocate(device, dim0 * dim1 * dim2) }?),
        false => None,
    };
    let mut pieces = match wanted.parameters {
        true => Some(Pieces::allocate(c, &launch, device)?),
        false => None,
    };
    let (dx_base, _dx) = match &mut dx {
        Some(dx) => address_mut("dx", dx, &stream).map(|(base, guard)| (base, Some(guard)))?,
        None => (0, None),
    };
    let arguments = arguments(c, &launch, (x_signal, dy_signal), dx_base, (weight, bias));
    launch_gradients(device, element, &launch, arguments, pieces.as_mut())?;
    drop((_x, _dy, _weight, _bias, _dx));

    let tensor = |storage: CudaStorage, shape: &[usize]| {
        Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
    };
    let dx = dx.map(|dx| tensor(dx, &[dim0, dim1, dim2]));
    let sums = match pieces {
        Some(pieces) => Some(tensor(pieces.sum(device)?, &[c.channels, c.taps + 1])),
        None => None,
    };
    Ok(Some((dx, sums)))
}

/// The sums `(H, K + 1)` alone, in f32, with any number of taps and any padding, of
/// channels-first tensors whose last dimension is contiguous.
pub(crate) fn parameter_gradients(c: &Correlation, x: Operand, dy: Operand) -> Result<CudaStorage> {
    if c.layout != Conv1dLayout::Bhl {
        candle_core::bail!("the gradients of many taps: expected channels-first tensors")
    }
    let device = x.0.device();
    let element = ElementType::of("x", x.0.dtype())?;
    if c.batch * c.channels * c.output_length == 0 {
        let sums = device.alloc_zeros::<f32>((c.channels * (c.taps + 1)).max(1))?;
        return Ok(CudaStorage::wrap_cuda_slice(sums, device.clone()));
    }
    let stream = device.cuda_stream();
    let (x_base, _x) = address("x", x.0, &stream)?;
    let (dy_base, _dy) = address("dy", dy.0, &stream)?;
    let signals = (
        signal("x", x_base, element, x.1)?,
        signal("dy", dy_base, element, dy.1)?,
    );
    let launch = recipe::long_gradients(c, element)?;
    let mut pieces = Pieces::allocate(c, &launch, device)?;
    let none = (Parameter::NONE, Parameter::NONE);
    let arguments = arguments(c, &launch, signals, 0, none);
    launch_gradients(device, element, &launch, arguments, Some(&mut pieces))?;
    drop((_x, _dy));
    pieces.sum(device)
}

fn arguments(
    c: &Correlation,
    launch: &Launch,
    (x, dy): (Signal, Signal),
    dx: u64,
    (weight, bias): (Parameter, Parameter),
) -> GradientArguments {
    GradientArguments {
        x,
        dy,
        dx,
        pieces: 0,
        weight,
        bias,
        batch: c.batch as i32,
        channels: c.channels as i32,
        input_length: c.input_length as i32,
        output_length: c.output_length as i32,
        taps: c.taps as i32,
        left: c.left as i32,
        vectors_a_row: launch.vectors_a_row,
    }
}

fn launch_gradients(
    device: &CudaDevice,
    element: ElementType,
    launch: &Launch,
    mut arguments: GradientArguments,
    pieces: Option<&mut Pieces>,
) -> Result<()> {
    let stream = device.cuda_stream();
    let kernel = load(
        device,
        recipe::module(launch.family, element),
        &launch.function,
    )?;
    let _pieces = match pieces {
        Some(pieces) => {
            let (base, guard) = address_mut("pieces", &mut pieces.storage, &stream)?;
            arguments.pieces = base;
            Some(guard)
        }
        None => None,
    };
    let mut builder = stream.launch_builder(&kernel);
    builder.arg(&arguments);
    let config = LaunchConfig {
        grid_dim: launch.grid,
        block_dim: launch.block,
        shared_mem_bytes: launch.shared_bytes,
    };
    // SAFETY: the kernel takes this structure. It reads `x` and `dy` inside their rows and the
    // parameters inside their layouts, which candle keeps inside the storages; `dx` and the
    // pieces have room for what it writes. The callers' guards keep them and order the streams.
    unsafe { builder.launch(config) }.w()?;
    Ok(())
}

/// Partial sums, `(pieces, H, K + 1)`.
struct Pieces {
    storage: CudaStorage,
    count: usize,
    width: usize,
}

impl Pieces {
    fn allocate(c: &Correlation, launch: &Launch, device: &CudaDevice) -> Result<Self> {
        let width = c.channels * (c.taps + 1);
        // SAFETY: the kernel writes every piece.
        let storage = unsafe { ElementType::F32.allocate(device, width * launch.pieces) }?;
        Ok(Self {
            storage,
            count: launch.pieces,
            width,
        })
    }

    /// Their sum, `(H, K + 1)`.
    fn sum(self, device: &CudaDevice) -> Result<CudaStorage> {
        if self.count == 1 {
            return Ok(self.storage);
        }
        // SAFETY: the kernel writes every sum.
        let mut sums = unsafe { ElementType::F32.allocate(device, self.width) }?;
        let stream = device.cuda_stream();
        let kernel = load(device, "depthwise_sums", "depthwise_sum_pieces")?;
        {
            let (from, _from) = address("pieces", &self.storage, &stream)?;
            let (to, _to) = address_mut("sums", &mut sums, &stream)?;
            let (count, width) = (self.count as i32, self.width as i64);
            let mut builder = stream.launch_builder(&kernel);
            builder.arg(&from).arg(&to).arg(&count).arg(&width);
            let config = LaunchConfig {
                grid_dim: (self.width.div_ceil(SUM_BLOCK.0 as usize) as u32, 1, 1),
                block_dim: (SUM_BLOCK.0, SUM_BLOCK.1, 1),
                shared_mem_bytes: 0,
            };
            // SAFETY: the kernel takes two addresses, an int and a long long; both memories hold
            // as many elements as it is told.
            unsafe { builder.launch(config) }.w()?;
        }
        Ok(sums)
    }
}

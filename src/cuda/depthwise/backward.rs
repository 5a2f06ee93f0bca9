//! Launches of the gradients: all of them in one pass, or those of taps and bias.

use super::arguments::{GradientArguments, Parameter, Signal};
use super::card::card;
use super::operand::{address, address_mut, is_aligned, line_starts, parameter, signal, TapOrder};
use super::recipe::{self, ElementType, Launch};
use crate::cuda::device::{load, load_with_shared_memory};
use crate::depthwise::{Activation, Correlation, Gradients, Wanted};
use crate::Error;
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{
    CudaStream, LaunchConfig, PushKernelArg, SyncOnDrop,
};
use candle_core::cuda_backend::WrapErr;
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, Result, Shape, Storage, Tensor};

/// The gradients that are wanted, those of taps and bias summed in f32; `None` where no kernel makes
/// them in one pass. The last dimension of `x` and `dy` must be contiguous.
pub(crate) fn gradients(
    c: &Correlation,
    activation: Activation,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    dy: &Tensor,
    wanted: Wanted,
) -> Result<Option<Gradients>> {
    let (x_storage, x_layout) = x.storage_and_layout();
    let (dy_storage, dy_layout) = dy.storage_and_layout();
    let (weight_storage, weight_layout) = weight.storage_and_layout();
    let bias_storage = bias.map(Tensor::storage_and_layout);
    let (Storage::Cuda(x_storage), Storage::Cuda(dy_storage), Storage::Cuda(weight_storage)) =
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
    if x.elem_count() == 0 || c.output_length == 0 {
        return Ok(None);
    }

    let device = x_storage.device();
    let stream = device.cuda_stream();
    let (x_base, _x) = address("x", x_storage, &stream)?;
    let (dy_base, _dy) = address("dy", dy_storage, &stream)?;
    let (weight_base, _weight) = address("weight", weight_storage, &stream)?;
    let x_signal = signal("x", x_base, element, x_layout)?;
    let dy_signal = signal("dy", dy_base, element, dy_layout)?;
    let starts = line_starts(&x_signal, element, c).and(line_starts(&dy_signal, element, c));
    let same_type = weight.dtype() == x.dtype();
    let (launch, order) = match recipe::gradients(c, activation, element, starts, same_type)? {
        Some(launch) => (launch, TapOrder::AsGiven),
        // By itself the gradient of the input has a kernel of its own.
        None if activation == Activation::None && (wanted.weight || wanted.bias) => {
            let split = wanted.x && !same_type;
            let card = card(device)?;
            match recipe::long_frame_gradients(c, element, starts.aligned, split, card)? {
                Some(launch) => (launch, TapOrder::Reversed),
                None => return Ok(None),
            }
        }
        None => return Ok(None),
    };
    let weight_layout = (weight_storage, weight_layout);
    let weight_given = parameter("weight", weight_base, weight_layout, order)?;
    let (bias_given, _bias) = match &bias_storage {
        // Read only to make the sums again, which the slope of SiLU needs.
        Some((storage, layout)) if activation == Activation::Silu => match &**storage {
            Storage::Cuda(storage) => {
                let (base, guard) = address("bias", storage, &stream)?;
                let bias = parameter("bias", base, (storage, layout), TapOrder::AsGiven)?;
                (bias, Some(guard))
            }
            _ => return Ok(None),
        },
        _ => (Parameter::NONE, None),
    };

    let mut dx = output("dx", Some(x), wanted.x, device)?;
    let [mut weight_gradient, mut bias_gradient] = parameter_outputs(weight, bias, wanted, device)?;
    let (dx_base, _dx) = address_of_output(dx.as_mut(), &stream)?;
    let (weight_sums, _weight_sums) = sums_of_output(weight_gradient.as_mut(), c.taps, &stream)?;
    let (bias_sums, _bias_sums) = sums_of_output(bias_gradient.as_mut(), 1, &stream)?;
    let arguments = GradientArguments {
        dx: dx_base,
        weight: weight_given,
        bias: bias_given,
        weight_gradient: weight_sums,
        bias_gradient: bias_sums,
        ..arguments(c, &launch, x_signal, dy_signal)
    };
    launch_gradients(device, element, &launch, arguments)?;
    drop((_x, _dy, _weight, _bias, _dx, _weight_sums, _bias_sums));
    let tensor = |output: Option<Output>| output.map(Output::into_tensor);
    Ok(Some(Gradients {
        x: tensor(dx),
        weight: tensor(weight_gradient),
        bias: tensor(bias_gradient),
    }))
}

/// Whether there is a kernel of all gradients in one pass for consecutive channels-last tensors with many taps as they lie.
pub(crate) fn takes_long_frames(c: &Correlation, x: &Tensor, dy: &Tensor) -> Result<bool> {
    let (x_storage, x_layout) = x.storage_and_layout();
    let (dy_storage, dy_layout) = dy.storage_and_layout();
    let (Storage::Cuda(x_storage), Storage::Cuda(dy_storage)) = (&*x_storage, &*dy_storage) else {
        return Ok(false);
    };
    let element = ElementType::of("x", x.dtype())?;
    let aligned =
        is_aligned("x", (x_storage, x_layout))? && is_aligned("dy", (dy_storage, dy_layout))?;
    // The larger one of both, where the weight has another dtype.
    let card = card(x_storage.device())?;
    Ok(recipe::long_frame_gradients(c, element, aligned, true, card)?.is_some())
}

/// The gradients of taps and bias that are wanted, with any number of taps and any padding, of channels-first tensors whose
/// last dimension is contiguous.
pub(crate) fn parameter_gradients(
    c: &Correlation,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    dy: &Tensor,
    wanted: Wanted,
) -> Result<Gradients> {
    let zeros = |of: &Tensor| Tensor::zeros(of.shape(), of.dtype(), of.device());
    if c.batch * c.channels * c.output_length == 0 {
        return Ok(Gradients {
            x: None,
            weight: wanted.weight.then(|| zeros(weight)).transpose()?,
            bias: bias.filter(|_| wanted.bias).map(zeros).transpose()?,
        });
    }
    let (x_storage, x_layout) = x.storage_and_layout();
    let (dy_storage, dy_layout) = dy.storage_and_layout();
    let (Storage::Cuda(x_storage), Storage::Cuda(dy_storage)) = (&*x_storage, &*dy_storage) else {
        candle_core::bail!("the gradients of many taps: expected CUDA tensors")
    };
    let device = x_storage.device();
    let stream = device.cuda_stream();
    let element = ElementType::of("x", x.dtype())?;
    let (x_base, _x) = address("x", x_storage, &stream)?;
    let (dy_base, _dy) = address("dy", dy_storage, &stream)?;
    let x_signal = signal("x", x_base, element, x_layout)?;
    let dy_signal = signal("dy", dy_base, element, dy_layout)?;
    let starts = line_starts(&x_signal, element, c).and(line_starts(&dy_signal, element, c));
    let launch = recipe::long_gradients(c, element, starts)?;
    let [mut weight_gradient, mut bias_gradient] = parameter_outputs(weight, bias, wanted, device)?;
    let (weight_sums, _weight_sums) = sums_of_output(weight_gradient.as_mut(), c.taps, &stream)?;
    let (bias_sums, _bias_sums) = sums_of_output(bias_gradient.as_mut(), 1, &stream)?;
    let arguments = GradientArguments {
        weight_gradient: weight_sums,
        bias_gradient: bias_sums,
        ..arguments(c, &launch, x_signal, dy_signal)
    };
    launch_gradients(device, element, &launch, arguments)?;
    drop((_x, _dy, _weight_sums, _bias_sums));
    Ok(Gradients {
        x: None,
        weight: weight_gradient.map(Output::into_tensor),
        bias: bias_gradient.map(Output::into_tensor),
    })
}

/// A gradient, contiguous, in the dtype and shape of what it is of.
struct Output {
    name: &'static str,
    element: ElementType,
    storage: CudaStorage,
    shape: Shape,
}

impl Output {
    fn new(name: &'static str, of: &Tensor, device: &CudaDevice) -> Result<Self> {
        let element = ElementType::of(name, of.dtype())?;
        Ok(Self {
            name,
            element,
            // SAFETY: the kernels write every element.
            storage: unsafe { element.allocate(device, of.elem_count()) }?,
            shape: of.shape().clone(),
        })
    }

    fn into_tensor(self) -> Tensor {
        let storage = Storage::Cuda(self.storage);
        Tensor::from_storage(storage, self.shape, BackpropOp::none(), false)
    }
}

/// The gradient of a tensor that there is, if it is wanted.
fn output(
    name: &'static str,
    of: Option<&Tensor>,
    wanted: bool,
    device: &CudaDevice,
) -> Result<Option<Output>> {
    match of {
        Some(of) if wanted => Output::new(name, of, device).map(Some),
        _ => Ok(None),
    }
}

/// Those of taps and bias.
fn parameter_outputs(
    weight: &Tensor,
    bias: Option<&Tensor>,
    wanted: Wanted,
    device: &CudaDevice,
) -> Result<[Option<Output>; 2]> {
    let weight = Some(weight);
    Ok([
        output("the gradient of weight", weight, wanted.weight, device)?,
        output("the gradient of bias", bias, wanted.bias, device)?,
    ])
}

/// The address of an output, 0 where there is none, with a guard as [`address_mut`] has it.
fn address_of_output<'a>(
    output: Option<&'a mut Output>,
    stream: &'a CudaStream,
) -> Result<(u64, Option<SyncOnDrop<'a>>)> {
    let Some(output) = output else {
        return Ok((0, None));
    };
    let (base, guard) = address_mut(output.name, &mut output.storage, stream)?;
    Ok((base, Some(guard)))
}

/// [`address_of_output`] of the gradient of so many taps a channel.
fn sums_of_output<'a>(
    output: Option<&'a mut Output>,
    taps: usize,
    stream: &'a CudaStream,
) -> Result<(Parameter, Option<SyncOnDrop<'a>>)> {
    let kind = output.as_ref().map_or(0, |output| output.element.kind());
    let (data, guard) = address_of_output(output, stream)?;
    let parameter = Parameter {
        data,
        channel_stride: taps as i64,
        tap_stride: 1,
        kind,
    };
    Ok((parameter, guard))
}

/// Those of a launch without parameters and outputs.
fn arguments(c: &Correlation, launch: &Launch, x: Signal, dy: Signal) -> GradientArguments {
    GradientArguments {
        x,
        dy,
        dx: 0,
        pieces: 0,
        weight: Parameter::NONE,
        bias: Parameter::NONE,
        weight_gradient: Parameter::NONE,
        bias_gradient: Parameter::NONE,
        batch: c.batch as i32,
        channels: c.channels as i32,
        input_length: c.input_length as i32,
        output_length: c.output_length as i32,
        taps: c.taps as i32,
        left: c.left as i32,
        vectors_a_row: launch.vectors_a_row,
        sharing: launch.sharing.into(),
    }
}

/// Launches the kernel, which leaves the gradients of taps and bias or, where several blocks share a channel, pieces of
/// them, which a second kernel sums.
fn launch_gradients(
    device: &CudaDevice,
    element: ElementType,
    launch: &Launch,
    mut arguments: GradientArguments,
) -> Result<()> {
    let stream = device.cuda_stream();
    let module = recipe::module(launch.family, element);
    let kernel = load_with_shared_memory(
        device,
        module,
        &launch.function,
        launch.shared_bytes as usize,
    )?;
    let wants_sums = arguments.weight_gradient.data != 0 || arguments.bias_gradient.data != 0;
    let sums = arguments.channels as usize * (arguments.taps as usize + 1);
    let mut pieces = match wants_sums && launch.pieces > 1 {
        // SAFETY: the kernel writes every piece.
        true => Some(unsafe { ElementType::F32.allocate(device, sums * launch.pieces) }?),
        false => None,
    };
    let _pieces = match &mut pieces {
        Some(storage) => {
            let (base, guard) = address_mut("pieces", storage, &stream)?;
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
    // SAFETY: the kernel takes this structure. It reads `x`, `dy` and the parameters inside their layouts,
    // which candle keeps inside the storages, and `dx`, the parameters' gradients and the pieces have room
    // for what it writes. The callers' guards keep them and order the streams.
    unsafe { builder.launch(config) }.w()?;
    if arguments.pieces == 0 {
        return Ok(());
    }

    let kernel = load(device, "depthwise_sums", "depthwise_sum_pieces")?;
    let count = launch.pieces as i32;
    let (columns, rows) = recipe::sum_block(launch.pieces);
    let mut builder = stream.launch_builder(&kernel);
    builder.arg(&arguments.pieces);
    builder.arg(&arguments.weight_gradient);
    builder.arg(&arguments.bias_gradient);
    builder.arg(&count).arg(&arguments.channels);
    builder.arg(&arguments.taps);
    let config = LaunchConfig {
        grid_dim: (sums.div_ceil(columns as usize) as u32, 1, 1),
        block_dim: (columns, rows, 1),
        shared_mem_bytes: 0,
    };
    // SAFETY: the kernel takes an address, two structures and three ints; there are as many pieces
    // as it is told, and the gradients have room for their sums.
    unsafe { builder.launch(config) }.w()?;
    Ok(())
}

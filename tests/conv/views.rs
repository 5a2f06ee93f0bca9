//! The long convolution of views: offsets, strides, broadcasts. Rows that start at any element may not
//! be aligned to more than one of them.

use crate::common::conv::{decaying, tensor_within, tolerance, DTYPES};
use crate::common::{random_tensor, to_f64};
use crate::twin;
use candle_core::{DType, Device, Module, Result, Tensor};
use candle_flashfftconv::FlashFftConv;

/// Views of the same numbers, in memory laid out otherwise.
fn views(t: &Tensor) -> Result<Vec<(&'static str, Tensor)>> {
    let (batch, channels, length) = t.dims3()?;
    let zeros = |shape: (usize, usize, usize)| Tensor::zeros(shape, t.dtype(), t.device());
    let one = |dim: usize| match dim {
        0 => zeros((1, channels, length)),
        1 => zeros((batch, 1, length)),
        _ => zeros((batch, channels, 1)),
    };
    let mut views = vec![("contiguous", t.clone())];
    for (dim, name) in ["narrow on batch", "narrow on channels", "narrow on length"]
        .into_iter()
        .enumerate()
    {
        let padded = Tensor::cat(&[&one(dim)?, &one(dim)?, t, &one(dim)?], dim)?;
        views.push((name, padded.narrow(dim, 2, t.dim(dim)?)?));
    }
    let odd = Tensor::cat(&[&one(2)?, t], 2)?.narrow(2, 1, length)?;
    views.push(("rows from an odd element", odd));
    let flat = t.flatten_all()?;
    let shifted = Tensor::cat(&[&flat.narrow(0, 0, 1)?, &flat], 0)?;
    let shifted = shifted.narrow(0, 1, flat.dim(0)?)?.reshape(t.shape())?;
    views.push(("contiguous from an odd element", shifted));
    let transposed = t.transpose(0, 1)?.contiguous()?.transpose(0, 1)?;
    views.push(("batch and channels transposed", transposed));
    let transposed = t.transpose(1, 2)?.contiguous()?.transpose(1, 2)?;
    views.push(("channels last", transposed));
    Ok(views)
}

/// The same numbers up to rounding: rows that are not aligned may take another kernel on the GPU.
#[track_caller]
fn same(got: &Tensor, want: &Tensor, what: &str) {
    match got.device().is_cpu() {
        true => assert_eq!(to_f64(got), to_f64(want), "{what}"),
        false => {
            let bound = tolerance(got.dtype(), got.device());
            tensor_within(got, want, bound, what);
        }
    }
}

fn strided_views_with_offsets(device: &Device) -> Result<()> {
    let lengths = [1, 2, 7, 64, 129, 128, 1000, 1024, 4096, 8191, 8192];
    for length in lengths {
        for dtype in DTYPES {
            let shape = [3, 4, length];
            let u = random_tensor(1, &shape, dtype, device)?;
            let gate = random_tensor(3, &shape, dtype, device)?;
            let k = decaying(2, 4, length, length)?.to_device(device)?;
            let conv = FlashFftConv::causal(length, device)?;
            let prepared = conv.prepare(&k)?;
            let plain = conv.forward(&u, &k)?;
            let gated = conv.forward_gated(&u, &k, &gate, &u)?;
            let what = |name: &str| format!("L {length}, {dtype:?}, {name}");
            for (name, u) in views(&u)? {
                same(&conv.forward(&u, &k)?, &plain, &what(name));
                same(&prepared.forward(&u)?, &plain, &what(name));
                for (gate_name, gate) in views(&gate)? {
                    // All pairs where they are cheap, else one after the other.
                    if length > 1000 && name != "contiguous" && name != gate_name {
                        continue;
                    }
                    let y = prepared.forward_gated(&u, &gate, &u)?;
                    let name = format!("{name}, gate {gate_name}");
                    same(&y, &gated, &what(&name));
                }
            }
            for (name, k) in views(&k.unsqueeze(0)?)? {
                let k = k.squeeze(0)?;
                same(&conv.forward(&u, &k)?, &plain, &what(name));
                same(&conv.prepare(&k)?.forward(&u)?, &plain, &what(name));
            }
            let z = Tensor::cat(&[&u, &gate, &u], 1)?;
            for (name, z) in views(&z)? {
                same(&conv.forward_projected(&z, &k)?, &gated, &what(name));
                same(&prepared.forward_projected(&z)?, &gated, &what(name));
            }
        }
    }
    Ok(())
}
twin!(strides_and_offsets, super::strided_views_with_offsets);

fn broadcast_views(device: &Device) -> Result<()> {
    for length in [40, 1024, 8192] {
        for dtype in DTYPES {
            let conv = FlashFftConv::causal(length, device)?;
            let shape = [3, 4, length];
            let k = decaying(2, 1, length, length)?
                .to_device(device)?
                .broadcast_as((4, length))?;
            let u = random_tensor(3, &shape, dtype, device)?;
            for dims in [
                [1, 4, length],
                [3, 1, length],
                [1, 1, length],
                [3, 4, 1],
                [1, 1, 1],
            ] {
                let wide = random_tensor(1, &dims, dtype, device)?.broadcast_as(&shape)?;
                let copied = wide.contiguous()?;
                let what = format!("{dims:?} as {shape:?}, {dtype:?}");
                let y = conv.forward_gated(&u, &k, &wide, &wide)?;
                same(&y, &conv.forward_gated(&u, &k, &copied, &copied)?, &what);
                same(
                    &conv.forward(&wide, &k)?,
                    &conv.forward(&copied, &k)?,
                    &what,
                );
            }
        }
    }
    Ok(())
}
twin!(broadcasts, super::broadcast_views);

/// Rows that begin within those of the channel before, and end with the memory.
fn rows_that_share_memory(device: &Device) -> Result<()> {
    let channels = 4;
    for length in [7, 40, 1023, 1024, 8191, 16384] {
        for dtype in DTYPES {
            let conv = FlashFftConv::causal(length, device)?;
            let k = decaying(2, channels, length, length)?.to_device(device)?;
            for step in [1, 3, 8] {
                let memory = random_tensor(1, &[length + (channels - 1) * step], dtype, device)?;
                let view = memory.unfold(0, length, step)?.unsqueeze(0)?;
                assert_eq!(view.dims(), [1, channels, length]);
                let copied = view.force_contiguous()?;
                let what = format!("L {length}, {step} further, {dtype:?}");
                let (got, want) = (conv.forward(&view, &k)?, conv.forward(&copied, &k)?);
                same(&got, &want, &what);
                let got = conv.forward_gated(&view, &k, &view, &view)?;
                let want = conv.forward_gated(&copied, &k, &copied, &copied)?;
                same(&got, &want, &what);
            }
        }
    }
    Ok(())
}
twin!(rows_that_share_memory, super::rows_that_share_memory);

/// Channels-last tensors seen as channels-first ones, which are copied: whole tiles and others, words and odd elements.
fn channels_last_views(device: &Device) -> Result<()> {
    for (batch, channels, length) in [
        (2, 66, 130),
        (1, 64, 128),
        (3, 3, 77),
        (2, 130, 1),
        (1, 5, 64),
        (2, 65, 200),
    ] {
        for dtype in DTYPES {
            let conv = FlashFftConv::causal(length, device)?;
            let k = decaying(2, channels, length, length)?.to_device(device)?;
            let tensor = random_tensor(1, &[batch, length + 3, channels], dtype, &Device::Cpu)?;
            for first in [0, 1, 2] {
                let frames = |t: &Tensor| t.narrow(1, first, length)?.transpose(1, 2);
                let view = frames(&tensor.to_device(device)?)?;
                let copied = frames(&tensor)?.contiguous()?.to_device(device)?;
                let what = format!("{batch} x {channels} x {length} from {first}, {dtype:?}");
                let got = to_f64(&conv.forward(&view, &k)?);
                assert_eq!(got, to_f64(&conv.forward(&copied, &k)?), "{what}");
            }
        }
    }
    Ok(())
}
twin!(channels_last_views, super::channels_last_views);

/// Batches of one row, repeated without memory of their own.
fn stride_zero_on_every_side(device: &Device) -> Result<()> {
    let conv = FlashFftConv::causal(300, device)?;
    let k = decaying(1, 5, 300, 300)?.to_device(device)?;
    let row = random_tensor(2, &[1, 5, 300], DType::BF16, device)?;
    let wide = row.broadcast_as((4, 5, 300))?;
    let y = conv.forward_gated(&wide, &k, &wide, &wide)?;
    let want = conv.forward_gated(&row, &k, &row, &row)?;
    for b in 0..4 {
        same(&y.narrow(0, b, 1)?, &want, "repeated rows");
    }
    Ok(())
}
twin!(repeated_rows, super::stride_zero_on_every_side);

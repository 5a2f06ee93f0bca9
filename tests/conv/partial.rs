//! Kernels that are shorter than the sequence, which the CPU computes in pieces, against the same
//! kernels with zeros for the missing taps, which it computes in whole rows.

use crate::common::conv::{
    has_gradients, tensor_within, tolerance, tolerance_of_rows, Way, DTYPES,
};
use crate::common::{random_tensor, to_f64};
use crate::properties::{for_all, near, random};
use crate::twin;
use candle_core::{DType, Device, Result, Tensor, Var};
use candle_flashfftconv::FlashFftConv;

/// `y`, and the gradients of `u`, `in_gate`, `out_gate` and `k`, where there are any.
fn step(way: Way, inputs: &[Tensor; 4], dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
    let variables = inputs
        .iter()
        .map(Var::from_tensor)
        .collect::<Result<Vec<_>>>()?;
    let [u, in_gate, out_gate, k] = &variables[..] else {
        panic!("four variables");
    };
    let conv = FlashFftConv::causal(u.dim(2)?, u.device())?;
    let y = way.compute(&conv, u, k, in_gate, out_gate)?;
    let mut results = vec![Some(y.clone())];
    if has_gradients(u.device()) {
        let gradients = y.mul(dy)?.sum_all()?.backward()?;
        results.extend(variables.iter().map(|v| gradients.get(v).cloned()));
    }
    Ok(results)
}

/// Sequences, gates, kernel and output gradient.
fn case(
    shape: [usize; 3],
    taps: usize,
    random: impl Fn(u64, &[usize]) -> Result<Tensor>,
) -> Result<([Tensor; 4], Tensor)> {
    let sequence = |seed| random(seed, &shape);
    let k = random(4, &[shape[1], taps])?;
    Ok(([sequence(1)?, sequence(2)?, sequence(3)?, k], sequence(5)?))
}

fn padded(inputs: &[Tensor; 4], length: usize) -> Result<[Tensor; 4]> {
    let [u, in_gate, out_gate, k] = inputs.clone();
    let missing = length.saturating_sub(k.dim(1)?);
    Ok([u, in_gate, out_gate, k.pad_with_zeros(1, 0, missing)?])
}

fn pieces_agree_with_whole_rows(device: &Device) -> Result<()> {
    let values = (1usize..6000, 0f64..1.0, 1usize..4, 1usize..4, 0usize..7);
    for_all(values, |(length, share, batch, channels, way)| {
        // Mostly few taps.
        let taps = (length as f64 * share.powi(4)) as usize + 1;
        let (inputs, dy) = case([batch, channels, length], taps, |seed, shape| {
            random(seed, shape, device)
        })?;
        let way = Way::ALL[way];
        let short = step(way, &inputs, &dy)?;
        let long = step(way, &padded(&inputs, length)?, &dy)?;
        for (index, (short, long)) in short.iter().zip(&long).enumerate() {
            let (Some(short), Some(long)) = (short, long) else {
                assert!(index == 4 && way.freezes_kernel() && short.is_none() && long.is_none());
                continue;
            };
            match index {
                4 => near(short, &long.narrow(1, 0, taps)?),
                _ => near(short, long),
            }
        }
        Ok(())
    })
}
twin!(agreement, super::pieces_agree_with_whole_rows);

fn every_dtype(device: &Device) -> Result<()> {
    for (length, taps) in [(5000, 1), (5000, 33), (4097, 129), (70_001, 5000)] {
        let (exact, dy) = case([2, 3, length], taps, |seed, shape| {
            // Exact in every dtype.
            let grid = random_tensor(seed, shape, DType::BF16, &Device::Cpu)?;
            grid.to_dtype(DType::F64)
        })?;
        let want = step(Way::Projected, &padded(&exact, length)?, &dy)?;
        for dtype in DTYPES {
            let put = |t: &Tensor| t.to_dtype(dtype)?.to_device(device);
            let [u, in_gate, out_gate, k] = &exact;
            let k = k.to_dtype(DType::F32)?.to_device(device)?;
            let inputs = [put(u)?, put(in_gate)?, put(out_gate)?, k];
            let got = step(Way::Projected, &inputs, &put(&dy)?)?;
            for (index, (got, want)) in got.iter().zip(&want).enumerate() {
                let (Some(got), Some(want)) = (got, want) else {
                    panic!("no gradient {index}");
                };
                let what = format!("L {length}, {taps} taps, {dtype:?}, {index}");
                match index {
                    4 => {
                        let want = want.narrow(1, 0, taps)?.contiguous()?;
                        tensor_within(got, &want, tolerance(DType::F32, device), &what)
                    }
                    _ => tensor_within(got, want, tolerance_of_rows(length, dtype, device), &what),
                };
            }
        }
    }
    Ok(())
}
twin!(dtypes, super::every_dtype);

/// Gradients of views: channels of a larger tensor, a broadcast output gradient.
#[test]
fn views() -> Result<()> {
    let device = &Device::Cpu;
    let (length, taps) = (3000, 20);
    let big = Var::from_tensor(&random(1, &[3, 5, length + 11], device)?)?;
    let kernels = Var::from_tensor(&random(2, &[7, taps + 3], device)?)?;
    let conv = FlashFftConv::causal(length, device)?;
    let gradients = |copy: bool| -> Result<Vec<Tensor>> {
        let u = big.narrow(0, 1, 2)?.narrow(1, 2, 3)?.narrow(2, 7, length)?;
        let k = kernels.narrow(0, 1, 3)?.narrow(1, 2, taps)?;
        let y = match copy {
            false => conv.forward(&u, &k)?,
            true => {
                let k = k.pad_with_zeros(1, 0, length - taps)?;
                conv.forward(&u.contiguous()?, &k.contiguous()?)?
            }
        };
        let store = y.sum_all()?.backward()?;
        let get = |v: &Var| store.get(v).cloned();
        Ok([get(&big), get(&kernels)].into_iter().flatten().collect())
    };
    let (got, want) = (gradients(false)?, gradients(true)?);
    assert_eq!((got.len(), want.len()), (2, 2));
    for (got, want) in got.iter().zip(&want) {
        near(got, want);
    }
    Ok(())
}

/// NaN in one row stays in that row's gradients, and in its channel's kernel gradient.
#[test]
fn what_is_not_finite_stays() -> Result<()> {
    let (shape, taps) = ([2, 3, 3000], 20);
    let (inputs, dy) = case(shape, taps, |seed, shape| {
        random_tensor(seed, shape, DType::F32, &Device::Cpu)
    })?;
    let want = step(Way::Projected, &inputs, &dy)?;
    // Row (1, 1) of u and of dy.
    let spoil = |t: &Tensor| -> Result<Tensor> {
        let mut values = t.flatten_all()?.to_vec1::<f32>()?;
        values[4 * 3000 + 1234] = f32::NAN;
        Tensor::from_vec(values, t.shape(), t.device())
    };
    let [u, in_gate, out_gate, k] = inputs.clone();
    let bad_u = step(Way::Projected, &[spoil(&u)?, in_gate, out_gate, k], &dy)?;
    let bad_dy = step(Way::Projected, &inputs, &spoil(&dy)?)?;
    for got in [bad_u, bad_dy] {
        for (index, (got, want)) in got.iter().zip(&want).enumerate() {
            let (Some(got), Some(want)) = (got, want) else {
                panic!("no gradient {index}");
            };
            let row = match index {
                4 => taps,
                _ => 3000,
            };
            let (got, want) = (to_f64(got), to_f64(want));
            for (i, (got, want)) in got.chunks(row).zip(want.chunks(row)).enumerate() {
                let own = match index {
                    4 => i == 1,
                    _ => i == 4,
                };
                assert!(own || got == want, "result {index}, row {i}");
            }
        }
    }
    Ok(())
}

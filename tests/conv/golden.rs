//! The long convolution against golden data: outputs and all gradients, by every way in.
//!
//! `tests/data/manifest_ops.json` lists the cases. The bias term `d` of the golden data is
//! added to `k[:, 0]`, its backward kernel `k_rev` is the tail of a circular one.

use crate::common::conv::{double, has_gradients, tolerance, tolerance_of_rows, within, Way};
use crate::common::{expect_not_implemented, golden, golden_json, to_f64};
use crate::twin;
use candle_core::{DType, Device, Result, Tensor, Var};
use candle_flashfftconv::FlashFftConv;
use std::collections::HashMap;

/// Kernel, bias on its first tap, and backward kernel as the tail of `fft_size` taps.
fn whole_kernel(
    k: &Tensor,
    d: Option<&Tensor>,
    k_rev: Option<&Tensor>,
    fft_size: usize,
) -> Result<Tensor> {
    let (channels, taps) = k.dims2()?;
    let mut k = k.clone();
    if let Some(d) = d {
        let first = (k.narrow(1, 0, 1)? + d.unsqueeze(1)?)?;
        k = Tensor::cat(&[first, k.narrow(1, 1, taps - 1)?], 1)?;
    }
    if let Some(k_rev) = k_rev {
        let gap = Tensor::zeros((channels, fft_size - 2 * taps), k.dtype(), k.device())?;
        k = Tensor::cat(&[k, gap, k_rev.flip(&[1])?], 1)?;
    }
    Ok(k)
}

fn run_case(case: &serde_json::Value, way: Way, dtype: DType, device: &Device) -> Result<()> {
    let name = case["name"].as_str().unwrap_or_default();
    let what = |part: &str| format!("{name} {way:?} {dtype:?} {part}");
    let data = golden(name);
    let kernel_dtype = match dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    };
    let variable = |part: &str| -> Result<Option<Var>> {
        let dtype = match part {
            "k" | "d" | "k_rev" => kernel_dtype,
            _ => dtype,
        };
        data.get(part)
            .map(|t| Var::from_tensor(&t.to_dtype(dtype)?.to_device(device)?))
            .transpose()
    };
    let parts = ["u", "k", "in_gate", "out_gate", "d", "k_rev"];
    let mut variables = HashMap::new();
    for part in parts {
        if let Some(v) = variable(part)? {
            variables.insert(part, v);
        }
    }
    let get = |part: &str| variables.get(part).map(|v| v.as_tensor());
    let (Some(u), Some(k)) = (get("u"), get("k")) else {
        panic!("{name}: no u or no k");
    };
    let length = u.dim(2)?;
    let ones = u.ones_like()?.detach();
    let bidirectional = get("k_rev").is_some();
    let conv = match case["fft_size"].as_u64() {
        Some(n) => FlashFftConv::new(n as usize, device)?,
        None if bidirectional => FlashFftConv::new(2 * length, device)?,
        None => FlashFftConv::causal(length, device)?,
    };
    let kernel = whole_kernel(k, get("d"), get("k_rev"), 2 * length)?;
    let in_gate = get("in_gate").unwrap_or(&ones);
    let out_gate = get("out_gate").unwrap_or(&ones);
    let y = way.compute(&conv, u, &kernel, in_gate, out_gate)?;
    assert_eq!((y.dtype(), y.dims()), (dtype, u.dims()));
    // In half precision `Plain` and `Prepared` round the gated input and the core as well.
    let rounds_twice = matches!(way, Way::Plain | Way::Prepared)
        && (get("in_gate").is_some() || get("out_gate").is_some());
    let bound = match rounds_twice {
        true => tolerance(dtype, device).times(2.0),
        false => tolerance(dtype, device),
    };
    within(&to_f64(&y), &to_f64(&data["y"]), bound, &what("y"));

    let dy = data["dy"].to_dtype(dtype)?.to_device(device)?;
    let loss = y.mul(&dy)?.sum_all()?;
    if !has_gradients(device) {
        return expect_not_implemented(loss.backward());
    }
    let gradients = loss.backward()?;
    for part in parts {
        let Some(variable) = variables.get(part) else {
            continue;
        };
        let of_kernel = matches!(part, "k" | "d" | "k_rev");
        let Some(gradient) = gradients.get(variable) else {
            assert!(of_kernel && way.freezes_kernel(), "{}", what(part));
            continue;
        };
        assert!(!(of_kernel && way.freezes_kernel()), "{}", what(part));
        assert_eq!(gradient.dtype(), variable.dtype());
        let bound = match of_kernel && !rounds_twice {
            true => tolerance(kernel_dtype, device),
            false => bound,
        };
        let key = match part {
            "in_gate" | "out_gate" => format!("d_{part}"),
            _ => format!("d{part}"),
        };
        within(&to_f64(gradient), &to_f64(&data[&key]), bound, &what(&key));
    }
    Ok(())
}

fn every_small_case(device: &Device) -> Result<()> {
    let manifest = golden_json("manifest_ops.json");
    let mut count = 0;
    for entry in manifest["cases"].as_object().into_iter().flatten() {
        let case = &entry.1["case"];
        if case["kind"] != "conv" {
            continue;
        }
        count += 1;
        let mut dtypes = vec![DType::F32];
        if device.is_cpu() {
            dtypes.push(DType::F64);
        }
        if case["grid"] == "bf16" {
            dtypes.extend([DType::F16, DType::BF16]);
        }
        for dtype in dtypes {
            for way in Way::ALL {
                run_case(case, way, dtype, device)?;
            }
        }
    }
    assert_eq!(count, 17, "cases of the manifest");
    Ok(())
}
twin!(small_cases, super::every_small_case);

/// Frequency-sparse kernels, by every way in; the same kernels in the time domain, as circular
/// ones of `2L` taps; outputs and gradients.
fn frequency_sparse_cases(device: &Device) -> Result<()> {
    for (name, kept) in [
        ("op_freqsparse_l256_keep128", 64),
        ("op_freqsparse_l256_keep512", 256),
    ] {
        let data = golden(name);
        for dtype in [DType::F32, DType::F64] {
            if dtype == DType::F64 && !device.is_cpu() {
                continue;
            }
            // Of the filter and of the convolution.
            let bound = tolerance(dtype, device).times(2.0);
            let put = |part: &str| data[part].to_dtype(dtype)?.to_device(device);
            let dy = put("dy")?;
            let ones = dy.ones_like()?;
            let limited = FlashFftConv::causal(256, device)?.with_kept_frequencies(kept)?;
            let check = |conv: &FlashFftConv, way: Way, kernel: &str| -> Result<()> {
                let what = |part: &str| format!("{name} {way:?} {kernel} {dtype:?} {part}");
                let (u, k) = (
                    Var::from_tensor(&put("u")?)?,
                    Var::from_tensor(&put(kernel)?)?,
                );
                let y = way.compute(conv, &u, &k, &ones, &ones)?;
                within(&to_f64(&y), &to_f64(&data["y"]), bound, &what("y"));
                let loss = y.mul(&dy)?.sum_all()?;
                if !has_gradients(device) {
                    return expect_not_implemented(loss.backward());
                }
                let gradients = loss.backward()?;
                let Some(du) = gradients.get(&u) else {
                    panic!("{}", what("no gradient"));
                };
                within(&to_f64(du), &to_f64(&data["du"]), bound, &what("du"));
                let dk = gradients.get(&k);
                assert_eq!(dk.is_none(), way.freezes_kernel(), "{}", what("dk"));
                if let (Some(dk), "k") = (dk, kernel) {
                    within(&to_f64(dk), &to_f64(&data["dk"]), bound, &what("dk"));
                }
                Ok(())
            };
            for way in Way::ALL {
                check(&limited, way, "k")?;
                check(&FlashFftConv::new(512, device)?, way, "k_time_2l")?;
            }
        }
    }
    Ok(())
}
twin!(frequency_sparse, super::frequency_sparse_cases);

/// Numbers that the golden data's inputs are made of: see `gen_ops.py`, `hashed`.
fn hashed(seed: u64, stream: u64, count: usize) -> Vec<f32> {
    (0..count as u64)
        .map(|i| {
            let mut z = (seed << 40)
                .wrapping_add(stream << 36)
                .wrapping_add(i)
                .wrapping_add(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            ((z >> 56) as f32 - 128.0) / 128.0
        })
        .collect()
}

/// The sampled columns of a tensor's last dimension.
fn at(t: &Tensor, positions: &Tensor) -> Result<Vec<f64>> {
    let index = positions
        .to_dtype(DType::U32)?
        .to_device(t.device())?
        .contiguous()?;
    Ok(to_f64(&t.contiguous()?.index_select(&index, t.rank() - 1)?))
}

fn large_case(name: &str, dtype: DType, device: &Device) -> Result<()> {
    let manifest = golden_json("manifest_ops.json");
    let case = &manifest["cases"][name]["case"];
    let size = |field: &str| case[field].as_u64().unwrap_or_default() as usize;
    let (batch, channels, length, taps) = (size("B"), size("H"), size("L"), size("K"));
    let seed = case["seed"].as_u64().unwrap_or_default();
    let data = golden(name);
    let stream = |stream: u64, part: &str, shape: &[usize]| -> Result<Var> {
        let values = hashed(seed, stream, shape.iter().product());
        let first: Vec<f64> = values.iter().take(16).map(|&x| x.into()).collect();
        assert_eq!(first, to_f64(&data[&format!("first16.{part}")]), "{part}");
        Var::from_tensor(
            &Tensor::from_vec(values, shape, &Device::Cpu)?
                .to_dtype(dtype)?
                .to_device(device)?,
        )
    };
    let shape = [batch, channels, length];
    let u = stream(0, "u", &shape)?;
    let unscaled = stream(1, "k_unscaled", &[channels, taps])?;
    let k_scale = case["k_scale"].as_f64().unwrap_or(f64::NAN);
    let k = Var::from_tensor(&(unscaled.as_detached_tensor() * k_scale)?)?;
    let dy = stream(4, "dy", &shape)?;
    let conv = FlashFftConv::causal(length, device)?;
    let gated = case["gated"] == true;
    let (in_gate, out_gate) = (
        stream(2, "in_gate", &shape)?,
        stream(3, "out_gate", &shape)?,
    );
    let y = match gated {
        true => conv.forward_gated(&u, &k, &in_gate, &out_gate)?,
        false => conv.forward(&u, &k)?,
    };
    let bound = tolerance_of_rows(length, dtype, device);
    let compare = |got: Vec<f64>, key: &str| {
        within(&got, &to_f64(&data[key]), bound, &format!("{name} {key}"));
    };
    compare(at(&y, &data["pos"])?, "y_at_pos");
    // Sums over the whole rows: no sample can be far off.
    let squares = double(&y)?.sqr()?.sum(2)?;
    compare(to_f64(&squares), "sumsq.y");

    let loss = y.mul(dy.as_tensor())?.sum_all()?;
    if !has_gradients(device) {
        return expect_not_implemented(loss.backward());
    }
    let gradients = loss.backward()?;
    let of = |t: &Tensor| -> Result<Tensor> {
        gradients
            .get(t)
            .cloned()
            .ok_or_else(|| candle_core::Error::Msg(format!("{name}: a gradient is missing")))
    };
    compare(at(&of(&u)?, &data["pos"])?, "du_at_pos");
    compare(at(&of(&k)?, &data["kpos"])?, "dk_at_kpos");
    if gated {
        compare(at(&of(&in_gate)?, &data["pos"])?, "d_in_gate_at_pos");
        compare(at(&of(&out_gate)?, &data["pos"])?, "d_out_gate_at_pos");
    }
    Ok(())
}

fn l8192_gated(device: &Device) -> Result<()> {
    large_case("op_large_l8192_gated", DType::F32, device)
}
twin!(large_l8192_gated, super::l8192_gated);

fn l32768_plain(device: &Device) -> Result<()> {
    large_case("op_large_l32768_plain", DType::F32, device)
}
twin!(large_l32768_plain, super::l32768_plain);

fn l131072_gated(device: &Device) -> Result<()> {
    large_case("op_large_l131072_gated", DType::F32, device)
}
twin!(large_l131072_gated, super::l131072_gated);

fn l524288_plain(device: &Device) -> Result<()> {
    large_case("op_large_l524288_plain", DType::F32, device)
}
twin!(large_l524288_plain, super::l524288_plain);

#[test]
fn large_in_double_precision() -> Result<()> {
    large_case("op_large_l8192_gated", DType::F64, &Device::Cpu)?;
    large_case("op_large_l32768_plain", DType::F64, &Device::Cpu)
}

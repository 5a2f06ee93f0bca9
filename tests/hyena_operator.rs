//! The Hyena operator on its own: against the reference implementation with its
//! options, against its definition by direct sums, and its gradients.

mod common;

use candle_core::{DType, Device, Result, Tensor};
use candle_flashfftconv::models::hyena_dna::{HyenaOperator, HyenaOperatorConfig};
use candle_flashfftconv::models::layers::{FilterNormalization, ImplicitFilterConfig};
use candle_nn::{VarBuilder, VarMap};
use common::{assert_close, golden, random_tensor, to_f64};
use std::collections::HashMap;

const CPU: Device = Device::Cpu;

fn config(d_model: usize, order: usize, max_len: usize) -> HyenaOperatorConfig {
    HyenaOperatorConfig {
        d_model,
        order,
        short_filter_order: 3,
        use_bias: true,
        bidirectional: false,
        filter: ImplicitFilterConfig {
            filter_order: 32,
            shift: 0.0,
            ..ImplicitFilterConfig::new((order - 1) * d_model, max_len)
        },
        initializer_range: 0.3,
        output_init_scale: 1.0,
    }
}

/// One stored case in f32, to the noise of f32, and in f64.
fn check(case: &str, config: HyenaOperatorConfig, device: &Device) -> Result<()> {
    let data = golden(case);
    let weights = data
        .iter()
        .filter_map(|(name, tensor)| {
            Some((name.strip_prefix("weight.")?.to_string(), tensor.clone()))
        })
        .collect::<HashMap<_, _>>();
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-10)] {
        if dtype == DType::F64 && !device.is_cpu() {
            continue;
        }
        let vb = VarBuilder::from_tensors(weights.clone(), dtype, device);
        let operator = HyenaOperator::new(config.clone(), vb)?;
        let input = data["io.input"].to_device(device)?.to_dtype(dtype)?;
        let output = operator.forward(&input)?;
        assert_close(&output, &data["io.output_f64"], tolerance, case);
    }
    Ok(())
}

twin!(
    agrees_with_the_reference_causal,
    super::agrees_with_the_reference_causal
);
fn agrees_with_the_reference_causal(device: &Device) -> Result<()> {
    check("hyena_op_causal_shift0", config(16, 2, 128), device)
}

twin!(
    agrees_with_the_reference_bidirectional,
    super::agrees_with_the_reference_bidirectional
);
fn agrees_with_the_reference_bidirectional(device: &Device) -> Result<()> {
    let config = HyenaOperatorConfig {
        bidirectional: true,
        ..config(16, 2, 130)
    };
    check("hyena_op_bidir_even", config, device)
}

twin!(
    agrees_with_the_reference_normalized,
    super::agrees_with_the_reference_normalized
);
fn agrees_with_the_reference_normalized(device: &Device) -> Result<()> {
    let mut config = config(16, 2, 130);
    config.filter.shift = 0.05;
    config.filter.normalized = FilterNormalization::OverChannels;
    check("hyena_op_normalized", config, device)
}

/// A fresh operator, constants or variables, and its variables.
fn fresh(
    config: &HyenaOperatorConfig,
    dtype: DType,
    trained: bool,
    device: &Device,
) -> Result<(HyenaOperator, VarMap)> {
    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, dtype, device);
    let operator = HyenaOperator::new(config.clone(), vb)?;
    if trained {
        return Ok((operator, variables));
    }
    let constants = variables
        .data()
        .lock()
        .unwrap()
        .iter()
        .map(|(name, variable)| (name.clone(), variable.as_detached_tensor()))
        .collect();
    let vb = VarBuilder::from_tensors(constants, dtype, device);
    Ok((HyenaOperator::new(config.clone(), vb)?, variables))
}

/// The operator by its definition, with direct sums, in float64.
fn by_definition(
    config: &HyenaOperatorConfig,
    variables: &VarMap,
    filter: &Tensor,
    u: &Tensor,
) -> Vec<f64> {
    let named = variables.data().lock().unwrap();
    let get = |name: &str| to_f64(named[name].as_tensor());
    let (batch, length, width) = u.dims3().unwrap();
    let (order, u, filter) = (config.order, to_f64(u), to_f64(filter));
    let (w_in, b_in) = (get("in_proj.weight"), get("in_proj.bias"));
    let (w_short, b_short) = (get("short_filter.weight"), get("short_filter.bias"));
    let (w_out, b_out) = (get("out_proj.weight"), get("out_proj.bias"));
    let skip = get("filter_fn.bias");
    let mut out = Vec::new();
    for row in 0..batch {
        let projected = |c: usize, t: usize| -> f64 {
            let at = (row * length + t) * width;
            b_in[c]
                + (0..width)
                    .map(|d| w_in[c * width + d] * u[at + d])
                    .sum::<f64>()
        };
        let rows: Vec<Vec<f64>> = (0..(order + 1) * width)
            .map(|c| (0..length).map(|t| projected(c, t)).collect())
            .collect();
        let short = |c: usize, t: usize| {
            let taps = (0..3).filter(|j| t + j >= 2);
            b_short[c]
                + taps
                    .map(|j| w_short[c * 3 + j] * rows[c][t + j - 2])
                    .sum::<f64>()
        };
        let part = |index: usize, d: usize| -> Vec<f64> {
            (0..length).map(|t| short(index * width + d, t)).collect()
        };
        let mut gated = vec![vec![0.0; length]; width];
        for (d, gated) in gated.iter_mut().enumerate() {
            let mut v = part(order, d);
            for step in 0..order - 1 {
                let gate = part(order - 1 - step, d);
                let p: Vec<f64> = v.iter().zip(&gate).map(|(v, g)| v * g).collect();
                let channel = step * width + d;
                let k = &filter[channel * length..(channel + 1) * length];
                v = (0..length)
                    .map(|t| (0..=t).map(|i| k[t - i] * p[i]).sum::<f64>() + skip[channel] * p[t])
                    .collect();
            }
            *gated = v.iter().zip(part(0, d)).map(|(v, g)| v * g).collect();
        }
        for t in 0..length {
            let gated = |d: usize| gated[d][t];
            for e in 0..width {
                out.push(
                    b_out[e]
                        + (0..width)
                            .map(|d| w_out[e * width + d] * gated(d))
                            .sum::<f64>(),
                );
            }
        }
    }
    out
}

#[test]
fn agrees_with_its_definition_at_any_order_and_length() -> Result<()> {
    for order in [2, 3, 4] {
        let config = config(3, order, 140);
        for length in [1, 2, 5, 129] {
            let u = random_tensor(7, &[2, length, 3], DType::F64, &CPU)?;
            for trained in [false, true] {
                let (operator, variables) = fresh(&config, DType::F64, trained, &CPU)?;
                let filter = operator.filter().kernel(length)?;
                let want = by_definition(&config, &variables, &filter, &u);
                let want = Tensor::from_vec(want, (2, length, 3), &CPU)?;
                let what = format!("order {order}, length {length}, trained {trained}");
                assert_close(&operator.forward(&u)?, &want, 1e-11, &what);
            }
        }
    }
    Ok(())
}

/// The same weights at each call, rounded to a dtype, with biases that are not zero.
fn rounded_weights(config: &HyenaOperatorConfig, dtype: DType) -> Result<HashMap<String, Tensor>> {
    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F64, &CPU);
    HyenaOperator::new(config.clone(), vb)?;
    let fresh = variables.data().lock().unwrap();
    let mut names: Vec<&String> = fresh.keys().collect();
    names.sort();
    (0..)
        .zip(names)
        .map(|(seed, name)| {
            // Sines of large sums of the filter would be what f32 cannot tell.
            let deviation = if name.starts_with("filter_fn") {
                0.1
            } else {
                0.3
            };
            let value = match name.ends_with("weight") || name.ends_with("bias") {
                true => (random_tensor(seed, fresh[name].dims(), DType::F64, &CPU)? * deviation)?,
                false => fresh[name].as_detached_tensor(),
            };
            Ok((name.clone(), value.to_dtype(dtype)?))
        })
        .collect()
}

twin!(
    agrees_with_float64_at_every_length,
    super::agrees_with_float64_at_every_length
);
/// Of lengths that divide into vectors of 16 bytes and others, for each way that rows are convolved on a GPU.
fn agrees_with_float64_at_every_length(device: &Device) -> Result<()> {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let tolerance = match dtype {
            DType::F32 => 5e-6,
            DType::F16 => 3e-3,
            _ => 1.5e-2,
        };
        for (length, batch) in [
            (1, 2),
            (8, 2),
            (131, 3),
            (1028, 2),
            (1032, 2),
            (8192, 2),
            (32768, 1),
            (65536, 1),
            (160_008, 1),
            (200_008, 1),
            (262_144, 1),
        ] {
            let config = config(4, 2, length);
            let weights = rounded_weights(&config, dtype)?;
            let operator = |dtype, device| {
                let vb = VarBuilder::from_tensors(weights.clone(), dtype, device);
                HyenaOperator::new(config.clone(), vb)
            };
            let u = random_tensor(7, &[batch, length, 4], dtype, &CPU)?;
            let want = operator(DType::F64, &CPU)?.forward(&u.to_dtype(DType::F64)?)?;
            let got = operator(dtype, device)?.forward(&u.to_device(device)?)?;
            assert_eq!(got.dtype(), dtype);
            let what = format!("length {length}, {dtype:?}");
            assert_close(&got, &want, tolerance, &what);
        }
    }
    Ok(())
}

twin!(
    rows_of_a_batch_and_views_do_not_matter,
    super::rows_of_a_batch_and_views_do_not_matter
);
fn rows_of_a_batch_and_views_do_not_matter(device: &Device) -> Result<()> {
    let (operator, _) = fresh(&config(4, 2, 100), DType::F32, false, device)?;
    let u = random_tensor(3, &[3, 77, 4], DType::F32, device)?;
    let together = operator.forward(&u)?;
    for row in 0..3 {
        let alone = operator.forward(&u.narrow(0, row, 1)?)?;
        assert_close(&together.narrow(0, row, 1)?, &alone, 1e-6, "row");
    }
    let transposed = u.transpose(1, 2)?.contiguous()?.transpose(1, 2)?;
    assert_close(
        &operator.forward(&transposed)?,
        &together,
        1e-6,
        "transposed view",
    );
    let wider = Tensor::cat(&[&u, &u], 2)?;
    assert_close(
        &operator.forward(&wider.narrow(2, 4, 4)?)?,
        &together,
        1e-6,
        "offset view",
    );
    Ok(())
}

twin!(
    not_a_number_stays_in_its_row,
    super::not_a_number_stays_in_its_row
);
fn not_a_number_stays_in_its_row(device: &Device) -> Result<()> {
    for (order, length) in [(3, 50), (2, 50), (2, 48)] {
        let (operator, _) = fresh(&config(4, order, 100), DType::F32, false, device)?;
        let u = random_tensor(3, &[2, length, 4], DType::F32, device)?;
        let clean = operator.forward(&u)?;
        let poison = Tensor::full(f32::NAN, (1, length, 4), device)?;
        let mixed = operator.forward(&Tensor::cat(&[&poison, &u.narrow(0, 1, 1)?], 0)?)?;
        assert_eq!(
            to_f64(&mixed.narrow(0, 1, 1)?),
            to_f64(&clean.narrow(0, 1, 1)?)
        );
        assert!(to_f64(&mixed.narrow(0, 0, 1)?).iter().all(|y| y.is_nan()));
    }
    Ok(())
}

twin!(
    empty_inputs_give_empty_outputs,
    super::empty_inputs_give_empty_outputs
);
fn empty_inputs_give_empty_outputs(device: &Device) -> Result<()> {
    let (operator, _) = fresh(&config(4, 2, 100), DType::F32, false, device)?;
    for shape in [[0, 5, 4], [2, 0, 4]] {
        let u = Tensor::zeros(&shape, DType::F32, device)?;
        assert_eq!(operator.forward(&u)?.dims(), shape);
    }
    Ok(())
}

twin!(
    keeping_spectra_changes_nothing,
    super::keeping_spectra_changes_nothing
);
fn keeping_spectra_changes_nothing(device: &Device) -> Result<()> {
    let (operator, _) = fresh(&config(4, 3, 300), DType::F32, false, device)?;
    let long = random_tensor(4, &[1, 300, 4], DType::F32, device)?;
    let input = |length: usize| long.narrow(1, 0, length);
    let lengths = [300, 10, 299, 1, 150, 300, 2, 10];
    operator.set_cache_bytes(0);
    let mut want = Vec::new();
    for length in lengths {
        want.push(to_f64(&operator.forward(&input(length)?)?));
    }
    operator.set_cache_bytes(1 << 20);
    for _ in 0..2 {
        for (length, want) in lengths.into_iter().zip(&want) {
            assert_eq!(&to_f64(&operator.clone().forward(&input(length)?)?), want);
        }
    }
    Ok(())
}

twin!(
    one_operator_serves_several_threads,
    super::one_operator_serves_several_threads
);
fn one_operator_serves_several_threads(device: &Device) -> Result<()> {
    let (operator, _) = fresh(&config(4, 2, 300), DType::F32, false, device)?;
    let long = random_tensor(4, &[1, 300, 4], DType::F32, device)?;
    let want = to_f64(&operator.forward(&long)?);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for length in [300, 40, 41, 42, 43, 44, 300] {
                    let u = long.narrow(1, 0, length).unwrap();
                    let y = to_f64(&operator.forward(&u).unwrap());
                    if length == 300 {
                        assert_eq!(y, want);
                    }
                }
            });
        }
    });
    Ok(())
}

#[test]
fn gradients_equal_differences() -> Result<()> {
    for (order, bidirectional) in [(2, false), (3, false), (2, true)] {
        let config = HyenaOperatorConfig {
            bidirectional,
            ..config(2, order, 12)
        };
        let (operator, variables) = fresh(&config, DType::F64, true, &CPU)?;
        common::fill_variables(&variables, 0.7)?;
        let u = random_tensor(3, &[2, 9, 2], DType::F64, &CPU)?;
        let weights = random_tensor(4, &[2, 9, 2], DType::F64, &CPU)?;
        let loss = || operator.forward(&u)?.mul(&weights)?.sum_all();
        let gradients = loss()?.backward()?;
        let named = variables.data().lock().unwrap().clone();
        for (name, variable) in named {
            let gradient = gradients
                .get(variable.as_tensor())
                .unwrap_or_else(|| panic!("{name}"));
            let gradient = to_f64(gradient);
            for index in [0, gradient.len() - 1] {
                let want = common::difference(&variable, index, &loss)?;
                let got = gradient[index];
                assert!(
                    (got - want).abs() <= 1e-6 * want.abs().max(1e-2),
                    "order {order}, {name}[{index}]: {got} but the difference says {want}"
                );
            }
        }
    }
    Ok(())
}

twin!(
    errors_say_expected_and_got,
    super::errors_say_expected_and_got
);
fn errors_say_expected_and_got(device: &Device) -> Result<()> {
    let (operator, _) = fresh(&config(4, 2, 100), DType::F32, false, device)?;
    let message = |shape: &[usize]| {
        let u = Tensor::zeros(shape, DType::F32, device).unwrap();
        operator.forward(&u).unwrap_err().to_string()
    };
    assert!(message(&[5, 4]).contains("(B, L, D)"));
    assert!(message(&[1, 5, 3]).contains("D = 4"));
    assert!(message(&[1, 101, 4]).contains("max_seq_len = 100"));

    let refused = |config: HyenaOperatorConfig| {
        fresh(&config, DType::F32, true, device)
            .err()
            .unwrap()
            .to_string()
    };
    let order_one = HyenaOperatorConfig {
        order: 1,
        ..config(4, 2, 100)
    };
    assert!(refused(order_one).contains("at least 2"));
    let no_width = HyenaOperatorConfig {
        d_model: 0,
        ..config(4, 2, 100)
    };
    assert!(refused(no_width).contains("d_model"));
    let no_taps = HyenaOperatorConfig {
        short_filter_order: 0,
        ..config(4, 2, 100)
    };
    assert!(refused(no_taps).contains("short_filter_order"));
    let other_filter = HyenaOperatorConfig {
        order: 3,
        ..config(4, 2, 100)
    };
    assert!(refused(other_filter).contains("(order − 1) · d_model = 8"));
    let huge = HyenaOperatorConfig {
        d_model: usize::MAX / 2,
        ..config(4, 2, 100)
    };
    assert!(refused(huge).contains("fits in memory"));
    Ok(())
}

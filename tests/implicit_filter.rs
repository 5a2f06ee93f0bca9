//! The implicit filter against the reference implementations' filters, its
//! gradients against differences, and what it refuses.

mod common;

use candle_core::{DType, Device, Result, Tensor};
use candle_flashfftconv::models::layers::{
    FilterNormalization, ImplicitFilter, ImplicitFilterConfig,
};
use candle_nn::{VarBuilder, VarMap};
use common::{assert_close, assert_close_slices, golden, to_f64};
use std::collections::HashMap;

/// The tensors below `prefix`, without it.
fn below(tensors: &HashMap<String, Tensor>, prefix: &str) -> HashMap<String, Tensor> {
    let strip = |(name, tensor): (&String, &Tensor)| {
        let name = name.strip_prefix(prefix)?;
        Some((name.to_string(), tensor.clone()))
    };
    tensors.iter().filter_map(strip).collect()
}

fn config(channels: usize, max_len: usize, filter_order: usize) -> ImplicitFilterConfig {
    ImplicitFilterConfig {
        filter_order,
        ..ImplicitFilterConfig::new(channels, max_len)
    }
}

fn load(
    config: ImplicitFilterConfig,
    tensors: &HashMap<String, Tensor>,
    dtype: DType,
    device: &Device,
) -> Result<ImplicitFilter> {
    let vb = VarBuilder::from_tensors(tensors.clone(), dtype, device);
    ImplicitFilter::new(config, vb)
}

/// In f32 to the noise of f32, in f64 to the rounding of the stored reference.
fn check(
    name: &str,
    prefix: &str,
    reference: &str,
    length: usize,
    config: ImplicitFilterConfig,
    device: &Device,
) -> Result<()> {
    let weights = match name.strip_prefix("hyenadna") {
        Some(_) => golden(&format!("{name}.orig")),
        None => golden(name),
    };
    let io = match name.strip_prefix("hyenadna") {
        Some(_) => golden(&format!("{name}.io")),
        None => weights.clone(),
    };
    let want = io[reference].reshape((config.channels, length))?;
    let tensors = below(&weights, prefix);
    for (dtype, tolerance) in [(DType::F32, 2e-5), (DType::F64, 1e-7)] {
        let filter = load(config.clone(), &tensors, dtype, device)?;
        assert!(!filter.is_tracked());
        let kernel = filter.kernel(length)?;
        assert_eq!(kernel.dtype(), dtype);
        assert_close(&kernel, &want, tolerance, &format!("{name} {dtype:?}"));
    }
    Ok(())
}

twin!(
    agrees_with_hyena_without_shift,
    super::agrees_with_hyena_without_shift
);
fn agrees_with_hyena_without_shift(device: &Device) -> Result<()> {
    let config = ImplicitFilterConfig {
        shift: 0.0,
        ..config(16, 128, 32)
    };
    check(
        "hyena_op_causal_shift0",
        "weight.filter_fn.",
        "io.filter_k",
        128,
        config,
        device,
    )
}

twin!(
    agrees_with_hyena_normalized,
    super::agrees_with_hyena_normalized
);
fn agrees_with_hyena_normalized(device: &Device) -> Result<()> {
    let config = ImplicitFilterConfig {
        normalized: FilterNormalization::OverChannels,
        ..config(16, 130, 32)
    };
    check(
        "hyena_op_normalized",
        "weight.filter_fn.",
        "io.filter_k",
        100,
        config,
        device,
    )
}

twin!(agrees_with_hyena_dna, super::agrees_with_hyena_dna);
fn agrees_with_hyena_dna(device: &Device) -> Result<()> {
    let prefix = "model.backbone.layers.1.mixer.layer.filter_fn.";
    check(
        "hyenadna_tiny_a",
        prefix,
        "layer1.filter_k",
        256,
        config(32, 1026, 64),
        device,
    )?;
    let prefix = "model.backbone.layers.0.mixer.filter_fn.";
    let one_band = ImplicitFilterConfig {
        emb_dim: 3,
        ..config(16, 256, 16)
    };
    check(
        "hyenadna_tiny_b",
        prefix,
        "layer0.filter_k",
        256,
        one_band,
        device,
    )?;
    check(
        "hyenadna_tiny_order3",
        prefix,
        "layer0.filter_k",
        129,
        config(48, 130, 64),
        device,
    )
}

twin!(
    agrees_with_both_filters_of_m2,
    super::agrees_with_both_filters_of_m2
);
fn agrees_with_both_filters_of_m2(device: &Device) -> Result<()> {
    let data = golden("m2_mixer_bidir");
    for (prefix, io) in [
        ("weight.filter_fn.", "io.filter"),
        ("weight.filter_fn2.", "io.filter2"),
    ] {
        let config = ImplicitFilterConfig {
            shift: 0.0,
            trainable_positions: true,
            ..config(24, 128, 32)
        };
        let vb = VarBuilder::from_tensors(below(&data, prefix), DType::F32, device);
        let forward = ImplicitFilter::new(config, vb.clone())?;
        let reverse = forward.sharing(vb.pp("implicit_filter_rev"))?;
        assert_close(
            &forward.kernel(128)?,
            &data[&format!("{io}_k")],
            2e-5,
            "forward",
        );
        assert_close(
            &reverse.kernel(128)?,
            &data[&format!("{io}_k_rev")],
            2e-5,
            "reverse",
        );
    }
    Ok(())
}

twin!(
    tables_by_formula_equal_stored_ones,
    super::tables_by_formula_equal_stored_ones
);
fn tables_by_formula_equal_stored_ones(device: &Device) -> Result<()> {
    // This model's tables were left as the reference computes them.
    let weights = golden("hyenadna_tiny_b.orig");
    let mut tensors = below(&weights, "model.backbone.layers.0.mixer.filter_fn.");
    let config = ImplicitFilterConfig {
        emb_dim: 3,
        ..config(16, 256, 16)
    };
    let stored = load(config.clone(), &tensors, DType::F32, device)?.kernel(256)?;
    for name in ["pos_emb.z", "pos_emb.t", "modulation.deltas"] {
        assert!(tensors.remove(name).is_some());
    }
    let computed = load(config, &tensors, DType::F32, device)?.kernel(256)?;
    assert_close(&computed, &stored, 1e-5, "tables by formula");
    Ok(())
}

twin!(
    any_name_of_the_frequencies_will_do,
    super::any_name_of_the_frequencies_will_do
);
fn any_name_of_the_frequencies_will_do(device: &Device) -> Result<()> {
    let data = golden("hyena_op_causal_shift0");
    let all = below(&data, "weight.filter_fn.");
    let want = load(config(16, 128, 32), &all, DType::F32, device)?.kernel(17)?;
    for kept in [1, 3, 5] {
        let mut tensors = all.clone();
        tensors.retain(|name, _| {
            !name.ends_with("freq") || name == &format!("implicit_filter.{kept}.freq")
        });
        let got = load(config(16, 128, 32), &tensors, DType::F32, device)?.kernel(17)?;
        assert_eq!(to_f64(&got), to_f64(&want));
    }
    Ok(())
}

twin!(
    a_shorter_filter_starts_a_longer_one,
    super::a_shorter_filter_starts_a_longer_one
);
fn a_shorter_filter_starts_a_longer_one(device: &Device) -> Result<()> {
    let data = golden("hyena_op_causal_shift0");
    let filter = load(
        config(16, 128, 32),
        &below(&data, "weight.filter_fn."),
        DType::F64,
        device,
    )?;
    let long = filter.kernel(128)?;
    for length in [1, 2, 3, 127] {
        let want = long.narrow(1, 0, length)?;
        assert_close(&filter.kernel(length)?, &want, 1e-12, "start");
        let mut with_skip = to_f64(&want.contiguous()?);
        for (channel, skip) in to_f64(filter.skip()).into_iter().enumerate() {
            with_skip[channel * length] += skip;
        }
        let got = to_f64(&filter.kernel_with_skip(length)?);
        assert_close_slices(&got, &with_skip, 1e-12, "start with skip");
    }
    assert_eq!(filter.kernel(0)?.dims(), &[16, 0]);
    assert_eq!(filter.kernel_with_skip(0)?.dims(), &[16, 0]);
    Ok(())
}

twin!(
    gradients_equal_differences,
    super::gradients_equal_differences
);
fn gradients_equal_differences(device: &Device) -> Result<()> {
    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F64, device);
    let config = ImplicitFilterConfig {
        trainable_positions: true,
        frequency: 2.0,
        frequency_factor: 1.5,
        normalized: FilterNormalization::OverChannels,
        ..config(3, 20, 4)
    };
    let filter = ImplicitFilter::new(config, vb)?;
    assert!(filter.is_tracked());
    common::fill_variables(&variables, 0.7)?;
    let weights = common::random_tensor(1, &[3, 11], DType::F64, device)?;
    let loss = || filter.kernel_with_skip(11)?.mul(&weights)?.sum_all();
    let gradients = loss()?.backward()?;
    // Network of 4 layers, three of them with biases; freq, z and bias.
    let named = variables.data().lock().unwrap().clone();
    assert_eq!(named.len(), 7 + 3);
    for (name, variable) in named {
        let gradient = gradients.get(variable.as_tensor()).expect(&name);
        let gradient = to_f64(gradient);
        for index in [0, gradient.len() / 2] {
            let want = common::difference(&variable, index, &loss)?;
            let got = gradient[index];
            assert!(
                (got - want).abs() <= 1e-6 * want.abs().max(1e-2),
                "{name}[{index}]: {got} but the difference says {want}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_fresh_filter_starts_as_published() -> Result<()> {
    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
    let config = ImplicitFilterConfig {
        trainable_positions: true,
        ..ImplicitFilterConfig::new(8, 50)
    };
    ImplicitFilter::new(config, vb)?;
    let named = variables.data().lock().unwrap();
    assert!(!named.contains_key("pos_emb.t") && !named.contains_key("modulation.deltas"));
    let frequencies = to_f64(&named["implicit_filter.1.freq"]);
    assert_eq!(frequencies, vec![10.0; 64]);
    // The times 0 … 1 come first in the features.
    let features = to_f64(&named["pos_emb.z"]);
    assert_eq!(features[0], 0.0);
    assert_eq!(features[49 * 5], 1.0);
    assert!(to_f64(&named["implicit_filter.2.weight"])
        .iter()
        .all(|w| w.abs() <= 0.125));
    Ok(())
}

#[test]
fn errors_say_expected_and_got() -> Result<()> {
    let data = golden("hyena_op_causal_shift0");
    let tensors = below(&data, "weight.filter_fn.");
    let message = |config: ImplicitFilterConfig, tensors: &HashMap<String, Tensor>| {
        load(config, tensors, DType::F32, &Device::Cpu)
            .unwrap_err()
            .to_string()
    };
    let good = config(16, 128, 32);
    let even = ImplicitFilterConfig {
        emb_dim: 4,
        ..good.clone()
    };
    assert!(message(even, &tensors).contains("odd"));
    for zero in [config(0, 128, 32), config(16, 0, 32), config(16, 128, 0)] {
        assert!(message(zero, &tensors).contains("at least 1"));
    }
    assert!(message(config(17, 128, 32), &tensors).contains("17"));
    let mut without = tensors.clone();
    without.remove("implicit_filter.2.bias");
    assert!(message(good.clone(), &without).contains("implicit_filter.2.bias"));
    let filter = load(good, &tensors, DType::F32, &Device::Cpu)?;
    let error = filter.kernel(129).unwrap_err().to_string();
    assert!(error.contains("128") && error.contains("129"), "{error}");
    Ok(())
}

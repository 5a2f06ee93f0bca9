//! M2-BERT against the original implementation's float64 runs: mixers, one
//! layer, a small model.

mod common;

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_flashfftconv::models::layers::ImplicitFilterConfig;
use candle_flashfftconv::models::m2_bert::{
    Config, M2Bert, M2BertLayer, MonarchMixer, MonarchMixerConfig,
};
use candle_nn::VarBuilder;
use common::{assert_close, data_dir, deviation, golden, to_f64};
use std::collections::HashMap;

/// Tolerances in f32 and, on the CPU, in f64.
fn tolerances(device: &Device) -> &'static [(DType, f64)] {
    const BOTH: [(DType, f64); 2] = [(DType::F32, 1e-4), (DType::F64, 1e-9)];
    match device.is_cpu() {
        true => &BOTH,
        false => &BOTH[..1],
    }
}

/// The tensors below a prefix, without it.
fn below(all: &HashMap<String, Tensor>, prefix: &str) -> HashMap<String, Tensor> {
    all.iter()
        .filter_map(|(name, t)| Some((name.strip_prefix(prefix)?.to_string(), t.clone())))
        .collect()
}

/// The case that a file was made from, out of its metadata.
fn case(name: &str) -> serde_json::Value {
    let bytes = std::fs::read(data_dir().join(format!("{name}.safetensors"))).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    serde_json::from_str(&metadata["case"]).unwrap()
}

fn config(name: &str) -> Config {
    Config::from_json(&case(name)["config"].to_string()).unwrap()
}

#[track_caller]
fn assert_within(got: &Tensor, want: &Tensor, absolute: f64, what: &str) {
    assert_eq!(got.dims(), want.dims(), "{what}: shape");
    let d = deviation(&to_f64(got), &to_f64(want));
    // An all-zero result is off by the largest reference value.
    assert!(d.absolute_max / d.relative_max > 100.0 * absolute);
    println!("{what}: {d:?}");
    assert!(d.absolute_max <= absolute, "{what}: {d:?}");
}

fn check_mixer(name: &str, device: &Device) -> Result<()> {
    let all = golden(name);
    let case = case(name);
    let number = |field: &str| case[field].as_u64().unwrap() as usize;
    let config = MonarchMixerConfig {
        d_model: number("d_model"),
        bidirectional: case["bidirectional"].as_bool().unwrap(),
        residual_long_conv: case["residual_long_conv"].as_bool().unwrap(),
        filter: ImplicitFilterConfig {
            filter_order: number("filter_order"),
            emb_dim: number("emb_dim"),
            frequency: number("w") as f64,
            shift: 0.0,
            trainable_positions: true,
            ..ImplicitFilterConfig::new(number("d_model"), number("l_max"))
        },
        initializer_range: 0.02,
    };
    for &(dtype, tolerance) in tolerances(device) {
        let vb = VarBuilder::from_tensors(below(&all, "weight."), dtype, device);
        let mixer = MonarchMixer::new(config.clone(), vb)?;
        let u = all["io.input"].to_device(device)?.to_dtype(dtype)?;
        let y = mixer.forward(&u)?;
        let what = format!("{name} {dtype:?}");
        assert_within(&y, &all["io.output_f64"], tolerance, &what);
        // Kept filters change nothing, nor do views.
        assert_eq!(to_f64(&mixer.forward(&u)?), to_f64(&y));
        mixer.set_cache_bytes(0);
        let view = u.transpose(1, 2)?.contiguous()?.transpose(1, 2)?;
        assert_close(&mixer.forward(&view)?, &y, 1e-6, &what);
    }
    Ok(())
}

twin!(bidirectional_mixer, super::bidirectional_mixer);
fn bidirectional_mixer(device: &Device) -> Result<()> {
    check_mixer("m2_mixer_bidir", device)
}

twin!(causal_mixer, super::causal_mixer);
fn causal_mixer(device: &Device) -> Result<()> {
    check_mixer("m2_mixer_causal", device)
}

twin!(one_layer, super::one_layer);
fn one_layer(device: &Device) -> Result<()> {
    let all = golden("m2_layer");
    for &(dtype, tolerance) in tolerances(device) {
        let vb = VarBuilder::from_tensors(below(&all, "weight."), dtype, device);
        let layer = M2BertLayer::new(&config("m2_layer"), vb)?;
        let x = all["io.input"].to_device(device)?.to_dtype(dtype)?;
        let what = format!("layer {dtype:?}");
        let y = layer.forward(&x)?;
        assert_within(&y, &all["io.output_f64"], tolerance, &what);
        let mixed = layer.mixer().forward(&x)?;
        assert_within(&mixed, &all["io.mixer_out"], 1e-4, "mixer of the layer");
        assert_eq!(to_f64(&layer.mlp().forward(&mixed)?), to_f64(&y));
    }
    Ok(())
}

twin!(whole_model, super::whole_model);
fn whole_model(device: &Device) -> Result<()> {
    let all = golden("m2_bert_tiny");
    let ids = &all["io.input_ids"].to_device(device)?;
    for &(dtype, tolerance) in tolerances(device) {
        let weights = below(&all, "weight.");
        let model = M2Bert::from_tensors(config("m2_bert_tiny"), weights, dtype, device)?;
        let states = model.all_hidden_states(ids, None)?;
        for (index, state) in states.iter().enumerate() {
            let name = format!("io.hidden.{index}");
            assert_within(state, &all[&name], 1e-4, &name);
        }
        let hidden = model.forward(ids, None)?;
        let what = format!("last hidden {dtype:?}");
        assert_within(&hidden, &all["io.last_hidden_f64"], tolerance, &what);
        let pooled = model.pooled(&hidden)?;
        assert_within(&pooled, &all["io.pooled_f64"], tolerance, "pooled");
        let types = Some(ids.zeros_like()?);
        let typed = model.forward(ids, types.as_ref())?;
        assert_close(&typed, &hidden, 1e-6, "token types 0 are the default");
        let other = model.forward(ids, Some(&ids.ones_like()?))?;
        assert!(deviation(&to_f64(&other), &to_f64(&hidden)).relative_rms > 1e-3);
    }
    Ok(())
}

twin!(half_precision_stays_near, super::half_precision_stays_near);
fn half_precision_stays_near(device: &Device) -> Result<()> {
    let all = golden("m2_bert_tiny");
    for (dtype, tolerance) in [(DType::F16, 2e-2), (DType::BF16, 1e-1)] {
        let weights = below(&all, "weight.");
        let model = M2Bert::from_tensors(config("m2_bert_tiny"), weights, dtype, device)?;
        let hidden = model.forward(&all["io.input_ids"].to_device(device)?, None)?;
        assert_eq!(hidden.dtype(), dtype);
        let d = deviation(&to_f64(&hidden), &to_f64(&all["io.last_hidden_f64"]));
        assert!(d.relative_rms < tolerance, "{dtype:?}: {d:?}");
    }
    Ok(())
}

//! HyenaDNA against the original implementation's float64 runs: logits, hidden
//! states, the residual stream, and the inside of one mixer.

mod common;

use candle_core::{DType, Device, Result, Tensor};
use candle_flashfftconv::models::hyena_dna::{Config, HyenaDna};
use common::{assert_close, data_dir, deviation, golden, to_f64};

fn config(name: &str) -> Config {
    Config::from_file(data_dir().join(format!("{name}.json"))).unwrap()
}

fn from_files(config_name: &str, weights: &str, dtype: DType, device: &Device) -> Result<HyenaDna> {
    let path = data_dir().join(format!("{weights}.safetensors"));
    HyenaDna::from_files(config(config_name), &[path], dtype, device)
}

#[track_caller]
fn assert_within(got: &Tensor, want: &Tensor, absolute: f64, what: &str) {
    assert_eq!(got.dims(), want.dims(), "{what}: shape");
    let d = deviation(&to_f64(got), &to_f64(want));
    // An all-zero result is off by the largest reference value.
    assert!(
        d.absolute_max / d.relative_max > 100.0 * absolute,
        "{what}: tolerance too wide"
    );
    assert!(d.absolute_max <= absolute, "{what}: {d:?}");
}

/// One case in one layout: logits, hidden states and the residual stream.
fn check(case: &str, layout: &str, device: &Device) -> Result<()> {
    let io = golden(&format!("{case}.io"));
    let ids = &io["input_ids"].to_device(device)?;
    let want = match io.get("logits_hf_head_f64") {
        Some(own_head) if layout == "hf" => own_head,
        _ => &io["logits_f64"],
    };
    let (config_name, weights) = (
        format!("{case}.config_{layout}"),
        format!("{case}.{layout}"),
    );

    let model = from_files(&config_name, &weights, DType::F32, device)?;
    assert_within(&model.forward(ids)?, want, 1e-4, "f32 logits");
    // Filters that are kept change nothing. On a GPU cuBLAS may choose another algorithm when it has
    // less memory, which rounds differently.
    let first = to_f64(&model.forward(ids)?);
    let same = |model: &HyenaDna| -> Result<()> {
        let again = to_f64(&model.forward(ids)?);
        if device.is_cpu() {
            assert_eq!(again, first);
        }
        assert!(deviation(&again, &first).relative_rms < 2e-6);
        Ok(())
    };
    same(&model)?;
    model.set_cache_bytes(0);
    same(&model)?;

    if !device.is_cpu() {
        return Ok(());
    }
    let model = from_files(&config_name, &weights, DType::F64, device)?;
    assert_within(&model.forward(ids)?, want, 1e-9, "f64 logits");
    // These were rounded to f32 when stored.
    let states = model.all_hidden_states(ids)?;
    for (index, state) in states.iter().enumerate() {
        let stored = format!("residual_stream.{index}");
        let want = match index + 1 == states.len() {
            true => &io["last_hidden_f32"],
            false => &io[&stored],
        };
        assert_close(state, want, 2e-7, &stored);
    }
    let last = &states[states.len() - 1];
    assert_eq!(to_f64(last), to_f64(&model.hidden_states(ids)?));
    Ok(())
}

twin!(
    tiny_a_with_original_names,
    super::tiny_a_with_original_names
);
fn tiny_a_with_original_names(device: &Device) -> Result<()> {
    check("hyenadna_tiny_a", "orig", device)
}

twin!(
    tiny_a_with_hugging_face_names,
    super::tiny_a_with_hugging_face_names
);
fn tiny_a_with_hugging_face_names(device: &Device) -> Result<()> {
    check("hyenadna_tiny_a", "hf", device)
}

twin!(
    tiny_b_with_original_names,
    super::tiny_b_with_original_names
);
fn tiny_b_with_original_names(device: &Device) -> Result<()> {
    check("hyenadna_tiny_b", "orig", device)
}

twin!(
    tiny_b_with_hugging_face_names,
    super::tiny_b_with_hugging_face_names
);
fn tiny_b_with_hugging_face_names(device: &Device) -> Result<()> {
    check("hyenadna_tiny_b", "hf", device)
}

twin!(order_three, super::order_three);
fn order_three(device: &Device) -> Result<()> {
    check("hyenadna_tiny_order3", "orig", device)
}

twin!(
    layouts_of_configuration_and_weights_mix,
    super::layouts_of_configuration_and_weights_mix
);
fn layouts_of_configuration_and_weights_mix(device: &Device) -> Result<()> {
    let io = golden("hyenadna_tiny_a.io");
    let config = Config {
        // The embedding is the head in the original weights alone.
        tie_word_embeddings: None,
        ..config("hyenadna_tiny_a.config_hf")
    };
    let path = data_dir().join("hyenadna_tiny_a.orig.safetensors");
    let model = HyenaDna::from_files(config, &[path], DType::F32, device)?;
    assert_within(
        &model.forward(&io["input_ids"].to_device(device)?)?,
        &io["logits_f64"],
        1e-4,
        "logits",
    );
    Ok(())
}

twin!(the_inside_of_a_mixer, super::the_inside_of_a_mixer);
fn the_inside_of_a_mixer(device: &Device) -> Result<()> {
    for (case, layer) in [
        ("hyenadna_tiny_a", 1),
        ("hyenadna_tiny_b", 0),
        ("hyenadna_tiny_order3", 0),
    ] {
        let io = golden(&format!("{case}.io"));
        let tap = |name: &str| &io[&format!("layer{layer}.{name}")];
        let config_name = format!("{case}.config_orig");
        let model = from_files(&config_name, &format!("{case}.orig"), DType::F32, device)?;
        let mixer = model.mixer(layer).unwrap();
        let length = tap("mixer_in").dim(1)?;
        let filter = mixer
            .filter()
            .kernel(length)?
            .reshape(tap("filter_k").dims())?;
        assert_close(&filter, tap("filter_k"), 2e-5, "filter_k");
        let mixed = mixer.forward(&tap("mixer_in").to_device(device)?)?;
        assert_within(&mixed, tap("mixer_out"), 2e-5, "mixer_out");
        assert!(model.mixer(config(&config_name).n_layer).is_none());
    }
    Ok(())
}

twin!(half_precision_stays_near, super::half_precision_stays_near);
fn half_precision_stays_near(device: &Device) -> Result<()> {
    let io = golden("hyenadna_tiny_a.io");
    for (dtype, tolerance) in [(DType::F16, 5e-3), (DType::BF16, 4e-2)] {
        let model = from_files(
            "hyenadna_tiny_a.config_orig",
            "hyenadna_tiny_a.orig",
            dtype,
            device,
        )?;
        let logits = model.forward(&io["input_ids"].to_device(device)?)?;
        assert_eq!(logits.dtype(), dtype);
        assert_close(
            &logits,
            &io["logits_f64"],
            tolerance,
            &format!("{dtype:?} logits"),
        );
    }
    Ok(())
}

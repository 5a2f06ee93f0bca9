//! Which files, sizes and ids M2-BERT takes, what it says about the others, and
//! that it can be trained.

mod checkpoint_writer;
mod common;

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_flashfftconv::models::layers::LayerNorm;
use candle_flashfftconv::models::m2_bert::{BlockDiagonalLinear, Config, M2Bert};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, VarBuilder, VarMap};
use common::{golden, random_tensor, to_f64};
use std::collections::HashMap;

const CPU: Device = Device::Cpu;

fn config() -> Config {
    Config {
        vocab_size: 50,
        hidden_size: 32,
        intermediate_size: 64,
        num_hidden_layers: 2,
        hyena_filter_order: 32,
        ..Config::retrieval_80m(64)
    }
}

/// The golden model's weights with renamed tensors.
fn weights(rename: impl Fn(&str) -> String) -> HashMap<String, Tensor> {
    golden("m2_bert_tiny")
        .into_iter()
        .filter_map(|(name, t)| Some((rename(name.strip_prefix("weight.")?), t)))
        .collect()
}

fn ids(device: &Device) -> Result<Tensor> {
    golden("m2_bert_tiny")["io.input_ids"].to_device(device)
}

fn load(tensors: HashMap<String, Tensor>, device: &Device) -> Result<M2Bert> {
    M2Bert::from_tensors(config(), tensors, DType::F32, device)
}

fn plain(name: &str) -> String {
    name.to_string()
}

#[track_caller]
fn said<T>(result: Result<T>, parts: &[&str]) {
    let message = result.err().expect("an error").to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

twin!(
    takes_every_prefix_from_files_and_builders,
    super::takes_every_prefix_from_files_and_builders
);
fn takes_every_prefix_from_files_and_builders(device: &Device) -> Result<()> {
    let want = to_f64(&load(weights(plain), device)?.forward(&ids(device)?, None)?);
    let folder = tempfile::tempdir()?;
    for prefix in ["", "bert.", "model.bert.", "module.model.bert."] {
        let mut tensors = weights(|name| format!("{prefix}{name}"));
        // What lies beside the encoder in published files.
        tensors.insert(
            "cls.predictions.bias".into(),
            Tensor::zeros(50, DType::F32, device)?,
        );
        let positions = Tensor::arange(0i64, 64, device)?.unsqueeze(0)?;
        tensors.insert(format!("{prefix}embeddings.position_ids"), positions);
        let path = folder.path().join("weights.safetensors");
        candle_core::safetensors::save(&tensors, &path)?;
        let model = M2Bert::from_files(config(), &[path], DType::F32, device)?;
        assert_eq!(
            to_f64(&model.forward(&ids(device)?, None)?),
            want,
            "{prefix}"
        );
        if !prefix.starts_with("module") {
            let vb = VarBuilder::from_tensors(tensors, DType::F32, device);
            let model = M2Bert::new(config(), vb)?;
            assert_eq!(
                to_f64(&model.forward(&ids(device)?, None)?),
                want,
                "{prefix}"
            );
        }
    }
    Ok(())
}

twin!(
    one_name_of_the_frequency_is_enough,
    super::one_name_of_the_frequency_is_enough
);
fn one_name_of_the_frequency_is_enough(device: &Device) -> Result<()> {
    let want = to_f64(&load(weights(plain), device)?.forward(&ids(device)?, None)?);
    let mut tensors = weights(plain);
    tensors.retain(|name, _| !name.ends_with("freq") || name.contains("_rev.5."));
    assert_eq!(
        to_f64(&load(tensors, device)?.forward(&ids(device)?, None)?),
        want
    );
    Ok(())
}

#[test]
fn wrong_weights_are_named() -> Result<()> {
    let name = "encoder.layer.1.mlp.wo.weight";
    let mut tensors = weights(plain);
    tensors.remove(name);
    said(load(tensors, &CPU), &[name, "no such tensor"]);

    let mut tensors = weights(plain);
    tensors.insert(name.into(), Tensor::zeros((4, 8, 15), DType::F32, &CPU)?);
    said(load(tensors, &CPU), &[name, "[4, 8, 16]", "[4, 8, 15]"]);

    let mut tensors = weights(plain);
    tensors.insert(
        "encoder.layer.7.x".into(),
        Tensor::zeros(1, DType::F32, &CPU)?,
    );
    said(load(tensors, &CPU), &["encoder.layer.7.x", "unknown"]);

    let mut tensors = weights(plain);
    tensors.retain(|name, _| !name.ends_with("freq"));
    said(load(tensors, &CPU), &["freq"]);

    let mut tensors = weights(plain);
    tensors.retain(|name, _| !name.starts_with("pooler"));
    let model = load(tensors, &CPU)?;
    said(
        model.pooled(&model.forward(&ids(&CPU)?, None)?),
        &["pooler"],
    );
    Ok(())
}

twin!(wrong_ids_are_named, super::wrong_ids_are_named);
fn wrong_ids_are_named(device: &Device) -> Result<()> {
    let model = load(weights(plain), device)?;
    let forward = |ids: Tensor| model.forward(&ids, None);
    said(
        forward(Tensor::new(&[[50u32]], device)?),
        &["0 to 49", "50"],
    );
    said(forward(Tensor::new(&[[-1i64]], device)?), &["-1"]);
    said(forward(Tensor::new(&[1u32], device)?), &["(B, L)"]);
    said(forward(Tensor::new(&[[1f32]], device)?), &["F32"]);
    let long = Tensor::zeros((1, 65), DType::U32, device)?;
    said(forward(long), &["64", "65"]);
    let one = Tensor::new(&[[1u32]], device)?;
    let types = Tensor::new(&[[2u32]], device)?;
    said(model.forward(&one, Some(&types)), &["token type", "0 to 1"]);
    let types = Tensor::new(&[[0u32, 1]], device)?;
    said(model.forward(&one, Some(&types)), &["token_type_ids"]);
    for (batch, length) in [(0, 3), (2, 0)] {
        let empty = Tensor::zeros((batch, length), DType::U32, device)?;
        assert_eq!(forward(empty)?.dims(), [batch, length, 32]);
    }
    Ok(())
}

#[test]
fn wrong_configurations_are_named() {
    said(Config::from_json("{}"), &["long_conv_l_max"]);
    said(Config::from_json("[]"), &["config.json"]);
    let with = |field: &str, value: &str| {
        Config::from_json(&format!(
            "{{\"long_conv_l_max\": 64, \"{field}\": {value}}}"
        ))
    };
    assert!(with("model_type", "\"bert\"").is_ok());
    for (field, value) in [
        ("hidden_size", "0"),
        ("num_hidden_layers", "99999999"),
        ("hyena_emb_dim", "4"),
        ("hyena_w", "-1"),
        ("monarch_mixer_sequence_mixing", "false"),
        ("hyena_training_additions", "true"),
    ] {
        said(with(field, value), &[field]);
    }
    let odd = Config {
        hidden_size: 30,
        ..config()
    };
    said(odd.validate(), &["hidden_size", "monarch_mlp_nblocks"]);
    said(Config::from_file("/nonexistent"), &["/nonexistent"]);
}

#[test]
fn block_diagonal_checks_its_shapes() -> Result<()> {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &CPU);
    said(BlockDiagonalLinear::new(zeros(&[2, 3])?, None), &["3 dim"]);
    let bias = Some(zeros(&[5])?);
    said(BlockDiagonalLinear::new(zeros(&[2, 3, 4])?, bias), &["(6)"]);
    Ok(())
}

twin!(
    every_option_of_the_mlp_runs_at_ugly_lengths,
    super::every_option_of_the_mlp_runs_at_ugly_lengths
);
fn every_option_of_the_mlp_runs_at_ugly_lengths(device: &Device) -> Result<()> {
    for (glu, monarch, bidirectional) in [
        (true, false, true),
        (false, true, false),
        (false, false, true),
    ] {
        let variables = VarMap::new();
        let vb = VarBuilder::from_varmap(&variables, DType::F32, device);
        let config = Config {
            use_glu_mlp: glu,
            use_monarch_mlp: monarch,
            bidirectional,
            use_positional_encodings: false,
            ..config()
        };
        let model = M2Bert::new(config, vb)?;
        for length in [1, 2, 33] {
            let hidden = model.forward(&ids(device)?.narrow(1, 0, length)?, None)?;
            assert!(to_f64(&hidden).iter().all(|x| x.is_finite()));
        }
    }
    Ok(())
}

#[test]
fn training_reaches_every_parameter_and_reduces_the_loss() -> Result<()> {
    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F32, &CPU);
    let model = M2Bert::new(config(), vb)?;
    let ids = ids(&CPU)?.narrow(1, 0, 33)?;
    let target = random_tensor(1, &[2, 33, 32], DType::F32, &CPU)?;
    let loss = || -> Result<Tensor> {
        let hidden = model.forward(&ids, None)?;
        let pooled = model.pooled(&hidden)?.sqr()?.mean_all()?;
        (hidden - &target)?.sqr()?.mean_all()? + pooled
    };
    let first = loss()?;
    let gradients = first.backward()?;
    for (name, variable) in variables.data().lock().unwrap().iter() {
        let gradient = gradients
            .get(variable.as_tensor())
            .unwrap_or_else(|| panic!("no gradient: {name}"));
        assert!(to_f64(gradient).iter().all(|g| g.is_finite()), "{name}");
    }
    let parameters = ParamsAdamW {
        lr: 1e-2,
        ..Default::default()
    };
    let mut optimizer = AdamW::new(variables.all_vars(), parameters)?;
    for _ in 0..10 {
        optimizer.backward_step(&loss()?)?;
    }
    let (before, after) = (first.to_scalar::<f32>()?, loss()?.to_scalar::<f32>()?);
    assert!(after < before, "{before} -> {after}");
    Ok(())
}

twin!(
    takes_a_pytorch_file_of_mixed_dtypes,
    super::takes_a_pytorch_file_of_mixed_dtypes
);
fn takes_a_pytorch_file_of_mixed_dtypes(device: &Device) -> Result<()> {
    let mut file = checkpoint_writer::Checkpoint::default();
    let mut items = Vec::new();
    for (name, tensor) in weights(|name| format!("bert.{name}")) {
        // As the published ones: bf16 beside float and long tensors.
        let tensor = match name.contains(".mlp.") {
            true => tensor.to_dtype(DType::BF16)?,
            false => tensor,
        };
        items.push((checkpoint_writer::text(&name), file.tensor(&tensor)));
    }
    let positions = Tensor::arange(0i64, 64, device)?.unsqueeze(0)?;
    let name = checkpoint_writer::text("bert.embeddings.position_ids");
    items.push((name, file.tensor(&positions)));
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("pytorch_model.bin");
    std::fs::write(&path, file.save(&checkpoint_writer::ordered_dict(items)))?;

    let model = M2Bert::from_files(config(), &[path], DType::F32, device)?;
    let hidden = model.forward(&ids(device)?, None)?;
    let want = load(weights(plain), device)?.forward(&ids(device)?, None)?;
    common::assert_close(&hidden, &want, 3e-2, "bf16 MLP weights");
    Ok(())
}

twin!(widths_of_every_vector, super::widths_of_every_vector);
/// Kernels take one, two or four numbers at once, as the width allows.
fn widths_of_every_vector(device: &Device) -> Result<()> {
    for (hidden_size, intermediate_size) in [(9, 15), (10, 14), (12, 20)] {
        for use_glu_mlp in [true, false] {
            let config = Config {
                hidden_size,
                intermediate_size,
                use_glu_mlp,
                use_monarch_mlp: false,
                ..config()
            };
            let variables = VarMap::new();
            let vb = VarBuilder::from_varmap(&variables, DType::F64, &CPU);
            let exact = M2Bert::new(config.clone(), vb)?;
            common::fill_variables(&variables, 0.3)?;
            let named = variables.data().lock().unwrap();
            let tensors: HashMap<_, _> = named
                .iter()
                .map(|(name, variable)| (name.clone(), variable.as_detached_tensor()))
                .collect();
            for length in [5, 36] {
                let want = exact.forward(&ids(&CPU)?.narrow(1, 0, length)?, None)?;
                let ids = ids(device)?.narrow(1, 0, length)?;
                for (dtype, tolerance) in
                    [(DType::F32, 1e-5), (DType::F16, 2e-2), (DType::BF16, 1e-1)]
                {
                    let model =
                        M2Bert::from_tensors(config.clone(), tensors.clone(), dtype, device)?;
                    let what = format!("{hidden_size} channels, length {length}, {dtype:?}");
                    let hidden = model.forward(&ids, None)?;
                    common::assert_close(&hidden, &want, tolerance, &what);
                }
            }
        }
    }
    Ok(())
}

twin!(layers_of_nothing, super::layers_of_nothing);
fn layers_of_nothing(device: &Device) -> Result<()> {
    let weight = Tensor::ones(4, DType::F32, device)?;
    let norm = LayerNorm::new(weight.clone(), weight.zeros_like()?, 1e-5);
    for shape in [[0, 3, 4], [2, 0, 4]] {
        let nothing = Tensor::zeros(&shape, DType::F32, device)?;
        assert_eq!(norm.forward(&nothing)?.dims(), shape);
    }
    Ok(())
}

//! Which weight files a HyenaDNA model takes, and what it says about the others.

mod checkpoint_writer;
mod common;

use candle_core::{DType, Device, Result, Tensor};
use candle_flashfftconv::models::hyena_dna::{
    variables_from_files, Config, HyenaDna, HyenaDnaForSequenceClassification, Pooling,
};
use candle_nn::{VarBuilder, VarMap};
use common::{data_dir, golden, random_tensor, to_f64};
use std::collections::HashMap;

const CPU: Device = Device::Cpu;

fn tiny_b() -> Config {
    Config::from_file(data_dir().join("hyenadna_tiny_b.config_hf.json")).unwrap()
}

fn ids(device: &Device) -> Result<Tensor> {
    golden("hyenadna_tiny_b.io")["input_ids"].to_device(device)
}

fn load(config: Config, tensors: HashMap<String, Tensor>, device: &Device) -> Result<HyenaDna> {
    HyenaDna::from_tensors(config, tensors, DType::F32, device)
}

/// The tensors of a file with other names.
fn renamed(file: &str, rename: impl Fn(&str) -> String) -> HashMap<String, Tensor> {
    let tensors = golden(file).into_iter();
    tensors
        .map(|(name, tensor)| (rename(&name), tensor))
        .collect()
}

twin!(
    takes_every_layout_of_names,
    super::takes_every_layout_of_names
);
fn takes_every_layout_of_names(device: &Device) -> Result<()> {
    let want =
        to_f64(&load(tiny_b(), golden("hyenadna_tiny_b.hf"), device)?.forward(&ids(device)?)?);
    let layouts: [&dyn Fn(&str) -> String; 4] = [
        // A backbone saved alone, with the head beside it.
        &|name| name.replace("hyena.", ""),
        &|name| format!("model.{}", name.replace("hyena.", "")),
        &|name| {
            let name = name.replace("hyena.", "model.");
            name.replace(".mixer.", ".mixer.layer.")
                .replace(".mlp.", ".mlp.layer.")
        },
        &|name| format!("module.{name}"),
    ];
    for layout in layouts {
        let model = load(tiny_b(), renamed("hyenadna_tiny_b.hf", layout), device)?;
        assert_eq!(to_f64(&model.forward(&ids(device)?)?), want);
    }
    Ok(())
}

twin!(
    a_builder_finds_either_layout,
    super::a_builder_finds_either_layout
);
fn a_builder_finds_either_layout(device: &Device) -> Result<()> {
    for (file, config) in [
        ("hyenadna_tiny_a.hf", "hyenadna_tiny_a.config_hf"),
        ("hyenadna_tiny_a.orig", "hyenadna_tiny_a.config_orig"),
    ] {
        let config = Config::from_file(data_dir().join(format!("{config}.json")))?;
        let ids = golden("hyenadna_tiny_a.io")["input_ids"].to_device(device)?;
        let want = to_f64(&load(config.clone(), golden(file), device)?.forward(&ids)?);
        let vb = VarBuilder::from_tensors(golden(file), DType::F32, device);
        assert_eq!(
            to_f64(&HyenaDna::new(config.clone(), vb)?.forward(&ids)?),
            want
        );
        let bytes = std::fs::read(data_dir().join(format!("{file}.safetensors")))?;
        let vb = VarBuilder::from_buffered_safetensors(bytes, DType::F32, device)?;
        assert_eq!(to_f64(&HyenaDna::new(config, vb)?.forward(&ids)?), want);
    }
    Ok(())
}

twin!(
    ignores_metrics_and_takes_tables_by_formula,
    super::ignores_metrics_and_takes_tables_by_formula
);
fn ignores_metrics_and_takes_tables_by_formula(device: &Device) -> Result<()> {
    let want =
        to_f64(&load(tiny_b(), golden("hyenadna_tiny_b.hf"), device)?.forward(&ids(device)?)?);
    let mut tensors = golden("hyenadna_tiny_b.hf");
    let metric = Tensor::new(1f32, device)?;
    tensors.insert("train_torchmetrics.num_tokens.count".to_string(), metric);
    tensors.retain(|name, _| !name.contains("pos_emb") && !name.ends_with("deltas"));
    let got = to_f64(&load(tiny_b(), tensors, device)?.forward(&ids(device)?)?);
    common::assert_close_slices(&got, &want, 1e-5, "logits");
    Ok(())
}

twin!(
    weights_spread_over_files_come_together,
    super::weights_spread_over_files_come_together
);
fn weights_spread_over_files_come_together(device: &Device) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut first, mut second) = (HashMap::new(), HashMap::new());
    for (name, tensor) in golden("hyenadna_tiny_b.hf") {
        let part = if name.contains("mixer") {
            &mut first
        } else {
            &mut second
        };
        part.insert(name, tensor);
    }
    let paths = [
        folder.path().join("1.safetensors"),
        folder.path().join("2.safetensors"),
    ];
    candle_core::safetensors::save(&first, &paths[0])?;
    candle_core::safetensors::save(&second, &paths[1])?;
    let want =
        to_f64(&load(tiny_b(), golden("hyenadna_tiny_b.hf"), device)?.forward(&ids(device)?)?);
    let model = HyenaDna::from_files(tiny_b(), &paths, DType::F32, device)?;
    assert_eq!(to_f64(&model.forward(&ids(device)?)?), want);
    let twice = [&paths[0], &paths[0], &paths[1]];
    let error = HyenaDna::from_files(tiny_b(), &twice, DType::F32, device).unwrap_err();
    assert!(error.to_string().contains("in different files"), "{error}");
    Ok(())
}

twin!(
    lightning_checkpoints_are_read,
    super::lightning_checkpoints_are_read
);
fn lightning_checkpoints_are_read(device: &Device) -> Result<()> {
    use checkpoint_writer::{ordered_dict, text, Checkpoint, Py};
    let config = Config::from_file(data_dir().join("hyenadna_tiny_a.config_orig.json"))?;
    let mut checkpoint = Checkpoint::default();
    let mut state = Vec::new();
    for (name, tensor) in golden("hyenadna_tiny_a.orig") {
        state.push((text(&name), checkpoint.tensor(&tensor)));
    }
    let saved = checkpoint.save(&Py::Dict(vec![
        (text("epoch"), Py::Int(3)),
        (text("state_dict"), ordered_dict(state)),
    ]));
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("weights.ckpt");
    std::fs::write(&path, saved)?;
    let model = HyenaDna::from_files(config, &[path], DType::F32, device)?;
    let io = golden("hyenadna_tiny_a.io");
    let logits = model.forward(&io["input_ids"].to_device(device)?)?;
    common::assert_close(&logits, &io["logits_f64"], 1e-5, "logits");
    Ok(())
}

#[test]
fn errors_name_the_parameter_and_say_expected_and_got() {
    let refused = |change: &dyn Fn(&mut HashMap<String, Tensor>)| {
        let mut tensors = golden("hyenadna_tiny_b.hf");
        change(&mut tensors);
        load(tiny_b(), tensors, &CPU).unwrap_err().to_string()
    };
    let norm = "hyena.backbone.layers.0.norm1.weight";
    let error = refused(&|t| drop(t.remove(norm)));
    assert!(
        error.contains("backbone.layers.0.norm1.weight") && error.contains("[16]"),
        "{error}"
    );
    let error = refused(&|t| drop(t.insert(norm.into(), Tensor::new(&[1f32], &CPU).unwrap())));
    assert!(
        error.contains(norm) && error.contains("[16]") && error.contains("[1]"),
        "{error}"
    );
    let error = refused(&|t| drop(t.insert("extra".into(), Tensor::new(&[1f32], &CPU).unwrap())));
    assert!(
        error.contains("extra") && error.contains("unknown"),
        "{error}"
    );
    let error = refused(&|t| t.retain(|name, _| !name.ends_with("freq")));
    assert!(
        error.contains("implicit_filter.1.freq") && error.contains("[1, 16]"),
        "{error}"
    );
    let error = refused(&|t| drop(t.remove("lm_head.weight")));
    assert!(error.contains("lm_head.weight"), "{error}");
    let error = refused(&|t| {
        let copy = t["hyena.backbone.ln_f.bias"].clone();
        t.insert("model.backbone.ln_f.bias".into(), copy);
    });
    assert!(
        error.contains("backbone.ln_f.bias") && error.contains("two"),
        "{error}"
    );
    let error = load(
        Config {
            n_layer: 0,
            ..tiny_b()
        },
        HashMap::new(),
        &CPU,
    )
    .unwrap_err();
    assert!(error.to_string().contains("n_layer"), "{error}");
    let missing = HyenaDna::from_files(tiny_b(), &["no such file"], DType::F32, &CPU).unwrap_err();
    assert!(missing.to_string().contains("no such file"), "{missing}");
}

twin!(ids_are_checked, super::ids_are_checked);
fn ids_are_checked(device: &Device) -> Result<()> {
    let model = load(tiny_b(), golden("hyenadna_tiny_b.hf"), device)?;
    let want = to_f64(&model.forward(&ids(device)?)?);
    for dtype in [DType::U8, DType::U32] {
        assert_eq!(
            to_f64(&model.forward(&ids(device)?.to_dtype(dtype)?)?),
            want
        );
    }
    assert!(model.forward(&Tensor::new(&[[16u32]], device)?).is_err());
    assert!(model
        .forward(&Tensor::zeros((1, 257), DType::U32, device)?)
        .is_err());
    for shape in [(0, 5), (2, 0)] {
        let empty = Tensor::zeros(shape, DType::U32, device)?;
        assert_eq!(model.forward(&empty)?.dims(), &[shape.0, shape.1, 16]);
    }
    assert!(model
        .next_token_logits(&Tensor::zeros((1, 0), DType::U32, device)?)
        .is_err());
    Ok(())
}

twin!(
    the_next_token_comes_after_the_last,
    super::the_next_token_comes_after_the_last
);
fn the_next_token_comes_after_the_last(device: &Device) -> Result<()> {
    let model = load(tiny_b(), golden("hyenadna_tiny_b.hf"), device)?;
    let all = model
        .forward(&ids(device)?)?
        .narrow(1, 255, 1)?
        .squeeze(1)?;
    common::assert_close(
        &model.next_token_logits(&ids(device)?)?,
        &all,
        1e-5,
        "next token",
    );
    let hidden = model.hidden_states(&ids(device)?)?;
    assert!(model.logits(&hidden.narrow(2, 0, 15)?).is_err());
    Ok(())
}

twin!(
    shorter_inputs_are_the_start_of_longer_ones,
    super::shorter_inputs_are_the_start_of_longer_ones
);
fn shorter_inputs_are_the_start_of_longer_ones(device: &Device) -> Result<()> {
    let model = load(tiny_b(), golden("hyenadna_tiny_b.hf"), device)?;
    let whole = model.forward(&ids(device)?)?;
    for length in [1, 2, 129, 255] {
        let start = model.forward(&ids(device)?.narrow(1, 0, length)?)?;
        common::assert_close(&start, &whole.narrow(1, 0, length)?, 1e-5, "start");
    }
    Ok(())
}

twin!(
    no_output_depends_on_a_later_token,
    super::no_output_depends_on_a_later_token
);
fn no_output_depends_on_a_later_token(device: &Device) -> Result<()> {
    let model = load(tiny_b(), golden("hyenadna_tiny_b.hf"), device)?;
    let before = model.forward(&ids(device)?)?;
    for changed in [0, 100, 255] {
        let mut rows = ids(device)?.to_vec2::<i64>()?;
        rows[0][changed] = (rows[0][changed] + 1) % 12;
        let after = model.forward(&Tensor::new(rows, device)?)?;
        // Transforms spread rounding errors over the whole row.
        let difference = to_f64(&(&after - &before)?.abs()?.max(2)?);
        assert!(
            difference[..changed].iter().all(|d| *d < 1e-4),
            "before {changed}"
        );
        assert!(difference[changed] > 1e-2, "at {changed}");
        // The other sequence of the batch.
        assert!(difference[256..].iter().all(|d| *d == 0.0), "other row");
    }
    Ok(())
}

#[test]
fn variables_are_read_from_files_and_saved() -> Result<()> {
    let path = data_dir().join("hyenadna_tiny_a.orig.safetensors");
    let config = Config::from_file(data_dir().join("hyenadna_tiny_a.config_orig.json"))?;
    let ids = golden("hyenadna_tiny_a.io")["input_ids"].clone();
    let constant = HyenaDna::from_files(config.clone(), &[&path], DType::F32, &CPU)?;
    let want = to_f64(&constant.forward(&ids)?);

    let variables = variables_from_files(&config, &[&path], DType::F32, &CPU)?;
    let vb = VarBuilder::from_varmap(&variables, DType::F32, &CPU);
    let trained = HyenaDna::new(config.clone(), vb)?;
    assert!(trained.mixer(0).unwrap().filter().is_tracked());
    common::assert_close_slices(&to_f64(&trained.forward(&ids)?), &want, 1e-5, "trained");

    let folder = tempfile::tempdir()?;
    let saved = folder.path().join("saved.safetensors");
    variables.save(&saved)?;
    let again = HyenaDna::from_files(config, &[&saved], DType::F32, &CPU)?;
    assert_eq!(to_f64(&again.forward(&ids)?), want);
    Ok(())
}

twin!(
    classification_heads_of_both_layouts,
    super::classification_heads_of_both_layouts
);
fn classification_heads_of_both_layouts(device: &Device) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("classifier.safetensors");
    let weight = random_tensor(1, &[3, 16], DType::F32, device)?;
    let bias = random_tensor(2, &[3], DType::F32, device)?;
    let hidden =
        load(tiny_b(), golden("hyenadna_tiny_b.hf"), device)?.hidden_states(&ids(device)?)?;
    let classifier =
        || HyenaDnaForSequenceClassification::from_files(tiny_b(), &[&path], DType::F32, device);

    let mut tensors = golden("hyenadna_tiny_b.hf");
    tensors.insert("score.weight".into(), weight.clone());
    candle_core::safetensors::save(&tensors, &path)?;
    let model = classifier()?;
    assert_eq!(model.pooling(), Pooling::LastToken);
    // The first row ends before its first padding token, the second has none.
    let mut rows = ids(device)?.to_vec2::<i64>()?;
    for row in &mut rows {
        row.iter_mut().filter(|id| **id == 4).for_each(|id| *id = 7);
    }
    let unpadded = Tensor::new(rows.clone(), device)?;
    rows[0][200..].fill(4);
    let padded = Tensor::new(rows, device)?;
    let states = load(tiny_b(), golden("hyenadna_tiny_b.hf"), device)?.hidden_states(&unpadded)?;
    let last = Tensor::cat(
        &[
            states.narrow(0, 0, 1)?.narrow(1, 199, 1)?,
            states.narrow(0, 1, 1)?.narrow(1, 255, 1)?,
        ],
        0,
    )?;
    let want = last.squeeze(1)?.matmul(&weight.t()?)?;
    common::assert_close(&model.forward(&padded)?, &want, 1e-4, "last token");

    let mut tensors = golden("hyenadna_tiny_b.orig");
    tensors.insert("decoder.0.output_transform.weight".into(), weight.clone());
    tensors.insert("decoder.0.output_transform.bias".into(), bias.clone());
    candle_core::safetensors::save(&tensors, &path)?;
    let model = classifier()?;
    assert_eq!(model.pooling(), Pooling::Mean);
    let want = hidden.mean(1)?.matmul(&weight.t()?)?.broadcast_add(&bias)?;
    common::assert_close(&model.forward(&ids(device)?)?, &want, 1e-5, "mean");
    assert_eq!(
        model
            .forward(&Tensor::zeros((0, 7), DType::U32, device)?)?
            .dims(),
        &[0, 3]
    );
    assert!(model
        .forward(&Tensor::zeros((1, 0), DType::U32, device)?)
        .is_err());
    // The same file has a language model in it.
    HyenaDna::from_files(
        Config {
            tie_word_embeddings: None,
            ..tiny_b()
        },
        &[&path],
        DType::F32,
        device,
    )?;

    candle_core::safetensors::save(&golden("hyenadna_tiny_b.orig"), &path)?;
    let error = classifier().unwrap_err().to_string();
    assert!(error.contains("score.weight"), "{error}");
    Ok(())
}

twin!(widths_of_every_vector, super::widths_of_every_vector);
/// Kernels take one, two or four numbers at once, as the width allows.
fn widths_of_every_vector(device: &Device) -> Result<()> {
    for (d_model, d_inner) in [(9, 15), (10, 14), (12, 20)] {
        let config = Config {
            d_model,
            d_inner,
            n_layer: 2,
            ..tiny_b()
        };
        let variables = VarMap::new();
        let vb = VarBuilder::from_varmap(&variables, DType::F64, &CPU);
        let exact = HyenaDna::new(config.clone(), vb)?;
        common::fill_variables(&variables, 0.3)?;
        let named = variables.data().lock().unwrap();
        let tensors: HashMap<_, _> = named
            .iter()
            .map(|(name, variable)| (name.clone(), variable.as_detached_tensor()))
            .collect();
        for length in [5, 36, 130] {
            let want = exact.forward(&ids(&CPU)?.narrow(1, 0, length)?)?;
            let ids = ids(device)?.narrow(1, 0, length)?;
            for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F16, 1e-2), (DType::BF16, 1e-1)]
            {
                let model = HyenaDna::from_tensors(config.clone(), tensors.clone(), dtype, device)?;
                let what = format!("{d_model} channels, length {length}, {dtype:?}");
                common::assert_close(&model.forward(&ids)?, &want, tolerance, &what);
            }
        }
    }
    Ok(())
}

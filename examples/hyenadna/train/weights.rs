//! The first and the last weights: drawn from a seed, written under the Hugging Face names.

use crate::random::Random;
use anyhow::{bail, Context, Result};
use candle_core::{Device, Tensor, Var};
use candle_flashfftconv::models::hyena_dna::Config;
use std::collections::{BTreeMap, HashMap};

/// How the values of a variable are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Start {
    Constant(f64),
    /// Standard deviation.
    Normal(f64),
    /// Largest absolute value.
    Uniform(f64),
}

/// How a variable starts, by its name and shape.
///
/// As in the published training, but for the networks that make the filters:
/// they start uniform up to `1 / sqrt(inputs)`, which gives a short training
/// filters that are not close to zero.
fn start(name: &str, shape: &[usize], config: &Config) -> Result<Start> {
    let inputs = shape.iter().skip(1).product::<usize>().max(1) as f64;
    let deviation = config.initializer_range;
    let last = deviation / (2.0 * config.n_layer.max(1) as f64).sqrt();
    let part = |part: &str| name.contains(part);
    let weight = name.ends_with("weight");
    Ok(if name.ends_with("freq") {
        Start::Constant(config.activation_freq)
    } else if part("norm") || part("ln_f") {
        Start::Constant(if weight { 1.0 } else { 0.0 })
    } else if part("implicit_filter") {
        let fan_in = match weight {
            true => inputs,
            // The bias of the first layer belongs to `emb_dim` inputs, the others' to `filter_order`.
            false if part("implicit_filter.0.") => config.emb_dim as f64,
            false => config.filter_order as f64,
        };
        Start::Uniform(1.0 / fan_in.sqrt())
    } else if part("filter_fn.bias") {
        Start::Normal(1.0)
    } else if part("short_filter") {
        Start::Uniform(1.0 / (config.short_filter_order.max(1) as f64).sqrt())
    } else if name.ends_with("bias") {
        Start::Constant(0.0)
    } else if part("out_proj") || part("fc2") {
        Start::Normal(last)
    } else if part("word_embeddings") || part("lm_head") || part("in_proj") || part("fc1") {
        Start::Normal(deviation)
    } else {
        bail!("no rule for the start of the variable {name}")
    })
}

/// Overwrites all variables with values drawn from the seed, the same on every machine.
pub fn initialise(vars: &[(String, Var)], config: &Config, seed: u64) -> Result<()> {
    for (index, (name, var)) in vars.iter().enumerate() {
        // A stream each, so that no variable's size moves the others' values.
        let mut random = Random::new(seed, 1000 + index as u64);
        let start = start(name, var.dims(), config)?;
        let mut draw = || match start {
            Start::Constant(value) => value as f32,
            Start::Normal(deviation) => (deviation * random.normal()) as f32,
            Start::Uniform(largest) => (largest * (2.0 * random.uniform() - 1.0)) as f32,
        };
        let values: Vec<f32> = (0..var.elem_count()).map(|_| draw()).collect();
        let values = Tensor::from_vec(values, var.dims(), var.device())?;
        var.set(&values)
            .with_context(|| format!("cannot set {name}"))?;
    }
    Ok(())
}

/// The name of a variable in Hugging Face files.
fn hugging_face_name(name: &str) -> String {
    if name.ends_with("lm_head.weight") {
        return "lm_head.weight".to_string();
    }
    let stem = ["hyena.backbone.", "model.backbone.", "backbone."]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    format!("hyena.backbone.{stem}")
}

/// All tensors of a Hugging Face file: the variables, and the tables that are no variables but are stored with them.
fn tensors(vars: &[(String, Var)], config: &Config) -> Result<BTreeMap<String, Tensor>> {
    let mut tensors = BTreeMap::new();
    for (name, var) in vars {
        let tensor = var.as_tensor().to_device(&Device::Cpu)?.contiguous()?;
        tensors.insert(hugging_face_name(name), tensor);
    }
    if !tensors.contains_key("lm_head.weight") {
        let embedding = tensors
            .get("hyena.backbone.embeddings.word_embeddings.weight")
            .context("the model has neither a head nor an embedding")?;
        let head = embedding.copy()?;
        tensors.insert("lm_head.weight".to_string(), head);
    }
    let length = config.max_seq_len;
    let last = length.saturating_sub(1).max(1) as f64;
    let times: Vec<f64> = (0..length).map(|n| n as f64 / last).collect();
    let bands = config.emb_dim.saturating_sub(1) / 2;
    let frequencies = linspace(1e-4, bands as f64 - 1.0, bands);
    let mut features = Vec::with_capacity(length * config.emb_dim);
    for (n, &time) in times.iter().enumerate() {
        let angle = std::f64::consts::TAU * n as f64 / length as f64;
        features.push(time);
        features.extend(frequencies.iter().map(|f| (f * angle).cos()));
        features.extend(frequencies.iter().map(|f| -(f * angle).sin()));
    }
    let rates = linspace(0.01f64.ln() / 1.5, 0.01f64.ln() / 0.3, config.d_model);
    let table = |values: &[f64], shape: (usize, usize, usize)| {
        let values: Vec<f32> = values.iter().map(|&x| x as f32).collect();
        Tensor::from_vec(values, shape, &Device::Cpu)
    };
    for layer in 0..config.n_layer {
        let stem = format!("hyena.backbone.layers.{layer}.mixer.filter_fn");
        let width = config.emb_dim;
        let entries = [
            ("pos_emb.z", table(&features, (1, length, width))?),
            ("pos_emb.t", table(&times, (1, length, 1))?),
            ("modulation.deltas", table(&rates, (1, 1, config.d_model))?),
        ];
        for (name, tensor) in entries {
            tensors.entry(format!("{stem}.{name}")).or_insert(tensor);
        }
    }
    Ok(tensors)
}

/// `count` numbers from `first` to `last`, evenly spaced.
fn linspace(first: f64, last: f64, count: usize) -> Vec<f64> {
    let steps = count.saturating_sub(1).max(1) as f64;
    (0..count)
        .map(|i| first + (last - first) * i as f64 / steps)
        .collect()
}

/// The content of `model.safetensors`.
pub fn safetensors_file(vars: &[(String, Var)], config: &Config) -> Result<Vec<u8>> {
    let tensors = tensors(vars, config)?;
    // Hugging Face libraries refuse files that do not say whose tensors they hold.
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    safetensors::serialize(&tensors, Some(metadata)).context("cannot make the safetensors file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_published() {
        for name in [
            "layers.0.norm1.weight",
            "backbone.layers.0.norm1.weight",
            "hyena.backbone.layers.0.norm1.weight",
        ] {
            assert_eq!(
                hugging_face_name(name),
                "hyena.backbone.layers.0.norm1.weight"
            );
        }
        for name in ["lm_head.weight", "model.lm_head.weight"] {
            assert_eq!(hugging_face_name(name), "lm_head.weight");
        }
    }

    #[test]
    fn starts_by_name() {
        let config = Config::tiny_1k();
        let start = |name: &str, shape: &[usize]| start(name, shape, &config);
        let filter = "layers.0.mixer.filter_fn";
        assert_eq!(
            start("layers.0.norm1.weight", &[128]).unwrap(),
            Start::Constant(1.0)
        );
        assert_eq!(start("ln_f.bias", &[128]).unwrap(), Start::Constant(0.0));
        assert_eq!(
            start("layers.0.mixer.out_proj.weight", &[128, 128]).unwrap(),
            Start::Normal(0.01)
        );
        assert_eq!(
            start("layers.0.mixer.in_proj.bias", &[384]).unwrap(),
            Start::Constant(0.0)
        );
        assert_eq!(
            start(&format!("{filter}.bias"), &[128]).unwrap(),
            Start::Normal(1.0)
        );
        assert_eq!(
            start(&format!("{filter}.implicit_filter.2.weight"), &[64, 64]).unwrap(),
            Start::Uniform(0.125)
        );
        assert_eq!(
            start(&format!("{filter}.implicit_filter.2.bias"), &[64]).unwrap(),
            Start::Uniform(0.125)
        );
        assert_eq!(
            start(&format!("{filter}.implicit_filter.1.freq"), &[1, 64]).unwrap(),
            Start::Constant(10.0)
        );
        assert!(start("something.else.weight", &[1]).is_err());
    }

    #[test]
    fn the_seed_decides() {
        let var =
            |shape: &[usize]| Var::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
        let vars = [
            ("layers.0.mlp.fc1.weight".to_string(), var(&[8, 4])),
            ("layers.1.mlp.fc1.weight".to_string(), var(&[8, 4])),
        ];
        let draw = |seed| {
            initialise(&vars, &Config::tiny_1k(), seed).unwrap();
            [0, 1].map(|i: usize| vars[i].1.flatten_all().unwrap().to_vec1::<f32>().unwrap())
        };
        let first = draw(1);
        assert_eq!(first, draw(1));
        assert_ne!(first, draw(2));
        assert_ne!(first[0], first[1]);
    }
}

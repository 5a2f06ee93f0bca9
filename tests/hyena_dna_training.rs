//! HyenaDNA learns: every parameter gets a gradient, and steps reduce the loss.

mod common;

use candle_core::{DType, Device, Result, Tensor};
use candle_flashfftconv::models::hyena_dna::{Config, HyenaDna};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, VarBuilder, VarMap};
use common::to_f64;

const CPU: Device = Device::Cpu;

fn config(hyena_order: usize) -> Config {
    Config {
        d_model: 16,
        d_inner: 32,
        n_layer: 2,
        max_seq_len: 64,
        filter_order: 16,
        hyena_order,
        ..Config::tiny_1k()
    }
}

/// A sequence that its own past predicts: bases repeated with period 5.
fn repeats(length: usize) -> Result<(Tensor, Tensor)> {
    let base = |i: usize| [7u32, 9, 10, 8, 8][i % 5];
    let row = |shift: usize| (0..length).map(|i| base(i + shift)).collect::<Vec<_>>();
    let ids = Tensor::new(vec![row(0), row(2)], &CPU)?;
    let targets = Tensor::new([row(1), row(3)].concat(), &CPU)?;
    Ok((ids, targets))
}

fn loss(model: &HyenaDna, ids: &Tensor, targets: &Tensor) -> Result<Tensor> {
    candle_nn::loss::cross_entropy(&model.forward(ids)?.flatten_to(1)?, targets)
}

#[test]
fn every_parameter_gets_the_right_gradient() -> Result<()> {
    for (order, tied) in [(2, true), (3, false)] {
        let variables = VarMap::new();
        let vb = VarBuilder::from_varmap(&variables, DType::F64, &CPU);
        let config = Config {
            tie_word_embeddings: Some(tied),
            ..config(order)
        };
        let model = HyenaDna::new(config, vb)?;
        common::fill_variables(&variables, 0.4)?;
        let (ids, targets) = repeats(23)?;
        let loss = || loss(&model, &ids, &targets);
        let gradients = loss()?.backward()?;
        let named = variables.data().lock().unwrap().clone();
        assert_eq!(named.contains_key("lm_head.weight"), !tied);
        for (name, variable) in named {
            let gradient = gradients
                .get(variable.as_tensor())
                .unwrap_or_else(|| panic!("{name}"));
            let gradient = to_f64(gradient);
            assert!(gradient.iter().all(|g| g.is_finite()), "{name}");
            // The element that matters most: others may lie below the noise of differences.
            let index = (0..gradient.len())
                .max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs()))
                .unwrap();
            let want = common::difference(&variable, index, &loss)?;
            let got = gradient[index];
            // candle's gradient of the GELU has constants of six digits.
            assert!(
                (got - want).abs() <= 1e-4 * want.abs().max(1e-4),
                "{name}[{index}]: {got} but the difference says {want}"
            );
        }
    }
    Ok(())
}

#[test]
fn steps_reduce_the_loss() -> Result<()> {
    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F32, &CPU);
    let model = HyenaDna::new(config(2), vb)?;
    let (ids, targets) = repeats(40)?;
    let parameters = ParamsAdamW {
        lr: 5e-3,
        weight_decay: 0.0,
        ..Default::default()
    };
    let mut optimiser = AdamW::new(variables.all_vars(), parameters)?;
    let first = loss(&model, &ids, &targets)?.to_scalar::<f32>()?;
    for _ in 0..60 {
        optimiser.backward_step(&loss(&model, &ids, &targets)?)?;
    }
    let last = loss(&model, &ids, &targets)?.to_scalar::<f32>()?;
    // It starts with the entropy of 16 equally likely tokens.
    assert!((first - 16f32.ln()).abs() < 0.2, "first loss {first}");
    assert!(last < 0.3, "last loss {last}");
    Ok(())
}

#[test]
fn a_frozen_filter_lets_the_rest_learn() -> Result<()> {
    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F64, &CPU);
    let trained = HyenaDna::new(config(2), vb)?;
    let (ids, targets) = repeats(20)?;
    // Filters as constants, all else as variables.
    let mixed = variables
        .data()
        .lock()
        .unwrap()
        .iter()
        .map(|(name, variable)| match name.contains("filter_fn") {
            true => (name.clone(), variable.as_detached_tensor()),
            false => (name.clone(), variable.as_tensor().clone()),
        })
        .collect();
    let frozen = HyenaDna::new(config(2), VarBuilder::from_tensors(mixed, DType::F64, &CPU))?;
    let all = loss(&trained, &ids, &targets)?.backward()?;
    let some = loss(&frozen, &ids, &targets)?.backward()?;
    let named = variables.data().lock().unwrap().clone();
    for (name, variable) in named {
        match some.get(variable.as_tensor()) {
            None => assert!(name.contains("filter_fn"), "{name}"),
            Some(gradient) => {
                let want = all.get(variable.as_tensor()).unwrap();
                common::assert_close(gradient, want, 1e-9, &name);
            }
        }
    }
    Ok(())
}

#[test]
fn long_inputs_are_the_same_in_inference() -> Result<()> {
    // Inference makes the wide part of long inputs piece by piece, and keeps spectra.
    let config = Config {
        d_model: 8,
        d_inner: 16,
        max_seq_len: 17_000,
        ..config(2)
    };
    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F32, &CPU);
    let trained = HyenaDna::new(config.clone(), vb)?;
    let constants = variables
        .data()
        .lock()
        .unwrap()
        .iter()
        .map(|(name, variable)| (name.clone(), variable.as_detached_tensor()))
        .collect();
    let model = HyenaDna::from_tensors(config, constants, DType::F32, &CPU)?;
    let (ids, _) = repeats(16_500)?;
    let (got, want) = (model.forward(&ids)?, trained.forward(&ids)?);
    assert!(want.track_op() && !got.track_op());
    common::assert_close(&got, &want.detach(), 1e-5, "logits");
    Ok(())
}

//! HyenaDNA at lengths of every kind against the same model in float64: shorter and longer than the
//! pieces in which a device computes, and no multiple of anything.

mod common;

use candle_core::{DType, Device, Result, Tensor};
use candle_flashfftconv::models::hyena_dna::{Config, HyenaDna};
use candle_nn::{VarBuilder, VarMap};
use common::{assert_close, to_f64};
use std::collections::HashMap;

fn config(max_seq_len: usize) -> Config {
    Config {
        d_model: 16,
        d_inner: 32,
        n_layer: 2,
        max_seq_len,
        filter_order: 8,
        ..Config::tiny_1k()
    }
}

/// Fresh weights, with biases that are not zero.
fn weights(config: &Config) -> Result<HashMap<String, Tensor>> {
    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F64, &Device::Cpu);
    HyenaDna::new(config.clone(), vb)?;
    let mut tensors = HashMap::new();
    for (name, variable) in variables.data().lock().unwrap().iter() {
        let tensor = variable.as_detached_tensor();
        let random = match name.ends_with("in_proj.bias") || name.ends_with("fc2.bias") {
            true => tensor.randn_like(0.0, 0.5)?,
            false => tensor,
        };
        tensors.insert(name.clone(), random);
    }
    Ok(tensors)
}

fn ids(batch: usize, length: usize, device: &Device) -> Result<Tensor> {
    let bases = (0..batch * length).map(|i| 7 + (i * i / 3 + i / 11) as u32 % 4);
    Tensor::from_iter(bases, device)?.reshape((batch, length))
}

fn check(max_seq_len: usize, shapes: &[(usize, usize)], device: &Device) -> Result<()> {
    let config = config(max_seq_len);
    let weights = weights(&config)?;
    let exact = HyenaDna::from_tensors(config.clone(), weights.clone(), DType::F64, &Device::Cpu)?;
    let model = HyenaDna::from_tensors(config.clone(), weights.clone(), DType::F32, device)?;
    let half = HyenaDna::from_tensors(config, weights, DType::BF16, device)?;
    for &(batch, length) in shapes {
        let what = format!("{batch} x {length}");
        let want = exact.forward(&ids(batch, length, &Device::Cpu)?)?;
        let ids = ids(batch, length, device)?;
        let logits = model.forward(&ids)?;
        assert!(logits.is_contiguous());
        assert_close(&logits, &want, 1e-4, &what);
        assert_close(&half.forward(&ids)?, &want, 5e-2, &format!("{what}, bf16"));
        let states = model.all_hidden_states(&ids)?;
        assert!(states
            .iter()
            .all(|state| state.dims() == [batch, length, 16]));
        let last = model.next_token_logits(&ids)?;
        let of_all = logits.narrow(1, length - 1, 1)?.squeeze(1)?;
        assert_close(&last, &of_all.to_device(&Device::Cpu)?, 1e-5, &what);
        // The residual stream before the last block is not what the last block made of it.
        let (before, after) = (&states[1], &states[2]);
        assert_ne!(to_f64(before), to_f64(after));
    }
    Ok(())
}

twin!(short_sequences, super::short_sequences);
fn short_sequences(device: &Device) -> Result<()> {
    let shapes = [
        (1, 1),
        (2, 2),
        (1, 63),
        (2, 65),
        (3, 100),
        (1, 1022),
        (2, 1026),
    ];
    check(1026, &shapes, device)
}

twin!(several_pieces, super::several_pieces);
fn several_pieces(device: &Device) -> Result<()> {
    check(70_001, &[(1, 70_001), (2, 35_000)], device)
}

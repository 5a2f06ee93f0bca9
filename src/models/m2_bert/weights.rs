//! Names and shapes of the parameters, as weight files have them.

use super::Config;
use crate::models::weight_files::{malformed, match_inventory, Inventory, Parameter};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use std::collections::HashMap;

/// Wrappers that training code puts around the model.
const WRAPPERS: [&str; 4] = ["state_dict.", "module.", "model.", "bert."];

/// The parts of the encoder; what lies elsewhere belongs to a head.
const PARTS: [&str; 3] = ["embeddings.", "encoder.", "pooler."];

/// Hidden layers of the filter's network: those before a sine.
const SINES: usize = 3;

/// The name of a parameter of the encoder without its wrappers, or none for
/// what is no such parameter.
fn canonical_name(name: &str) -> Option<&str> {
    let mut name = name;
    while let Some(rest) = WRAPPERS.iter().find_map(|w| name.strip_prefix(w)) {
        name = rest;
    }
    let ours = PARTS.iter().any(|part| name.starts_with(part));
    // Counting tables 0, 1, 2, … and all zeros, which some versions of the
    // reference code store.
    let table = matches!(
        name,
        "embeddings.position_ids" | "embeddings.token_type_ids"
    );
    (ours && !table).then_some(name)
}

/// All parameters of a model by name.
fn inventory(config: &Config) -> Inventory {
    let mut all = Inventory::new();
    let mut add = |name: String, shape: &[usize], required: bool| {
        let shape = shape.to_vec();
        all.insert(name, Parameter { shape, required });
    };
    let width = config.hidden_size;
    let norm = |name: &str| [format!("{name}.weight"), format!("{name}.bias")];

    let mut table = |name: &str, rows: usize| {
        add(format!("embeddings.{name}.weight"), &[rows, width], true);
    };
    table("word_embeddings", config.vocab_size);
    table("token_type_embeddings", config.type_vocab_size);
    if config.use_positional_encodings {
        table("position_embeddings", config.max_position_embeddings);
    }
    for name in norm("embeddings.LayerNorm") {
        add(name, &[width], true);
    }
    add("pooler.dense.weight".into(), &[width, width], false);
    add("pooler.dense.bias".into(), &[width], false);

    let projected = width.saturating_mul(3);
    let blocks = config.mlp_blocks();
    let matrix = |outputs: usize, inputs: usize| match blocks {
        Some(n) => vec![n, outputs / n.max(1), inputs / n.max(1)],
        None => vec![outputs, inputs],
    };
    for layer in 0..config.num_hidden_layers {
        let prefix = format!("encoder.layer.{layer}");
        let mixer = format!("{prefix}.attention");
        add(
            format!("{mixer}.in_linear.weight"),
            &[projected, width],
            true,
        );
        add(format!("{mixer}.in_linear.bias"), &[projected], true);
        add(format!("{mixer}.out_linear.weight"), &[width, width], true);
        add(format!("{mixer}.out_linear.bias"), &[width], true);
        add(
            format!("{mixer}.short_filter.weight"),
            &[projected, 1, 3],
            true,
        );
        add(format!("{mixer}.short_filter.bias"), &[projected], true);
        add_filter(config, &format!("{mixer}.filter_fn"), &mut add);
        if config.residual_long_conv {
            add_filter(config, &format!("{mixer}.filter_fn2"), &mut add);
        }
        let mlp = format!("{prefix}.mlp");
        let enter = matrix(config.mlp_outputs(), width);
        add(format!("{mlp}.gated_layers.weight"), &enter, true);
        let leave = matrix(width, config.intermediate_size);
        add(format!("{mlp}.wo.weight"), &leave, true);
        add(format!("{mlp}.wo.bias"), &[width], true);
        for name in norm(&format!("{mlp}.layernorm")) {
            add(name, &[width], true);
        }
    }
    all
}

/// The parameters of one long filter.
fn add_filter(config: &Config, prefix: &str, add: &mut impl FnMut(String, &[usize], bool)) {
    let (width, order) = (config.hidden_size, config.hyena_filter_order);
    let (positions, features) = (config.long_conv_l_max, config.hyena_emb_dim);
    let networks: &[&str] = match config.bidirectional {
        true => &["implicit_filter", "implicit_filter_rev"],
        false => &["implicit_filter"],
    };
    for network in networks {
        let network = format!("{prefix}.{network}");
        for sine in 0..SINES {
            let inputs = if sine == 0 { features } else { order };
            let index = 2 * sine;
            add(format!("{network}.{index}.weight"), &[order, inputs], true);
            add(format!("{network}.{index}.bias"), &[order], true);
            // One tensor under six names, any of which may be left out.
            add(format!("{network}.{}.freq", index + 1), &[1, order], false);
        }
        add(
            format!("{network}.{}.weight", 2 * SINES),
            &[width, order],
            true,
        );
    }
    add(format!("{prefix}.bias"), &[width], true);
    // These are tables that a formula gives as well.
    add(
        format!("{prefix}.pos_emb.z"),
        &[1, positions, features],
        false,
    );
    add(format!("{prefix}.pos_emb.t"), &[1, positions, 1], false);
    add(format!("{prefix}.modulation.deltas"), &[1, 1, width], false);
}

/// The parameters of the encoder under their plain names, checked against
/// `config`: none missing, none unknown, all of the right shape.
pub(super) fn canonical(
    config: &Config,
    tensors: HashMap<String, Tensor>,
) -> Result<HashMap<String, Tensor>> {
    config.validate()?;
    let mut found = match_inventory(
        tensors,
        &inventory(config),
        "the model that the configuration describes",
        |name| canonical_name(name).map(str::to_string),
        |_| false,
    )?;
    share_frequencies(config, &mut found)?;
    Ok(found)
}

/// Makes the frequency of each filter known under its first name, whichever of
/// its names the file has.
fn share_frequencies(config: &Config, found: &mut HashMap<String, Tensor>) -> Result<()> {
    for layer in 0..config.num_hidden_layers {
        let filters: &[&str] = match config.residual_long_conv {
            true => &["filter_fn", "filter_fn2"],
            false => &["filter_fn"],
        };
        for filter in filters {
            let prefix = format!("encoder.layer.{layer}.attention.{filter}");
            let first = format!("{prefix}.implicit_filter.1.freq");
            let stored = ["implicit_filter", "implicit_filter_rev"]
                .iter()
                .flat_map(|network| (0..SINES).map(move |sine| (network, 2 * sine + 1)))
                .find_map(|(network, index)| found.get(&format!("{prefix}.{network}.{index}.freq")))
                .cloned();
            let Some(frequency) = stored else {
                let expected = format!("a tensor of shape {:?}", [1, config.hyena_filter_order]);
                return Err(malformed(first, expected, "no such tensor"));
            };
            found.insert(first, frequency);
        }
    }
    Ok(())
}

/// Where a builder has the encoder.
pub(super) fn encoder<'a>(vb: &VarBuilder<'a>) -> VarBuilder<'a> {
    ["bert", "model.bert", "model"]
        .into_iter()
        .map(|prefix| vb.pp(prefix))
        .find(|vb| vb.contains_tensor("embeddings.word_embeddings.weight"))
        .unwrap_or_else(|| vb.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_wrappers() {
        let plain = "encoder.layer.0.mlp.wo.bias";
        for prefix in ["", "bert.", "model.bert.", "module.model.bert."] {
            assert_eq!(canonical_name(&format!("{prefix}{plain}")), Some(plain));
        }
        for other in [
            "cls.predictions.bias",
            "bert.embeddings.position_ids",
            "classifier.weight",
        ] {
            assert_eq!(canonical_name(other), None, "{other}");
        }
    }
}

//! Names and shapes of the parameters, as the two layouts of weight files have them.

use super::Config;
use crate::models::weight_files::{malformed, match_inventory, Inventory, Parameter};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use std::collections::HashMap;

/// Wrappers that training code puts around the model.
const WRAPPERS: [&str; 4] = ["state_dict.", "module.", "model.", "hyena."];

/// Weight and bias of a classification head under the names in use: Hugging
/// Face, the original code's own, and its training checkpoints.
const HEADS: [&str; 3] = [
    "score.",
    "head.output_transform.",
    "decoder.0.output_transform.",
];

/// The name of a parameter without what depends on the file's layout, or none
/// for what is no parameter.
pub(super) fn canonical_name(name: &str) -> Option<String> {
    if name.contains("torchmetrics") {
        return None;
    }
    let mut name = name;
    while let Some(rest) = WRAPPERS.iter().find_map(|w| name.strip_prefix(w)) {
        name = rest;
    }
    if let Some(rest) = HEADS.iter().find_map(|head| name.strip_prefix(head)) {
        return Some(format!("score.{rest}"));
    }
    Some(
        name.replace(".mixer.layer.", ".mixer.")
            .replace(".mlp.layer.", ".mlp."),
    )
}

/// All parameters of a model by canonical name. The frequency of a filter has
/// one entry for each name that it may be stored under.
fn inventory(config: &Config) -> Inventory {
    let mut all = Inventory::new();
    let mut add = |name: String, shape: &[usize], required: bool| {
        let shape = shape.to_vec();
        all.insert(name, Parameter { shape, required });
    };
    let width = config.d_model;
    let vocabulary = config.padded_vocab_size();
    let filters = width.saturating_mul(config.hyena_order.saturating_sub(1));
    let projected = width.saturating_mul(config.hyena_order.saturating_add(1));
    let (order, features) = (config.filter_order, config.emb_dim);
    let sines = config.num_inner_mlps.saturating_add(1);

    add(
        "backbone.embeddings.word_embeddings.weight".into(),
        &[vocabulary, width],
        true,
    );
    add("backbone.ln_f.weight".into(), &[width], true);
    add("backbone.ln_f.bias".into(), &[width], true);
    let own_head = config.tie_word_embeddings == Some(false);
    add("lm_head.weight".into(), &[vocabulary, width], own_head);
    for layer in 0..config.n_layer {
        let mut dense = |name: &str, outputs: usize, inputs: &[usize]| {
            let name = format!("backbone.layers.{layer}.{name}");
            let shape = [&[outputs], inputs].concat();
            add(format!("{name}.weight"), &shape, true);
            add(format!("{name}.bias"), &[outputs], true);
        };
        dense("norm1", width, &[]);
        dense("norm2", width, &[]);
        dense("mixer.in_proj", projected, &[width]);
        dense("mixer.out_proj", width, &[width]);
        dense(
            "mixer.short_filter",
            projected,
            &[1, config.short_filter_order],
        );
        dense("mlp.fc1", config.d_inner, &[width]);
        dense("mlp.fc2", width, &[config.d_inner]);
        let network = "mixer.filter_fn.implicit_filter";
        for sine in 0..sines {
            let inputs = if sine == 0 { features } else { order };
            dense(&format!("{network}.{}", 2 * sine), order, &[inputs]);
        }
        let prefix = format!("backbone.layers.{layer}.mixer.filter_fn");
        let last = format!("{prefix}.implicit_filter.{}.weight", 2 * sines);
        add(last, &[filters, order], true);
        for sine in 0..sines {
            let name = format!("{prefix}.implicit_filter.{}.freq", 2 * sine + 1);
            add(name, &[1, order], false);
        }
        add(format!("{prefix}.bias"), &[filters], true);
        // These three are tables that a formula gives as well.
        let positions = config.max_seq_len;
        add(
            format!("{prefix}.pos_emb.z"),
            &[1, positions, features],
            false,
        );
        add(format!("{prefix}.pos_emb.t"), &[1, positions, 1], false);
        add(
            format!("{prefix}.modulation.deltas"),
            &[1, 1, filters],
            false,
        );
    }
    all
}

/// The parameters under canonical names, checked against `config`: none
/// missing, none unknown, all of the right shape. A classification head,
/// `score.*`, is let through; its size is not part of the configuration.
pub(super) fn canonical(
    config: &Config,
    tensors: HashMap<String, Tensor>,
) -> Result<HashMap<String, Tensor>> {
    config.validate()?;
    let found = match_inventory(
        tensors,
        &inventory(config),
        &format!("a HyenaDNA model of {} layers", config.n_layer),
        canonical_name,
        |name| name.starts_with("score."),
    )?;
    for layer in 0..config.n_layer {
        let prefix = format!("backbone.layers.{layer}.mixer.filter_fn.implicit_filter");
        let mut names =
            (0..=config.num_inner_mlps).map(|sine| format!("{prefix}.{}.freq", 2 * sine + 1));
        if !names.any(|name| found.contains_key(&name)) {
            let expected = format!("a tensor of shape {:?}", [1, config.filter_order]);
            return Err(malformed(
                format!("{prefix}.1.freq"),
                expected,
                "no such tensor",
            ));
        }
    }
    Ok(found)
}

/// Where a builder has the backbone: below the prefix of either layout, or as
/// this crate names it.
pub(super) fn backbone<'a>(vb: &VarBuilder<'a>) -> VarBuilder<'a> {
    let candidates = ["hyena.backbone", "model.backbone"];
    let probe = "embeddings.word_embeddings.weight";
    candidates
        .into_iter()
        .map(|prefix| vb.pp(prefix))
        .find(|vb| vb.contains_tensor(probe))
        .unwrap_or_else(|| vb.pp("backbone"))
}

/// Where a builder has the head.
pub(super) fn lm_head<'a>(vb: &VarBuilder<'a>) -> VarBuilder<'a> {
    let original = vb.pp("model.lm_head");
    if original.contains_tensor("weight") {
        original
    } else {
        vb.pp("lm_head")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_what_depends_on_the_layout() {
        let cases = [
            ("hyena.backbone.ln_f.bias", Some("backbone.ln_f.bias")),
            ("model.backbone.ln_f.bias", Some("backbone.ln_f.bias")),
            (
                "module.model.backbone.ln_f.bias",
                Some("backbone.ln_f.bias"),
            ),
            ("backbone.ln_f.bias", Some("backbone.ln_f.bias")),
            (
                "model.backbone.layers.1.mixer.layer.in_proj.bias",
                Some("backbone.layers.1.mixer.in_proj.bias"),
            ),
            (
                "model.backbone.layers.1.mlp.layer.fc1.bias",
                Some("backbone.layers.1.mlp.fc1.bias"),
            ),
            ("model.lm_head.weight", Some("lm_head.weight")),
            ("score.weight", Some("score.weight")),
            ("decoder.0.output_transform.bias", Some("score.bias")),
            ("train_torchmetrics.num_tokens.count", None),
        ];
        for (stored, want) in cases {
            assert_eq!(canonical_name(stored).as_deref(), want, "{stored}");
        }
    }

    #[test]
    fn the_inventory_counts_the_published_parameters() {
        let config = Config::tiny_1k();
        let trained: usize = inventory(&config)
            .into_iter()
            .filter(|(_, parameter)| parameter.required)
            .map(|(_, parameter)| parameter.shape.iter().product::<usize>())
            .sum();
        // Without the two frequency vectors, which have several names.
        assert_eq!((trained + 2 * 64) as u64, config.parameter_count());
    }
}

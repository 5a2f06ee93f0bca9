//! Configurations: both layouts, defaults, presets, and what is refused.

mod common;

use candle_flashfftconv::models::hyena_dna::{Config, PUBLISHED};
use common::data_dir;
use serde_json::{json, Value};

fn golden(name: &str) -> Config {
    Config::from_file(data_dir().join(name)).unwrap()
}

fn parse(value: &Value) -> candle_core::Result<Config> {
    Config::from_json(&value.to_string())
}

/// The error's text, which has to hold every part.
#[track_caller]
fn refused(result: candle_core::Result<Config>, parts: &[&str]) {
    let message = result.expect_err("should be refused").to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}

fn original() -> Value {
    json!({
        "d_model": 128, "n_layer": 2, "d_inner": 512, "vocab_size": 12, "pad_vocab_size_multiple": 8,
        "residual_in_fp32": true,
        "layer": {"_name_": "hyena", "emb_dim": 5, "filter_order": 64, "local_order": 3, "l_max": 1026, "w": 10}
    })
}

#[test]
fn both_layouts_of_one_model_are_equal() {
    for name in ["hyenadna_tiny_a", "hyenadna_tiny_b"] {
        let hf = golden(&format!("{name}.config_hf.json"));
        let mut orig = golden(&format!("{name}.config_orig.json"));
        // The original layout has no such field.
        assert_eq!(orig.tie_word_embeddings, None);
        orig.tie_word_embeddings = Some(false);
        assert_eq!(hf, orig, "{name}");
    }
}

#[test]
fn reads_the_golden_fields() {
    let config = golden("hyenadna_tiny_a.config_orig.json");
    assert_eq!(
        config,
        Config {
            d_model: 32,
            d_inner: 128,
            ..Config::tiny_1k()
        }
    );
    let config = golden("hyenadna_tiny_b.config_hf.json");
    assert_eq!(
        (config.emb_dim, config.filter_order, config.max_seq_len),
        (3, 16, 256)
    );
    assert_eq!(config.activation_freq, 1.0);
    let config = golden("hyenadna_tiny_order3.config_orig.json");
    assert_eq!((config.hyena_order, config.max_seq_len), (3, 130));
}

#[test]
fn absent_fields_have_the_reference_defaults() {
    let hf =
        parse(&json!({"model_type": "hyenadna", "d_model": 64, "n_layer": 3, "max_seq_len": 100}))
            .unwrap();
    let want = Config {
        d_model: 64,
        n_layer: 3,
        d_inner: 256,
        max_seq_len: 100,
        emb_dim: 3,
        activation_freq: 1.0,
        ..Config::tiny_1k()
    };
    assert_eq!(hf, want);
    // Nulls are absent fields.
    let orig =
        parse(&json!({"d_model": 64, "n_layer": 3, "d_inner": null, "layer": {"l_max": 100}}))
            .unwrap();
    let want = Config {
        pad_vocab_size_multiple: 1,
        residual_in_fp32: false,
        ..want
    };
    assert_eq!(orig, want);
}

#[test]
fn required_fields_are_named() {
    for field in ["d_model", "n_layer"] {
        let mut value = original();
        value.as_object_mut().unwrap().remove(field);
        refused(parse(&value), &["expected", field, "got nothing"]);
    }
    let mut value = original();
    value["layer"].as_object_mut().unwrap().remove("l_max");
    refused(parse(&value), &["`layer.l_max`", "got nothing"]);
    refused(
        parse(&json!({"model_type": "hyenadna", "d_model": 64, "n_layer": 3})),
        &["`max_seq_len`", "got nothing"],
    );
}

#[test]
fn a_training_configuration_holds_the_model_inside() {
    let wrapped =
        json!({"model": original(), "dataset": {"max_length": 1024}, "train": {"seed": 1}});
    assert_eq!(parse(&wrapped).unwrap(), parse(&original()).unwrap());
    let mut broken = wrapped;
    broken["model"]["layer"]["l_max"] = json!("${eval:${dataset.max_length}+2}");
    refused(
        parse(&broken),
        &["`model.layer.l_max`", "whole number", "${eval:"],
    );
}

#[test]
fn operator_options_are_read() {
    let mut value = original();
    value["layer"]["order"] = json!(3);
    value["layer"]["shift"] = json!(0.0);
    value["layer"]["normalized"] = json!(true);
    value["layer"]["modulate"] = json!(false);
    value["layer"]["bidirectional"] = json!(true);
    value["layer"]["bias"] = json!(false);
    value["layer"]["num_inner_mlps"] = json!(1);
    let config = parse(&value).unwrap();
    assert_eq!(config.hyena_order, 3);
    assert_eq!(config.filter_shift, 0.0);
    assert!(config.normalized && !config.modulate && config.bidirectional && !config.use_bias);
    assert_eq!(config.num_inner_mlps, 1);
}

#[test]
fn another_model_is_refused() {
    refused(
        parse(&json!({"model_type": "bert", "hidden_size": 768})),
        &["hyenadna", "bert"],
    );
    refused(
        parse(&json!({"hidden_size": 768})),
        &["model_type", "hidden_size"],
    );
    for (field, value) in [
        ("_name_", json!("mha")),
        ("num_heads", json!(8)),
        ("outer_mixing", json!(true)),
        ("activation", json!("gelu")),
    ] {
        let mut config = original();
        config["layer"][field] = value;
        refused(parse(&config), &[field, "expected", "got"]);
    }
    let mut config = original();
    config["attn_layer_idx"] = json!([1]);
    refused(parse(&config), &["attn_layer_idx"]);
    config["attn_layer_idx"] = json!([]);
    parse(&config).unwrap();
}

#[test]
fn wrong_types_are_named() {
    for (field, value, got) in [
        ("d_model", json!("128"), "\"128\""),
        ("d_model", json!(-1), "-1"),
        ("n_layer", json!(2.5), "2.5"),
        ("vocab_size", json!([12]), "a list of 1 items"),
        ("layer", json!("hyena"), "\"hyena\""),
        ("residual_in_fp32", json!(1), "1"),
        ("pad_token_id", json!(-100), "-100"),
    ] {
        let mut config = original();
        config[field] = value;
        refused(parse(&config), &[field, "expected", got]);
    }
    refused(
        Config::from_json("[1, 2]"),
        &["a JSON object", "a list of 2 items"],
    );
    refused(Config::from_json("{"), &["JSON", "EOF"]);
    refused(
        Config::from_json(&"[".repeat(1 << 20)),
        &["JSON", "recursion"],
    );
}

#[test]
fn absurd_sizes_are_refused() {
    for (field, value) in [
        ("d_model", json!(0)),
        ("d_model", json!(u64::MAX)),
        ("n_layer", json!(0)),
        ("n_layer", json!(1_000_000_000)),
        ("d_inner", json!(0)),
        ("vocab_size", json!(0)),
        ("vocab_size", json!(u64::MAX)),
        ("pad_vocab_size_multiple", json!(0)),
        ("pad_token_id", json!(16)),
        ("layer_norm_epsilon", json!(-1e-5)),
        ("embed_dropout", json!(1.5)),
    ] {
        let mut config = original();
        config[field] = value.clone();
        let shown = value.to_string();
        refused(
            parse(&config),
            &[field, "expected", shown.trim_matches('"')],
        );
    }
    for (field, value, quantity) in [
        ("l_max", json!(0), "max_seq_len"),
        ("l_max", json!(1), "max_seq_len"),
        ("l_max", json!(1u64 << 40), "max_seq_len"),
        ("order", json!(1), "hyena_order"),
        ("emb_dim", json!(1), "emb_dim"),
        ("emb_dim", json!(4), "odd"),
        ("filter_order", json!(0), "filter_order"),
        ("short_filter_order", json!(0), "short_filter_order"),
        ("num_inner_mlps", json!(1000), "num_inner_mlps"),
    ] {
        let mut config = original();
        config["layer"][field] = value.clone();
        refused(parse(&config), &[quantity, "expected", &value.to_string()]);
    }
    // Each field in its range, but not together.
    let mut config = original();
    config["d_model"] = json!(1 << 16);
    config["d_inner"] = json!(1 << 20);
    config["n_layer"] = json!(1 << 12);
    refused(parse(&config), &["parameters", "expected at most"]);
    let mut nan = Config::tiny_1k();
    nan.activation_freq = f64::NAN;
    refused(
        nan.validate().map(|()| nan.clone()),
        &["activation_freq", "NaN"],
    );
    let mut infinite = Config::tiny_1k();
    infinite.filter_shift = f64::INFINITY;
    refused(
        infinite.validate().map(|()| infinite.clone()),
        &["filter_shift", "inf"],
    );
}

#[test]
fn files_that_are_no_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    refused(Config::from_file(&path), &["config.json", "readable"]);
    refused(Config::from_file(dir.path()), &["readable"]);
    std::fs::write(&path, b"\xff\xfe").unwrap();
    refused(Config::from_file(&path), &["config.json", "UTF-8"]);
    std::fs::write(&path, " ".repeat((1 << 20) + 1)).unwrap();
    refused(Config::from_file(&path), &["at most 1048576 bytes"]);
}

#[test]
fn published_models() {
    // Parameters in millions without the head, and the names.
    let millions = [0.436, 1.64, 0.436, 3.28, 6.55, 6.55, 6.55];
    for (name, want) in PUBLISHED.iter().zip(millions) {
        let config = Config::published(name).unwrap();
        config.validate().unwrap();
        let got = config.parameter_count() as f64 / 1e6;
        assert!(
            (got / want - 1.0).abs() < 0.006,
            "{name}: {got} M, {want} M"
        );
        assert_eq!(
            Config::published(&format!("hyenadna-{name}")).unwrap(),
            config
        );
        assert_eq!(
            Config::published(&format!("LongSafari/hyenadna-{name}-hf")).unwrap(),
            config
        );
    }
    assert_eq!(
        Config::published("small-32k-seqlen").unwrap(),
        Config::small_32k()
    );
    assert_eq!(Config::small_32k().max_seq_len, 32_770);
    assert_eq!(Config::tiny_16k().max_seq_len, 16_386);
    refused(
        Config::published("huge"),
        &["one of tiny-1k-seqlen", "got huge"],
    );
}

#[test]
fn counts_saturate_instead_of_overflowing() {
    let config = Config {
        d_model: usize::MAX,
        n_layer: usize::MAX,
        d_inner: usize::MAX,
        vocab_size: usize::MAX,
        filter_order: usize::MAX,
        hyena_order: usize::MAX,
        emb_dim: usize::MAX,
        max_seq_len: usize::MAX,
        num_inner_mlps: usize::MAX,
        short_filter_order: usize::MAX,
        pad_vocab_size_multiple: 3,
        ..Config::tiny_1k()
    };
    assert_eq!(config.parameter_count(), u64::MAX);
    assert_eq!(config.padded_vocab_size(), usize::MAX);
    assert!(config.validate().is_err());
    let config = Config {
        pad_vocab_size_multiple: 0,
        ..Config::tiny_1k()
    };
    assert_eq!(config.padded_vocab_size(), 12);
}

#[test]
fn the_written_file_reads_back() {
    let mut configs: Vec<_> = PUBLISHED
        .iter()
        .map(|n| Config::published(n).unwrap())
        .collect();
    configs.push(golden("hyenadna_tiny_b.config_hf.json"));
    configs.push(golden("hyenadna_tiny_order3.config_orig.json"));
    configs.push(Config {
        filter_shift: 0.0,
        modulate: false,
        normalized: true,
        bidirectional: true,
        residual_in_fp32: false,
        tie_word_embeddings: Some(true),
        layer_norm_epsilon: 1.3e-7,
        activation_freq: 14.5,
        train_freq: false,
        use_bias: false,
        pad_token_id: 3,
        ..Config::tiny_1k()
    });
    for config in configs {
        assert_eq!(Config::from_json(&config.to_hf_json()).unwrap(), config);
    }
    // A published one needs nothing that the Hugging Face code does not know.
    let golden: Value = common::golden_json("hyenadna_tiny_a.config_hf.json");
    let written: Value = serde_json::from_str(
        &Config {
            tie_word_embeddings: Some(false),
            ..Config::tiny_1k()
        }
        .to_hf_json(),
    )
    .unwrap();
    let names = |v: &Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&written), names(&golden));
}

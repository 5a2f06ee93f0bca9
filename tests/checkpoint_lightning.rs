//! Reading checkpoints of training runs, as PyTorch Lightning writes them.

mod checkpoint_writer;
mod common;

use candle_core::{DType, Device, Tensor};
use candle_flashfftconv::models::checkpoint::load_tensors;
use candle_flashfftconv::models::hyena_dna::{Config, HyenaDna};
use checkpoint_writer::*;
use common::{assert_close, data_dir, golden};
use std::collections::{BTreeMap, HashMap};

/// An object as a training configuration leaves it in a checkpoint.
fn configuration_node(value: Py) -> Py {
    let metadata = Py::Object(
        Box::new(Py::Global("omegaconf.base", "ContainerMetadata")),
        Box::new(Py::Tuple(vec![])),
        Box::new(Py::Dict(vec![
            (text("ref_type"), Py::Global("typing", "Any")),
            (text("object_type"), Py::Global("builtins", "dict")),
            (text("optional"), Py::Bool(true)),
            (text("key"), Py::None),
            (
                text("flags_root"),
                call(
                    "collections",
                    "defaultdict",
                    vec![Py::Global("builtins", "list")],
                ),
            ),
        ])),
    );
    Py::Object(
        Box::new(Py::Global("omegaconf.dictconfig", "DictConfig")),
        Box::new(Py::Tuple(vec![])),
        Box::new(Py::Dict(vec![
            (text("_metadata"), metadata),
            (text("_parent"), Py::None),
            (text("_content"), Py::Dict(vec![(text("value"), value)])),
        ])),
    )
}

/// A number of numpy, as a callback's state holds the best score.
fn numpy_scalar() -> Py {
    let dtype = Py::Object(
        Box::new(Py::Global("numpy", "dtype")),
        Box::new(Py::Tuple(vec![text("f8"), Py::Bool(false), Py::Bool(true)])),
        Box::new(Py::Tuple(vec![Py::Int(3), text("<"), Py::None])),
    );
    let bytes = call("_codecs", "encode", vec![text("12345678"), text("latin1")]);
    call("numpy.core.multiarray", "scalar", vec![dtype, bytes])
}

/// A checkpoint as Lightning writes it. The records of the optimizer's tensors are left out.
fn lightning(weights: &HashMap<String, Tensor>) -> Vec<u8> {
    let mut checkpoint = Checkpoint::default();
    let sorted: BTreeMap<_, _> = weights.iter().collect();
    let mut frequencies: HashMap<String, Py> = HashMap::new();
    let mut state = Vec::new();
    for (name, tensor) in sorted {
        // The sines of one filter share one tensor.
        let shared = name.strip_suffix(".freq").map(|rest| {
            rest.trim_end_matches(|c: char| c.is_ascii_digit())
                .to_string()
        });
        let saved = match shared {
            Some(filter) => frequencies
                .entry(filter)
                .or_insert_with(|| checkpoint.tensor(tensor))
                .clone(),
            None => checkpoint.tensor(tensor),
        };
        state.push((text(name), saved));
    }
    let module_versions = Py::Dict(vec![(
        text("_metadata"),
        ordered_dict(vec![(
            text(""),
            Py::Dict(vec![(text("version"), Py::Int(1))]),
        )]),
    )]);
    let mut state_dict = ordered_dict(state);
    // `_metadata` is an attribute of the dictionary, set by BUILD.
    state_dict = {
        let mut bytes = pickle(&state_dict)[2..].to_vec();
        bytes.pop();
        bytes.extend(pickle(&module_versions)[2..].iter());
        bytes.pop();
        bytes.push(b'b');
        Py::Raw(bytes)
    };
    let moment = |key: &str| tensor_on(storage("FloatStorage", key, 1 << 20), 0, &[1 << 20], &[1]);
    let adam = Py::Dict(vec![
        (text("step"), moment("9000")),
        (text("exp_avg"), moment("9001")),
        (text("exp_avg_sq"), moment("9002")),
    ]);
    let path = call(
        "pathlib",
        "PosixPath",
        vec![text("/"), text("runs"), text("last.ckpt")],
    );
    let object = Py::Dict(vec![
        (text("epoch"), Py::Int(99)),
        (text("global_step"), Py::Int(1_000_000)),
        (text("pytorch-lightning_version"), text("1.8.6")),
        (text("state_dict"), state_dict),
        (
            text("callbacks"),
            Py::Dict(vec![(
                text("ModelCheckpoint{'monitor': 'val/loss'}"),
                Py::Dict(vec![
                    (text("best_model_score"), numpy_scalar()),
                    (text("best_model_path"), path),
                    (text("current_score"), Py::Float(1.25)),
                ]),
            )]),
        ),
        (
            text("optimizer_states"),
            Py::List(vec![Py::Dict(vec![
                (text("state"), Py::Dict(vec![(Py::Int(0), adam)])),
                (
                    text("param_groups"),
                    Py::List(vec![Py::Dict(vec![
                        (text("lr"), Py::Float(6e-4)),
                        (
                            text("betas"),
                            Py::Tuple(vec![Py::Float(0.9), Py::Float(0.999)]),
                        ),
                        (text("params"), Py::List(vec![Py::Int(0), Py::Int(1)])),
                    ])]),
                ),
            ])]),
        ),
        (
            text("hyper_parameters"),
            Py::Dict(vec![(text("model"), configuration_node(Py::Int(-300)))]),
        ),
        (
            text("hparams_name"),
            Py::Global("omegaconf.dictconfig", "DictConfig"),
        ),
    ]);
    checkpoint.save(&object)
}

#[test]
fn lightning_checkpoints_give_the_weights() {
    for case in ["hyenadna_tiny_a", "hyenadna_tiny_b", "hyenadna_tiny_order3"] {
        let mut weights = golden(&format!("{case}.orig"));
        let metric = Tensor::new(7i64, &Device::Cpu).unwrap();
        weights.insert("val_torchmetrics.accuracy.total".to_string(), metric);
        assert_same(&load(&lightning(&weights)), &weights);
    }
}

/// From a Lightning file to the logits of the reference.
#[test]
fn a_model_runs_from_a_lightning_checkpoint() {
    let mut weights = golden("hyenadna_tiny_a.orig");
    let metric = Tensor::new(7i64, &Device::Cpu).unwrap();
    weights.insert("val_torchmetrics.accuracy.total".to_string(), metric);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.ckpt");
    std::fs::write(&path, lightning(&weights)).unwrap();

    let config = Config::from_file(data_dir().join("hyenadna_tiny_a.config_orig.json")).unwrap();
    let model = HyenaDna::from_files(config, &[path], DType::F32, &Device::Cpu).unwrap();
    let io = golden("hyenadna_tiny_a.io");
    let ids = io["input_ids"].to_dtype(DType::U32).unwrap();
    let logits = model.forward(&ids).unwrap();
    assert_close(&logits, &io["logits_f64"], 1e-5, "logits");
}

#[test]
fn the_format_is_seen_in_the_content() {
    let weights = golden("hyenadna_tiny_b.orig");
    let dir = tempfile::tempdir().unwrap();
    for name in ["weights.ckpt", "pytorch_model.bin", "x.safetensors", "x"] {
        let path = dir.path().join(name);
        std::fs::write(&path, lightning(&weights)).unwrap();
        assert_same(&load_tensors(&path, &Device::Cpu).unwrap(), &weights);
    }
}

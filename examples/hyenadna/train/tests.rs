//! A tiny training, end to end.

use super::*;
use crate::fasta;

fn args(folder: &std::path::Path) -> TrainArgs {
    TrainArgs {
        fasta: vec![],
        output_dir: folder.to_path_buf(),
        held_out: 0.2,
        d_model: 16,
        n_layer: 1,
        d_inner: 32,
        filter_order: 8,
        max_seq_len: 32,
        steps: 60,
        batch_size: 4,
        learning_rate: 1e-2,
        warmup: 5,
        weight_decay: 0.01,
        clip: 1.0,
        one_strand: true,
        eval_every: 20,
        eval_windows: 4,
        markov_order: 3,
    }
}

/// A sequence that a model of any memory predicts well: a motif of 8 bases over and over, and a few N.
fn records() -> Vec<Record> {
    let mut text = b">motif\n".to_vec();
    for i in 0..120 {
        text.extend_from_slice(if i % 40 == 39 {
            b"ACGGTNAT"
        } else {
            b"ACGGTCAT"
        });
    }
    fasta::read(&text[..]).unwrap()
}

fn train(args: &TrainArgs, seed: u64) -> String {
    let mut out = Vec::new();
    run(args, &records(), seed, &Device::Cpu, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn it_learns_and_its_files_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let args = args(folder.path());
    let out = train(&args, 1);
    let last = |text: &str| {
        text.split_whitespace()
            .last()
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    let model = last(out.lines().find(|l| l.starts_with("this model")).unwrap());
    assert!(model < 1.0, "{out}");
    assert!(out.contains("Markov model of order 3"), "{out}");

    let curve = std::fs::read_to_string(folder.path().join("loss.tsv")).unwrap();
    let steps: Vec<_> = curve
        .lines()
        .skip(1)
        .map(|l| l.split('\t').next().unwrap())
        .collect();
    assert_eq!(steps, ["20", "40", "60"]);
    assert!(std::fs::read_to_string(folder.path().join("loss.svg"))
        .unwrap()
        .contains("polyline"));

    // The files give the model that was trained: the same bits per base again.
    let config = Config::from_file(folder.path().join("config.json")).unwrap();
    let weights = folder.path().join("model.safetensors");
    let model_read =
        HyenaDna::from_files(config.clone(), &[&weights], DType::F32, &Device::Cpu).unwrap();
    let again = Trainee {
        model: model_read,
        max_len: config.max_seq_len,
        device: Device::Cpu,
    };
    let split = Split::new(&records(), args.held_out).unwrap();
    let report = report::compare(&args, &again, &split).unwrap();
    let read = last(
        report
            .text
            .lines()
            .find(|l| l.starts_with("this model"))
            .unwrap(),
    );
    assert!((model - read).abs() < 2e-4, "{model} {read}");
}

#[test]
fn the_seed_decides_everything() {
    let folders = [1, 1, 2].map(|seed| {
        let folder = tempfile::tempdir().unwrap();
        let args = TrainArgs {
            steps: 5,
            eval_every: 5,
            one_strand: false,
            ..args(folder.path())
        };
        train(&args, seed);
        folder
    });
    let [a, b, c] = folders.map(|f| std::fs::read(f.path().join("model.safetensors")).unwrap());
    assert!(a == b, "the same seed gave other weights");
    assert!(a != c, "another seed gave the same weights");
}

#[test]
fn what_cannot_be_trained_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let good = args(folder.path());
    let bad = [
        TrainArgs {
            steps: 0,
            ..good.clone()
        },
        TrainArgs {
            batch_size: 0,
            ..good.clone()
        },
        TrainArgs {
            eval_every: 0,
            ..good.clone()
        },
        TrainArgs {
            eval_windows: 0,
            ..good.clone()
        },
        TrainArgs {
            max_seq_len: 1,
            ..good.clone()
        },
        TrainArgs {
            max_seq_len: 5000,
            ..good.clone()
        },
        TrainArgs {
            d_model: 0,
            ..good.clone()
        },
        TrainArgs {
            held_out: 1.5,
            ..good.clone()
        },
        TrainArgs {
            held_out: 1e-9,
            ..good.clone()
        },
        TrainArgs {
            learning_rate: f64::NAN,
            ..good.clone()
        },
        TrainArgs {
            markov_order: 99,
            ..good.clone()
        },
        TrainArgs {
            markov_order: 2,
            ..good
        },
    ];
    for args in bad {
        let result = run(&args, &records(), 1, &Device::Cpu, &mut Vec::new());
        assert!(result.is_err(), "{args:?}");
    }
}

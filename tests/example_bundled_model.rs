//! The files that the example `hyenadna` brings along: whole, small, and readable through the public API.

mod common;

use candle_core::{DType, Device, IndexOp};
use candle_flashfftconv::models::hyena_dna::{CharacterTokenizer, Config, HyenaDna};
use std::path::PathBuf;

fn file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data")).join(name)
}

#[test]
fn the_genomes_are_whole() {
    for (name, accession, length) in [
        ("lambda_virus.fa.gz", "NC_001416.1", 48_502),
        ("ecoli_536_NC_008253.fna.gz", "NC_008253.1", 4_938_920),
    ] {
        let mut reader = needletail::parse_fastx_file(file(name)).unwrap();
        let record = reader.next().unwrap().unwrap();
        assert!(String::from_utf8_lossy(record.id()).contains(accession));
        assert_eq!(record.num_bases(), length);
        assert!(record.seq().iter().all(|b| b"ACGT".contains(b)));
        assert!(reader.next().is_none());
    }
}

#[test]
fn the_model_reads_back_and_is_causal() {
    let weights = file("hyenadna-ecoli/model.safetensors");
    assert!(weights.metadata().unwrap().len() < 2_000_000);
    let config = Config::from_file(file("hyenadna-ecoli/config.json")).unwrap();
    let length = config.max_seq_len;
    let model = HyenaDna::from_files(config, &[weights], DType::F32, &Device::Cpu).unwrap();

    let text: String = "ACGGTTCAGCN".chars().cycle().take(length).collect();
    let ids = CharacterTokenizer::default().encode_plain(&text);
    let ids = candle_core::Tensor::new(ids, &Device::Cpu)
        .unwrap()
        .unsqueeze(0)
        .unwrap();
    let whole = model.forward(&ids).unwrap();
    let part = model.forward(&ids.i((.., ..100)).unwrap()).unwrap();
    common::assert_close(
        &part,
        &whole.i((.., ..100)).unwrap(),
        1e-4,
        "first 100 logits",
    );
}

#[test]
fn the_documentation_gives_the_figures_of_the_report() {
    let report = std::fs::read_to_string(file("hyenadna-ecoli/report.txt")).unwrap();
    let figures = |name: &str| {
        let line = report.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace()
            .filter(|word| word.contains('.'))
            .map(str::to_string)
            .collect::<Vec<_>>()
    };
    let model = figures("this model").remove(0);
    let markov = figures("Markov model of order 3").remove(0);
    assert!(model.parse::<f64>().unwrap() < markov.parse::<f64>().unwrap());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/training.md");
    let text = std::fs::read_to_string(path).unwrap();
    for figure in [model, markov] {
        assert!(
            text.contains(&figure),
            "docs/training.md does not say {figure}"
        );
    }
}

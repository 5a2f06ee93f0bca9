//! The program from its command line to its files.

use super::*;
use std::path::Path;

/// Runs a command line; what it prints, or the whole chain of its error.
fn try_run(args: &[&str]) -> Result<String, String> {
    let cli =
        Cli::try_parse_from(std::iter::once(&"hyenadna").chain(args)).map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    run(cli, &mut out).map_err(|e| format!("{e:#}"))?;
    Ok(String::from_utf8(out).unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A tiny trained model in a folder, as `--model-id` takes it.
fn tiny_model(folder: &Path) {
    let fasta = folder.join("train.fa");
    let sequence: String = "ACGTTGCAAC".repeat(60);
    std::fs::write(&fasta, format!(">t\n{sequence}\n")).unwrap();
    let sizes = "--d-model 8 --n-layer 1 --d-inner 16 --filter-order 8 --max-seq-len 32 --steps 3 \
                 --batch-size 2 --eval-every 3 --markov-order 3";
    let mut args = vec!["train", text(&fasta), "--output-dir", text(folder)];
    args.extend(["--device", "cpu"]);
    args.extend(sizes.split_whitespace());
    try_run(&args).unwrap();
}

#[test]
fn the_command_line_is_consistent() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
    let cli = Cli::try_parse_from([
        "hyenadna",
        "score",
        "a.fa",
        "--device",
        "cpu",
        "--dtype",
        "bf16",
        "--weight-files",
        "a,b",
    ])
    .unwrap();
    assert_eq!(cli.model.device.as_deref(), Some("cpu"));
    assert_eq!(cli.model.dtype, source::WhichDType::Bf16);
    assert_eq!(cli.model.weight_files.len(), 2);
    assert_eq!(cli.model.revision, "main");
    assert!(try_run(&["--dtype", "f64"]).is_err());
    for device in ["gpu", "cuda:", "cuda:x", "CPU"] {
        let error = try_run(&["--device", device]).unwrap_err();
        assert!(error.contains("expected cpu, cuda or cuda:N"), "{error}");
    }
    assert!(try_run(&["mutate"]).unwrap_err().contains("--region"));
}

#[test]
fn without_a_network_every_command_runs() {
    let folder = tempfile::tempdir().unwrap();
    tiny_model(folder.path());
    let model = text(folder.path());
    let fasta = folder.path().join("a.fa");
    std::fs::write(
        &fasta,
        ">one\r\nACGTRACGTacgt\r\n>none\r\n>two\r\nGG-GTTTAACC\r\n",
    )
    .unwrap();
    let output = folder.path().join("out");
    for dtype in ["f32", "f16", "bf16"] {
        let common = [
            text(&fasta),
            "--device",
            "cpu",
            "--model-id",
            model,
            "--dtype",
            dtype,
            "--output-dir",
            text(&output),
        ];
        let with = |more: &[&'static str]| {
            let args: Vec<&str> = more.iter().copied().chain(common).collect();
            try_run(&args).unwrap_or_else(|e| panic!("{more:?} {dtype}: {e}"))
        };
        let out = with(&["score", "--overlap", "3", "--window", "6"]);
        assert!(
            out.contains("1 characters that are no nucleotides") && out.contains("'-' x 1"),
            "{out}"
        );
        assert!(
            out.contains("record none: no bases") && out.contains("running on the CPU"),
            "{out}"
        );
        with(&["score", "--cls"]);
        with(&["embed"]);
        with(&["embed", "--pooling", "none", "--window", "6", "--cls"]);
        with(&["mutate", "--region", "2-6"]);
        with(&["mutate", "--region", "2-6", "--record", "two", "--cls"]);
    }
    for name in [
        "scores.tsv",
        "scores.svg",
        "embeddings.safetensors",
        "mutations.tsv",
        "mutations.svg",
    ] {
        assert!(output.join(name).is_file(), "{name}");
    }
    let (config, weights) = (
        folder.path().join("config.json"),
        folder.path().join("model.safetensors"),
    );
    let files = [
        "--config-file",
        text(&config),
        "--weight-files",
        text(&weights),
    ];
    let args: Vec<&str> = ["score", text(&fasta), "--output-dir", text(&output)]
        .into_iter()
        .chain(files)
        .collect();
    assert!(try_run(&args).unwrap().contains("model.safetensors"));
}

#[test]
fn bad_files_are_reported_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let garbage: Vec<u8> = (0..4000u32)
        .map(|i| (i.wrapping_mul(2654435761) >> 13) as u8 | 0x80)
        .collect();
    let bad = [
        write("empty.fa", b""),
        write("no_header.fa", b"ACGT\nACGT\n"),
        write("garbage.fa", &garbage),
        write("broken.fa.gz", &bundled::LAMBDA[..1000]),
        folder.path().join("missing.fa"),
        folder.path().to_path_buf(),
    ];
    for path in bad {
        for command in ["score", "embed", "train"] {
            let error = try_run(&[command, text(&path)]).unwrap_err();
            assert!(error.contains(text(&path)), "{error}");
        }
    }
    let good = write("good.fa", b">a\nACGT\n");
    let config = write("config.json", b"{ not json");
    let weights = write("model.safetensors", b"garbage");
    let with = |config: &Path| {
        try_run(&[
            "score",
            text(&good),
            "--config-file",
            text(config),
            "--weight-files",
            text(&weights),
        ])
        .unwrap_err()
    };
    assert!(with(&config).contains("config.json"));
    let valid = write("valid.json", bundled::MODEL_CONFIG.as_bytes());
    assert!(with(&valid).contains("model.safetensors"));
    assert!(try_run(&["train", text(&good), "--dtype", "bf16"])
        .unwrap_err()
        .contains("f32"));
}

#[test]
fn without_arguments_lambda_is_scored() {
    let folder = tempfile::tempdir().unwrap();
    // `score` with its defaults, but for where the files go.
    let out = try_run(&["score", "--output-dir", text(folder.path())]).unwrap();
    let line = out.lines().find(|l| l.starts_with("gi|9626243")).unwrap();
    let cells: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(cells[1..7], ["48502", "48501", "0", "0", "0", "0"], "{out}");
    let bits: f64 = cells[7].parse().unwrap();
    assert!(bits > 1.8 && bits < 2.0, "{out}");
    let table = std::fs::read_to_string(folder.path().join("scores.tsv")).unwrap();
    assert_eq!(table.lines().count(), 1 + 48_502usize.div_ceil(100));
}

/// What the bundled model was made for: on bases that it has not seen it does
/// better than a Markov model of order 3 that was fitted on the same ones.
#[test]
fn the_bundled_model_beats_a_markov_model_of_order_3() {
    let genome = &fasta::read(bundled::E_COLI).unwrap()[0].bases;
    assert_eq!(genome.len(), 4_938_920);
    let cut = genome.len() / 10 * 9;
    // An evenly spread part of the held-out tenth, to be quick.
    let held_out: Vec<&[u8]> = genome[cut + 1000..].chunks(512).step_by(20).collect();
    let markov = markov::Markov::fit([&genome[..cut]], 3).unwrap();
    let yardstick = markov.bits_per_base(held_out.iter().copied(), 3);

    let model = source::load(&source::ModelArgs::default(), &candle_core::Device::Cpu).unwrap();
    let layout = likelihood::Layout::new(512, None, None, Some(8), false).unwrap();
    let tokens: Vec<_> = held_out
        .iter()
        .map(|b| likelihood::Tokens::new(b).unwrap())
        .collect();
    let bits = likelihood::score(&model, &tokens, &layout, |_| ())
        .unwrap()
        .concat();
    let (sum, count) = likelihood::total(&bits);
    let model = sum / count as f64;
    assert!(count > 20_000);
    assert!(
        model < yardstick,
        "model {model:.4}, order 3 {yardstick:.4}"
    );
}

//! HyenaDNA at work: bits per base, embeddings, in-silico mutagenesis, training.
//!
//! ```text
//! cargo run --release --example hyenadna                       # scores phage lambda with the model inside
//! cargo run --release --example hyenadna -- score genome.fa.gz --model-id LongSafari/hyenadna-small-32k-seqlen-hf
//! cargo run --release --example hyenadna -- embed reads.fa --pooling none
//! cargo run --release --example hyenadna -- mutate --region 37940-38040
//! cargo run --release --features cuda --example hyenadna -- score --device cuda --dtype bf16
//! cargo run --release --example hyenadna -- train genome.fa.gz --steps 5000 --output-dir my-model
//! cargo run --release --example hyenadna -- score --model-id my-model other.fa
//! ```
//!
//! One module a command ([`score`], [`embed`], [`mutate`], [`train`]); below
//! them what they share: reading sequences ([`fasta`]), cutting them into
//! [`windows`], asking the model ([`likelihood`]), finding it ([`source`]), and
//! drawing ([`plot`]).

mod bundled;
mod embed;
mod fasta;
mod likelihood;
mod markov;
mod mutate;
mod output;
mod plot;
mod random;
mod score;
mod source;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod train;
mod windows;

use anyhow::{bail, Result};
use candle_core::DeviceLocation;
use clap::Parser;
use fasta::Record;
use std::io::Write;
use std::path::PathBuf;

/// HyenaDNA: bits per base, embeddings, in-silico mutagenesis and training.
///
/// Without a command: `score` on the genome of phage lambda with the small model inside the program.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    model: source::ModelArgs,

    /// What training draws its weights and windows from. The other commands draw nothing.
    #[arg(long, global = true, default_value_t = 299792458)]
    seed: u64,

    /// Write a trace file that Chrome and Perfetto show.
    #[arg(long, global = true)]
    tracing: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Score(score::ScoreArgs),
    Embed(embed::EmbedArgs),
    Mutate(mutate::MutateArgs),
    Train(train::TrainArgs),
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let _guard = cli.tracing.then(|| {
        use tracing_subscriber::prelude::*;
        let (layer, guard) = tracing_chrome::ChromeLayerBuilder::new().build();
        tracing_subscriber::registry().with(layer).init();
        guard
    });
    run(cli, &mut std::io::stdout().lock())
}

/// The whole program but for the reading of the command line.
fn run(cli: Cli, out: &mut dyn Write) -> Result<()> {
    let device = source::device(cli.model.device.as_deref())?;
    match device.location() {
        DeviceLocation::Cuda { gpu_id } => writeln!(out, "running on the GPU {gpu_id}")?,
        _ => writeln!(out, "running on the CPU")?,
    }
    let command = match cli.command {
        Some(command) => command,
        // The defaults of the command, as its own parser gives them.
        None => match Cli::try_parse_from(["hyenadna", "score"])?.command {
            Some(command) => command,
            None => bail!("the command score is missing"),
        },
    };
    let records = match &command {
        Command::Score(score::ScoreArgs { fasta, .. })
        | Command::Embed(embed::EmbedArgs { fasta, .. })
        | Command::Mutate(mutate::MutateArgs { fasta, .. }) => read(fasta, bundled::LAMBDA, out)?,
        Command::Train(args) => read(&args.fasta, bundled::E_COLI, out)?,
    };
    if let Command::Train(args) = &command {
        if !device.is_cpu() {
            bail!("training runs on the CPU only, so far: --device cpu");
        }
        if cli.model.dtype != source::WhichDType::F32 {
            bail!("training runs in f32 only");
        }
        return train::run(args, &records, cli.seed, &device, out);
    }
    let model = source::load(&cli.model, &device)?;
    writeln!(
        out,
        "model: {} ({} channels, {} blocks, up to {} tokens, {:?})",
        model.origin,
        model.config.d_model,
        model.config.n_layer,
        model.config.max_seq_len,
        model.dtype,
    )?;
    match &command {
        Command::Score(args) => score::run(args, &records, &model, out),
        Command::Embed(args) => embed::run(args, &records, &model, out),
        Command::Mutate(args) => mutate::run(args, &records, &model, out),
        Command::Train(_) => Ok(()),
    }
}

/// The records of all files, or of the genome inside the program, with a line on what was changed in them.
fn read(files: &[PathBuf], bundled: &[u8], out: &mut dyn Write) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    if files.is_empty() {
        records = fasta::read(bundled)?;
        writeln!(
            out,
            "no FASTA file given: using the genome inside the program"
        )?;
    }
    for file in files {
        records.extend(fasta::read_file(file)?);
    }
    for record in &records {
        if let Some(warning) = record.counts.warning() {
            writeln!(out, "record {}: {warning}", record.name)?;
        }
        if record.bases.is_empty() {
            writeln!(out, "record {}: no bases", record.name)?;
        }
    }
    Ok(records)
}

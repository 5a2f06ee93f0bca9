//! `train`: a small model from scratch, and how it compares with Markov models.

mod data;
mod optimizer;
mod report;
mod weights;

use crate::fasta::Record;
use crate::likelihood::{self, Layout, SequenceModel, Tokens};
use crate::markov;
use crate::output::{progress_bar, write_file};
use crate::plot;
use crate::random::Random;
use anyhow::{bail, Result};
use candle_core::{DType, Device, Tensor, Var};
use candle_flashfftconv::models::hyena_dna::{CharacterTokenizer, Config, HyenaDna};
use candle_nn::{VarBuilder, VarMap};
use data::{Sampler, Split};
use optimizer::{Groups, Schedule};
use report::Point;
use std::io::Write;
use std::path::PathBuf;
use tracing::info_span;

/// Trains a model from scratch to predict the next base, and writes it as Hugging Face repositories hold it.
///
/// The last part of each record is held out. At the end the model and Markov models, which are fitted on the
/// same training bases, are compared on it. The defaults make the model that is inside the program.
#[derive(Debug, Clone, clap::Args)]
pub struct TrainArgs {
    /// FASTA files, plain or gzip. Without any: the genome of E. coli 536 inside the program.
    pub fasta: Vec<PathBuf>,
    /// Where config.json, model.safetensors, loss.tsv, loss.svg and report.txt go; made if it is not there.
    #[arg(long, default_value = "hyenadna-output")]
    pub output_dir: PathBuf,
    /// Part of each record, at its end, that is kept from training.
    #[arg(long, default_value_t = 0.1)]
    pub held_out: f64,

    /// Channels.
    #[arg(long, default_value_t = 64)]
    pub d_model: usize,
    /// Blocks.
    #[arg(long, default_value_t = 2)]
    pub n_layer: usize,
    /// Width of the hidden layer of each MLP.
    #[arg(long, default_value_t = 256)]
    pub d_inner: usize,
    /// Width of the network that makes the filters.
    #[arg(long, default_value_t = 32)]
    pub filter_order: usize,
    /// Longest input of the model, and the length of the training windows.
    #[arg(long, default_value_t = 512)]
    pub max_seq_len: usize,

    /// Steps of training.
    #[arg(long, default_value_t = 2500)]
    pub steps: usize,
    /// Windows in a step.
    #[arg(long, default_value_t = 8)]
    pub batch_size: usize,
    /// The highest learning rate.
    #[arg(long, default_value_t = 3e-3)]
    pub learning_rate: f64,
    /// Steps in which the learning rate rises from zero; afterwards it falls along a cosine.
    #[arg(long, default_value_t = 100)]
    pub warmup: usize,
    /// Weight decay of AdamW, on the projections' matrices alone.
    #[arg(long, default_value_t = 0.05)]
    pub weight_decay: f64,
    /// Gradients are scaled down to this joint norm.
    #[arg(long, default_value_t = 1.0)]
    pub clip: f64,
    /// Train on the strand of the file alone, not on reverse complements too.
    #[arg(long)]
    pub one_strand: bool,
    /// Steps between two looks at the held-out part.
    #[arg(long, default_value_t = 100)]
    pub eval_every: usize,
    /// Windows of the held-out part that such a look scores; the last one scores all of it.
    #[arg(long, default_value_t = 64)]
    pub eval_windows: usize,
    /// Highest order of the Markov models to compare with, from 3 to 10.
    #[arg(long, default_value_t = 8)]
    pub markov_order: usize,
}

/// The model while it is trained.
struct Trainee {
    model: HyenaDna,
    max_len: usize,
    device: Device,
}

impl SequenceModel for Trainee {
    fn logits(&self, ids: &Tensor) -> candle_core::Result<Tensor> {
        self.model.forward(ids)
    }

    fn hidden_states(&self, ids: &Tensor) -> candle_core::Result<Tensor> {
        self.model.hidden_states(ids)
    }

    fn max_len(&self) -> usize {
        self.max_len
    }

    fn device(&self) -> &Device {
        &self.device
    }
}

/// Runs the command; the report goes to `out`.
pub fn run(
    args: &TrainArgs,
    records: &[Record],
    seed: u64,
    device: &Device,
    out: &mut dyn Write,
) -> Result<()> {
    check(args)?;
    let config = config(args);
    config.validate()?;
    let split = Split::new(records, args.held_out)?;
    writeln!(
        out,
        "{} training bases, {} held out",
        plot::thousands(data::bases(&split.training) as f64),
        plot::thousands(data::bases(&split.held_out) as f64),
    )?;

    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F32, device);
    let model = HyenaDna::new(config.clone(), vb)?;
    let vars = named(&variables)?;
    weights::initialise(&vars, &config, seed)?;
    let parameters: usize = vars.iter().map(|(_, var)| var.elem_count()).sum();
    writeln!(
        out,
        "{} parameters, seed {seed}",
        plot::thousands(parameters as f64)
    )?;
    let trainee = Trainee {
        model,
        max_len: config.max_seq_len,
        device: device.clone(),
    };

    let curve = optimise(args, &trainee, &vars, &split, seed, out)?;
    let folder = &args.output_dir;
    write_file(folder, "config.json", config.to_hf_json())?;
    write_file(
        folder,
        "model.safetensors",
        weights::safetensors_file(&vars, &config)?,
    )?;
    write_file(folder, "loss.tsv", report::curve_table(&curve)?)?;

    let comparison = report::compare(args, &trainee, &split)?;
    write!(out, "{}", comparison.text)?;
    write_file(folder, "report.txt", &comparison.text)?;
    let drawing = report::drawing(&curve, &comparison.levels)?;
    write_file(folder, "loss.svg", drawing)?;
    writeln!(
        out,
        "wrote config.json, model.safetensors, loss.tsv, loss.svg and report.txt into {}",
        folder.display()
    )?;
    Ok(())
}

fn check(args: &TrainArgs) -> Result<()> {
    let positive = [
        ("--steps", args.steps),
        ("--batch-size", args.batch_size),
        ("--eval-every", args.eval_every),
        ("--eval-windows", args.eval_windows),
    ];
    for (flag, value) in positive {
        if value == 0 {
            bail!("{flag} must be at least 1");
        }
    }
    if args.max_seq_len < 2 {
        bail!("--max-seq-len must be at least 2, got {}", args.max_seq_len);
    }
    if !(args.clip > 0.0 && args.learning_rate > 0.0 && args.learning_rate.is_finite()) {
        bail!("--clip and --learning-rate must be above 0");
    }
    if !(3..=markov::MAX_ORDER).contains(&args.markov_order) {
        bail!("--markov-order must be from 3 to {}", markov::MAX_ORDER);
    }
    Ok(())
}

fn config(args: &TrainArgs) -> Config {
    Config {
        d_model: args.d_model,
        n_layer: args.n_layer,
        d_inner: args.d_inner,
        filter_order: args.filter_order,
        max_seq_len: args.max_seq_len,
        embed_dropout: 0.0,
        tie_word_embeddings: Some(false),
        ..Config::tiny_1k()
    }
}

/// All variables in the order of their names.
fn named(variables: &VarMap) -> Result<Vec<(String, Var)>> {
    let Ok(data) = variables.data().lock() else {
        bail!("the variables are locked by a thread that failed");
    };
    let mut vars: Vec<_> = data.iter().map(|(n, v)| (n.clone(), v.clone())).collect();
    vars.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(vars)
}

/// The training itself.
fn optimise(
    args: &TrainArgs,
    trainee: &Trainee,
    vars: &[(String, Var)],
    split: &Split,
    seed: u64,
    out: &mut dyn Write,
) -> Result<Vec<Point>> {
    let random = Random::new(seed, 0);
    let length = args.max_seq_len.saturating_add(1);
    let mut sampler = Sampler::new(&split.training, length, !args.one_strand, random)?;
    let samples = evaluation_windows(&split.held_out, args.max_seq_len, args.eval_windows)?;
    let schedule = Schedule {
        peak: args.learning_rate,
        warmup: args.warmup,
        steps: args.steps,
        floor: 0.02,
    };
    let all: Vec<Var> = vars.iter().map(|(_, var)| var.clone()).collect();
    let mut groups = Groups::new(vars, args.weight_decay)?;
    let mut curve = Vec::new();
    let (mut sum, mut count) = (0.0, 0usize);
    let bar = progress_bar(args.steps, "steps");
    let start = std::time::Instant::now();
    for step in 0..args.steps {
        let loss = info_span!("forward").in_scope(|| batch_loss(args, trainee, &mut sampler))?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        if !value.is_finite() {
            bail!(
                "the loss of step {} is {value}: try a lower --learning-rate",
                step + 1
            );
        }
        let mut grads = info_span!("backward").in_scope(|| loss.backward())?;
        info_span!("optimizer").in_scope(|| {
            optimizer::clip(&mut grads, &all, args.clip)?;
            groups.step(&grads, schedule.rate(step))
        })?;
        (sum, count) = (sum + value, count + 1);
        bar.set_message(format!("{value:.4} bits"));
        bar.inc(1);
        let taken = step + 1;
        if taken % args.eval_every == 0 || taken == args.steps {
            let point = Point {
                step: taken,
                learning_rate: schedule.rate(step),
                training: sum / count as f64,
                held_out: evaluate(trainee, &samples, args.batch_size)?,
            };
            (sum, count) = (0.0, 0);
            curve.push(point);
            let line = format!(
                "step {taken}: training {:.4}, held out {:.4} bits per base, {:.0} s",
                point.training,
                point.held_out,
                start.elapsed().as_secs_f64()
            );
            if bar.is_hidden() {
                writeln!(out, "{line}")?;
            } else {
                bar.println(line);
            }
        }
    }
    bar.finish_and_clear();
    Ok(curve)
}

/// The loss of a fresh batch, in bits per base.
fn batch_loss(args: &TrainArgs, trainee: &Trainee, sampler: &mut Sampler) -> Result<Tensor> {
    let length = args.max_seq_len;
    let mut windows = Vec::new();
    for _ in 0..args.batch_size {
        windows.extend(sampler.window());
    }
    let mask: Vec<f32> = windows
        .iter()
        .map(|&id| {
            if id == CharacterTokenizer::N {
                0.0
            } else {
                1.0
            }
        })
        .collect();
    let shape = (args.batch_size, length + 1);
    let windows = Tensor::from_vec(windows, shape, &trainee.device)?;
    let mask = Tensor::from_vec(mask, shape, &trainee.device)?;
    let ids = windows.narrow(1, 0, length)?.contiguous()?;
    let targets = windows.narrow(1, 1, length)?.contiguous()?;
    let logits = trainee.logits(&ids)?.to_dtype(DType::F32)?;
    optimizer::loss(&logits, &targets, &mask.narrow(1, 1, length)?)
}

/// Up to `count` windows, evenly spread over the held-out part.
fn evaluation_windows(held_out: &[Vec<u8>], length: usize, count: usize) -> Result<Vec<Tokens>> {
    let all: Vec<&[u8]> = held_out
        .iter()
        .flat_map(|sequence| sequence.chunks(length))
        .filter(|chunk| chunk.len() >= 2)
        .collect();
    let step = all.len().div_ceil(count).max(1);
    let windows: Vec<Tokens> = all
        .into_iter()
        .step_by(step)
        .map(Tokens::new)
        .collect::<Result<_>>()?;
    if windows.is_empty() {
        bail!("the held-out part is too short; --held-out makes it larger");
    }
    Ok(windows)
}

/// Bits per base of windows on their own.
fn evaluate(trainee: &Trainee, windows: &[Tokens], batch: usize) -> Result<f64> {
    let layout = Layout::new(trainee.max_len(), None, None, Some(batch), false)?;
    let bits = likelihood::score(trainee, windows, &layout, |_| ())?;
    let (sum, count) = likelihood::total(&bits.concat());
    Ok(sum / count as f64)
}

#[cfg(test)]
mod tests;

//! `embed`: the hidden states of each record, as safetensors.

use crate::fasta::Record;
use crate::likelihood::{self, SequenceModel, Tokens};
use crate::output::{progress_bar, write_file};
use crate::score::LayoutArgs;
use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;
use std::path::PathBuf;

/// Hidden states after the final norm, float32, in embeddings.safetensors: one tensor a record, under its name.
///
/// A record longer than --window is cut as by `score`; each base has the state of the first window that holds it.
/// All bases count, N too; [CLS] is read with --cls, but has no place in the result. A second record of the same
/// name is called NAME_2. A record of length zero is left out.
#[derive(Debug, Clone, clap::Args)]
pub struct EmbedArgs {
    /// FASTA files, plain or gzip. Without any: the genome of phage lambda inside the program.
    pub fasta: Vec<PathBuf>,
    #[command(flatten)]
    pub layout: LayoutArgs,
    /// What is written of a record.
    #[arg(long, value_enum, default_value_t)]
    pub pooling: Pooling,
    /// Where embeddings.safetensors goes; made if it is not there.
    #[arg(long, default_value = "hyenadna-output")]
    pub output_dir: PathBuf,
}

/// What is written of a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Pooling {
    /// The mean over its bases, of shape (width).
    #[default]
    Mean,
    /// A row for each base, of shape (bases, width).
    None,
}

/// The states of one record while its windows come in.
enum States {
    /// Their sums, and how many there were.
    Sum { values: Vec<f64>, bases: usize },
    /// All of them, one after the other.
    Rows { values: Vec<f32>, bases: usize },
}

impl States {
    fn new(pooling: Pooling) -> Self {
        match pooling {
            Pooling::Mean => Self::Sum {
                values: Vec::new(),
                bases: 0,
            },
            Pooling::None => Self::Rows {
                values: Vec::new(),
                bases: 0,
            },
        }
    }

    fn add(&mut self, row: &[f32]) {
        match self {
            Self::Sum { values, bases } => {
                values.resize(row.len(), 0.0);
                for (sum, &x) in values.iter_mut().zip(row) {
                    *sum += f64::from(x);
                }
                *bases += 1;
            }
            Self::Rows { values, bases } => {
                values.extend_from_slice(row);
                *bases += 1;
            }
        }
    }

    /// The tensor of the record; there has to be a base.
    fn finish(self) -> Result<Tensor> {
        Ok(match self {
            Self::Sum { values, bases } => {
                let mean = values.iter().map(|x| (x / bases as f64) as f32);
                Tensor::from_iter(mean, &Device::Cpu)?
            }
            Self::Rows { values, bases } => {
                let width = values.len() / bases.max(1);
                Tensor::from_vec(values, (bases, width), &Device::Cpu)?
            }
        })
    }
}

/// Names for the tensors: a record's own, or with a number where it was seen before.
fn unique_names(records: &[Record]) -> Vec<String> {
    let mut taken = std::collections::HashSet::new();
    let mut names = Vec::new();
    for record in records {
        let mut name = record.name.clone();
        let mut number = 2;
        while !taken.insert(name.clone()) {
            name = format!("{}_{number}", record.name);
            number += 1;
        }
        names.push(name);
    }
    names
}

/// Runs the command; what was written goes to `out`.
pub fn run(
    args: &EmbedArgs,
    records: &[Record],
    model: &dyn SequenceModel,
    out: &mut dyn std::io::Write,
) -> Result<()> {
    let layout = args.layout.layout(model)?;
    let sequences = records.iter().map(Tokens::of).collect::<Result<Vec<_>>>()?;
    let mut states: Vec<States> = sequences
        .iter()
        .map(|_| States::new(args.pooling))
        .collect();
    let batches = likelihood::batches(&sequences, &layout)?;
    let bar = progress_bar(batches.len(), "batches");
    for batch in &batches {
        let _span = tracing::info_span!("embed a batch", windows = batch.len()).entered();
        let rows = likelihood::rows(batch, &sequences)?;
        let ids = likelihood::stack(&rows, layout.cls, model.device())?;
        let hidden = model
            .hidden_states(&ids)?
            .to_dtype(DType::F32)?
            .to_vec3::<f32>()?;
        for (job, rows) in batch.iter().zip(hidden) {
            let state = states.get_mut(job.sequence).context("an unknown record")?;
            let skip = usize::from(layout.cls) + job.window.owned.start - job.window.span.start;
            for row in rows.iter().skip(skip) {
                state.add(row);
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();

    let mut tensors = HashMap::new();
    let mut empty = Vec::new();
    for ((name, record), state) in unique_names(records).into_iter().zip(records).zip(states) {
        if record.bases.is_empty() {
            empty.push(name);
        } else {
            tensors.insert(name, state.finish()?);
        }
    }
    let content =
        safetensors::serialize(&tensors, None).context("cannot make the safetensors file")?;
    let path = write_file(&args.output_dir, "embeddings.safetensors", content)?;
    let what = match args.pooling {
        Pooling::Mean => "the mean state of each record",
        Pooling::None => "a state for each base",
    };
    writeln!(
        out,
        "wrote {}: {what}, {} records",
        path.display(),
        tensors.len()
    )?;
    if !empty.is_empty() {
        writeln!(out, "left out, as they have no bases: {}", empty.join(", "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fasta;
    use crate::testing::Bigram;

    fn embed(pooling: Pooling, window: usize, cls: bool) -> HashMap<String, Tensor> {
        let folder = tempfile::tempdir().unwrap();
        let args = EmbedArgs {
            fasta: vec![],
            layout: LayoutArgs {
                window: Some(window),
                overlap: None,
                batch_size: Some(2),
                cls,
            },
            pooling,
            output_dir: folder.path().to_path_buf(),
        };
        let text = b">a\nACGTNACGTACCGTTA\n>a\nGG\n>none\n>a_2\nTTT\n";
        let records = fasta::read(&text[..]).unwrap();
        let mut out = Vec::new();
        run(&args, &records, &Bigram::new(64), &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("no bases: none"));
        candle_core::safetensors::load(folder.path().join("embeddings.safetensors"), &Device::Cpu)
            .unwrap()
    }

    fn values(t: &Tensor) -> Vec<f32> {
        t.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn names_and_shapes() {
        let per_base = embed(Pooling::None, 32, false);
        let mut shapes: Vec<_> = per_base
            .iter()
            .map(|(n, t)| (n.as_str(), t.dims().to_vec()))
            .collect();
        shapes.sort();
        assert_eq!(
            shapes,
            [
                ("a", vec![16, 4]),
                ("a_2", vec![2, 4]),
                ("a_2_2", vec![3, 4])
            ]
        );
        let mean = embed(Pooling::Mean, 32, false);
        for (name, rows) in &per_base {
            let want = rows.mean(0).unwrap();
            let error = (&mean[name] - want).unwrap().abs().unwrap().max(0).unwrap();
            assert!(error.to_scalar::<f32>().unwrap() < 1e-6);
        }
    }

    #[test]
    fn windows_give_each_base_its_state() {
        let (whole, cut) = (
            embed(Pooling::None, 32, false),
            embed(Pooling::None, 5, false),
        );
        for (name, want) in &whole {
            assert_eq!(values(want), values(&cut[name]), "{name}");
        }
        // With [CLS] the first base has another state, the third does not.
        let with_cls = embed(Pooling::None, 5, true);
        let (got, want) = (values(&with_cls["a"]), values(&whole["a"]));
        assert_eq!(got.len(), want.len());
        assert_ne!(got[..4], want[..4]);
        assert_eq!(got[4..], want[4..]);
    }
}

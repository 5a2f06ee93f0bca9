//! What a training reports: its curve, and how the model compares with Markov models.

use super::data::{self, Split};
use super::TrainArgs;
use crate::likelihood::{self, Layout, SequenceModel, Tokens};
use crate::markov::Markov;
use crate::output::{progress_bar, Table};
use crate::plot::{self, Series};
use anyhow::{Context, Result};
use std::fmt::Write as _;

/// A line of the loss curve.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// Steps taken.
    pub step: usize,
    /// Of the last step.
    pub learning_rate: f64,
    /// Mean over the steps since the last point.
    pub training: f64,
    /// On the windows of the held-out part that are looked at between steps.
    pub held_out: f64,
}

/// The comparison, in words and as levels of the plot.
pub struct Report {
    pub text: String,
    pub levels: Vec<(String, f64)>,
}

/// Scores the whole held-out part with the model and with Markov models of each order.
pub fn compare(args: &TrainArgs, model: &dyn SequenceModel, split: &Split) -> Result<Report> {
    let sequences = split
        .held_out
        .iter()
        .map(|bases| Tokens::new(bases))
        .collect::<Result<Vec<_>>>()?;
    let layout = Layout::new(model.max_len(), None, None, Some(args.batch_size), false)?;
    let mut windows = 0;
    for tokens in &sequences {
        windows += layout.windows(tokens.ids.len())?.len();
    }
    let bar = progress_bar(windows, "held-out windows");
    let bits = likelihood::score(model, &sequences, &layout, |n| bar.inc(n as u64))?;
    bar.finish_and_clear();
    let (mut sum, mut counted) = (0.0, 0usize);
    for bits in &bits {
        let total = likelihood::total(bits);
        (sum, counted) = (sum + total.0, counted + total.1);
    }
    let bits_per_base = sum / counted as f64;

    let held_out = || split.held_out.iter().map(Vec::as_slice);
    let other: Vec<Vec<u8>> = split
        .training
        .iter()
        .map(|bases| data::reverse_complement(bases))
        .collect();
    let forward = || split.training.iter().map(Vec::as_slice);
    let one = Markov::fit(forward(), args.markov_order)?;
    let both = Markov::fit(
        forward().chain(other.iter().map(Vec::as_slice)),
        args.markov_order,
    )?;
    let mut table = Table::new(&["bits per base, held out", "one strand", "both strands"]);
    let mut levels = Vec::new();
    for order in 0..=args.markov_order {
        let [one, both] = [&one, &both].map(|markov| markov.bits_per_base(held_out(), order));
        table.row(vec![
            format!("Markov model of order {order}"),
            format!("{one:.4}"),
            format!("{both:.4}"),
        ]);
        if order == 3 || order == args.markov_order {
            levels.push((format!("Markov model of order {order}"), one.min(both)));
        }
    }
    let model_cells = match args.one_strand {
        true => [format!("{bits_per_base:.4}"), String::new()],
        false => [String::new(), format!("{bits_per_base:.4}")],
    };
    table.row(
        std::iter::once("this model".to_string())
            .chain(model_cells)
            .collect(),
    );
    let mut text = String::new();
    writeln!(
        text,
        "{} held-out bases counted; windows of {} bases, overlap {}",
        plot::thousands(counted as f64),
        layout.window,
        layout.overlap
    )?;
    writeln!(text, "{table}")?;
    Ok(Report { text, levels })
}

/// The curve as `loss.tsv` holds it.
pub fn curve_table(curve: &[Point]) -> Result<String> {
    let mut text = "step\tlearning_rate\ttraining_bits\theld_out_bits\n".to_string();
    for p in curve {
        writeln!(
            text,
            "{}\t{:.6e}\t{:.5}\t{:.5}",
            p.step, p.learning_rate, p.training, p.held_out
        )
        .context("cannot format the loss curve")?;
    }
    Ok(text)
}

/// The curve as `loss.svg` shows it, with the Markov models as levels.
pub fn drawing(curve: &[Point], levels: &[(String, f64)]) -> Result<String> {
    let series = |name: &str, value: fn(&Point) -> f64| Series {
        name: name.to_string(),
        points: curve.iter().map(|p| (p.step as f64, value(p))).collect(),
    };
    plot::curves(
        "Training",
        "bits per base",
        &[
            series("training windows", |p| p.training),
            series("held-out windows", |p| p.held_out),
        ],
        levels,
    )
}

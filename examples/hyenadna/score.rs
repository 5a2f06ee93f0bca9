//! `score`: bits per base of each record, a table along the sequence and a plot of it.

use crate::fasta::Record;
use crate::likelihood::{self, Layout, SequenceModel, Tokens};
use crate::output::{progress_bar, write_file, Table};
use crate::plot::{self, Series};
use anyhow::{bail, Result};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Bits per base of DNA: the mean of −log2 p(base | bases to its left), p the softmax over the logits.
///
/// Neither an N nor, without --cls, the first base of a record counts as a base to predict. A record longer
/// than --window is cut into windows that share --overlap bases; each base is scored once, in the first
/// window that holds it, so all but the first window's bases have at least --overlap bases of context.
#[derive(Debug, Clone, clap::Args)]
pub struct ScoreArgs {
    /// FASTA files, plain or gzip. Without any: the genome of phage lambda inside the program.
    pub fasta: Vec<PathBuf>,
    #[command(flatten)]
    pub layout: LayoutArgs,
    /// Bases in a line of the table.
    #[arg(long, default_value_t = 100)]
    pub bin: usize,
    /// Where scores.tsv and scores.svg go; made if it is not there.
    #[arg(long, default_value = "hyenadna-output")]
    pub output_dir: PathBuf,
}

/// How records become inputs of the model.
#[derive(Debug, Clone, clap::Args)]
pub struct LayoutArgs {
    /// Bases that the model reads at a time [default: as many as it can].
    #[arg(long)]
    pub window: Option<usize>,
    /// Bases that neighbouring windows of a long record share [default: half a window].
    #[arg(long)]
    pub overlap: Option<usize>,
    /// Windows in a batch [default: as many as have 8192 bases, 16 at most].
    #[arg(long)]
    pub batch_size: Option<usize>,
    /// Put [CLS] before each window: then a record's first base counts too.
    #[arg(long)]
    pub cls: bool,
}

impl LayoutArgs {
    /// The layout for a model.
    pub fn layout(&self, model: &dyn SequenceModel) -> Result<Layout> {
        Layout::new(
            model.max_len(),
            self.window,
            self.overlap,
            self.batch_size,
            self.cls,
        )
    }
}

/// The most panels of a plot, and the most points in each.
const MOST_PANELS: usize = 8;
const MOST_POINTS: usize = 1000;

/// Runs the command; the summary goes to `out`.
pub fn run(
    args: &ScoreArgs,
    records: &[Record],
    model: &dyn SequenceModel,
    out: &mut dyn std::io::Write,
) -> Result<()> {
    if args.bin == 0 {
        bail!("--bin must be at least 1");
    }
    let layout = args.layout.layout(model)?;
    let sequences = records.iter().map(Tokens::of).collect::<Result<Vec<_>>>()?;
    let mut windows = 0;
    for tokens in &sequences {
        windows += layout.windows(tokens.ids.len())?.len();
    }
    let bar = progress_bar(windows, "windows");
    let bits = likelihood::score(model, &sequences, &layout, |n| bar.inc(n as u64))?;
    bar.finish_and_clear();

    writeln!(
        out,
        "windows of {} bases, overlap {}, {} in all; first base of a record {}",
        layout.window,
        layout.overlap,
        windows,
        if layout.cls {
            "predicted from [CLS]"
        } else {
            "not counted"
        },
    )?;
    writeln!(out, "{}", summary(records, &bits))?;
    let table = write_file(
        &args.output_dir,
        "scores.tsv",
        &table(records, &bits, args.bin)?,
    )?;
    let plot = write_file(&args.output_dir, "scores.svg", &drawing(records, &bits)?)?;
    writeln!(out, "wrote {} and {}", table.display(), plot.display())?;
    Ok(())
}

/// `1.2345`, or `NA` for the mean of nothing.
fn mean((sum, count): (f64, usize)) -> String {
    match count {
        0 => "NA".to_string(),
        _ => format!("{:.4}", sum / count as f64),
    }
}

/// One line a record, and their total.
fn summary(records: &[Record], bits: &[Vec<f32>]) -> String {
    let mut table = Table::new(&[
        "record",
        "bases",
        "counted",
        "N",
        "ambiguous",
        "other",
        "soft-masked",
        "bits per base",
    ]);
    let mut all = (0.0, 0);
    let mut sums = [0usize; 5];
    for (record, bits) in records.iter().zip(bits) {
        let total = likelihood::total(bits);
        all = (all.0 + total.0, all.1 + total.1);
        let counts = &record.counts;
        let numbers = [
            record.bases.len(),
            counts.n,
            counts.ambiguous,
            counts.other_total(),
            counts.soft_masked,
        ];
        for (sum, number) in sums.iter_mut().zip(numbers) {
            *sum += number;
        }
        table.row(line(&record.name, numbers, total));
    }
    if records.len() > 1 {
        table.row(line("all", sums, all));
    }
    table.to_string()
}

/// A row of the summary; `numbers` are all bases, then those of the four kinds.
fn line(name: &str, numbers: [usize; 5], total: (f64, usize)) -> Vec<String> {
    let [bases, kinds @ ..] = numbers;
    let mut cells = vec![name.to_string(), bases.to_string(), total.1.to_string()];
    cells.extend(kinds.iter().map(usize::to_string));
    cells.push(mean(total));
    cells
}

/// The table along the sequences: bins of `bin` bases, positions from 1, both ends included.
fn table(records: &[Record], bits: &[Vec<f32>], bin: usize) -> Result<String> {
    let mut text = "record\tstart\tend\tcounted\tbits_per_base\n".to_string();
    for (record, bits) in records.iter().zip(bits) {
        let mut start = 1;
        for chunk in bits.chunks(bin) {
            let total = likelihood::total(chunk);
            let end = start + chunk.len() - 1;
            writeln!(
                text,
                "{}\t{start}\t{end}\t{}\t{}",
                record.name,
                total.1,
                mean(total)
            )?;
            start = end + 1;
        }
    }
    Ok(text)
}

/// The plot: a panel for each of the longest records, in the order of the file.
fn drawing(records: &[Record], bits: &[Vec<f32>]) -> Result<String> {
    let mut longest: Vec<usize> = (0..records.len()).collect();
    longest.sort_by_key(|&i| std::cmp::Reverse(bits.get(i).map_or(0, Vec::len)));
    longest.truncate(MOST_PANELS);
    longest.sort_unstable();
    let mut tracks = Vec::new();
    for index in longest {
        let (Some(record), Some(bits)) = (records.get(index), bits.get(index)) else {
            continue;
        };
        let bin = bits.len().div_ceil(MOST_POINTS).max(1);
        let points: Vec<_> = bits
            .chunks(bin)
            .enumerate()
            .filter_map(|(i, chunk)| {
                let (sum, count) = likelihood::total(chunk);
                let middle = (i * bin) as f64 + chunk.len() as f64 / 2.0 + 0.5;
                (count > 0).then(|| (middle, sum / count as f64))
            })
            .collect();
        tracks.push(Series {
            name: format!(
                "{}: {} bits per base in all (dashed: the mean of the points), a point for {} bases",
                record.name,
                mean(likelihood::total(bits)),
                plot::thousands(bin as f64)
            ),
            points,
        });
    }
    let hidden = records.len().saturating_sub(MOST_PANELS);
    let title = match hidden {
        0 => "Bits per base along the sequence".to_string(),
        _ => format!(
            "Bits per base along the sequence ({hidden} shorter records are in the table alone)"
        ),
    };
    plot::tracks(&title, "bits per base", &tracks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fasta;
    use crate::testing::Bigram;

    fn args(folder: &std::path::Path) -> ScoreArgs {
        ScoreArgs {
            fasta: vec![],
            layout: LayoutArgs {
                window: None,
                overlap: None,
                batch_size: Some(3),
                cls: false,
            },
            bin: 4,
            output_dir: folder.join("new/folder"),
        }
    }

    #[test]
    fn the_outputs_agree_with_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let args = args(folder.path());
        let text = b">one\nACGTNACGTA\n>empty\n>all_n\nNNN\n>single\nA\n>two\nacgtrrACGTAC*T\n";
        let records = fasta::read(&text[..]).unwrap();
        let mut out = Vec::new();
        run(&args, &records, &Bigram::new(8), &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(
            out.contains("bits per base") && out.contains("all_n"),
            "{out}"
        );
        // 10 bases of `one` less the first and one N, 14 of `two` less the first, two R and one asterisk.
        let total = out.lines().find(|l| l.starts_with("all ")).unwrap();
        assert_eq!(
            total.split_whitespace().collect::<Vec<_>>()[1..7],
            ["28", "18", "4", "2", "1", "6"]
        );

        let table = std::fs::read_to_string(args.output_dir.join("scores.tsv")).unwrap();
        let lines: Vec<Vec<&str>> = table
            .lines()
            .skip(1)
            .map(|l| l.split('\t').collect())
            .collect();
        let places: Vec<_> = lines.iter().map(|l| l[..4].join(" ")).collect();
        assert_eq!(
            places[..5],
            [
                "one 1 4 3",
                "one 5 8 3",
                "one 9 10 2",
                "all_n 1 3 0",
                "single 1 1 0"
            ]
        );
        assert_eq!(lines[3][4], "NA");
        // The bins' sums give the record's mean again.
        let one: f64 = lines[..3]
            .iter()
            .map(|l| l[3].parse::<f64>().unwrap() * l[4].parse::<f64>().unwrap())
            .sum();
        let said = out
            .lines()
            .find(|l| l.starts_with("one "))
            .unwrap()
            .split_whitespace()
            .last()
            .unwrap();
        assert!((one / 8.0 - said.parse::<f64>().unwrap()).abs() < 2e-4);
        assert!(std::fs::read_to_string(args.output_dir.join("scores.svg"))
            .unwrap()
            .contains("polyline"));
    }

    #[test]
    fn a_bin_of_nothing_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let args = ScoreArgs {
            bin: 0,
            ..args(folder.path())
        };
        assert!(run(&args, &[], &Bigram::new(8), &mut Vec::new()).is_err());
    }
}

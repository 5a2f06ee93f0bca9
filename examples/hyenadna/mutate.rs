//! `mutate`: in-silico mutagenesis. What every substitution in a region does to
//! the likelihood of the sequence around it.

use crate::fasta::Record;
use crate::likelihood::{self, SequenceModel, Tokens};
use crate::output::{progress_bar, write_file};
use crate::plot;
use anyhow::{bail, Context, Result};
use std::fmt::Write as _;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;

/// The effect of each substitution of a region on the log-likelihood of the window around it.
///
/// The effect is log2 P(window with the substitution) − log2 P(window of the reference): negative where the model
/// finds the change unlikely. The window holds the region in its middle, as far as the record's ends allow; all
/// its bases count but N and, without --cls, its first one. An N of the reference has no substitutions.
#[derive(Debug, Clone, clap::Args)]
pub struct MutateArgs {
    /// FASTA files, plain or gzip. Without any: the genome of phage lambda inside the program.
    pub fasta: Vec<PathBuf>,
    /// First and last base of the region, counted from 1, both included: 1001-1100.
    #[arg(long)]
    pub region: Region,
    /// Name of the record [default: the first].
    #[arg(long)]
    pub record: Option<String>,
    /// Bases of the window that is scored [default: as many as the model can read].
    #[arg(long)]
    pub window: Option<usize>,
    /// Mutants in a batch [default: as many as have 8192 bases, 16 at most].
    #[arg(long)]
    pub batch_size: Option<usize>,
    /// Put [CLS] before the window: then its first base counts too.
    #[arg(long)]
    pub cls: bool,
    /// Where mutations.tsv and mutations.svg go; made if it is not there.
    #[arg(long, default_value = "hyenadna-output")]
    pub output_dir: PathBuf,
}

/// A region `first-last`, counted from 1, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    first: usize,
    last: usize,
}

impl FromStr for Region {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| part.trim().replace(',', "").parse::<usize>().ok();
        let parts = text.split_once('-').map(|(a, b)| (number(a), number(b)));
        match parts {
            Some((Some(first), Some(last))) if 1 <= first && first <= last => {
                Ok(Self { first, last })
            }
            _ => Err(format!(
                "expected the first and the last base counted from 1, such as 1001-1100, got {text}"
            )),
        }
    }
}

impl Region {
    /// As indices into a sequence.
    fn indices(self) -> Range<usize> {
        self.first - 1..self.last
    }
}

const BASES: [char; 4] = ['A', 'C', 'G', 'T'];

/// `window` bases of a sequence of `sequence` bases, with the region as near to the middle as the ends allow.
fn window_around(region: &Range<usize>, sequence: usize, window: usize) -> Result<Range<usize>> {
    if region.end > sequence {
        bail!(
            "the region ends at base {}, but the record has {sequence} bases",
            region.end
        );
    }
    if region.len() > window {
        bail!(
            "the region has {} bases, but the window only {window}",
            region.len()
        );
    }
    let window = window.min(sequence);
    let before = (window - region.len()) / 2;
    let start = region.start.saturating_sub(before).min(sequence - window);
    Ok(start..start + window)
}

/// The sum over a row of bits, of the bases that count.
fn log2_likelihood(tokens: &[u32], bits: &[f32]) -> Result<f64> {
    let n = candle_flashfftconv::models::hyena_dna::CharacterTokenizer::N;
    let mut sum = 0.0;
    for (index, (&id, &bits)) in tokens.iter().zip(bits).enumerate() {
        if id == n || (index == 0 && bits.is_nan()) {
            continue;
        }
        if bits.is_nan() {
            bail!(
                "the model gives a probability that is not a number; --dtype f32 has a wider range"
            );
        }
        sum -= f64::from(bits);
    }
    Ok(sum)
}

/// A row for each of A, C, G, T, a column for each base of the region; none where it is the reference's own or an N.
type Effects = Vec<Vec<Option<f64>>>;

fn effects(
    args: &MutateArgs,
    tokens: &Tokens,
    region: &Range<usize>,
    window: &Range<usize>,
    model: &dyn SequenceModel,
) -> Result<Effects> {
    let reference = tokens
        .ids
        .get(window.clone())
        .context("a window outside the record")?;
    let bits = likelihood::row_bits(model, &[reference], args.cls)?;
    let of_reference = log2_likelihood(reference, bits.first().context("no scores")?)?;

    let alternatives = Tokens::new(b"ACGT")?.ids;
    let mut mutants = Vec::new();
    for (column, index) in region.clone().enumerate() {
        for (row, &alternative) in alternatives.iter().enumerate() {
            if tokens.counts(index) && tokens.ids.get(index) != Some(&alternative) {
                mutants.push((row, column, index - window.start, alternative));
            }
        }
    }
    let mut effects = vec![vec![None; region.len()]; BASES.len()];
    let bar = progress_bar(mutants.len(), "mutants");
    let batch_size = args
        .batch_size
        .unwrap_or(likelihood::default_batch(window.len()));
    for batch in mutants.chunks(batch_size) {
        let changed = |&(_, _, place, alternative): &(usize, usize, usize, u32)| {
            let mut row = reference.to_vec();
            if let Some(token) = row.get_mut(place) {
                *token = alternative;
            }
            row
        };
        let rows: Vec<Vec<u32>> = batch.iter().map(changed).collect();
        let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
        let bits = likelihood::row_bits(model, &rows, args.cls)?;
        for ((&(row, column, ..), tokens), bits) in batch.iter().zip(&rows).zip(&bits) {
            let effect = log2_likelihood(tokens, bits)? - of_reference;
            if let Some(cell) = effects
                .get_mut(row)
                .and_then(|r: &mut Vec<_>| r.get_mut(column))
            {
                *cell = Some(effect);
            }
        }
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    Ok(effects)
}

/// Runs the command; what was written goes to `out`.
pub fn run(
    args: &MutateArgs,
    records: &[Record],
    model: &dyn SequenceModel,
    out: &mut dyn std::io::Write,
) -> Result<()> {
    if args.batch_size == Some(0) {
        bail!("the batch size must be at least 1");
    }
    let record = match &args.record {
        None => records.first().context("no record")?,
        Some(name) => records.iter().find(|r| &r.name == name).with_context(|| {
            let names: Vec<&str> = records.iter().take(10).map(|r| r.name.as_str()).collect();
            format!("no record is called {name}; there are {}", names.join(", "))
        })?,
    };
    let longest = model.max_len().saturating_sub(usize::from(args.cls));
    let length = args.window.unwrap_or(longest);
    if length > longest {
        bail!("the model reads at most {longest} bases at a time, got a window of {length}");
    }
    let region = args.region.indices();
    let window = window_around(&region, record.bases.len(), length)
        .with_context(|| format!("record {}", record.name))?;
    let tokens = Tokens::of(record)?;
    let effects = effects(args, &tokens, &region, &window, model)?;

    let letters: Vec<char> = record
        .bases
        .get(region.clone())
        .context("a region outside the record")?
        .iter()
        .map(|&b| char::from(b))
        .collect();
    let table = table(&record.name, args.region.first, &letters, &effects)?;
    let title = format!(
        "{} {}-{}: log2 likelihood ratio of substitutions (window {}-{})",
        record.name,
        args.region.first,
        args.region.last,
        window.start + 1,
        window.end
    );
    let drawing = plot::heat_map(&title, &BASES, args.region.first, &letters, &effects)?;
    let table = write_file(&args.output_dir, "mutations.tsv", table)?;
    let drawing = write_file(&args.output_dir, "mutations.svg", drawing)?;

    writeln!(out, "{title}\n{}", summary(&effects))?;
    writeln!(out, "wrote {} and {}", table.display(), drawing.display())?;
    Ok(())
}

/// All effects in one line.
fn summary(effects: &Effects) -> String {
    let all: Vec<f64> = effects.iter().flatten().flatten().copied().collect();
    if all.is_empty() {
        return "no substitutions: the region holds N alone".to_string();
    }
    let negative = all.iter().filter(|e| **e < 0.0).count();
    format!(
        "{} substitutions, mean effect {:.3} bits, {:.0} % of them below zero",
        all.len(),
        all.iter().sum::<f64>() / all.len() as f64,
        100.0 * negative as f64 / all.len() as f64,
    )
}

/// A line for each substitution.
fn table(record: &str, first: usize, letters: &[char], effects: &Effects) -> Result<String> {
    let mut text = "record\tposition\treference\talternative\tlog2_likelihood_ratio\n".to_string();
    for (column, letter) in letters.iter().enumerate() {
        for (base, row) in BASES.iter().zip(effects) {
            if let Some(Some(effect)) = row.get(column) {
                writeln!(
                    text,
                    "{record}\t{}\t{letter}\t{base}\t{effect:.5}",
                    first + column
                )?;
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fasta;
    use crate::testing::Bigram;

    #[test]
    fn regions_are_read() {
        let region: Region = "1,001-1,100".parse().unwrap();
        assert_eq!(region.indices(), 1000..1100);
        assert_eq!("7-7".parse::<Region>().unwrap().indices(), 6..7);
        for text in [
            "",
            "5",
            "0-4",
            "5-4",
            "a-b",
            "-1-4",
            "1-99999999999999999999999",
            "1-2-3",
        ] {
            assert!(text.parse::<Region>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_region_is_in_the_middle() {
        assert_eq!(window_around(&(50..60), 100, 20).unwrap(), 45..65);
        assert_eq!(window_around(&(2..4), 100, 20).unwrap(), 0..20);
        assert_eq!(window_around(&(98..100), 100, 20).unwrap(), 80..100);
        assert_eq!(window_around(&(3..5), 10, 20).unwrap(), 0..10);
        assert_eq!(window_around(&(0..20), 100, 20).unwrap(), 0..20);
        assert!(window_around(&(0..21), 100, 20).is_err());
        assert!(window_around(&(99..101), 100, 20).is_err());
        assert!(window_around(&(5..6), 0, 20).is_err());
    }

    fn args(folder: &std::path::Path, region: &str) -> MutateArgs {
        MutateArgs {
            fasta: vec![],
            region: region.parse().unwrap(),
            record: Some("two".into()),
            window: Some(9),
            batch_size: Some(4),
            cls: false,
            output_dir: folder.to_path_buf(),
        }
    }

    #[test]
    fn effects_are_differences_of_log_likelihoods() {
        let folder = tempfile::tempdir().unwrap();
        let records = fasta::read(&b">one\nAC\n>two\nACGTNACGTACCGTTA\n"[..]).unwrap();
        let model = Bigram::new(16);
        let mut out = Vec::new();
        run(&args(folder.path(), "4-6"), &records, &model, &mut out).unwrap();
        let table = std::fs::read_to_string(folder.path().join("mutations.tsv")).unwrap();
        // Bases 4 (T) and 6 (A) have three substitutions each, the N has none. Window: bases 1 to 9.
        assert_eq!(table.lines().count(), 1 + 6, "{table}");
        let likelihood = |bases: &[u8]| {
            let ids = Tokens::new(bases).unwrap().ids;
            (1..9).filter(|&i| bases[i] != b'N').fold(0.0, |sum, i| {
                let before = i.checked_sub(2).map(|j| ids[j]);
                sum - model.bits(before, ids[i - 1], ids[i])
            })
        };
        let reference = likelihood(b"ACGTNACGT");
        for (mutant, start) in [
            (b"ACGANACGT", "two\t4\tT\tA\t"),
            (b"ACGTNGCGT", "two\t6\tA\tG\t"),
        ] {
            let line = table.lines().find(|l| l.starts_with(start)).unwrap();
            let got: f64 = line.split('\t').next_back().unwrap().parse().unwrap();
            let want = likelihood(mutant) - reference;
            assert!((got - want).abs() < 1e-4, "{line} {want}");
        }
        assert!(folder.path().join("mutations.svg").is_file());
        assert!(String::from_utf8(out).unwrap().contains("6 substitutions"));

        let mut out = Vec::new();
        run(&args(folder.path(), "5-5"), &records, &model, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("no substitutions"), "{out}");
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let records = fasta::read(&b">one\nAC\n>two\nACGTNACGTACCGTTA\n"[..]).unwrap();
        let fails = |args: MutateArgs| {
            let error = run(&args, &records, &Bigram::new(16), &mut Vec::new()).unwrap_err();
            format!("{error:#}")
        };
        let good = args(folder.path(), "4-6");
        let unknown = fails(MutateArgs {
            record: Some("three".into()),
            ..good.clone()
        });
        assert!(unknown.contains("one, two"), "{unknown}");
        assert!(fails(MutateArgs {
            window: Some(17),
            ..good.clone()
        })
        .contains("at most 16"));
        assert!(fails(MutateArgs {
            window: Some(2),
            ..good.clone()
        })
        .contains("window only 2"));
        assert!(fails(MutateArgs {
            batch_size: Some(0),
            ..good
        })
        .contains("batch"));
        assert!(fails(args(folder.path(), "10-17")).contains("16 bases"));
    }
}

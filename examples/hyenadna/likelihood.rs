//! What a model says about DNA: `−log2 p(base | bases to its left)` for every base.
//!
//! `p` is the softmax over all logits of a position, special tokens included.
//! Which bases count:
//! * the first base of a sequence does not, as nothing precedes it, unless
//!   `[CLS]` is put before each window ([`Layout::cls`]): then it is predicted
//!   from `[CLS]` alone;
//! * an N does not count as a base to predict. The model reads it as context;
//! * every other base counts once, in the window that owns it ([`windows`]).
//!
//! `[SEP]` is never read and never predicted: it would follow the last base.

use crate::fasta::Record;
use crate::windows::{self, Window};
use anyhow::{bail, Context, Result};
use candle_core::{DType, Device, Tensor, D};
use candle_flashfftconv::models::hyena_dna::CharacterTokenizer;
use std::ops::Range;

/// A model that reads tokens from left to right.
pub trait SequenceModel {
    /// Token ids `(batch, length)` to logits `(batch, length, vocabulary)`; those at `t` are about token `t + 1`.
    fn logits(&self, ids: &Tensor) -> candle_core::Result<Tensor>;
    /// Token ids `(batch, length)` to hidden states `(batch, length, width)`.
    fn hidden_states(&self, ids: &Tensor) -> candle_core::Result<Tensor>;
    /// The longest input, in tokens.
    fn max_len(&self) -> usize;
    /// Where inputs have to be.
    fn device(&self) -> &Device;
}

/// A sequence as the model reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// One id a base.
    pub ids: Vec<u32>,
}

impl Tokens {
    /// Encodes the letters A, C, G, T, N.
    pub fn new(bases: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(bases).context("a cleaned sequence is ASCII")?;
        let ids = CharacterTokenizer::default().encode_plain(text);
        if ids.len() != bases.len() {
            bail!("expected {} tokens, got {}", bases.len(), ids.len());
        }
        Ok(Self { ids })
    }

    /// The tokens of a record.
    pub fn of(record: &Record) -> Result<Self> {
        Self::new(&record.bases).with_context(|| format!("record {}", record.name))
    }

    /// Whether the base is to be predicted.
    pub fn counts(&self, index: usize) -> bool {
        self.ids
            .get(index)
            .is_some_and(|&id| id != CharacterTokenizer::N)
    }

    fn slice(&self, span: &Range<usize>) -> Result<&[u32]> {
        self.ids
            .get(span.clone())
            .with_context(|| format!("bases {span:?} of a sequence of {}", self.ids.len()))
    }
}

/// How sequences are laid out for the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Bases in a window.
    pub window: usize,
    /// Bases that neighbouring windows share.
    pub overlap: usize,
    /// Windows in a batch.
    pub batch: usize,
    /// Whether `[CLS]` precedes each window.
    pub cls: bool,
}

impl Layout {
    /// Fills in what the user left open: windows as long as the model reads, half of it
    /// overlapping, and [`default_batch`] of them at a time.
    pub fn new(
        max_len: usize,
        window: Option<usize>,
        overlap: Option<usize>,
        batch: Option<usize>,
        cls: bool,
    ) -> Result<Self> {
        let longest = max_len.saturating_sub(usize::from(cls));
        let window = window.unwrap_or(longest);
        if window > longest {
            bail!("the model reads at most {longest} bases at a time, got a window of {window}");
        }
        let batch = batch.unwrap_or_else(|| default_batch(window));
        if batch == 0 {
            bail!("the batch size must be at least 1");
        }
        let layout = Self {
            window,
            overlap: overlap.unwrap_or(window / 2),
            batch,
            cls,
        };
        windows::plan(0, layout.window, layout.overlap)?;
        Ok(layout)
    }

    /// The windows of a sequence of `length` bases.
    pub fn windows(&self, length: usize) -> Result<Vec<Window>> {
        windows::plan(length, self.window, self.overlap)
    }
}

/// As many windows as have 8,192 bases together, 16 at most and 1 at least: a
/// model of long windows takes its memory for a single one.
pub fn default_batch(window: usize) -> usize {
    (8192 / window.max(1)).clamp(1, 16)
}

/// One window of one sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Which of the sequences.
    pub sequence: usize,
    /// The window.
    pub window: Window,
}

/// All windows of all sequences, in batches of equally long ones.
pub fn batches(sequences: &[Tokens], layout: &Layout) -> Result<Vec<Vec<Job>>> {
    let mut batches: Vec<Vec<Job>> = Vec::new();
    for (sequence, tokens) in sequences.iter().enumerate() {
        for window in layout.windows(tokens.ids.len())? {
            let job = Job { sequence, window };
            match batches.last_mut() {
                Some(batch)
                    if batch.len() < layout.batch
                        && batch.first().map(|j| j.window.span.len())
                            == Some(job.window.span.len()) =>
                {
                    batch.push(job)
                }
                _ => batches.push(vec![job]),
            }
        }
    }
    Ok(batches)
}

/// The tokens of each window of a batch.
pub fn rows<'a>(batch: &[Job], sequences: &'a [Tokens]) -> Result<Vec<&'a [u32]>> {
    let row = |job: &Job| {
        sequences
            .get(job.sequence)
            .with_context(|| format!("no sequence {}", job.sequence))?
            .slice(&job.window.span)
    };
    batch.iter().map(row).collect()
}

/// Rows of equal length as one tensor, each after a `[CLS]` if `cls`.
pub fn stack(rows: &[&[u32]], cls: bool, device: &Device) -> Result<Tensor> {
    let length = rows.first().map_or(0, |row| row.len()) + usize::from(cls);
    let mut ids = Vec::with_capacity(rows.len() * length);
    for row in rows {
        ids.extend(cls.then_some(CharacterTokenizer::CLS));
        ids.extend_from_slice(row);
    }
    Ok(Tensor::from_vec(ids, (rows.len(), length), device)?)
}

/// `−log2 p` of each token of each row given what precedes it, NaN for the first one unless `cls`.
pub fn row_bits(model: &dyn SequenceModel, rows: &[&[u32]], cls: bool) -> Result<Vec<Vec<f32>>> {
    let _span = tracing::info_span!("score a batch", windows = rows.len()).entered();
    let length = rows.first().map_or(0, |row| row.len());
    let lead = usize::from(!cls);
    if length <= lead {
        return Ok(vec![vec![f32::NAN; length]; rows.len()]);
    }
    let targets = stack(rows, false, model.device())?.narrow(1, lead, length - lead)?;
    let ids = stack(rows, cls, model.device())?;
    // The last token predicts what is not there, so it need not be read.
    let ids = ids.narrow(1, 0, length - lead)?.contiguous()?;
    let logits = model.logits(&ids)?.to_dtype(DType::F32)?;
    let log_p = candle_nn::ops::log_softmax(&logits, D::Minus1)?
        .gather(&targets.contiguous()?.unsqueeze(2)?, 2)?
        .squeeze(2)?;
    let bits = (log_p * -std::f64::consts::LOG2_E)?.to_vec2::<f32>()?;
    Ok(bits
        .into_iter()
        .map(|row| std::iter::repeat_n(f32::NAN, lead).chain(row).collect())
        .collect())
}

/// Bits of every base of every sequence; NaN for bases that do not count.
///
/// `progress` is called after each batch with the number of windows done.
pub fn score(
    model: &dyn SequenceModel,
    sequences: &[Tokens],
    layout: &Layout,
    mut progress: impl FnMut(usize),
) -> Result<Vec<Vec<f32>>> {
    let mut bits: Vec<Vec<f32>> = sequences
        .iter()
        .map(|tokens| vec![f32::NAN; tokens.ids.len()])
        .collect();
    for batch in batches(sequences, layout)? {
        let scored = row_bits(model, &rows(&batch, sequences)?, layout.cls)?;
        for (job, row) in batch.iter().zip(scored) {
            let (Some(target), Some(tokens)) =
                (bits.get_mut(job.sequence), sequences.get(job.sequence))
            else {
                continue;
            };
            let Window { span, owned } = &job.window;
            let slots = target.iter_mut().enumerate().skip(owned.start);
            for ((index, slot), value) in slots.zip(row.into_iter().skip(owned.start - span.start))
            {
                if !tokens.counts(index) || (index == 0 && !layout.cls) {
                    continue;
                }
                if value.is_nan() {
                    bail!(
                        "the model gives base {} of sequence {} a probability that is not a number; \
                         --dtype f32 has a wider range",
                        index + 1,
                        job.sequence + 1
                    );
                }
                *slot = value;
            }
        }
        progress(batch.len());
    }
    Ok(bits)
}

/// The sum and the number of the values that count.
pub fn total(bits: &[f32]) -> (f64, usize) {
    bits.iter()
        .filter(|b| !b.is_nan())
        .fold((0.0, 0), |(sum, count), &b| (sum + f64::from(b), count + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bigram;

    fn tokens(text: &str) -> Tokens {
        Tokens::new(text.as_bytes()).unwrap()
    }

    fn layout(window: usize, overlap: usize, batch: usize, cls: bool) -> Layout {
        Layout {
            window,
            overlap,
            batch,
            cls,
        }
    }

    fn random_text(length: usize) -> String {
        let mut random = crate::random::Random::new(3, 0);
        (0..length)
            .map(|_| char::from(b"ACGTN"[random.below(5)]))
            .collect()
    }

    #[test]
    fn bits_are_those_of_the_softmax_over_all_logits() {
        let model = Bigram::new(16);
        let sequence = tokens("ACGTNAC");
        let got = score(
            &model,
            std::slice::from_ref(&sequence),
            &layout(16, 8, 1, false),
            |_| (),
        )
        .unwrap();
        for (index, bits) in got[0].iter().enumerate() {
            if index == 0 || index == 4 {
                assert!(bits.is_nan(), "{index}");
            } else {
                let before = index.checked_sub(2).map(|i| sequence.ids[i]);
                let want = model.bits(before, sequence.ids[index - 1], sequence.ids[index]);
                assert!(
                    (f64::from(*bits) - want).abs() < 1e-5,
                    "{index}: {bits} {want}"
                );
            }
        }
        assert_eq!(total(&got[0]).1, 5);
    }

    #[test]
    fn cls_lets_the_first_base_count() {
        let model = Bigram::new(16);
        let got = score(&model, &[tokens("GA")], &layout(15, 8, 1, true), |_| ()).unwrap();
        let want = [model.bits(None, 0, 9), model.bits(Some(0), 9, 7)];
        for (got, want) in got[0].iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-5);
        }
    }

    #[test]
    fn windows_change_nothing_where_the_context_suffices() {
        let model = Bigram::new(1000);
        let sequences = [
            tokens(&random_text(500)),
            tokens("A"),
            tokens(""),
            tokens(&random_text(77)),
        ];
        let want = score(&model, &sequences, &layout(1000, 2, 1, false), |_| ()).unwrap();
        for (window, overlap, batch) in [(10, 2, 1), (10, 9, 3), (33, 16, 4), (64, 2, 100)] {
            let mut windows = 0;
            let got = score(
                &model,
                &sequences,
                &layout(window, overlap, batch, false),
                |n| windows += n,
            )
            .unwrap();
            assert!(windows > 8);
            for (got, want) in got.iter().zip(&want) {
                assert_eq!(got.len(), want.len());
                for (got, want) in got.iter().zip(want) {
                    assert!(
                        got.is_nan() == want.is_nan()
                            && (got.is_nan() || (got - want).abs() <= 1e-5)
                    );
                }
            }
        }
    }

    #[test]
    fn a_model_that_gives_nan_is_reported() {
        let mut model = Bigram::new(16);
        model.broken = true;
        let error = score(&model, &[tokens("ACGT")], &layout(16, 8, 1, false), |_| ()).unwrap_err();
        assert!(error.to_string().contains("not a number"), "{error}");
    }

    #[test]
    fn layouts_that_cannot_be_are_refused() {
        assert_eq!(
            Layout::new(512, None, None, Some(8), false).unwrap(),
            layout(512, 256, 8, false)
        );
        assert_eq!(
            Layout::new(512, None, None, Some(8), true).unwrap().window,
            511
        );
        assert!(Layout::new(512, Some(512), None, Some(8), true).is_err());
        assert!(Layout::new(512, Some(513), None, Some(8), false).is_err());
        assert!(Layout::new(512, None, Some(512), Some(8), false).is_err());
        assert!(Layout::new(512, None, Some(0), Some(8), false).is_err());
        assert!(Layout::new(512, None, None, Some(0), false).is_err());
        assert!(Layout::new(1, None, None, Some(1), false).is_err());
        let batch = |max_len| Layout::new(max_len, None, None, None, false).unwrap().batch;
        assert_eq!([2, 512, 1026, 1_000_002].map(batch), [16, 16, 7, 1]);
    }
}

//! Training and held-out bases, and the random windows of a training step.

use crate::fasta::Record;
use crate::likelihood::Tokens;
use crate::random::Random;
use anyhow::{bail, Result};
use candle_flashfftconv::models::hyena_dna::CharacterTokenizer;

/// The bases of each record, cut in two.
#[derive(Debug, Clone, Default)]
pub struct Split {
    /// What the model and the Markov models learn from: the first part of each record.
    pub training: Vec<Vec<u8>>,
    /// What they are judged on: the rest.
    pub held_out: Vec<Vec<u8>>,
}

impl Split {
    /// Cuts the last `fraction` off each record.
    pub fn new(records: &[Record], fraction: f64) -> Result<Self> {
        if !(fraction > 0.0 && fraction < 1.0) {
            bail!("the held-out fraction must lie between 0 and 1, got {fraction}");
        }
        let mut split = Self::default();
        for record in records {
            let kept = (record.bases.len() as f64 * (1.0 - fraction)).round() as usize;
            let (training, held_out) = record.bases.split_at(kept.min(record.bases.len()));
            split.training.push(training.to_vec());
            split.held_out.push(held_out.to_vec());
        }
        Ok(split)
    }
}

/// The number of all bases.
pub fn bases(sequences: &[Vec<u8>]) -> usize {
    sequences.iter().map(Vec::len).sum()
}

/// The other strand, read in its own direction. N stays N.
pub fn reverse_complement(bases: &[u8]) -> Vec<u8> {
    let complement = |&base: &u8| match base {
        b'A' => b'T',
        b'C' => b'G',
        b'G' => b'C',
        b'T' => b'A',
        other => other,
    };
    bases.iter().rev().map(complement).collect()
}

/// The complement of a token that stands for a base.
fn complement(id: u32) -> u32 {
    match id {
        CharacterTokenizer::A => CharacterTokenizer::T,
        CharacterTokenizer::C => CharacterTokenizer::G,
        CharacterTokenizer::G => CharacterTokenizer::C,
        CharacterTokenizer::T => CharacterTokenizer::A,
        other => other,
    }
}

/// Draws windows: each place of each sequence is equally likely, and each strand if both are wanted.
pub struct Sampler {
    sequences: Vec<Tokens>,
    /// How many places the sequences up to and including this one have.
    places: Vec<usize>,
    length: usize,
    both_strands: bool,
    random: Random,
}

impl Sampler {
    /// Windows of `length` tokens of `sequences`.
    pub fn new(
        sequences: &[Vec<u8>],
        length: usize,
        both_strands: bool,
        random: Random,
    ) -> Result<Self> {
        let mut total = 0;
        let mut places = Vec::new();
        for sequence in sequences {
            total += (sequence.len() + 1).saturating_sub(length);
            places.push(total);
        }
        if total == 0 {
            bail!("no training sequence has the {length} bases that a window needs");
        }
        let sequences = sequences
            .iter()
            .map(|bases| Tokens::new(bases))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            sequences,
            places,
            length,
            both_strands,
            random,
        })
    }

    /// The next window.
    pub fn window(&mut self) -> Vec<u32> {
        let place = self.random.below(self.places.last().copied().unwrap_or(0));
        let index = self.places.partition_point(|&end| end <= place);
        let before = index.checked_sub(1).and_then(|i| self.places.get(i));
        let start = place - before.copied().unwrap_or(0);
        let ids = self.sequences.get(index).map_or(&[][..], |t| &t.ids);
        let window = ids.iter().skip(start).take(self.length).copied();
        // Drawn in any case, so that the windows are the same with and without.
        let reverse = self.random.uniform() < 0.5;
        if self.both_strands && reverse {
            window.rev().map(complement).collect()
        } else {
            window.collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fasta;

    #[test]
    fn the_end_of_each_record_is_held_out() {
        let records = fasta::read(&b">a\nACGTACGTAC\n>b\nGGGGT\n>c\n"[..]).unwrap();
        let split = Split::new(&records, 0.2).unwrap();
        assert_eq!(split.training, [&b"ACGTACGT"[..], b"GGGG", b""]);
        assert_eq!(split.held_out, [&b"AC"[..], b"T", b""]);
        assert_eq!(bases(&split.training), 12);
        for fraction in [0.0, 1.0, -1.0, f64::NAN] {
            assert!(Split::new(&records, fraction).is_err());
        }
    }

    #[test]
    fn both_ways_of_reading_the_other_strand_agree() {
        let bases = b"AACGTNC";
        assert_eq!(reverse_complement(bases), b"GNACGTT");
        let ids = Tokens::new(bases).unwrap().ids;
        let reversed: Vec<u32> = ids.iter().rev().map(|&id| complement(id)).collect();
        assert_eq!(
            reversed,
            Tokens::new(&reverse_complement(bases)).unwrap().ids
        );
    }

    #[test]
    fn every_place_and_strand_is_drawn() {
        let sequences = [b"ACGTA".to_vec(), b"AC".to_vec(), b"NNNG".to_vec()];
        let draw = |both| {
            let mut sampler = Sampler::new(&sequences, 3, both, Random::new(1, 0)).unwrap();
            let windows: Vec<_> = (0..500).map(|_| sampler.window()).collect();
            windows
                .into_iter()
                .collect::<std::collections::BTreeSet<_>>()
        };
        let ids = |texts: &[&str]| {
            texts
                .iter()
                .map(|t| Tokens::new(t.as_bytes()).unwrap().ids)
                .collect()
        };
        assert_eq!(draw(false), ids(&["ACG", "CGT", "GTA", "NNN", "NNG"]));
        // ACG and CGT are each other's reverse complements.
        assert_eq!(
            draw(true),
            ids(&["ACG", "CGT", "GTA", "TAC", "NNN", "NNG", "CNN"])
        );
    }

    #[test]
    fn sequences_that_are_too_short_are_refused() {
        assert!(Sampler::new(&[b"AC".to_vec()], 3, true, Random::new(1, 0)).is_err());
        assert!(Sampler::new(&[], 3, true, Random::new(1, 0)).is_err());
    }
}

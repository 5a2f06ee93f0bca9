//! FASTA files: reading them, and what becomes of each character.
//!
//! A model reads A, C, G, T and N. Every other character of a file is mapped to
//! one of these or dropped by the rules of [`clean`], and is counted: the
//! summary tables show the counts, so that nothing is changed silently.

use anyhow::{bail, Context, Result};
use needletail::parse_fastx_reader;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;

/// One record of a FASTA file, of the letters A, C, G, T, N alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The header up to the first white space, without `>`; `record_2` when the second record's header is empty.
    pub name: String,
    /// The cleaned sequence.
    pub bases: Vec<u8>,
    /// What cleaning met.
    pub counts: Counts,
}

/// What [`clean`] met in a sequence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lower-case letters: soft-masked, mostly repeats. Read as upper case.
    pub soft_masked: usize,
    /// N, of either case.
    pub n: usize,
    /// Letters that stand for several bases (R, Y, S, W, K, M, B, D, H, V). Read as N.
    pub ambiguous: usize,
    /// U of RNA. Read as T.
    pub uracil: usize,
    /// Blanks inside lines. Dropped.
    pub blanks: usize,
    /// Any other character, how often each. Read as N.
    pub other: BTreeMap<u8, usize>,
}

impl Counts {
    /// How many characters are no letter of a nucleotide.
    pub fn other_total(&self) -> usize {
        self.other.values().sum()
    }

    /// What a user has to hear about a record, if anything.
    pub fn warning(&self) -> Option<String> {
        let mut parts = Vec::new();
        if !self.other.is_empty() {
            let seen: Vec<String> = self
                .other
                .iter()
                .take(8)
                .map(|(&byte, count)| format!("{:?} x {count}", char::from(byte)))
                .collect();
            let more = if self.other.len() > 8 { ", ..." } else { "" };
            parts.push(format!(
                "{} characters that are no nucleotides were read as N ({}{more})",
                self.other_total(),
                seen.join(", ")
            ));
        }
        if self.blanks > 0 {
            parts.push(format!("{} blanks inside lines were dropped", self.blanks));
        }
        if self.uracil > 0 {
            parts.push(format!("{} letters U were read as T", self.uracil));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// Maps a sequence to the letters A, C, G, T, N.
///
/// Lower case becomes upper case, letters of several bases become N, U becomes
/// T, white space goes, and whatever is left becomes N; all of it is counted.
pub fn clean(sequence: &[u8]) -> (Vec<u8>, Counts) {
    let mut counts = Counts::default();
    let mut bases = Vec::with_capacity(sequence.len());
    for &byte in sequence {
        if byte.is_ascii_whitespace() {
            // Line ends are no blanks: they belong to the format.
            counts.blanks += usize::from(byte != b'\n' && byte != b'\r');
            continue;
        }
        let base = match byte.to_ascii_uppercase() {
            base @ (b'A' | b'C' | b'G' | b'T') => base,
            b'N' => {
                counts.n += 1;
                b'N'
            }
            b'U' => {
                counts.uracil += 1;
                b'T'
            }
            b'R' | b'Y' | b'S' | b'W' | b'K' | b'M' | b'B' | b'D' | b'H' | b'V' => {
                counts.ambiguous += 1;
                b'N'
            }
            _ => {
                *counts.other.entry(byte).or_insert(0) += 1;
                bases.push(b'N');
                continue;
            }
        };
        counts.soft_masked += usize::from(byte.is_ascii_lowercase());
        bases.push(base);
    }
    (bases, counts)
}

/// Reads all records of a file, plain or gzip.
pub fn read_file(path: &Path) -> Result<Vec<Record>> {
    let file = std::fs::File::open(path)
        .with_context(|| format!("cannot open the FASTA file {}", path.display()))?;
    if file.metadata().is_ok_and(|m| m.is_dir()) {
        bail!("{} is a folder, not a FASTA file", path.display());
    }
    read(std::io::BufReader::new(file)).with_context(|| format!("in {}", path.display()))
}

/// Reads all records of a FASTA text, plain or gzip. FASTQ is taken too; its qualities are not used.
pub fn read<'a>(mut source: impl BufRead + Send + 'a) -> Result<Vec<Record>> {
    let plain = source.fill_buf()?.first() == Some(&b'>');
    // A last header without a sequence is a record of length zero, but the
    // parser wants its line to end, and another line after it.
    let end: &[u8] = if plain { b"\n\n" } else { b"" };
    let mut reader = parse_fastx_reader(source.chain(end)).context("this is not FASTA")?;
    let mut records = Vec::new();
    while let Some(parsed) = reader.next() {
        let number = records.len() + 1;
        let parsed = parsed.with_context(|| format!("in record {number}"))?;
        let header = String::from_utf8_lossy(parsed.id());
        let name = match header.split_whitespace().next() {
            Some(word) => word.to_string(),
            None => format!("record_{number}"),
        };
        let (bases, counts) = clean(parsed.raw_seq());
        records.push(Record {
            name,
            bases,
            counts,
        });
    }
    if records.is_empty() {
        bail!("the file holds no record");
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Vec<Record> {
        read(text).unwrap()
    }

    #[test]
    fn every_character_is_accounted_for() {
        let (bases, counts) = clean(b"ACgtNnRyU u-*\t\r\nA\xff");
        assert_eq!(bases, b"ACGTNNNNTTNNAN");
        assert_eq!(counts.soft_masked, 5); // g, t, n, y, u
        assert_eq!(counts.n, 2);
        assert_eq!(counts.ambiguous, 2);
        assert_eq!(counts.uracil, 2);
        assert_eq!(counts.blanks, 2);
        assert_eq!(
            counts.other,
            BTreeMap::from([(b'-', 1), (b'*', 1), (0xff, 1)])
        );
        let warning = counts.warning().unwrap();
        assert!(warning.contains("3 characters"), "{warning}");
        assert!(warning.contains("2 blanks"), "{warning}");
        assert_eq!(clean(b"ACGT").1.warning(), None);
    }

    #[test]
    fn every_letter_of_the_alphabet_is_mapped() {
        for byte in 0..=u8::MAX {
            let (bases, counts) = clean(&[byte]);
            if byte.is_ascii_whitespace() {
                assert!(bases.is_empty());
            } else {
                assert!(matches!(bases[..], [b'A' | b'C' | b'G' | b'T' | b'N']));
                let changed = bases[0] != byte.to_ascii_uppercase();
                let counted = counts.ambiguous + counts.uracil + counts.other_total();
                assert_eq!(counted, usize::from(changed), "{byte}");
            }
        }
    }

    #[test]
    fn records_names_and_line_ends() {
        let records = parse(b">one first\r\nACGT\r\nac\r\n>\r\nGG\r\n>three\n\nT\nT");
        let got: Vec<_> = records
            .iter()
            .map(|r| (r.name.as_str(), r.bases.as_slice()))
            .collect();
        assert_eq!(
            got,
            [
                ("one", &b"ACGTAC"[..]),
                ("record_2", b"GG"),
                ("three", b"TT")
            ]
        );
        assert_eq!(records[0].counts.soft_masked, 2);
        assert_eq!(records[0].counts.blanks, 0);
    }

    #[test]
    fn records_of_length_zero_are_kept() {
        for text in [
            &b">a\n>b\nAC\n>c\n"[..],
            b">a\n\n>b\nAC\n>c",
            b">a\r\n>b\r\nAC\r\n>c\r\n",
        ] {
            let records = parse(text);
            let lengths: Vec<_> = records.iter().map(|r| r.bases.len()).collect();
            assert_eq!(lengths, [0, 2, 0], "{:?}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn what_is_no_fasta_is_an_error() {
        let (empty, garbage): (&[u8], Vec<u8>) =
            (b"", (0..=255u8).rev().cycle().take(5000).collect());
        for text in [
            empty,
            b"\n",
            b"ACGT\n",
            b"\x1f\x8b",
            b"\x1f\x8bnot gzip",
            &garbage,
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
        // Garbage behind a header is a sequence of strange letters.
        let mut text = b">garbage\n".to_vec();
        text.extend_from_slice(&garbage);
        if let Ok(records) = read(&text[..]) {
            assert!(records[0].counts.other_total() > 1000);
        }
        let missing = read_file(Path::new("no/such/file.fa")).unwrap_err();
        assert!(format!("{missing:#}").contains("no/such/file.fa"));
        assert!(read_file(&std::env::temp_dir()).is_err());
    }

    #[test]
    fn a_cut_gzip_file_is_an_error() {
        let whole = crate::bundled::LAMBDA;
        assert_eq!(read(whole).unwrap()[0].bases.len(), 48_502);
        for length in [2, 10, 100, whole.len() / 2, whole.len() - 1] {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(bytes: Vec<u8>) {
            let _ = read(&bytes[..]);
            let mut text = b">".to_vec();
            text.extend_from_slice(&bytes);
            let _ = read(&text[..]);
        }
    }
}

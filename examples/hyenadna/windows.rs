//! Cutting a long sequence into windows that a model can read.
//!
//! Windows are `length` bases long and start every `length − overlap` bases.
//! Each base belongs to exactly one window, the *owner*: the first window owns
//! all its bases, every later one those that the windows before it do not
//! cover. So, but for the first window, a base is seen with at least `overlap`
//! bases of left context. The last window is moved to the left until it ends
//! with the sequence: it is as long as the others, and its bases have more
//! context, not less. A sequence that fits is one window.

use anyhow::{bail, Result};
use std::ops::Range;

/// A window of a sequence, in bases counted from zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// What the model reads.
    pub span: Range<usize>,
    /// What is taken from the model's output: the end of `span`.
    pub owned: Range<usize>,
}

/// The windows of a sequence of `sequence` bases, see the [module](self).
///
/// None for an empty sequence. An error unless `1 ≤ overlap < length`: without
/// an overlap a window's first base would have no context.
pub fn plan(sequence: usize, length: usize, overlap: usize) -> Result<Vec<Window>> {
    if length < 2 {
        bail!("a window needs at least 2 bases, got {length}");
    }
    if overlap == 0 || overlap >= length {
        bail!(
            "the overlap must be from 1 to {} bases for windows of {length}, got {overlap}",
            length - 1
        );
    }
    let mut windows = Vec::new();
    let mut owned = 0;
    while owned < sequence {
        let start = match owned {
            0 => 0,
            _ => owned
                .saturating_sub(overlap)
                .min(sequence.saturating_sub(length)),
        };
        let end = start.saturating_add(length).min(sequence);
        windows.push(Window {
            span: start..end,
            owned: owned..end,
        });
        owned = end;
    }
    Ok(windows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_example_by_hand() {
        let got = plan(25, 10, 4).unwrap();
        let spans: Vec<_> = got
            .iter()
            .map(|w| (w.span.clone(), w.owned.clone()))
            .collect();
        assert_eq!(
            spans,
            [
                (0..10, 0..10),
                (6..16, 10..16),
                (12..22, 16..22),
                (15..25, 22..25)
            ]
        );
    }

    #[test]
    fn short_sequences_are_one_window() {
        assert_eq!(plan(0, 10, 4).unwrap(), []);
        for length in 1..=10 {
            let got = plan(length, 10, 4).unwrap();
            assert_eq!(got.len(), 1);
            assert_eq!(got[0].span, 0..length);
        }
    }

    #[test]
    fn an_overlap_that_cannot_be_is_refused() {
        for (length, overlap) in [(10, 0), (10, 10), (10, 11), (1, 1), (0, 0)] {
            assert!(plan(100, length, overlap).is_err(), "{length} {overlap}");
        }
    }

    proptest! {
        #[test]
        fn each_base_has_one_owner_and_enough_context(
            sequence in 0usize..500, length in 2usize..60, share in 0.0f64..1.0
        ) {
            let overlap = ((length as f64 * share) as usize).clamp(1, length - 1);
            let windows = plan(sequence, length, overlap).unwrap();
            let mut next = 0;
            for window in &windows {
                prop_assert_eq!(window.owned.start, next);
                prop_assert!(window.owned.end > next);
                prop_assert_eq!(window.owned.end, window.span.end);
                prop_assert_eq!(window.span.len(), length.min(sequence));
                if next > 0 {
                    prop_assert!(window.owned.start - window.span.start >= overlap);
                }
                next = window.owned.end;
            }
            prop_assert_eq!(next, sequence);
        }
    }
}

//! What a short convolution computes, as plain numbers.

use super::Conv1dLayout;
use crate::Error;
use std::ops::Range;

/// A cross-correlation of every row with its channel's taps:
/// `y[b, h, t] = bias[h] + Σ_j weight[h, j] · x[b, h, t + j − left]`,
/// where `x` is zero outside its `input_length` samples.
///
/// `left` is signed: the gradient of a convolution whose padding exceeds its
/// taps starts inside the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Correlation {
    pub batch: usize,
    pub channels: usize,
    pub input_length: usize,
    pub taps: usize,
    pub left: isize,
    pub output_length: usize,
    pub layout: Conv1dLayout,
}

/// The zeros around a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Padding {
    /// So many on either side.
    Symmetric(usize),
    /// `taps − 1` in front, none behind.
    Causal,
}

/// What is applied to each sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// Nothing.
    None,
    /// `z · sigmoid(z)`
    Silu,
}

impl Correlation {
    /// The convolution of an input of shape `dims` (in `layout`) with `taps ≥ 1` taps.
    pub fn new(
        dims: (usize, usize, usize),
        taps: usize,
        padding: Padding,
        layout: Conv1dLayout,
    ) -> Result<Self, Error> {
        let (batch, channels, input_length) = match layout {
            Conv1dLayout::Bhl => dims,
            Conv1dLayout::Blh => (dims.0, dims.2, dims.1),
        };
        let (left, output_length) = match padding {
            Padding::Causal => (taps - 1, input_length),
            Padding::Symmetric(padding) => {
                let padded = padding
                    .checked_mul(2)
                    .and_then(|both| both.checked_add(input_length))
                    .filter(|&padded| isize::try_from(padded).is_ok())
                    .ok_or_else(|| Error::OutOfRange {
                        quantity: "padding",
                        expected: "a padded length that fits the address space".into(),
                        got: format!("length {input_length} with padding {padding}"),
                    })?;
                let output_length = match (padded + 1).checked_sub(taps) {
                    // No samples give none, whatever the taps.
                    None if input_length == 0 => Some(0),
                    length => length,
                };
                let output_length = output_length.ok_or_else(|| Error::OutOfRange {
                    quantity: "taps",
                    expected: format!(
                        "at most {} (length {input_length} + 2 · padding {padding} + 1)",
                        padded + 1
                    ),
                    got: taps.to_string(),
                })?;
                (padding, output_length)
            }
        };
        let fits = batch
            .checked_mul(channels)
            .and_then(|rows| rows.checked_mul(output_length))
            .and_then(|elements| elements.checked_mul(8))
            .is_some_and(|bytes| isize::try_from(bytes).is_ok());
        match isize::try_from(left) {
            Ok(left) if fits => Ok(Self {
                batch,
                channels,
                input_length,
                taps,
                left,
                output_length,
                layout,
            }),
            _ => Err(Error::OutOfRange {
                quantity: "output size",
                expected: "an output that fits the address space".into(),
                got: format!("{batch} × {channels} rows of {output_length} samples"),
            }),
        }
    }

    /// The shape of the output, in the layout of the input.
    pub fn output_shape(&self) -> (usize, usize, usize) {
        self.shape_of_length(self.output_length)
    }

    /// The shape of the input.
    pub fn input_shape(&self) -> (usize, usize, usize) {
        self.shape_of_length(self.input_length)
    }

    fn shape_of_length(&self, length: usize) -> (usize, usize, usize) {
        match self.layout {
            Conv1dLayout::Bhl => (self.batch, self.channels, length),
            Conv1dLayout::Blh => (self.batch, length, self.channels),
        }
    }

    /// The transposed operation, which takes the gradient of the output to that
    /// of the input: a correlation with the taps in reverse order,
    /// `dx[s] = Σ_j weight[taps − 1 − j] · dy[s + j − (taps − 1 − left)]`.
    pub fn transposed(&self) -> Self {
        Self {
            input_length: self.output_length,
            output_length: self.input_length,
            left: self.taps as isize - 1 - self.left,
            ..*self
        }
    }

    /// The operation that reads the output as it is.
    pub fn identity_of_output(&self) -> Self {
        Self {
            input_length: self.output_length,
            taps: 1,
            left: 0,
            ..*self
        }
    }

    /// The outputs that read no padding.
    pub fn interior(&self) -> Range<usize> {
        let start = self.left.max(0).unsigned_abs();
        // The last output whose last tap is inside is input_length − taps + left.
        let end = (self.input_length as isize)
            .saturating_sub(self.taps as isize)
            .saturating_add(1)
            .saturating_add(self.left)
            .max(0)
            .unsigned_abs();
        let start = start.min(self.output_length);
        start..end.clamp(start, self.output_length)
    }

    /// Where tap `tap` of output `output` reads, if that is inside the row.
    pub fn input_of(&self, output: usize, tap: usize) -> Option<usize> {
        let position = (output as isize)
            .checked_add(tap as isize)?
            .checked_sub(self.left)?;
        usize::try_from(position)
            .ok()
            .filter(|&position| position < self.input_length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bhl(length: usize, taps: usize, padding: Padding) -> Result<Correlation, Error> {
        Correlation::new((2, 3, length), taps, padding, Conv1dLayout::Bhl)
    }

    #[test]
    fn output_lengths() {
        let length = |l, k, p| bhl(l, k, Padding::Symmetric(p)).map(|c| c.output_length);
        assert_eq!(length(64, 3, 1), Ok(64));
        assert_eq!(length(64, 4, 2), Ok(65));
        assert_eq!(length(5, 5, 0), Ok(1));
        assert_eq!(length(4, 5, 0), Ok(0));
        assert_eq!(length(0, 1, 0), Ok(0));
        assert_eq!(length(0, 1, 7), Ok(14));
        assert_eq!(length(0, 9, 1), Ok(0));
        let causal = bhl(9, 4, Padding::Causal).unwrap();
        assert_eq!((causal.left, causal.output_length), (3, 9));
    }

    #[test]
    fn errors_name_the_sizes() {
        let message = |r: Result<Correlation, Error>| r.unwrap_err().to_string();
        assert_eq!(
            message(bhl(3, 8, Padding::Symmetric(1))),
            "taps: expected at most 6 (length 3 + 2 · padding 1 + 1), got 8"
        );
        assert!(message(bhl(3, 8, Padding::Symmetric(usize::MAX)))
            .starts_with("padding: expected a padded length that fits"));
        assert!(message(bhl(3, 8, Padding::Symmetric(usize::MAX / 8)))
            .starts_with("output size: expected an output that fits"));
    }

    #[test]
    fn blh_swaps_channels_and_length() {
        let c = Correlation::new((2, 7, 5), 3, Padding::Symmetric(0), Conv1dLayout::Blh).unwrap();
        assert_eq!((c.channels, c.input_length), (5, 7));
        assert_eq!(c.input_shape(), (2, 7, 5));
        assert_eq!(c.output_shape(), (2, 5, 5));
    }

    #[test]
    fn interior_is_what_reads_no_padding() {
        for length in 0..9 {
            for taps in 1..6 {
                for padding in (0..8).map(Padding::Symmetric).chain([Padding::Causal]) {
                    let Ok(forward) = bhl(length, taps, padding) else {
                        continue;
                    };
                    for c in [forward, forward.transposed()] {
                        let inside: Vec<_> = (0..c.output_length)
                            .filter(|&t| (0..taps).all(|j| c.input_of(t, j).is_some()))
                            .collect();
                        assert_eq!(c.interior().collect::<Vec<_>>(), inside, "{c:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn transposed_twice_is_the_same() {
        let c = bhl(9, 4, Padding::Symmetric(6)).unwrap();
        assert_eq!(c.transposed().left, -3);
        assert_eq!(c.transposed().transposed(), c);
    }
}

//! How rows of channels-first tensors are cut into vectors, and which paddings their kernels know.

use super::ElementType;
use crate::depthwise::Correlation;

/// Threads of a block along a row, and of a block.
pub(super) const ROW_THREADS: usize = 128;

/// Vectors of a row, wherever in its first one the row begins.
pub(super) fn vectors_a_row(length: usize, element: ElementType) -> usize {
    let vector = element.vector();
    match length % vector {
        0 => length / vector,
        _ => (length + 2 * vector - 2) / vector,
    }
}

/// Taps and padding, with its name, that a kernel of channels-first tensors is compiled for.
pub(super) type KnownPadding = (usize, &'static str, isize);

/// Those of the forward pass.
pub(super) const FORWARD_PADDINGS: [KnownPadding; 9] = [
    (3, "_causal", 2),
    (4, "_causal", 3),
    (5, "_causal", 4),
    (3, "_centred", 1),
    (5, "_centred", 2),
    // Of f32 alone: with 16 bits units are faster.
    (6, "_causal", 5),
    (7, "_causal", 6),
    (8, "_causal", 7),
    (7, "_centred", 3),
];

/// How many of those kernels of 16-bit elements know.
pub(super) const HALF_PADDINGS: usize = 5;

/// Those of the gradients of f32.
pub(super) const GRADIENT_PADDINGS: [KnownPadding; 7] = [
    (3, "_causal", 2),
    (4, "_causal", 3),
    (5, "_causal", 4),
    (7, "_causal", 6),
    (3, "_centred", 1),
    (5, "_centred", 2),
    (7, "_centred", 3),
];

/// How many of those there are with SiLU, of all types.
pub(super) const SILU_PADDINGS: usize = 4;

/// The part of a kernel's name that says the padding where the kernel knows it: for rows that
/// begin at multiples of 16 bytes, and whose input and output hold whole vectors.
pub(super) fn known_padding(
    known: &[KnownPadding],
    c: &Correlation,
    element: ElementType,
    aligned: bool,
) -> &'static str {
    let whole =
        c.input_length.is_multiple_of(element.vector()) && c.output_length == c.input_length;
    known
        .iter()
        .find(|&&(taps, _, left)| aligned && whole && c.taps == taps && c.left == left)
        .map_or("", |&(_, name, _)| name)
}

/// How the rows of one channel are cut into vectors for blocks that take many of them: threads
/// of a block, and items of so many vectors.
pub(super) fn cut_rows(c: &Correlation, length: usize, element: ElementType) -> (usize, usize) {
    let vectors = vectors_a_row(length, element).max(1);
    let chunks = vectors.div_ceil(ROW_THREADS);
    let threads = vectors.div_ceil(chunks).next_multiple_of(32);
    (threads, chunks.saturating_mul(c.batch))
}

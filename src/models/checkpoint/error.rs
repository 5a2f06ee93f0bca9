//! The one kind of error that reading a file makes.

use crate::Error;

pub(super) fn malformed(source_name: &str, expected: impl ToString, got: impl ToString) -> Error {
    Error::Malformed {
        source_name: source_name.to_string(),
        expected: expected.to_string(),
        got: got.to_string(),
    }
}

/// A text from a file, for a message: control characters escaped, cut when long.
pub(super) fn shortened(text: &str) -> String {
    const MAX_CHARS: usize = 100;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default().escape_debug()),
        None => text.escape_debug().to_string(),
    }
}

/// [`shortened`] in quotes.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", shortened(text))
}

/// A shape or list of strides for a message, cut when long.
pub(super) fn sizes<T: std::fmt::Debug>(sizes: &[T]) -> String {
    const MAX: usize = 16;
    match sizes.get(..MAX) {
        Some(first) if sizes.len() > MAX => {
            format!("{first:?} and {} more", sizes.len().saturating_sub(MAX))
        }
        _ => format!("{sizes:?}"),
    }
}

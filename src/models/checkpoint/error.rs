//! The one kind of error that reading a file makes.

use crate::Error;

pub(super) fn malformed(source_name: &str, expected: impl ToString, got: impl ToString) -> Error {
    Error::Malformed {
        source_name: source_name.to_string(),
        expected: expected.to_string(),
        got: got.to_string(),
    }
}

/// A name from a file, for a message: quoted, and cut when long.
pub(super) fn quoted(text: &str) -> String {
    const MAX_CHARS: usize = 100;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

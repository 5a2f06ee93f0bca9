//! The kernels' PTX, compiled at build time from `cuda/*.cu`, and which of it a device takes.

use crate::Error;
use std::io::Read;

/// The version of the CUDA toolkit that made the PTX: a driver for an older one cannot load it.
pub(super) const TOOLKIT: &str = env!("FLASHFFTCONV_NVCC_VERSION");

/// Architecture (compute capability times ten), name of the `.cu` file, kernel, compressed PTX.
pub(super) type Entry = (usize, &'static str, &'static str, &'static [u8]);

/// All PTX of this build: a module for each kernel and architecture.
pub(super) static PTX: &[Entry] = &include!(concat!(env!("OUT_DIR"), "/ptx_table.rs"));

/// The PTX of kernel `function` of `cuda/MODULE.cu` for the latest architecture that a
/// device of this compute capability runs: its own or an earlier one.
pub(super) fn choose(
    table: &[Entry],
    module: &str,
    function: &str,
    compute_capability: usize,
) -> Result<Entry, Error> {
    let named = table
        .iter()
        .filter(|entry| entry.1 == module && entry.2 == function);
    let oldest = named.clone().map(|entry| entry.0).min();
    named
        .filter(|entry| entry.0 <= compute_capability)
        .max_by_key(|entry| entry.0)
        .copied()
        .ok_or_else(|| match oldest {
            Some(oldest) => Error::OutOfRange {
                quantity: "compute capability of the GPU",
                expected: format!("at least {}, which this build is for", decimal(oldest)),
                got: decimal(compute_capability),
            },
            None => Error::Malformed {
                source_name: "the table of compiled kernels".into(),
                expected: format!("a kernel {function:?} of {module:?}"),
                got: "none".into(),
            },
        })
}

/// The text of an entry.
pub(super) fn text(entry: &Entry) -> Result<String, Error> {
    let mut text = String::new();
    flate2::read::ZlibDecoder::new(entry.3)
        .read_to_string(&mut text)
        .map_err(|error| Error::Malformed {
            source_name: format!("the compiled kernel {:?}", entry.2),
            expected: "compressed PTX".into(),
            got: error.to_string(),
        })?;
    Ok(text)
}

/// 90 as "9.0".
fn decimal(compute_capability: usize) -> String {
    format!("{}.{}", compute_capability / 10, compute_capability % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: [Entry; 3] = [
        (80, "a", "x", b"x for 80"),
        (90, "a", "x", b"x for 90"),
        (80, "b", "y", b"y"),
    ];

    #[test]
    fn the_latest_that_the_device_runs() {
        let chosen = |module, function, capability| {
            choose(&TABLE, module, function, capability).map(|entry| entry.3)
        };
        assert_eq!(chosen("a", "x", 80), Ok(&b"x for 80"[..]));
        assert_eq!(chosen("a", "x", 89), Ok(&b"x for 80"[..]));
        assert_eq!(chosen("a", "x", 90), Ok(&b"x for 90"[..]));
        assert_eq!(chosen("a", "x", 120), Ok(&b"x for 90"[..]));
        assert_eq!(chosen("b", "y", 90), Ok(&b"y"[..]));
    }

    #[test]
    fn an_older_device_is_an_error_that_names_both() {
        assert_eq!(
            choose(&TABLE, "a", "x", 75).unwrap_err().to_string(),
            "compute capability of the GPU: expected at least 8.0, which this build is for, got 7.5"
        );
        assert!(choose(&TABLE, "a", "y", 90).is_err());
        assert!(choose(&TABLE, "c", "x", 90).is_err());
    }

    #[test]
    fn every_module_holds_its_kernel_alone() {
        for entry in PTX {
            let text = text(entry).unwrap();
            assert_eq!(text.matches(".entry ").count(), 1, "{}", entry.2);
            assert!(
                text.contains(&format!(".entry {}(", entry.2)),
                "{}",
                entry.2
            );
            assert!(text.starts_with(".version"), "{}", entry.2);
        }
    }
}

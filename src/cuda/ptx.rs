//! The kernels' PTX, compiled at build time from `cuda/*.cu`, and which of it a device takes.

use crate::Error;
use std::io::Read;

/// The version of the CUDA toolkit that made the PTX: a driver for an older one cannot load it.
pub(super) const TOOLKIT: &str = env!("FLASHFFTCONV_NVCC_VERSION");

/// A kernel for an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Ten times the compute capability.
    pub architecture: usize,
    /// Whether no later architecture runs it.
    pub alone: bool,
    /// The name of the `.cu` file.
    pub module: &'static str,
    pub function: &'static str,
    /// The PTX.
    pub compressed: &'static [u8],
}

impl Entry {
    pub fn runs_on(&self, compute_capability: usize) -> bool {
        match self.alone {
            true => self.architecture == compute_capability,
            false => self.architecture <= compute_capability,
        }
    }
}

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
        .filter(|entry| entry.module == module && entry.function == function);
    let oldest = named.clone().min_by_key(|entry| entry.architecture);
    named
        .filter(|entry| entry.runs_on(compute_capability))
        .max_by_key(|entry| entry.architecture)
        .copied()
        .ok_or_else(|| match oldest {
            Some(oldest) => Error::OutOfRange {
                quantity: "compute capability of the GPU",
                expected: format!(
                    "{}{}, which this build is for",
                    if oldest.alone { "" } else { "at least " },
                    decimal(oldest.architecture)
                ),
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
    flate2::read::ZlibDecoder::new(entry.compressed)
        .read_to_string(&mut text)
        .map_err(|error| Error::Malformed {
            source_name: format!("the compiled kernel {:?}", entry.function),
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

    const fn entry(
        architecture: usize,
        alone: bool,
        module: &'static str,
        function: &'static str,
        compressed: &'static [u8],
    ) -> Entry {
        Entry {
            architecture,
            alone,
            module,
            function,
            compressed,
        }
    }

    const TABLE: [Entry; 4] = [
        entry(80, false, "a", "x", b"x for 80"),
        entry(90, false, "a", "x", b"x for 90"),
        entry(80, false, "b", "y", b"y"),
        entry(90, true, "c", "z", b"z"),
    ];

    #[test]
    fn the_latest_that_the_device_runs() {
        let chosen = |module, function, capability| {
            choose(&TABLE, module, function, capability).map(|entry| entry.compressed)
        };
        assert_eq!(chosen("a", "x", 80), Ok(&b"x for 80"[..]));
        assert_eq!(chosen("a", "x", 89), Ok(&b"x for 80"[..]));
        assert_eq!(chosen("a", "x", 90), Ok(&b"x for 90"[..]));
        assert_eq!(chosen("a", "x", 120), Ok(&b"x for 90"[..]));
        assert_eq!(chosen("b", "y", 90), Ok(&b"y"[..]));
        assert_eq!(chosen("c", "z", 90), Ok(&b"z"[..]));
    }

    #[test]
    fn an_older_device_is_an_error_that_names_both() {
        assert_eq!(
            choose(&TABLE, "a", "x", 75).unwrap_err().to_string(),
            "compute capability of the GPU: expected at least 8.0, which this build is for, got 7.5"
        );
        assert!(choose(&TABLE, "a", "y", 90).is_err());
        assert!(choose(&TABLE, "c", "x", 90).is_err());
        for other in [80, 100] {
            let error = choose(&TABLE, "c", "z", other).unwrap_err().to_string();
            assert!(error.contains("expected 9.0, which"), "{error}");
        }
    }

    #[test]
    fn every_module_holds_its_kernel_alone() {
        for entry in PTX {
            let text = text(entry).unwrap();
            let function = entry.function;
            assert_eq!(text.matches(".entry ").count(), 1, "{function}");
            assert!(text.contains(&format!(".entry {function}(")), "{function}");
            assert!(text.starts_with(".version"), "{function}");
            let target = format!(
                ".target sm_{}{}\n",
                entry.architecture,
                if entry.alone { "a" } else { "" }
            );
            assert!(text.contains(&target), "{function}");
        }
    }
}

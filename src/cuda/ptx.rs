//! The kernels' PTX, compiled at build time from `cuda/*.cu`, and which of it a device takes.

use crate::Error;

/// The version of the CUDA toolkit that made the PTX: a driver for an older one cannot load it.
pub(super) const TOOLKIT: &str = env!("FLASHFFTCONV_NVCC_VERSION");

/// Architecture (compute capability times ten), name of the `.cu` file, PTX.
pub(super) type Entry = (usize, &'static str, &'static str);

/// All PTX of this build.
pub(super) static PTX: &[Entry] = &include!(concat!(env!("OUT_DIR"), "/ptx_table.rs"));

/// The PTX of `name` for the latest architecture that a device of this compute
/// capability runs: its own or an earlier one.
pub(super) fn choose(
    table: &[Entry],
    name: &'static str,
    compute_capability: usize,
) -> Result<Entry, Error> {
    let named = table.iter().filter(|entry| entry.1 == name);
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
                expected: format!("an entry {name:?}"),
                got: "none".into(),
            },
        })
}

/// 90 as "9.0".
fn decimal(compute_capability: usize) -> String {
    format!("{}.{}", compute_capability / 10, compute_capability % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: [Entry; 3] = [(80, "a", "a for 80"), (90, "a", "a for 90"), (80, "b", "b")];

    #[test]
    fn the_latest_that_the_device_runs() {
        let chosen = |name, capability| choose(&TABLE, name, capability).map(|entry| entry.2);
        assert_eq!(chosen("a", 80), Ok("a for 80"));
        assert_eq!(chosen("a", 89), Ok("a for 80"));
        assert_eq!(chosen("a", 90), Ok("a for 90"));
        assert_eq!(chosen("a", 120), Ok("a for 90"));
        assert_eq!(chosen("b", 90), Ok("b"));
    }

    #[test]
    fn an_older_device_is_an_error_that_names_both() {
        assert_eq!(
            choose(&TABLE, "a", 75).unwrap_err().to_string(),
            "compute capability of the GPU: expected at least 8.0, which this build is for, got 7.5"
        );
        assert!(choose(&TABLE, "c", 90).is_err());
    }

    #[test]
    fn the_build_holds_the_probe() {
        let (_, _, ptx) = choose(PTX, "device_probe", 1000).unwrap();
        assert!(ptx.contains(".entry device_probe_u32"), "{ptx}");
    }
}

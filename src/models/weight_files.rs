//! What the models share in reading their parameters from files.

use super::checkpoint;
use crate::Error;
use candle_core::{Device, Result, Tensor};
use std::collections::HashMap;
use std::path::Path;

/// The error of a parameter that is not what the configuration asks for.
pub(super) fn malformed(
    name: impl ToString,
    expected: impl ToString,
    got: impl ToString,
) -> candle_core::Error {
    Error::Malformed {
        source_name: format!("parameter {}", name.to_string()),
        expected: expected.to_string(),
        got: got.to_string(),
    }
    .into()
}

/// The tensors of several files together, in main memory.
pub(super) fn read<P: AsRef<Path>>(paths: &[P]) -> Result<HashMap<String, Tensor>> {
    let mut all = HashMap::new();
    for path in paths {
        for (name, tensor) in checkpoint::load_tensors(path, &Device::Cpu)? {
            if all.insert(name.clone(), tensor).is_some() {
                return Err(malformed(name, "one tensor", "two, in different files"));
            }
        }
    }
    Ok(all)
}

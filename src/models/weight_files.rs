//! What the models share in reading their parameters from files.

use super::checkpoint;
use crate::Error;
use candle_core::{Device, Result, Tensor};
use std::collections::{BTreeMap, HashMap};
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

/// A parameter that a model may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameter {
    pub(super) shape: Vec<usize>,
    pub(super) required: bool,
}

/// All parameters of a model, by the names that its code uses.
pub(super) type Inventory = BTreeMap<String, Parameter>;

/// The tensors by the names of the inventory, checked against it: none missing, none unknown, all
/// of the right shape.
///
/// `canonical_name` gives that name of a stored one, or none for what is no parameter. What
/// `is_outside` is let through without an entry. `whose` says what a known name belongs to.
pub(super) fn match_inventory(
    tensors: HashMap<String, Tensor>,
    inventory: &Inventory,
    whose: &str,
    canonical_name: impl Fn(&str) -> Option<String>,
    is_outside: impl Fn(&str) -> bool,
) -> Result<HashMap<String, Tensor>> {
    let mut found = HashMap::with_capacity(tensors.len());
    // In order, so that of several errors always the same one is reported.
    let tensors: BTreeMap<_, _> = tensors.into_iter().collect();
    for (stored_name, tensor) in tensors {
        let Some(name) = canonical_name(&stored_name) else {
            continue;
        };
        match inventory.get(&name) {
            _ if is_outside(&name) => {}
            None => {
                let expected = format!("a parameter of {whose}");
                return Err(malformed(stored_name, expected, "an unknown name"));
            }
            Some(parameter) if tensor.dims() != parameter.shape => {
                let expected = format!("shape {:?}", parameter.shape);
                let got = format!("shape {:?}", tensor.dims());
                return Err(malformed(stored_name, expected, got));
            }
            Some(_) => {}
        }
        if found.insert(name.clone(), tensor).is_some() {
            let got = "two under names of different layouts";
            return Err(malformed(name, "one tensor", got));
        }
    }
    for (name, parameter) in inventory {
        if parameter.required && !found.contains_key(name) {
            let expected = format!("a tensor of shape {:?}", parameter.shape);
            return Err(malformed(name, expected, "no such tensor"));
        }
    }
    Ok(found)
}

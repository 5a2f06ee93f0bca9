//! A tensor as a pickle describes it, from the arguments of PyTorch's rebuilding functions.

use super::globals::Global;
use super::{value, Id, Storage, Value};
use crate::models::checkpoint::element::ElementType;

/// PyTorch's own limit.
const MAX_DIMENSIONS: usize = 64;

/// A strided view of a storage. Offset and strides are in elements. None of
/// it is checked against the storage yet.
#[derive(Debug, Clone)]
pub(in crate::models::checkpoint) struct StoredTensor {
    pub storage: Storage,
    pub element: &'static ElementType,
    pub offset: u64,
    pub shape: Vec<u64>,
    pub strides: Vec<u64>,
}

/// What was expected and what was got.
pub(super) type Mismatch = (String, String);

/// From `(storage, offset, size, stride, …)`, and for `typed` the dtype at place 6.
pub(super) fn rebuild(
    values: &[Value],
    arguments: &[Id],
    typed: bool,
) -> Result<StoredTensor, Mismatch> {
    let argument = |place: usize, what: &str| {
        let id = arguments.get(place).ok_or_else(|| {
            (
                format!("a tensor's {what}"),
                format!("{} arguments", arguments.len()),
            )
        })?;
        Ok::<&Value, Mismatch>(value(values, *id))
    };
    let storage = match argument(0, "storage")? {
        Value::Storage(storage) => *storage,
        other => return Err(("a tensor's storage".to_string(), other.kind().to_string())),
    };
    let element = match typed {
        false => storage.element,
        true => match argument(6, "dtype")? {
            Value::Global(Global::Dtype(element)) => element,
            other => return Err(("a tensor's dtype".to_string(), other.kind().to_string())),
        },
    };
    let shape = counts(values, argument(2, "size")?, "size")?;
    let strides = counts(values, argument(3, "stride")?, "stride")?;
    if shape.len() != strides.len() {
        return Err((
            format!("as many strides as dimensions, {}", shape.len()),
            strides.len().to_string(),
        ));
    }
    Ok(StoredTensor {
        storage,
        element,
        offset: count(argument(1, "offset")?, "offset")?,
        shape,
        strides,
    })
}

fn count(value: &Value, what: &str) -> Result<u64, Mismatch> {
    let got = match value {
        Value::Int(count) => match u64::try_from(*count) {
            Ok(count) => return Ok(count),
            Err(_) => count.to_string(),
        },
        other => other.kind().to_string(),
    };
    Err((format!("a tensor's {what} of at least 0"), got))
}

fn counts(values: &[Value], list: &Value, what: &str) -> Result<Vec<u64>, Mismatch> {
    let (Value::Tuple(items) | Value::List(items)) = list else {
        return Err((
            format!("a tensor's {what} as a tuple"),
            list.kind().to_string(),
        ));
    };
    // A pickle may use one long tuple again and again, so copies must stay short.
    if items.len() > MAX_DIMENSIONS {
        return Err((
            format!("at most {MAX_DIMENSIONS} dimensions"),
            items.len().to_string(),
        ));
    }
    items
        .iter()
        .map(|&item| count(value(values, item), what))
        .collect()
}

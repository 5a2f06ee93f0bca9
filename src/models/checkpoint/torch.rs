//! The tensors of a PyTorch checkpoint.
//!
//! First the pickle says which views of which storages the tensors are; all of
//! that is checked. Then each storage that is needed is read, one at a time.

use super::archive::Archive;
use super::element::ElementType;
use super::error::{quoted, shortened};
use super::pickle::{self, Graph, Id, StoredTensor, Value};
use super::view::View;
use super::Source;
use crate::Error;
use candle_core::{DType, Device, Result, Tensor};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{Read, Seek};

const PICKLE: &str = "data.pkl";

/// Where the tensors may lie, in the order of preference: Lightning, then
/// common habits. Otherwise the saved dictionary itself holds them.
const STATE_DICTS: [&[&str]; 5] = [
    &["state_dict"],
    &["model_state_dict"],
    &["state", "model"],
    &["model"],
    &["module"],
];

/// Overlapping views of one storage may fill this many times its size.
const MAX_EXPANSION: usize = 8;

pub(super) fn load<R: Read + Seek>(
    source: Source<'_, R>,
    device: &Device,
) -> Result<HashMap<String, Tensor>> {
    let mut archive = Archive::open(source)?;
    archive.check_byte_order()?;
    let bytes = archive
        .read(PICKLE)?
        .ok_or_else(|| archive.malformed(PICKLE, "the objects", "nothing"))?;
    let place = archive.place(PICKLE);
    let graph = pickle::parse(&bytes, &place)?;
    let plan = plan(&graph, &place)?;

    let mut tensors = HashMap::with_capacity(plan.iter().map(|s| s.tensors.len()).sum());
    for storage in plan {
        read_storage(&mut archive, &storage, device, &mut tensors)?;
    }
    Ok(tensors)
}

/// A storage, and the tensors that are views of it.
struct StoragePlan<'a> {
    key: &'a str,
    bytes: u64,
    tensors: Vec<TensorPlan<'a>>,
}

struct TensorPlan<'a> {
    name: &'a str,
    dtype: DType,
    view: View,
}

fn plan<'a>(graph: &Graph<'a>, place: &str) -> std::result::Result<Vec<StoragePlan<'a>>, Error> {
    let malformed = |expected: String, got: String| super::malformed(place, expected, got);
    let state_dict = find_state_dict(graph, place)?;
    let mut names = HashSet::new();
    // The first element type that a storage was seen with goes with its plan.
    let mut storages: BTreeMap<&str, (StoragePlan, &'static ElementType)> = BTreeMap::new();
    for &(key, value) in graph.pairs(state_dict).unwrap_or_default() {
        let Value::Tensor(tensor) = graph.get(value) else {
            continue; // a version number, say
        };
        let Some(name) = graph.text(key) else {
            return Err(malformed(
                "tensors under names".to_string(),
                format!("one under {}", graph.get(key).kind()),
            ));
        };
        if !names.insert(name) {
            return Err(malformed(
                "every tensor once".into(),
                format!("{} twice", quoted(name)),
            ));
        }
        let Some(dtype) = tensor.element.dtype else {
            return Err(malformed(
                format!("{} with a dtype that candle has", quoted(name)),
                tensor.element.name.to_string(),
            ));
        };
        let view = view(tensor)
            .map_err(|(expected, got)| malformed(format!("{}: {expected}", quoted(name)), got))?;
        let key = graph.text(tensor.storage.key).unwrap_or_default();
        let (storage, element) = storages.entry(key).or_insert_with(|| {
            let storage = StoragePlan {
                key,
                bytes: tensor.storage.bytes,
                tensors: Vec::new(),
            };
            (storage, tensor.storage.element)
        });
        if (storage.bytes, *element) != (tensor.storage.bytes, tensor.storage.element) {
            return Err(malformed(
                format!(
                    "storage {} of {} bytes of {}",
                    quoted(key),
                    storage.bytes,
                    element.name
                ),
                format!(
                    "{} on one of {} bytes of {}",
                    quoted(name),
                    tensor.storage.bytes,
                    tensor.storage.element.name
                ),
            ));
        }
        storage.tensors.push(TensorPlan { name, dtype, view });
    }
    Ok(storages.into_values().map(|(storage, _)| storage).collect())
}

fn view(tensor: &StoredTensor) -> std::result::Result<View, (String, String)> {
    let elements = tensor.storage.bytes.checked_div(tensor.element.bytes);
    View::new(tensor, elements.unwrap_or(0))
}

fn find_state_dict(graph: &Graph, place: &str) -> std::result::Result<Id, Error> {
    let root = graph.root();
    let Some(pairs) = graph.pairs(root) else {
        return Err(super::malformed(
            place,
            "a dictionary of tensors",
            graph.get(root).kind(),
        ));
    };
    if let Some(lightning) = graph.field(root, "state_dict") {
        if graph.pairs(lightning).is_none() {
            return Err(super::malformed(
                place,
                "`state_dict` to be a dictionary of tensors",
                graph.get(lightning).kind(),
            ));
        }
    }
    let candidates = STATE_DICTS.iter().filter_map(|path| {
        path.iter()
            .try_fold(root, |dict, name| graph.field(dict, name))
    });
    if let Some(found) = candidates
        .chain([root])
        .find(|&candidate| holds_tensors(graph, candidate))
    {
        return Ok(found);
    }
    if pairs.is_empty() {
        return Ok(root);
    }
    let names: Vec<_> = pairs
        .iter()
        .filter_map(|&(key, _)| graph.text(key))
        .take(8)
        .map(shortened)
        .collect();
    Err(super::malformed(
        place,
        "a dictionary of tensors, or one under `state_dict`",
        format!("a dictionary without tensors: [{}]", names.join(", ")),
    ))
}

fn holds_tensors(graph: &Graph, dict: Id) -> bool {
    graph
        .pairs(dict)
        .unwrap_or_default()
        .iter()
        .any(|&(_, value)| matches!(graph.get(value), Value::Tensor(_)))
}

/// Reads one storage and makes its tensors. Tensors with one view share their memory, as tied weights do.
fn read_storage<R: Read + Seek>(
    archive: &mut Archive<'_, R>,
    storage: &StoragePlan,
    device: &Device,
    tensors: &mut HashMap<String, Tensor>,
) -> Result<()> {
    let record = format!("data/{}", storage.key);
    let bytes = match archive.read(&record)? {
        Some(bytes) => bytes,
        None if storage.bytes == 0 => Vec::new(),
        None => {
            return Err(archive
                .malformed(
                    &record,
                    format!("{} bytes", storage.bytes),
                    "no such record",
                )
                .into())
        }
    };
    if bytes.len() as u64 != storage.bytes {
        return Err(archive
            .malformed(
                &record,
                format!("{} bytes, as the tensors on it need", storage.bytes),
                bytes.len(),
            )
            .into());
    }
    let mut made: HashMap<(&View, DType), Tensor> = HashMap::new();
    let mut room = bytes.len().saturating_mul(MAX_EXPANSION);
    for TensorPlan { name, dtype, view } in &storage.tensors {
        let tensor = match made.get(&(view, *dtype)) {
            Some(tensor) => tensor.clone(),
            None => {
                let size = view.count.saturating_mul(dtype.size_in_bytes());
                room = room.checked_sub(size).ok_or_else(|| {
                    archive.malformed(
                        &record,
                        format!("views of at most {MAX_EXPANSION} times its size"),
                        "more",
                    )
                })?;
                let elements = view.gather(&bytes, *dtype).ok_or_else(|| {
                    archive.malformed(&record, format!("all of {}", quoted(name)), "less")
                })?;
                let tensor = Tensor::from_raw_buffer(&elements, *dtype, &view.shape, device)?;
                made.insert((view, *dtype), tensor.clone());
                tensor
            }
        };
        tensors.insert(name.to_string(), tensor);
    }
    Ok(())
}

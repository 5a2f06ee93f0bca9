//! The safetensors format: 8 bytes of header length, a JSON header, the data.
//!
//! The header is checked completely before any tensor is made, and one tensor
//! is read at a time, so that the file never lies in memory twice.

use super::error::{malformed, quoted, sizes};
use super::Source;
use crate::Error;
use candle_core::{DType, Device, Result, Tensor};
use safetensors::tensor::{Dtype, TensorInfo};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::io::{Read, Seek};

/// The limit of the reference implementation of the format.
const MAX_HEADER_BYTES: u64 = 100_000_000;
const LENGTH_BYTES: u64 = 8;

pub(super) fn load<R: Read + Seek>(
    mut source: Source<'_, R>,
    device: &Device,
) -> Result<HashMap<String, Tensor>> {
    let (header, data_start) = read_header(&mut source)?;
    let plan = plan(&header, source.len.saturating_sub(data_start), source.name)?;
    let mut tensors = HashMap::with_capacity(plan.len());
    for entry in plan {
        // The plan's ranges lie inside the file, so this sum cannot overflow.
        let offset = data_start.saturating_add(entry.start);
        let bytes = source.read_at(offset, entry.len, entry.name)?;
        let tensor = Tensor::from_raw_buffer(&bytes, entry.dtype, entry.shape, device)?;
        tensors.insert(entry.name.to_string(), tensor);
    }
    Ok(tensors)
}

fn read_header<R: Read + Seek>(source: &mut Source<'_, R>) -> Result<(Header, u64)> {
    let bytes = source.read_at(0, LENGTH_BYTES, "header length")?;
    let length = bytes
        .try_into()
        .map(u64::from_le_bytes)
        .map_err(|_| source.malformed("8 bytes of header length", "fewer"))?;
    if length > MAX_HEADER_BYTES {
        return Err(source
            .malformed(
                format!("a header of at most {MAX_HEADER_BYTES} bytes"),
                format!("{length} bytes"),
            )
            .into());
    }
    let bytes = source.read_at(LENGTH_BYTES, length, "header")?;
    let header = serde_json::from_slice(&bytes)
        .map_err(|e| source.malformed("a header in JSON: names to dtype, shape and offsets", e))?;
    Ok((header, LENGTH_BYTES.saturating_add(length)))
}

/// The header's tensors in its own order. A map would hide duplicate names.
struct Header(Vec<(String, TensorInfo)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(
                self,
                mut map: M,
            ) -> std::result::Result<Header, M::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(Header(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// One tensor of the file, checked: `len` bytes at `start` of the data section.
struct Entry<'a> {
    name: &'a str,
    dtype: DType,
    shape: &'a [usize],
    start: u64,
    len: u64,
}

/// Checks that the tensors fill the data section exactly, without gap or overlap.
fn plan<'a>(
    header: &'a Header,
    data_len: u64,
    source_name: &str,
) -> std::result::Result<Vec<Entry<'a>>, Error> {
    let mut names = HashSet::with_capacity(header.0.len());
    let mut plan = Vec::with_capacity(header.0.len());
    for (name, info) in &header.0 {
        if !names.insert(name.as_str()) {
            return Err(malformed(
                source_name,
                "every tensor once",
                format!("{} twice", quoted(name)),
            ));
        }
        let dtype = dtype(info.dtype).ok_or_else(|| {
            malformed(
                source_name,
                format!("{} with a dtype that candle has", quoted(name)),
                format!("{:?}", info.dtype),
            )
        })?;
        let (start, end) = info.data_offsets;
        let (start, end) = (start as u64, end as u64);
        let len = end.checked_sub(start).filter(|_| end <= data_len);
        let needed = byte_count(&info.shape, dtype);
        match (len, needed) {
            (Some(len), Some(needed)) if len == needed => plan.push(Entry {
                name,
                dtype,
                shape: &info.shape,
                start,
                len,
            }),
            (Some(_), _) => {
                return Err(malformed(
                    source_name,
                    format!(
                        "{} with {} bytes for shape {} of {dtype:?}",
                        quoted(name),
                        needed.map_or("a countable number of".to_string(), |n| n.to_string()),
                        sizes(&info.shape)
                    ),
                    format!("bytes {start} to {end}"),
                ))
            }
            (None, _) => {
                return Err(malformed(
                    source_name,
                    format!("{} within the {data_len} bytes of data", quoted(name)),
                    format!("bytes {start} to {end}"),
                ))
            }
        }
    }
    plan.sort_by_key(|entry| (entry.start, entry.len));
    let mut filled = 0;
    for entry in &plan {
        if entry.start != filled {
            return Err(malformed(
                source_name,
                format!("{} at byte {filled} of the data", quoted(entry.name)),
                format!("byte {}, which leaves a gap or overlaps", entry.start),
            ));
        }
        filled = entry.start.saturating_add(entry.len);
    }
    if filled != data_len {
        return Err(malformed(
            source_name,
            format!("{filled} bytes of data, as the header says"),
            format!("{data_len} bytes"),
        ));
    }
    Ok(plan)
}

/// Bytes of a tensor, or `None` when they cannot be counted, not even without its empty dimensions.
fn byte_count(shape: &[usize], dtype: DType) -> Option<u64> {
    // candle multiplies all sizes too, in an order of its own: a zero among
    // them must not hide an overflow.
    let upper = shape
        .iter()
        .try_fold(dtype.size_in_bytes() as u64, |product, &size| {
            product.checked_mul(size.max(1) as u64)
        })?;
    let empty = shape.contains(&0);
    Some(if empty { 0 } else { upper })
}

fn dtype(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::BOOL | Dtype::U8 => Some(DType::U8),
        Dtype::U32 => Some(DType::U32),
        Dtype::I16 => Some(DType::I16),
        Dtype::I32 => Some(DType::I32),
        Dtype::I64 => Some(DType::I64),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        Dtype::F32 => Some(DType::F32),
        Dtype::F64 => Some(DType::F64),
        Dtype::F8_E4M3 => Some(DType::F8E4M3),
        _ => None,
    }
}

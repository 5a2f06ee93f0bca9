//! Reading safetensors files: what is read, and that no damage gets past.

mod common;

use candle_core::{DType, Device, Tensor};
use candle_flashfftconv::models::checkpoint::{load_tensors, load_tensors_from_bytes};
use common::{data_dir, golden, to_f64};
use proptest::prelude::*;
use std::collections::HashMap;

/// A file of this header, whose data are `data` bytes.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend((0..data).map(|i| i as u8));
    bytes
}

fn load(bytes: &[u8]) -> candle_core::Result<HashMap<String, Tensor>> {
    load_tensors_from_bytes(bytes, &Device::Cpu)
}

#[track_caller]
fn refused(bytes: &[u8], parts: &[&str]) {
    let message = load(bytes).expect_err("should be refused").to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}

#[test]
fn reads_what_candle_reads() {
    for name in [
        "hyenadna_tiny_a.orig",
        "hyenadna_tiny_b.hf",
        "m2_bert_tiny",
        "op_circ_n45",
    ] {
        let got =
            load_tensors(data_dir().join(format!("{name}.safetensors")), &Device::Cpu).unwrap();
        let want = golden(name);
        assert!(!want.is_empty());
        assert_eq!(got.len(), want.len());
        for (key, want) in want {
            let got = &got[&key];
            assert_eq!(
                (got.dims(), got.dtype()),
                (want.dims(), want.dtype()),
                "{key}"
            );
            assert_eq!(to_f64(got), to_f64(&want), "{key}");
        }
    }
}

#[test]
fn the_name_of_the_file_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.ckpt");
    std::fs::copy(data_dir().join("op_circ_n45.safetensors"), &path).unwrap();
    assert!(!load_tensors(&path, &Device::Cpu).unwrap().is_empty());
}

#[test]
fn reads_every_dtype() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    let wide = Tensor::new(&[0f32, 1., 2., 3., 100., 7.], &Device::Cpu)
        .unwrap()
        .reshape((2, 3))
        .unwrap();
    let tensors: HashMap<String, Tensor> = [
        DType::U8,
        DType::U32,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::BF16,
        DType::F16,
        DType::F32,
        DType::F64,
    ]
    .into_iter()
    .map(|dtype| (format!("{dtype:?}"), wide.to_dtype(dtype).unwrap()))
    .collect();
    candle_core::safetensors::save(&tensors, &path).unwrap();
    let got = load_tensors(&path, &Device::Cpu).unwrap();
    assert_eq!(got.len(), 9);
    for (name, tensor) in got {
        assert_eq!(format!("{:?}", tensor.dtype()), name);
        assert_eq!(to_f64(&tensor), [0., 1., 2., 3., 100., 7.], "{name}");
    }
}

#[test]
fn reads_booleans_scalars_and_empty_tensors() {
    let header = r#"{"__metadata__":{"a":"b"},"flags":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]},
        "one":{"dtype":"U8","shape":[],"data_offsets":[2,3]},"none":{"dtype":"F32","shape":[3,0],"data_offsets":[3,3]}}"#;
    let got = load(&file(header, 3)).unwrap();
    assert_eq!(got["flags"].to_vec1::<u8>().unwrap(), [0, 1]);
    assert_eq!(got["one"].to_scalar::<u8>().unwrap(), 2);
    assert_eq!(got["none"].dims(), [3, 0]);
    assert!(load(&file("{}", 0)).unwrap().is_empty());
}

#[test]
fn other_files_are_named() {
    refused(b"", &["an empty file"]);
    refused(
        b"version https://git-lfs.github.com/spec/v1\noid",
        &["Git LFS pointer"],
    );
    refused(
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
        &["bare pickle", "1.6"],
    );
    refused(
        b"<html>",
        &["safetensors or a PyTorch zip archive", "<html>"],
    );
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.safetensors");
    let message = load_tensors(missing, &Device::Cpu).unwrap_err().to_string();
    assert!(
        message.contains("none.safetensors") && message.contains("readable"),
        "{message}"
    );
    assert!(load_tensors(dir.path(), &Device::Cpu).is_err());
}

#[test]
fn damaged_headers_are_refused() {
    let mut long = file("{}", 0);
    long[..8].copy_from_slice(&3u64.to_le_bytes());
    refused(&long, &["3 bytes of header", "a file of 10 bytes"]);
    long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    refused(&long, &["at most 100000000 bytes"]);
    refused(&file("{", 0), &["JSON"]);
    refused(&file(r#"{"x":1}"#, 0), &["JSON", "invalid type"]);
    refused(
        &file(
            r#"{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#,
            4,
        ),
        &["JSON"],
    );
    refused(
        &file(
            r#"{"x":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}"#,
            4,
        ),
        &["F99"],
    );
    let mut text = file(
        r#"{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#,
        1,
    );
    text[10] = 0xff;
    refused(&text, &["JSON"]);
    let nested = format!("{{\"x\":{}", "[".repeat(100_000));
    refused(&file(&nested, 0), &["JSON"]);
}

#[test]
fn wrong_sizes_are_refused() {
    let entry = |name: &str, shape: &str, start: &str, end: &str| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}"#)
    };
    let one = |shape, start, end| format!("{{{}}}", entry("w", shape, start, end));
    refused(
        &file(&one("[2]", "0", "4"), 4),
        &["\"w\" with 8 bytes", "bytes 0 to 4"],
    );
    refused(&file(&one("[1]", "0", "8"), 8), &["\"w\" with 4 bytes"]);
    refused(
        &file(&one("[2]", "0", "8"), 4),
        &["within the 4 bytes", "0 to 8"],
    );
    refused(&file(&one("[1]", "8", "4"), 8), &["8 to 4"]);
    let huge = "18446744073709551615";
    refused(&file(&one("[1]", huge, huge), 8), &["within the 8 bytes"]);
    let power = "[4294967296,4294967296]";
    refused(&file(&one(power, "0", "0"), 0), &["countable"]);
    // An empty dimension hides no overflow.
    refused(
        &file(&one("[9223372036854775807,4,0]", "0", "0"), 0),
        &["countable"],
    );
    refused(
        &file(&one("[1]", "0", "4"), 5),
        &["4 bytes of data", "got 5"],
    );
    refused(&file(&one("[1]", "4", "8"), 8), &["byte 0", "gap"]);
    let two = |a, b| format!("{{{a},{b}}}");
    refused(
        &file(
            &two(entry("a", "[2]", "0", "8"), entry("b", "[1]", "4", "8")),
            8,
        ),
        &["\"b\" at byte 8", "overlaps"],
    );
    refused(
        &file(
            &two(entry("a", "[1]", "0", "4"), entry("a", "[1]", "4", "8")),
            8,
        ),
        &["\"a\" twice"],
    );
    refused(
        &file(
            &two(entry("a", "[1]", "0", "4"), entry("a", "[1]", "0", "4")),
            4,
        ),
        &["\"a\" twice"],
    );
    refused(
        &file(
            r#"{"w":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#,
            1,
        ),
        &["a dtype that candle has", "I8"],
    );
}

#[test]
fn every_truncation_is_refused() {
    let whole = std::fs::read(data_dir().join("op_circ_n45.safetensors")).unwrap();
    load(&whole).unwrap();
    for len in 0..whole.len() {
        if len < 600 || len % 97 == 0 || whole.len() - len < 40 {
            assert!(
                load(&whole[..len]).is_err(),
                "{len} of {} bytes",
                whole.len()
            );
        }
    }
}

proptest! {
    #[test]
    fn damage_never_panics(
        changes in prop::collection::vec((0usize..700, any::<u8>()), 1..6),
        cut in 0usize..2000,
    ) {
        let mut bytes = std::fs::read(data_dir().join("op_circ_n45.safetensors")).unwrap();
        for (at, value) in changes {
            bytes[at] = value;
        }
        let _ = load(&bytes);
        bytes.truncate(cut);
        let _ = load(&bytes);
    }
}

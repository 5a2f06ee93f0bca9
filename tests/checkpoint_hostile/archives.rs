//! The zip archive around the pickle: cut, damaged, or of another kind.

use crate::checkpoint_writer::*;
use crate::common::data_dir;
use crate::{good, load, refused, with_storage};
use zip::CompressionMethod;

#[test]
fn every_truncation_of_the_file_is_refused() {
    let whole = std::fs::read(data_dir().join("torch_protocol_2.pt")).unwrap();
    load(&whole).unwrap();
    for len in 0..whole.len() {
        refused(&whole[..len], &["expected"]);
    }
}

#[test]
fn damaged_weights_are_noticed() {
    let whole = with_storage(&good());
    let at = whole
        .windows(8)
        .position(|w| w == [0, 0, 128, 63, 0, 0, 0, 64])
        .unwrap();
    let mut damaged = whole;
    damaged[at + 3] ^= 1;
    refused(&damaged, &["data/0", "checksum"]);
}

fn records(list: &[(&str, &[u8])]) -> Vec<(String, Vec<u8>)> {
    list.iter()
        .map(|(name, bytes)| (name.to_string(), bytes.to_vec()))
        .collect()
}

#[test]
fn archives_of_another_kind_are_refused() {
    let stored = |list: &[(&str, &[u8])]| zip(&records(list), CompressionMethod::Stored);
    refused(&stored(&[]), &["data.pkl", "none"]);
    refused(
        &stored(&[("word/document.xml", b"<a/>")]),
        &["data.pkl", "none"],
    );
    refused(
        &stored(&[("a/data.pkl", b"}."), ("b/data.pkl", b"}.")]),
        &["data.pkl", "several"],
    );
    refused(&stored(&[("a/xdata.pkl", b"}.")]), &["none"]);
    refused(
        &stored(&[("a/data.pkl", b"}."), ("a/byteorder", b"big")]),
        &["little", "big"],
    );
    refused(
        &stored(&[("a/data.pkl", b"}."), ("a/byteorder", b"\xff")]),
        &["little"],
    );
    // Without a folder or a byte order it is one all the same.
    assert!(load(&stored(&[("data.pkl", b"}.")])).unwrap().is_empty());
    // TorchScript names its own classes.
    let script = stored(&[
        ("a/data.pkl", b"\x80\x02c__torch__\nNet\n)\x81."),
        ("a/constants.pkl", b")."),
    ]);
    refused(&script, &["asks for `__torch__.Net`"]);
}

#[test]
fn compressed_records_are_refused() {
    let mut bytes = vec![b']'; 50 << 20];
    bytes.push(b'.');
    let bomb = zip(
        &records(&[("a/data.pkl", &bytes)]),
        CompressionMethod::Deflated,
    );
    assert!(bomb.len() < 1 << 20);
    refused(&bomb, &["a/data.pkl", "stored as it is", "52428801 bytes"]);
    let list = records(&[("a/data.pkl", &pickle(&good())), ("a/data/0", &[0; 8])]);
    refused(
        &zip(&list, CompressionMethod::Deflated),
        &["stored as it is"],
    );
}

/// Offsets of the headers in the central directory of an archive.
fn central_headers(bytes: &[u8]) -> Vec<usize> {
    (0..bytes.len().saturating_sub(4))
        .filter(|&i| bytes[i..].starts_with(b"PK\x01\x02"))
        .collect()
}

#[test]
fn records_larger_than_the_file_are_refused() {
    let whole = with_storage(&good());
    for header in central_headers(&whole) {
        for size in [1000u32, 1 << 31, u32::MAX - 1] {
            let mut bytes = whole.clone();
            bytes[header + 20..header + 24].copy_from_slice(&size.to_le_bytes());
            bytes[header + 24..header + 28].copy_from_slice(&size.to_le_bytes());
            refused(&bytes, &["expected"]);
        }
    }
}

#[test]
fn records_that_overlap_are_refused() {
    // The first record grows over the second.
    let mut bytes = with_storage(&good());
    let header = central_headers(&bytes)[0];
    let grown = pickle(&good()).len() as u32 + 60; // its own data, a header, data
    bytes[header + 20..header + 24].copy_from_slice(&grown.to_le_bytes());
    bytes[header + 24..header + 28].copy_from_slice(&grown.to_le_bytes());
    refused(&bytes, &["overlap"]);
}

#[test]
fn records_of_one_name_are_refused() {
    let list = records(&[
        ("a/data.pkl", b"}."),
        ("a/data/1", b"12"),
        ("a/data/2", b"34"),
    ]);
    let mut bytes = zip(&list, CompressionMethod::Stored);
    while let Some(at) = bytes.windows(8).position(|w| w == b"a/data/2") {
        bytes[at + 7] = b'1';
    }
    refused(&bytes, &["a name twice"]);
}

//! What a file claims is not what is allocated for it: peak memory while reading hostile files.
//!
//! One test only: the counter sees every thread of this binary.

mod checkpoint_writer;
mod common;

use candle_core::Device;
use candle_flashfftconv::models::checkpoint::load_tensors_from_bytes;
use checkpoint_writer::*;
use common::data_dir;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use zip::CompressionMethod;

/// The system's allocator, which counts what is live and the most that ever was.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(live, Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that reading took, whether or not it went well.
fn peak_of_reading(bytes: &[u8]) -> usize {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let _ = load_tensors_from_bytes(bytes, &Device::Cpu);
    PEAK.load(Relaxed).saturating_sub(before)
}

fn safetensors(length: u64, header: &str) -> Vec<u8> {
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes
}

fn repeated(start: &[u8], part: &[u8], count: usize, end: &[u8]) -> Vec<u8> {
    let mut bytes = start.to_vec();
    bytes.extend(part.repeat(count));
    bytes.extend(end);
    bytes
}

#[test]
fn memory_follows_the_bytes_that_are_there() {
    let big = i64::MAX / 8;
    let checkpoint = Checkpoint {
        storages: vec![("0".to_string(), vec![0; 4096])],
    };
    let tensor = |count, size: &[i64], stride: &[i64]| {
        let on = tensor_on(storage("FloatStorage", "0", count), 0, size, stride);
        checkpoint.save(&Py::Dict(vec![(text("x"), on)]))
    };
    let pickled = |bytes: Vec<u8>| checkpoint.save_pickle(&bytes);
    let bomb = zip(
        &[("a/data.pkl".to_string(), vec![b']'; 50 << 20])],
        CompressionMethod::Deflated,
    );
    let mut claiming = tensor(1024, &[1024], &[1]);
    for at in 0..claiming.len() - 46 {
        if claiming[at..].starts_with(b"PK\x01\x02") {
            claiming[at + 20..at + 28].copy_from_slice(&[0xf0; 8]);
        }
    }
    let entry = |shape: &str, end: &str| {
        let header =
            format!(r#"{{"w":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#);
        safetensors(header.len() as u64, &header)
    };
    let hostile = [
        ("header length", safetensors(99_999_999, "{}")),
        ("offsets", entry("[1073741824]", "4294967296")),
        ("shape", entry("[4294967296,4294967296]", "0")),
        ("storage size", tensor(big, &[1], &[1])),
        ("tensor size", tensor(1024, &[big], &[0])),
        (
            "expanded tensor",
            tensor(1024, &[1 << 20, 1 << 20], &[0, 0]),
        ),
        ("text length", pickled(b"X\xff\xff\xff\x7fx.".to_vec())),
        (
            "bytes length",
            pickled(b"\x8e\0\0\0\0\0\x01\0\0x.".to_vec()),
        ),
        ("memo number", pickled(b"Nr\xff\xff\xff\xff.".to_vec())),
        ("compressed record", bomb),
        ("record sizes", claiming),
    ];
    for (what, bytes) in hostile {
        let peak = peak_of_reading(&bytes);
        let allowed = 4 * bytes.len() + (256 << 10);
        assert!(
            peak <= allowed,
            "{what}: {peak} bytes for a file of {}",
            bytes.len()
        );
    }

    // A byte of a pickle can make one value, of some tens of bytes; never more.
    let programs = [
        ("empty lists", repeated(b"", b"]", 100_000, b".")),
        ("marks", repeated(b"", b"(", 100_000, b".")),
        ("memo", repeated(b"", b"N\x94", 100_000, b".")),
        ("recalls", repeated(b"]q\0", b"h\0", 100_000, b".")),
        ("nested tuples", repeated(b"N", b"\x85", 100_000, b".")),
        (
            "copied sizes",
            repeated(
                b"ctorch._utils\n_rebuild_tensor_v2\nq\0((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0\x30NK\x00tQK\0(K\x01K\x01K\x01K\x01tq\x01h\x01tq\x02",
                b"h\0h\x02R",
                100_000,
                b".",
            ),
        ),
        (
            "copied dictionaries",
            repeated(
                &repeated(b"ccollections\nOrderedDict\nq\0](", b"NN\x86", 1000, b"e\x85q\x01"),
                b"h\0h\x01R",
                100_000,
                b".",
            ),
        ),
    ];
    for (what, program) in programs {
        let bytes = checkpoint.save_pickle(&program);
        let peak = peak_of_reading(&bytes);
        let allowed = 256 * bytes.len();
        assert!(
            peak <= allowed,
            "{what}: {peak} bytes for a file of {}",
            bytes.len()
        );
    }

    // And what is there is not held many times over.
    let path = data_dir().join("hyenadna_tiny_a.orig.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let peak = peak_of_reading(&bytes);
    assert!(peak < 2 * bytes.len(), "{peak} bytes for {}", bytes.len());
}

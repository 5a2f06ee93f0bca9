//! PyTorch archives that are damaged or made to do harm: each is an error that says what is wrong.

mod archives;
#[path = "../checkpoint_writer/mod.rs"]
mod checkpoint_writer;
#[path = "../common/mod.rs"]
mod common;
mod damage;
mod pickles;

use candle_core::{Device, Tensor};
use candle_flashfftconv::models::checkpoint::load_tensors_from_bytes;
use checkpoint_writer::*;
use std::collections::HashMap;

fn load(bytes: &[u8]) -> candle_core::Result<HashMap<String, Tensor>> {
    load_tensors_from_bytes(bytes, &Device::Cpu)
}

/// What is wrong with the file, without the backtrace that candle may add.
#[track_caller]
fn message(bytes: &[u8]) -> String {
    let error = load(bytes).expect_err("should be refused").to_string();
    error.lines().next().unwrap_or_default().to_string()
}

#[track_caller]
fn refused(bytes: &[u8], parts: &[&str]) {
    let message = message(bytes);
    assert!(
        message.contains("expected") && message.contains("got"),
        "{message:?} is not of the crate's type"
    );
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}

/// A storage of two floats, and the archive of `object` with it.
fn with_storage(object: &Py) -> Vec<u8> {
    checkpoint().save(object)
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        storages: vec![("0".to_string(), vec![0, 0, 128, 63, 0, 0, 0, 64])],
    }
}

fn named(tensor: Py) -> Py {
    Py::Dict(vec![(text("x"), tensor)])
}

fn floats() -> Py {
    storage("FloatStorage", "0", 2)
}

fn good() -> Py {
    named(tensor_on(floats(), 0, &[2], &[1]))
}

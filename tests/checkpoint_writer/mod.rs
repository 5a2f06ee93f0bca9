//! Writes PyTorch archives for the tests: a pickle of protocol 2 as Python
//! writes it, and the zip around it.
#![allow(dead_code)] // each test binary uses its own part

use crate::common::to_f64;
use candle_core::{DType, Device, Tensor};
use candle_flashfftconv::models::checkpoint::load_tensors_from_bytes;
use std::collections::HashMap;
use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;
use zip::CompressionMethod;

/// A Python object.
#[derive(Clone, Debug)]
pub enum Py {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Tuple(Vec<Py>),
    List(Vec<Py>),
    Dict(Vec<(Py, Py)>),
    Global(&'static str, &'static str),
    /// A call: function, arguments.
    Call(Box<Py>, Box<Py>),
    /// An object: class, arguments of `__new__`, state.
    Object(Box<Py>, Box<Py>, Box<Py>),
    /// A dictionary object: an empty one from `Call`, and its items.
    Filled(Box<Py>, Vec<(Py, Py)>),
    Persistent(Box<Py>),
    /// Opcodes as they are.
    Raw(Vec<u8>),
}

pub fn text(text: &str) -> Py {
    Py::Text(text.to_string())
}

pub fn ints(numbers: &[i64]) -> Py {
    Py::Tuple(numbers.iter().map(|&n| Py::Int(n)).collect())
}

pub fn call(module: &'static str, name: &'static str, arguments: Vec<Py>) -> Py {
    Py::Call(
        Box::new(Py::Global(module, name)),
        Box::new(Py::Tuple(arguments)),
    )
}

pub fn ordered_dict(items: Vec<(Py, Py)>) -> Py {
    Py::Filled(Box::new(call("collections", "OrderedDict", vec![])), items)
}

/// A storage of `count` elements under `data/KEY`.
pub fn storage(class: &'static str, key: &str, count: i64) -> Py {
    Py::Persistent(Box::new(Py::Tuple(vec![
        text("storage"),
        Py::Global("torch", class),
        text(key),
        text("cpu"),
        Py::Int(count),
    ])))
}

pub fn tensor_on(storage: Py, offset: i64, size: &[i64], stride: &[i64]) -> Py {
    tensor_of(storage, Py::Int(offset), ints(size), ints(stride))
}

pub fn tensor_of(storage: Py, offset: Py, size: Py, stride: Py) -> Py {
    let hooks = call("collections", "OrderedDict", vec![]);
    let arguments = vec![storage, offset, size, stride, Py::Bool(false), hooks];
    call("torch._utils", "_rebuild_tensor_v2", arguments)
}

/// The storage class and the bytes of a tensor's elements in row-major order.
pub fn elements(tensor: &Tensor) -> (&'static str, Vec<u8>) {
    let flat = tensor.flatten_all().unwrap();
    macro_rules! bytes {
        ($t:ty) => {
            flat.to_vec1::<$t>()
                .unwrap()
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect()
        };
    }
    match tensor.dtype() {
        DType::F32 => ("FloatStorage", bytes!(f32)),
        DType::F64 => ("DoubleStorage", bytes!(f64)),
        DType::F16 => ("HalfStorage", bytes!(half::f16)),
        DType::BF16 => ("BFloat16Storage", bytes!(half::bf16)),
        DType::I64 => ("LongStorage", bytes!(i64)),
        DType::I32 => ("IntStorage", bytes!(i32)),
        DType::I16 => ("ShortStorage", bytes!(i16)),
        DType::U8 => ("ByteStorage", bytes!(u8)),
        other => panic!("no storage class for {other:?}"),
    }
}

/// What `torch.save` would write: the object and its storages.
#[derive(Default)]
pub struct Checkpoint {
    /// Key and content of the storages.
    pub storages: Vec<(String, Vec<u8>)>,
}

impl Checkpoint {
    /// Adds a storage of its own for `tensor`.
    pub fn tensor(&mut self, tensor: &Tensor) -> Py {
        let key = self.storages.len().to_string();
        let (class, bytes) = elements(tensor);
        self.storages.push((key.clone(), bytes));
        let size: Vec<i64> = tensor.dims().iter().map(|&d| d as i64).collect();
        let mut stride = vec![1; size.len()];
        for i in (1..size.len()).rev() {
            stride[i - 1] = stride[i] * size[i];
        }
        let count = tensor.elem_count() as i64;
        tensor_on(storage(class, &key, count), 0, &size, &stride)
    }

    /// The archive of `object`.
    pub fn save(&self, object: &Py) -> Vec<u8> {
        self.save_pickle(&pickle(object))
    }

    pub fn save_pickle(&self, pickle: &[u8]) -> Vec<u8> {
        let mut records = vec![
            ("archive/data.pkl".to_string(), pickle.to_vec()),
            ("archive/byteorder".to_string(), b"little".to_vec()),
        ];
        for (key, bytes) in &self.storages {
            records.push((format!("archive/data/{key}"), bytes.clone()));
        }
        records.push(("archive/version".to_string(), b"3\n".to_vec()));
        zip(&records, CompressionMethod::Stored)
    }
}

pub fn zip(records: &[(String, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in records {
        let options = SimpleFileOptions::default().compression_method(method);
        writer.start_file(name.as_str(), options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The pickle of an object, protocol 2.
pub fn pickle(object: &Py) -> Vec<u8> {
    let mut out = Out {
        bytes: vec![0x80, 2],
        memo: 0,
    };
    out.write(object);
    out.bytes.push(b'.');
    out.bytes
}

struct Out {
    bytes: Vec<u8>,
    memo: u32,
}

impl Out {
    fn put(&mut self) {
        match u8::try_from(self.memo) {
            Ok(index) => self.bytes.extend([b'q', index]),
            Err(_) => {
                self.bytes.push(b'r');
                self.bytes.extend(self.memo.to_le_bytes());
            }
        }
        self.memo += 1;
    }

    fn items(&mut self, items: &[(Py, Py)]) {
        // Python writes batches of at most 1000.
        for batch in items.chunks(1000) {
            if let [(key, value)] = batch {
                self.write(key);
                self.write(value);
                self.bytes.push(b's');
                continue;
            }
            self.bytes.push(b'(');
            for (key, value) in batch {
                self.write(key);
                self.write(value);
            }
            self.bytes.push(b'u');
        }
    }

    fn write(&mut self, object: &Py) {
        match object {
            Py::None => self.bytes.push(b'N'),
            Py::Bool(flag) => self.bytes.push(if *flag { 0x88 } else { 0x89 }),
            Py::Int(n) => {
                if let Ok(n) = u8::try_from(*n) {
                    self.bytes.extend([b'K', n]);
                } else if let Ok(n) = u16::try_from(*n) {
                    self.bytes.push(b'M');
                    self.bytes.extend(n.to_le_bytes());
                } else if let Ok(n) = i32::try_from(*n) {
                    self.bytes.push(b'J');
                    self.bytes.extend(n.to_le_bytes());
                } else {
                    self.bytes.extend([0x8a, 8]);
                    self.bytes.extend(n.to_le_bytes());
                }
            }
            Py::Float(x) => {
                self.bytes.push(b'G');
                self.bytes.extend(x.to_be_bytes());
            }
            Py::Text(text) => {
                self.bytes.push(b'X');
                self.bytes.extend((text.len() as u32).to_le_bytes());
                self.bytes.extend(text.as_bytes());
                self.put();
            }
            Py::Tuple(items) => {
                if items.len() > 3 {
                    self.bytes.push(b'(');
                }
                for item in items {
                    self.write(item);
                }
                self.bytes.push(match items.len() {
                    0 => b')',
                    1 => 0x85,
                    2 => 0x86,
                    3 => 0x87,
                    _ => b't',
                });
                if !items.is_empty() {
                    self.put();
                }
            }
            Py::List(items) => {
                self.bytes.push(b']');
                self.put();
                self.bytes.push(b'(');
                for item in items {
                    self.write(item);
                }
                self.bytes.push(b'e');
            }
            Py::Dict(items) => {
                self.bytes.push(b'}');
                self.put();
                self.items(items);
            }
            Py::Global(module, name) => {
                self.bytes.extend(format!("c{module}\n{name}\n").bytes());
                self.put();
            }
            Py::Call(function, arguments) => {
                self.write(function);
                self.write(arguments);
                self.bytes.push(b'R');
                self.put();
            }
            Py::Object(class, arguments, state) => {
                self.write(class);
                self.write(arguments);
                self.bytes.push(0x81);
                self.put();
                self.write(state);
                self.bytes.push(b'b');
            }
            Py::Filled(call, items) => {
                self.write(call);
                self.items(items);
            }
            Py::Persistent(id) => {
                self.write(id);
                self.bytes.push(b'Q');
            }
            Py::Raw(bytes) => self.bytes.extend(bytes),
        }
    }
}

/// The tensors of an archive.
pub fn load(bytes: &[u8]) -> HashMap<String, Tensor> {
    load_tensors_from_bytes(bytes, &Device::Cpu).unwrap()
}

/// The same names, shapes, dtypes and values.
#[track_caller]
pub fn assert_same(got: &HashMap<String, Tensor>, want: &HashMap<String, Tensor>) {
    let names = |tensors: &HashMap<String, Tensor>| {
        let mut names: Vec<_> = tensors.keys().cloned().collect();
        names.sort();
        names
    };
    assert_eq!(names(got), names(want));
    for (name, want) in want {
        let got = &got[name];
        let form = |tensor: &Tensor| (tensor.dims().to_vec(), tensor.dtype());
        assert_eq!(form(got), form(want), "{name}");
        assert_eq!(to_f64(got), to_f64(want), "{name}");
    }
}

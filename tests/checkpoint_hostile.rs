//! PyTorch archives that are damaged or made to do harm: each is an error that says what is wrong.

mod checkpoint_writer;
mod common;

use candle_core::{Device, Tensor};
use candle_flashfftconv::models::checkpoint::load_tensors_from_bytes;
use checkpoint_writer::*;
use common::data_dir;
use proptest::prelude::*;
use std::collections::HashMap;
use zip::CompressionMethod;

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

#[test]
fn the_good_one_is_read() {
    let got = load(&with_storage(&good())).unwrap();
    assert_eq!(got["x"].to_vec1::<f32>().unwrap(), [1., 2.]);
}

#[test]
fn names_that_run_code_are_refused() {
    for (module, name) in [
        ("posix", "system"),
        ("os", "system"),
        ("builtins", "eval"),
        ("__builtin__", "exec"),
        ("subprocess", "Popen"),
        ("torch.storage", "_load_from_bytes"),
        ("unknown.module", "Class"),
    ] {
        let asked = format!("asks for `{module}.{name}`");
        let bomb = call(module, name, vec![text("echo harm")]);
        // In the place of a weight, beside the weights, and unused.
        refused(&with_storage(&named(bomb.clone())), &[&asked]);
        let beside = Py::Dict(vec![(text("state_dict"), good()), (text("y"), bomb)]);
        refused(&with_storage(&beside), &[&asked, "data.pkl, byte"]);
        let unused = Py::Dict(vec![(text("y"), Py::Global(module, name))]);
        refused(&with_storage(&unused), &[&asked]);
        for raw in [
            format!("(i{module}\n{name}\n."),
            format!("\u{8}c{module}\n{name}\n.")[1..].to_string(),
        ] {
            refused(&checkpoint().save_pickle(raw.as_bytes()), &[&asked]);
        }
    }
    let by_stack = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02ls\x85R.";
    refused(
        &checkpoint().save_pickle(by_stack),
        &["asks for `posix.system`"],
    );
    refused(
        &checkpoint().save_pickle(b"comegaconf\nsys.modules\n."),
        &["`omegaconf.sys.modules`"],
    );
    refused(
        &checkpoint().save_pickle(b"cos\x1b[31m\nsystem\n."),
        &["os\\u{1b}[31m.system"],
    );
    let long = format!("c{}\nx\n.", "a.".repeat(1 << 16));
    let message = message(&checkpoint().save_pickle(long.as_bytes()));
    assert!(message.len() < 500, "{}", message.len());
}

#[test]
fn calls_of_what_is_no_function_are_refused() {
    for raw in [
        &b"]K\x01\x85R."[..],
        b"ctorch\nfloat32\n)R.",
        b"cbuiltins\nlist\n]R.",
        b"cbuiltins\nlist\n)\x81)R.",
    ] {
        refused(&checkpoint().save_pickle(raw), &["expected", "got"]);
    }
}

#[test]
fn other_contents_are_named() {
    refused(
        &with_storage(&Py::Int(3)),
        &["a dictionary of tensors", "an integer"],
    );
    refused(
        &with_storage(&tensor_on(floats(), 0, &[2], &[1])),
        &["a dictionary of tensors", "got a tensor"],
    );
    refused(
        &with_storage(&Py::Dict(vec![
            (text("epoch"), Py::Int(1)),
            (text("weights"), good()),
        ])),
        &["state_dict", "[epoch, weights]"],
    );
    refused(
        &with_storage(&Py::Dict(vec![(text("state_dict"), Py::None)])),
        &["`state_dict` to be a dictionary", "None"],
    );
    refused(
        &with_storage(&Py::Dict(vec![(
            Py::Int(3),
            tensor_on(floats(), 0, &[2], &[1]),
        )])),
        &["under names", "integer"],
    );
}

#[test]
fn duplicate_names_are_refused() {
    let tensor = || tensor_on(floats(), 0, &[2], &[1]);
    let twice = Py::Dict(vec![(text("x"), tensor()), (text("x"), tensor())]);
    refused(&with_storage(&twice), &["\"x\" twice"]);
}

#[test]
fn wrong_views_are_refused() {
    let big = i64::MAX;
    for (offset, size, stride, part) in [
        (0, &[3i64][..], &[1i64][..], "2 elements"),
        (1, &[2], &[1], "within a storage"),
        (0, &[2], &[2], "within a storage"),
        (2, &[], &[], "within a storage"),
        (big, &[1], &[1], "within a storage"),
        (0, &[2], &[big], "within a storage"),
        (0, &[2, 2, 2], &[0, 0, 0], "2 elements"),
        (0, &[1 << 40], &[0], "2 elements"),
        (0, &[big, big], &[1, 1], "countable"),
        (0, &[big, big, 0], &[1, 1, 1], "countable"),
        (-1, &[2], &[1], "offset of at least 0"),
        (0, &[-2], &[1], "size of at least 0"),
        (0, &[2], &[-1], "stride of at least 0"),
        (0, &[2], &[1, 1], "as many strides"),
        (0, &[1; 65], &[1; 65], "64 dimensions"),
    ] {
        refused(
            &with_storage(&named(tensor_on(floats(), offset, size, stride))),
            &[part, "expected", "got"],
        );
    }
    let words = tensor_of(floats(), Py::Int(0), text("2"), ints(&[1]));
    refused(&with_storage(&named(words)), &["size as a tuple", "a text"]);
    let words = tensor_of(floats(), Py::Int(0), Py::Tuple(vec![text("2")]), ints(&[1]));
    refused(
        &with_storage(&named(words)),
        &["size of at least 0", "a text"],
    );
    let words = tensor_of(Py::None, Py::Int(0), ints(&[2]), ints(&[1]));
    refused(
        &with_storage(&named(words)),
        &["a tensor's storage", "None"],
    );
    refused(
        &with_storage(&named(call(
            "torch._utils",
            "_rebuild_tensor_v2",
            vec![floats()],
        ))),
        &["1 arguments"],
    );
}

#[test]
fn wrong_storages_are_refused() {
    let on = |class, key, count: i64| named(tensor_on(storage(class, key, count), 0, &[1], &[1]));
    refused(
        &with_storage(&on("FloatStorage", "1", 2)),
        &["data/1", "8 bytes", "no such record"],
    );
    refused(
        &with_storage(&on("FloatStorage", "0", 3)),
        &["data/0", "12 bytes", "got 8"],
    );
    refused(
        &with_storage(&on("FloatStorage", "0", 1)),
        &["4 bytes", "got 8"],
    );
    refused(
        &with_storage(&on("HalfStorage", "0", 2)),
        &["4 bytes", "got 8"],
    );
    refused(&with_storage(&on("FloatStorage", "0", 1 << 60)), &["got 8"]);
    refused(
        &with_storage(&on("FloatStorage", "0", i64::MAX)),
        &["a storage"],
    );
    refused(&with_storage(&on("FloatStorage", "0", -1)), &["a storage"]);
    refused(
        &with_storage(&on("FloatStorage", "../version", 2)),
        &["no such record"],
    );
    refused(
        &with_storage(&on("CharStorage", "0", 8)),
        &["a dtype that candle has", "int8"],
    );
    refused(
        &with_storage(&on("ComplexFloatStorage", "0", 1)),
        &["complex64"],
    );
    refused(
        &with_storage(&on("UntypedStorage", "0", 8)),
        &["without a type"],
    );
    refused(
        &with_storage(&named(Py::Persistent(Box::new(text("module"))))),
        &["a storage"],
    );

    // One storage of two dtypes.
    let mixed = Py::Dict(vec![
        (text("x"), tensor_on(floats(), 0, &[2], &[1])),
        (
            text("y"),
            tensor_on(storage("IntStorage", "0", 2), 0, &[2], &[1]),
        ),
    ]);
    refused(&with_storage(&mixed), &["of float32", "\"y\"", "of int32"]);
}

#[test]
fn views_that_multiply_a_storage_are_refused() {
    let checkpoint = Checkpoint {
        storages: vec![("0".to_string(), vec![0; 4096])],
    };
    let items = |count: i64| {
        let view = |i| tensor_on(storage("FloatStorage", "0", 1024), i, &[1000], &[1]);
        Py::Dict(
            (0..count)
                .map(|i| (text(&i.to_string()), view(i)))
                .collect(),
        )
    };
    assert_eq!(load(&checkpoint.save(&items(8))).unwrap().len(), 8);
    refused(&checkpoint.save(&items(9)), &["8 times its size"]);
}

#[test]
fn bombs_of_references_stay_small() {
    // Deep nesting, which a recursive reader pays for with its stack.
    let deep = |opcode: &[u8]| -> Vec<u8> {
        let mut bytes = b"N".to_vec();
        bytes.extend(opcode.repeat(1_000_000));
        bytes.push(b'.');
        bytes
    };
    refused(&checkpoint().save_pickle(&deep(b"\x85")), &["got a tuple"]);
    let mut lists = b"]".repeat(500_000);
    lists.extend(b"a".repeat(499_999));
    lists.push(b'.');
    refused(&checkpoint().save_pickle(&lists), &["got a list"]);
    refused(
        &checkpoint().save_pickle(&b"(".repeat(1_000_000)),
        &["byte 1000000", "1 more bytes"],
    );
    refused(
        &checkpoint().save_pickle(&b"(1".repeat(1_000_000)),
        &["1 more bytes"],
    );

    // A list in itself, and a dictionary as its own state dict.
    refused(&checkpoint().save_pickle(b"]q\0h\0a."), &["got a list"]);
    refused(
        &checkpoint().save_pickle(b"}q\0X\x0a\0\0\0state_dicth\0s."),
        &["state_dict"],
    );

    // 2^60 references by doubling.
    let mut bytes = b"]q\0".to_vec();
    for i in 0..60u8 {
        bytes.extend([b']', b'q', i + 1, b'(', b'h', i, b'h', i, b'e']);
    }
    bytes.push(b'.');
    refused(&checkpoint().save_pickle(&bytes), &["got a list"]);

    // Copies of one long list of pairs.
    let mut bytes = b"ccollections\nOrderedDict\nq\x01](".to_vec();
    bytes.extend(b"NN\x86".repeat(10_000));
    bytes.extend(b"e\x85q\x02");
    bytes.extend(b"h\x01h\x02R0".repeat(10_000));
    bytes.extend(b"N.");
    refused(
        &checkpoint().save_pickle(&bytes),
        &["no larger than the pickle"],
    );

    let many = b"N".repeat((1 << 22) + 1);
    refused(
        &checkpoint().save_pickle(&many),
        &["at most 4194304 values"],
    );
}

#[test]
fn claims_past_the_end_are_refused() {
    for raw in [
        &b""[..],
        b"\x80",
        b"\x80\x06.",
        b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x96\x00\x00\x00\x00\x01\x00\x00\x00.",
        b"X\xff\xff\xff\xffab.",
        b"T\xff\xff\xff\xffab.",
        b"\x8b\xff\xff\xff\xff.",
        b"\x8a\x08ab",
        b"\x8c\x05ab",
        b"G1234567",
        b"cos",
        b"I12",
    ] {
        refused(
            &checkpoint().save_pickle(raw),
            &["data.pkl, byte", "expected"],
        );
    }
}

#[test]
fn broken_programs_are_refused() {
    for raw in [
        &b"."[..],      // nothing to return
        b"t.",          // no mark
        b"(.",          // a mark alone
        b"\x85.",       // too few values
        b"K\x01(\x85.", // not below a mark
        b"h\x00.",
        b"j\xff\xff\xff\xff.",
        b"gx\n.",
        b"Na.",
        b"NNs.",
        b"}(Nu.",
        b"(Nd.",
        b"]NNs.",
        b"}Na.",
        b"](\x90.",
        b"K\x01Nb.",
        b"cbuiltins\nlist\nNb.",
        b"q\x00.",
        b"\x94.",
        b"2.",
        b"0.",
        b"Q.",
        b"NQ.",
        b"P1\n.",
        b"\x82\x01.",
        b"\x97.",
        b"\xff.",
        b"NN\x93.",
        b"NNR.",
        b"N)R.",
        b"(o.",
        b"Iabc\n.",
        b"L\n.",
        b"Fx\n.",
        b"Sx\n.",
        b"X\x01\0\0\0\xff.",
        b"ccollections\nOrderedDict\n](Ne\x85R.",
        b"ctorch\nSize\n)R.",
        b"ctorch._tensor\n_rebuild_from_type_v2\n)R.",
    ] {
        refused(
            &checkpoint().save_pickle(raw),
            &["data.pkl, byte", "expected"],
        );
    }
}

#[test]
fn every_truncation_of_the_pickle_is_refused() {
    let whole = pickle(&good());
    for len in 0..whole.len() {
        refused(&checkpoint().save_pickle(&whole[..len]), &["data.pkl"]);
    }
}

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_damaged_archive_never_panics(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5)) {
        let mut bytes = with_storage(&good());
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = load(&bytes);
    }

    #[test]
    fn a_damaged_pickle_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in any::<prop::sample::Index>(),
        shorten in any::<bool>(),
    ) {
        let object = Py::Dict(vec![
            (text("state_dict"), ordered_dict(vec![
                (text("x"), tensor_on(floats(), 0, &[2], &[1])),
                (text("y"), tensor_on(floats(), 0, &[2, 1], &[1, 2])),
            ])),
            (text("other"), Py::List(vec![Py::Int(70_000), Py::Float(1.5), Py::Tuple(vec![Py::None; 5])])),
        ]);
        let mut bytes = pickle(&object);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if shorten {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = load(&checkpoint().save_pickle(&bytes));
    }

    #[test]
    fn any_program_never_panics(
        // Opcodes that need nothing else, so that programs live longer than a few steps.
        opcodes in prop::collection::vec(prop::sample::select(b"N\x88)]}(\x85\x86\x87tleausdb012R\x81\x92Q\x93\x8f\x90\x91\x94o".to_vec()), 0..200),
        tail in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let mut bytes = b"ccollections\nOrderedDict\nctorch\nSize\nctorch._utils\n_rebuild_tensor_v2\n}](NN".to_vec();
        bytes.extend(opcodes);
        bytes.extend(tail);
        bytes.push(b'.');
        let _ = load(&checkpoint().save_pickle(&bytes));
    }
}

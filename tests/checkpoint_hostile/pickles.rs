//! Pickles that name, call, view or claim what they should not.

use crate::checkpoint_writer::*;
use crate::{checkpoint, floats, good, load, message, named, refused, with_storage};

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

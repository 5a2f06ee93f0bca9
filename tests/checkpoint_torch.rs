//! Reading PyTorch archives: what is read.

mod checkpoint_writer;
mod common;

use candle_core::{DType, Device, Tensor};
use candle_flashfftconv::models::checkpoint::load_tensors;
use checkpoint_writer::*;
use common::{data_dir, golden, random_tensor, to_f64};
use std::collections::HashMap;

#[test]
fn plain_dictionaries_give_their_tensors() {
    let want = HashMap::from([
        (
            "a".to_string(),
            random_tensor(1, &[3, 2], DType::F32, &Device::Cpu).unwrap(),
        ),
        (
            "b.weight".to_string(),
            random_tensor(2, &[5], DType::F64, &Device::Cpu).unwrap(),
        ),
    ]);
    let items = |checkpoint: &mut Checkpoint| -> Vec<(Py, Py)> {
        want.iter()
            .map(|(name, tensor)| (text(name), checkpoint.tensor(tensor)))
            .collect()
    };
    type Make = fn(Vec<(Py, Py)>) -> Py;
    let make: [Make; 7] = [
        Py::Dict,
        ordered_dict,
        |items| {
            let pairs = items
                .into_iter()
                .map(|(k, v)| Py::List(vec![k, v]))
                .collect();
            call("collections", "OrderedDict", vec![Py::List(pairs)])
        },
        |items| {
            Py::Dict(vec![
                (text("model"), Py::Dict(items)),
                (text("step"), Py::Int(3)),
            ])
        },
        |items| {
            let state = Py::Dict(vec![(text("model"), Py::Dict(items))]);
            Py::Dict(vec![(text("state"), state), (text("rng"), Py::None)])
        },
        // Entries that are no tensors, as modules with extra state leave them.
        |mut items| {
            items.push((text("_extra_state"), Py::None));
            items.push((Py::Int(3), text("x")));
            ordered_dict(items)
        },
        |items| {
            Py::Object(
                Box::new(Py::Global("collections", "OrderedDict")),
                Box::new(Py::Tuple(vec![Py::List(
                    items
                        .into_iter()
                        .map(|(k, v)| Py::Tuple(vec![k, v]))
                        .collect(),
                )])),
                Box::new(Py::Dict(vec![])),
            )
        },
    ];
    for make in make {
        let mut checkpoint = Checkpoint::default();
        let items = items(&mut checkpoint);
        assert_same(&load(&checkpoint.save(&make(items))), &want);
    }
    assert!(load(&Checkpoint::default().save(&Py::Dict(vec![]))).is_empty());
}

#[test]
fn reads_every_dtype() {
    let wide = Tensor::new(&[0f32, 1., 2., 3., 100., 7.], &Device::Cpu)
        .unwrap()
        .reshape((2, 3))
        .unwrap();
    let mut checkpoint = Checkpoint::default();
    let dtypes = [
        DType::U8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::BF16,
        DType::F16,
        DType::F32,
        DType::F64,
    ];
    let items = dtypes
        .iter()
        .map(|&dtype| {
            (
                text(&format!("{dtype:?}")),
                checkpoint.tensor(&wide.to_dtype(dtype).unwrap()),
            )
        })
        .collect();
    let want = dtypes
        .iter()
        .map(|&dtype| (format!("{dtype:?}"), wide.to_dtype(dtype).unwrap()))
        .collect();
    assert_same(&load(&checkpoint.save(&Py::Dict(items))), &want);
}

#[test]
fn reads_booleans_scalars_and_empty_tensors() {
    let checkpoint = Checkpoint {
        storages: vec![
            ("0".into(), vec![1, 0, 1]),
            ("1".into(), vec![0, 0, 0, 0, 0, 0, 128, 63]),
        ],
    };
    let got = load(&checkpoint.save(&Py::Dict(vec![
        (
            text("flags"),
            tensor_on(storage("BoolStorage", "0", 3), 0, &[3], &[1]),
        ),
        (
            text("one"),
            tensor_on(storage("FloatStorage", "1", 2), 1, &[], &[]),
        ),
        // An empty storage need not have a record.
        (
            text("none"),
            tensor_on(storage("FloatStorage", "2", 0), 0, &[0, 4], &[4, 1]),
        ),
    ])));
    assert_eq!(got["flags"].to_vec1::<u8>().unwrap(), [1, 0, 1]);
    assert_eq!(got["one"].to_scalar::<f32>().unwrap(), 1.0);
    assert_eq!(got["none"].dims(), [0, 4]);
}

#[test]
fn views_are_read_through_their_strides() {
    let numbers: Vec<f32> = (0..24).map(|i| i as f32).collect();
    let checkpoint = Checkpoint {
        storages: vec![(
            "k".into(),
            numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
        )],
    };
    let on = |offset, size: &[i64], stride: &[i64]| {
        tensor_on(storage("FloatStorage", "k", 24), offset, size, stride)
    };
    let got = load(&checkpoint.save(&Py::Dict(vec![
        (text("whole"), on(0, &[4, 6], &[6, 1])),
        (text("rows"), on(6, &[2, 6], &[6, 1])),
        (text("columns"), on(2, &[4, 3], &[6, 1])),
        (text("transposed"), on(0, &[6, 4], &[1, 6])),
        (text("again"), on(0, &[6, 4], &[1, 6])),
        (text("expanded"), on(5, &[3, 2], &[0, 1])),
    ])));
    let whole = Tensor::from_vec(numbers, (4, 6), &Device::Cpu).unwrap();
    let want = HashMap::from([
        ("rows".to_string(), whole.narrow(0, 1, 2).unwrap()),
        ("columns".to_string(), whole.narrow(1, 2, 3).unwrap()),
        ("transposed".to_string(), whole.t().unwrap()),
        ("again".to_string(), whole.t().unwrap()),
        (
            "expanded".to_string(),
            Tensor::new(&[[5f32, 6.], [5., 6.], [5., 6.]], &Device::Cpu).unwrap(),
        ),
        ("whole".to_string(), whole),
    ]);
    assert_same(&got, &want);
}

#[test]
fn reads_what_other_versions_of_pytorch_write() {
    let checkpoint = Checkpoint {
        storages: vec![("0".into(), vec![1, 0, 0, 0, 2, 0, 0, 0])],
    };
    let on = || tensor_on(storage("IntStorage", "0", 2), 0, &[2], &[1]);
    let inner = |storage: Py| vec![storage, Py::Int(0), ints(&[2]), ints(&[1])];
    let v3 = |class| {
        let mut arguments = inner(storage(class, "0", 8));
        arguments.extend([
            Py::Bool(false),
            Py::None,
            Py::Global("torch", "uint32"),
            Py::None,
        ]);
        call("torch._utils", "_rebuild_tensor_v3", arguments)
    };
    let mut named = inner(storage("IntStorage", "0", 2));
    named.extend([Py::Bool(false), Py::None]);
    for (tensor, dtype) in [
        (
            call(
                "torch._utils",
                "_rebuild_tensor",
                inner(storage("IntStorage", "0", 2)),
            ),
            DType::I32,
        ),
        (
            call(
                "torch._utils",
                "_rebuild_parameter",
                vec![on(), Py::Bool(true), Py::None],
            ),
            DType::I32,
        ),
        (
            call(
                "torch._tensor",
                "_rebuild_from_type_v2",
                vec![
                    Py::Global("torch._utils", "_rebuild_tensor_v2"),
                    Py::Global("torch", "Tensor"),
                    Py::Tuple(named),
                    Py::Dict(vec![]),
                ],
            ),
            DType::I32,
        ),
        (
            tensor_of(
                storage("IntStorage", "0", 2),
                Py::Int(0),
                call("torch", "Size", vec![Py::List(vec![Py::Int(2)])]),
                ints(&[1]),
            ),
            DType::I32,
        ),
        (v3("UntypedStorage"), DType::U32),
    ] {
        let got = load(&checkpoint.save(&Py::Dict(vec![(text("x"), tensor)])));
        assert_eq!(got["x"].dtype(), dtype);
        assert_eq!(to_f64(&got["x"]), [1., 2.]);
    }
}

#[test]
fn reads_every_protocol_of_pytorch() {
    for protocol in 2..=5 {
        let path = data_dir().join(format!("torch_protocol_{protocol}.pt"));
        let got = load_tensors(path, &Device::Cpu).unwrap();
        assert_eq!(got.len(), 3);
        assert_eq!(got["a"].to_vec1::<f32>().unwrap(), [1., 2.]);
        assert_eq!(got["b"].to_vec2::<f32>().unwrap(), [[3.], [4.]]);
        assert_eq!(got["c"].to_scalar::<i64>().unwrap(), 5);
    }
}

/// Opcodes that `torch.save` does not use, but other writers of plain containers do.
#[test]
fn reads_the_other_opcodes() {
    // Each leaves one value, which the next byte takes away.
    let values: [&[u8]; 20] = [
        b"I-12\n",
        b"I01\n",
        b"L123456789012345678901234567890L\n",
        b"F-1.5e3\n",
        b"S'text'\n",
        b"S\"it\\'s\"\n",
        b"Vtext\n",
        b"U\x02ab",
        b"T\x01\0\0\0\xff",
        b"C\x01a",
        b"B\x01\0\0\0a",
        b"\x8e\x01\0\0\0\0\0\0\0a",
        b"\x96\x01\0\0\0\0\0\0\0a",
        b"\x8a\x09\0\0\0\0\0\0\0\0\x01",
        b"\x8b\x01\0\0\0\x7f",
        b"(K\x01K\x02l",
        b"(K\x01K\x02\x91",
        b"\x8f(K\x01K\x02\x90",
        b"(ibuiltins\nlist\n",
        b"(cbuiltins\nlist\no",
    ];
    let mut bytes = Vec::new();
    for value in values {
        bytes.extend(value);
        bytes.push(b'0');
    }
    bytes.extend(b"((1(0N20"); // marks, a copy of the top
    bytes.extend(b"p7\ng7\n00"); // the memo by lines
    bytes.extend(b"\x80\x05\x95\x02\0\0\0\0\0\0\0");

    // A dictionary from a mark, its text and class names in the ways of protocol 4.
    bytes.extend(b"(\x8c\x01x\x8c\x0ctorch._utils\x94\x8c\x12_rebuild_tensor_v2\x94\x93(");
    bytes.extend(b"(\x8d\x07\0\0\0\0\0\0\0storage\x8c\x05torch\x8c\x0cFloatStorage\x93");
    bytes.extend(b"\x8c\x010\x8c\x03cpuK\x02tQ"); // the storage
    bytes.extend(b"K\0K\x02\x85(K\x01l\x89NtRd."); // its stride as a list
    let checkpoint = Checkpoint {
        storages: vec![("0".into(), vec![0, 0, 128, 63, 0, 0, 0, 64])],
    };
    let got = load(&checkpoint.save_pickle(&bytes));
    assert_eq!(got["x"].to_vec1::<f32>().unwrap(), [1., 2.]);
}

#[test]
fn reads_an_archive_of_pytorch_itself() {
    let path = data_dir().join("torch_lightning.ckpt");
    let got = load_tensors(path, &Device::Cpu).unwrap();
    let want = golden("torch_lightning");
    assert!(want.len() > 10);
    assert_same(&got, &want);
}

//! The element types of PyTorch, and which of them candle has.

use candle_core::DType;

/// An element type of PyTorch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ElementType {
    /// `float32` in `torch.float32`.
    pub name: &'static str,
    /// `FloatStorage` in `torch.FloatStorage`; empty for the types that have no such class.
    storage_class: &'static str,
    pub bytes: u64,
    /// What a tensor of it becomes, if candle can hold it.
    pub dtype: Option<DType>,
}

const fn element(
    name: &'static str,
    storage_class: &'static str,
    bytes: u64,
    dtype: Option<DType>,
) -> ElementType {
    ElementType {
        name,
        storage_class,
        bytes,
        dtype,
    }
}

static ALL: [ElementType; 20] = [
    element("float32", "FloatStorage", 4, Some(DType::F32)),
    element("float16", "HalfStorage", 2, Some(DType::F16)),
    element("bfloat16", "BFloat16Storage", 2, Some(DType::BF16)),
    element("float64", "DoubleStorage", 8, Some(DType::F64)),
    element("int64", "LongStorage", 8, Some(DType::I64)),
    element("int32", "IntStorage", 4, Some(DType::I32)),
    element("int16", "ShortStorage", 2, Some(DType::I16)),
    element("int8", "CharStorage", 1, None),
    element("uint8", "ByteStorage", 1, Some(DType::U8)),
    element("bool", "BoolStorage", 1, Some(DType::U8)),
    element("complex64", "ComplexFloatStorage", 8, None),
    element("complex128", "ComplexDoubleStorage", 16, None),
    element("qint8", "QInt8Storage", 1, None),
    element("quint8", "QUInt8Storage", 1, None),
    element("qint32", "QInt32Storage", 4, None),
    element("uint16", "", 2, None),
    element("uint32", "", 4, Some(DType::U32)),
    element("uint64", "", 8, None),
    element("float8_e4m3fn", "", 1, Some(DType::F8E4M3)),
    element("float8_e5m2", "", 1, None),
];

/// Bytes without a type: the tensors on them say what they are.
static UNTYPED: ElementType = element("bytes without a type", "UntypedStorage", 1, None);

impl ElementType {
    pub fn of_dtype(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|element| element.name == name)
    }

    pub fn of_storage_class(class: &str) -> Option<&'static Self> {
        ALL.iter()
            .chain([&UNTYPED])
            .find(|element| !class.is_empty() && element.storage_class == class)
    }
}

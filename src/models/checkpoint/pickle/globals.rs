//! Which names a pickle may ask for, and what they stand for here.
//!
//! Python would import the module and hand out the object, which is how a
//! pickle runs code. Nothing is imported here. Still, only what a published
//! checkpoint of weights has a reason to name is let through, so that a file
//! made to attack Python is refused and not half read.

use crate::models::checkpoint::element::ElementType;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::models::checkpoint) enum Global {
    /// A dictionary class.
    Dict,
    /// `torch.Size`: a tuple.
    Size,
    /// `_rebuild_tensor`, `_rebuild_tensor_v2`: (storage, offset, size, stride, …).
    RebuildTensor,
    /// `_rebuild_tensor_v3`: the same with a dtype at place 6.
    RebuildTensorWithType,
    /// `_rebuild_parameter`: (tensor, …).
    RebuildParameter,
    /// `_rebuild_from_type_v2`: (function, class, arguments of the function, state).
    RebuildFromType,
    /// A class of storages.
    Storage(&'static ElementType),
    /// A dtype.
    Dtype(&'static ElementType),
    /// A class or function whose results nobody needs to look into.
    Inert,
}

/// What `module.name` stands for, or `None` when a checkpoint has no business with it.
pub(super) fn look_up(module: &str, name: &str) -> Option<Global> {
    // "a.b" as a name would reach into other objects.
    if !is_identifier(name) || !module.split('.').all(is_identifier) {
        return None;
    }
    known(module, name).or_else(|| is_inert(module, name).then_some(Global::Inert))
}

fn known(module: &str, name: &str) -> Option<Global> {
    match (module, name) {
        ("collections", "OrderedDict" | "defaultdict" | "Counter")
        | ("builtins" | "__builtin__", "dict") => Some(Global::Dict),
        ("torch", "Size") => Some(Global::Size),
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Global::RebuildTensor),
        ("torch._utils", "_rebuild_tensor_v3") => Some(Global::RebuildTensorWithType),
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
            Some(Global::RebuildParameter)
        }
        ("torch._tensor", "_rebuild_from_type_v2") => Some(Global::RebuildFromType),
        ("torch" | "torch.cuda" | "torch.storage", _) => ElementType::of_storage_class(name)
            .map(Global::Storage)
            .or_else(|| {
                ElementType::of_dtype(name)
                    .filter(|_| module == "torch")
                    .map(Global::Dtype)
            }),
        _ => None,
    }
}

fn is_inert(module: &str, name: &str) -> bool {
    match module {
        "builtins" | "__builtin__" => matches!(
            name,
            "list"
                | "set"
                | "frozenset"
                | "tuple"
                | "int"
                | "long"
                | "float"
                | "bool"
                | "complex"
                | "str"
                | "unicode"
                | "bytes"
                | "bytearray"
                | "slice"
                | "range"
                | "object"
        ),
        "collections" => name == "deque",
        // How protocol 2 writes bytes and instances of plain classes.
        "_codecs" => name == "encode",
        "copyreg" | "copy_reg" => name == "_reconstructor",
        "torch" => matches!(name, "device" | "Tensor"),
        "torch.nn.parameter" => matches!(name, "Parameter" | "Buffer"),
        "numpy" => matches!(
            name,
            "dtype" | "ndarray" | "bool_" | "float32" | "float64" | "int32" | "int64"
        ),
        "numpy.core.multiarray" | "numpy._core.multiarray" => {
            matches!(name, "scalar" | "_reconstruct")
        }
        "numpy.dtypes" => true,
        "pathlib" | "pathlib._local" => matches!(
            name,
            "Path" | "PosixPath" | "WindowsPath" | "PurePath" | "PurePosixPath" | "PureWindowsPath"
        ),
        "typing" => true,
        "argparse" => name == "Namespace",
        // The configuration and the bookkeeping of a training run.
        _ => [
            "omegaconf",
            "pytorch_lightning",
            "lightning",
            "lightning_fabric",
            "lightning_utilities",
        ]
        .into_iter()
        .any(|package| {
            module
                .strip_prefix(package)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        }),
    }
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_checkpoints_name_is_known() {
        for (module, name) in [
            ("omegaconf.dictconfig", "DictConfig"),
            ("omegaconf", "DictConfig"),
            ("omegaconf.base", "ContainerMetadata"),
            ("typing", "Any"),
            ("numpy.core.multiarray", "scalar"),
            ("pytorch_lightning.utilities.enums", "GradClipAlgorithmType"),
            ("torch.cuda", "HalfStorage"),
        ] {
            assert!(look_up(module, name).is_some(), "{module}.{name}");
        }
        let float32 = ElementType::of_dtype("float32").unwrap();
        assert_eq!(
            look_up("torch", "FloatStorage"),
            Some(Global::Storage(float32))
        );
        assert_eq!(look_up("torch", "float32"), Some(Global::Dtype(float32)));
    }

    #[test]
    fn what_runs_code_is_not() {
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("nt", "system"),
            ("subprocess", "Popen"),
            ("builtins", "eval"),
            ("builtins", "exec"),
            ("builtins", "getattr"),
            ("builtins", "__import__"),
            ("__builtin__", "apply"),
            ("torch", "load"),
            ("torch.storage", "_load_from_bytes"),
            ("torch.hub", "load"),
            ("torch", "float32.__class__"),
            ("torch.cuda", "float32"),
            ("omegaconf", "sys.modules"),
            ("omegaconfx", "DictConfig"),
            ("pytorch_lightning_evil", "x"),
            ("omegaconf..x", "y"),
            ("omegaconf", ""),
            ("", "system"),
            ("collections", "namedtuple"),
            ("functools", "partial"),
            ("runpy", "run_path"),
            ("numpy.testing._private.utils", "runstring"),
            ("__main__", "Model"),
        ] {
            assert_eq!(look_up(module, name), None, "{module}.{name}");
        }
    }
}

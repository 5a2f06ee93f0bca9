//! Reads a pickle as data.
//!
//! A pickle is a program for a small stack machine, and Python's machine calls
//! whatever the program names. This one calls nothing: it knows the few
//! functions that rebuild a tensor by name, keeps a list of the names that a
//! checkpoint may ask for otherwise, whose objects stay opaque, and refuses the rest.
//!
//! The result is a flat list of values that refer to each other by number. So
//! neither deep nesting nor an object that contains itself can exhaust the
//! stack, and a value that is used a million times is there once.

mod bytes;
mod globals;
mod machine;
mod objects;
mod tensor;

pub(super) use machine::parse;
pub(super) use tensor::StoredTensor;

use super::element::ElementType;
use globals::Global;

/// The number of a value in its [`Graph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(u32);

/// One value of a pickle.
#[derive(Debug)]
pub(super) enum Value<'a> {
    None,
    Bool,
    Int(i64),
    Text(&'a str),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    /// In the order of insertion, and with every insertion of a repeated key.
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Storage),
    Tensor(Box<StoredTensor>),
    /// Anything else that plain data may hold: nobody looks inside.
    Opaque,
}

impl Value<'_> {
    /// What it is, for a message.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool => "a truth value",
            Self::Int(_) => "an integer",
            Self::Text(_) => "a text",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dictionary",
            Self::Global(_) => "a class or function",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
            Self::Opaque => "an object",
        }
    }
}

/// The memory of tensors, a record of the archive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Storage {
    /// The text that names the record `data/KEY`.
    pub key: Id,
    pub element: &'static ElementType,
    /// Size in bytes, as claimed.
    pub bytes: u64,
}

/// The values of a pickle.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    values: Vec<Value<'a>>,
    root: Id,
}

impl<'a> Graph<'a> {
    /// What the pickle is of.
    pub fn root(&self) -> Id {
        self.root
    }

    pub fn get(&self, id: Id) -> &Value<'a> {
        value(&self.values, id)
    }

    pub fn text(&self, id: Id) -> Option<&'a str> {
        match *self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The pairs of a dictionary, `None` for anything else.
    pub fn pairs(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.get(id) {
            Value::Dict(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// What a dictionary holds under a text; the last one counts, as in Python.
    pub fn field(&self, dict: Id, name: &str) -> Option<Id> {
        let pairs = self.pairs(dict)?;
        pairs
            .iter()
            .rev()
            .find(|(key, _)| self.text(*key) == Some(name))
            .map(|&(_, value)| value)
    }
}

/// Numbers come from the list that they point into; should one not, it is an opaque value.
fn value<'v, 'a>(values: &'v [Value<'a>], id: Id) -> &'v Value<'a> {
    usize::try_from(id.0)
        .ok()
        .and_then(|index| values.get(index))
        .unwrap_or(&Value::Opaque)
}

/// A tensor of bytes, for tests of what becomes of it.
#[cfg(test)]
pub(super) fn stored_tensor(offset: u64, shape: &[u64], strides: &[u64]) -> StoredTensor {
    let element = ElementType::of_dtype("uint8").unwrap();
    StoredTensor {
        storage: Storage {
            key: Id(0),
            element,
            bytes: 0,
        },
        element,
        offset,
        shape: shape.to_vec(),
        strides: strides.to_vec(),
    }
}

//! The opcodes that name classes, call functions and make objects, which is
//! where Python would run code. Here a call has one of a few known results.

use super::globals::{look_up, Global};
use super::machine::{Machine, Outcome};
use super::tensor::rebuild;
use super::{Id, Storage, Value};
use crate::models::checkpoint::error::shortened;

impl<'a> Machine<'a> {
    pub(super) fn global_from_lines(&mut self) -> Outcome {
        let module = self.bytes.line()?;
        let name = self.bytes.line()?;
        self.push_global(module, name)
    }

    pub(super) fn global_from_stack(&mut self) -> Outcome {
        let name = self.pop()?;
        let module = self.pop()?;
        match (self.get(module), self.get(name)) {
            (&Value::Text(module), &Value::Text(name)) => self.push_global(module, name),
            _ => Err(self.wrong("the name of a class", "something else than texts")),
        }
    }

    fn push_global(&mut self, module: &str, name: &str) -> Outcome {
        let global = self.look_up(module, name)?;
        self.push(Value::Global(global))
    }

    fn look_up(&self, module: &str, name: &str) -> Outcome<Global> {
        look_up(module, name).ok_or_else(|| {
            let asked = shortened(&format!("{module}.{name}"));
            self.wrong(
                "weights in plain containers",
                format!("a pickle that asks for `{asked}`, which no file of weights needs"),
            )
        })
    }

    pub(super) fn reduce(&mut self) -> Outcome {
        let arguments = self.pop()?;
        let callable = self.pop()?;
        self.call(callable, arguments)
    }

    pub(super) fn new_with_keywords(&mut self) -> Outcome {
        self.pop()?;
        self.reduce()
    }

    pub(super) fn object_from_mark(&mut self) -> Outcome {
        let items = self.pop_to_mark()?;
        let Some((&class, arguments)) = items.split_first() else {
            return Err(self.wrong("a class", "nothing"));
        };
        let arguments = self.new_value(Value::Tuple(arguments.to_vec()))?;
        self.call(class, arguments)
    }

    pub(super) fn instance_from_mark(&mut self) -> Outcome {
        let module = self.bytes.line()?;
        let name = self.bytes.line()?;
        let global = self.look_up(module, name)?;
        let class = self.new_value(Value::Global(global))?;
        let arguments = self.pop_to_mark()?;
        let arguments = self.new_value(Value::Tuple(arguments))?;
        self.call(class, arguments)
    }

    /// What Python would do by calling `callable(*arguments)`, for the few names that matter.
    fn call(&mut self, callable: Id, arguments: Id) -> Outcome {
        let Value::Global(global) = *self.get(callable) else {
            let got = self.get(callable).kind();
            return Err(self.wrong("a class or function to call", got));
        };
        let Value::Tuple(items) = self.get(arguments) else {
            let got = self.get(arguments).kind();
            return Err(self.wrong("a tuple of arguments", got));
        };
        match global {
            Global::Dict => {
                // defaultdict's first argument is no content; skip what is no collection.
                let content = items
                    .iter()
                    .copied()
                    .find(|&id| matches!(self.get(id), Value::Dict(_) | Value::List(_)));
                let pairs = match content {
                    Some(content) => self.copied_pairs(content)?,
                    None => Vec::new(),
                };
                self.push(Value::Dict(pairs))
            }
            Global::Size | Global::RebuildParameter => match items.first() {
                Some(&first) => {
                    self.stack.push(first);
                    Ok(())
                }
                None => Err(self.wrong("an argument", "none")),
            },
            Global::RebuildTensor => self.push_tensor(arguments, false),
            Global::RebuildTensorWithType => self.push_tensor(arguments, true),
            Global::RebuildFromType => match *items.as_slice() {
                [function, _, inner, ..] => match *self.get(function) {
                    Value::Global(Global::RebuildTensor) => self.push_tensor(inner, false),
                    Value::Global(Global::RebuildTensorWithType) => self.push_tensor(inner, true),
                    _ => self.push(Value::Opaque),
                },
                _ => {
                    let got = items.len();
                    Err(self.wrong("a function, a class and arguments", got))
                }
            },
            Global::Inert | Global::Storage(_) => self.push(Value::Opaque),
            Global::Dtype(_) => Err(self.wrong("a class or function to call", "a dtype")),
        }
    }

    /// The pairs of a dictionary, or of a list of pairs.
    fn copied_pairs(&mut self, content: Id) -> Outcome<Vec<(Id, Id)>> {
        let count = match self.get(content) {
            Value::Dict(pairs) => pairs.len(),
            Value::List(items) => items.len(),
            _ => 0,
        };
        self.charge(count)?;
        let pairs = match self.get(content) {
            Value::Dict(pairs) => Some(pairs.clone()),
            Value::List(items) => items.iter().map(|&item| self.pair(item)).collect(),
            _ => None,
        };
        pairs.ok_or_else(|| self.wrong("a list of pairs", "something else"))
    }

    fn pair(&self, id: Id) -> Option<(Id, Id)> {
        match self.get(id) {
            Value::Tuple(items) | Value::List(items) => match *items.as_slice() {
                [key, item] => Some((key, item)),
                _ => None,
            },
            _ => None,
        }
    }

    fn push_tensor(&mut self, arguments: Id, typed: bool) -> Outcome {
        let tensor = match self.get(arguments) {
            Value::Tuple(items) => rebuild(&self.values, items, typed),
            other => Err(("a tuple of arguments".to_string(), other.kind().to_string())),
        };
        match tensor {
            Ok(tensor) => {
                self.charge(tensor.shape.len().saturating_mul(2))?;
                self.push(Value::Tensor(Box::new(tensor)))
            }
            Err((expected, got)) => Err(self.wrong(expected, got)),
        }
    }

    /// The state of an object: nothing that a tensor depends on.
    pub(super) fn build(&mut self) -> Outcome {
        self.pop()?;
        let target = self.top()?;
        match self.get(target) {
            Value::Dict(_) | Value::List(_) | Value::Tensor(_) | Value::Opaque => Ok(()),
            other => Err(self.wrong("an object that has a state", other.kind())),
        }
    }

    /// `("storage", class, key, location, number of elements)`.
    pub(super) fn persistent(&mut self) -> Outcome {
        let id = self.pop()?;
        let storage = match self.get(id) {
            Value::Tuple(items) => self.storage(items),
            _ => None,
        };
        match storage {
            Some(storage) => self.push(Value::Storage(storage)),
            None => Err(self.wrong(
                "a storage: (\"storage\", class, key, location, number of elements of at least 0)",
                "another persistent object",
            )),
        }
    }

    fn storage(&self, items: &[Id]) -> Option<Storage> {
        let [kind, class, key, _location, count, ..] = *items else {
            return None;
        };
        match (
            self.get(kind),
            self.get(class),
            self.get(key),
            self.get(count),
        ) {
            (
                Value::Text("storage"),
                &Value::Global(Global::Storage(element)),
                Value::Text(_),
                &Value::Int(count),
            ) => Some(Storage {
                key,
                element,
                bytes: u64::try_from(count).ok()?.checked_mul(element.bytes)?,
            }),
            _ => None,
        }
    }
}

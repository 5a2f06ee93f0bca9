//! The stack machine. One method an effect, one arm an opcode; those that make objects are in `objects`.
//!
//! Memory is bounded by the length of the pickle: every opcode pushes at most
//! one value, a collection is made of values that were pushed one by one, and
//! the few copies are charged against that length.

use super::bytes::Bytes;
use super::{value, Graph, Id, Value};
use crate::models::checkpoint::error::quoted;
use crate::Error;
use std::collections::HashMap;

/// No checkpoint comes near: tensors lie outside the pickle.
const MAX_BYTES: usize = 64 << 20;
const MAX_VALUES: usize = 1 << 22;

pub(super) type Outcome<T = ()> = Result<T, Error>;

/// Runs the pickle. `source_name` is for messages.
pub(in crate::models::checkpoint) fn parse<'a>(
    bytes: &'a [u8],
    source_name: &'a str,
) -> Outcome<Graph<'a>> {
    let mut machine = Machine {
        bytes: Bytes::new(bytes, source_name),
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        copies_left: bytes.len(),
    };
    if bytes.len() > MAX_BYTES {
        return Err(machine.wrong(
            format!("a pickle of at most {MAX_BYTES} bytes"),
            bytes.len(),
        ));
    }
    loop {
        if let Some(root) = machine.step()? {
            return Ok(Graph {
                values: machine.values,
                root,
            });
        }
    }
}

pub(super) struct Machine<'a> {
    pub(super) bytes: Bytes<'a>,
    pub(super) values: Vec<Value<'a>>,
    pub(super) stack: Vec<Id>,
    /// Heights of the stack at the marks that are open.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Items of collections that may still be copied.
    copies_left: usize,
}

impl<'a> Machine<'a> {
    /// One opcode. The result, once the pickle stops.
    fn step(&mut self) -> Outcome<Option<Id>> {
        let opcode = self.bytes.u8()?;
        match opcode {
            // Frame of the program.
            0x80 => self.protocol()?,
            0x95 => self.frame()?,
            b'.' => return self.pop().map(Some),

            // Constants.
            b'N' => self.push(Value::None)?,
            0x88 | 0x89 => self.push(Value::Bool)?,
            b'J' => self.fixed(|bytes| bytes.i32().map(i64::from))?,
            b'K' => self.fixed(|bytes| bytes.u8().map(i64::from))?,
            b'M' => self.fixed(|bytes| bytes.u16().map(i64::from))?,
            0x8a => self.integer(|bytes| bytes.u8().map(u64::from))?,
            0x8b => self.integer(|bytes| bytes.u32().map(u64::from))?,
            b'G' => self.skip(|_| Ok(8))?,
            b'I' => self.integer_line(false)?,
            b'L' => self.integer_line(true)?,
            b'F' => self.float_line()?,

            // Texts and bytes.
            0x8c => self.text(|bytes| bytes.u8().map(u64::from))?,
            b'X' => self.text(|bytes| bytes.u32().map(u64::from))?,
            0x8d => self.text(Bytes::u64)?,
            b'V' => self.text_line(false)?,
            b'S' => self.text_line(true)?,
            b'U' => self.text_or_bytes(|bytes| bytes.u8().map(u64::from))?,
            b'T' => self.text_or_bytes(|bytes| bytes.u32().map(u64::from))?,
            b'C' => self.skip(|bytes| bytes.u8().map(u64::from))?,
            b'B' => self.skip(|bytes| bytes.u32().map(u64::from))?,
            0x8e | 0x96 => self.skip(Bytes::u64)?,

            // Collections.
            b'(' => self.marks.push(self.stack.len()),
            b')' => self.push(Value::Tuple(Vec::new()))?,
            0x85 => self.short_tuple(1)?,
            0x86 => self.short_tuple(2)?,
            0x87 => self.short_tuple(3)?,
            b't' => self.collect_to_mark(Value::Tuple)?,
            b']' => self.push(Value::List(Vec::new()))?,
            b'l' => self.collect_to_mark(Value::List)?,
            b'a' => self.append()?,
            b'e' => self.appends()?,
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b'd' => self.dictionary_from_mark()?,
            b's' => self.set_item()?,
            b'u' => self.set_items()?,
            0x8f => self.push(Value::Opaque)?, // an empty set
            0x90 => self.add_items()?,
            0x91 => self.collect_to_mark(|_| Value::Opaque)?, // a frozen set

            // The stack and the memo.
            b'0' => self.discard()?,
            b'1' => drop(self.pop_to_mark()?),
            b'2' => self.duplicate()?,
            b'q' => self.memorise(|bytes| bytes.u8().map(u32::from))?,
            b'r' => self.memorise(Bytes::u32)?,
            b'p' => self.memorise(memo_line)?,
            0x94 => self.memorise_next()?,
            b'h' => self.recall(|bytes| bytes.u8().map(u32::from))?,
            b'j' => self.recall(Bytes::u32)?,
            b'g' => self.recall(memo_line)?,

            // Objects.
            b'c' => self.global_from_lines()?,
            0x93 => self.global_from_stack()?,
            b'R' | 0x81 => self.reduce()?,
            0x92 => self.new_with_keywords()?,
            b'o' => self.object_from_mark()?,
            b'i' => self.instance_from_mark()?,
            b'b' => self.build()?,
            b'Q' => self.persistent()?,

            other => {
                return Err(self.wrong(
                    "an operation of plain data",
                    match other {
                        b'P' => "a persistent object by a line of text".to_string(),
                        0x82..=0x84 => "an object of the extension registry".to_string(),
                        0x97 | 0x98 => "a buffer from outside the pickle".to_string(),
                        _ => format!("the byte {other:#04x}"),
                    },
                ))
            }
        }
        Ok(None)
    }

    pub(super) fn wrong(&self, expected: impl ToString, got: impl ToString) -> Error {
        self.bytes.wrong(expected, got)
    }

    pub(super) fn get(&self, id: Id) -> &Value<'a> {
        value(&self.values, id)
    }

    // ---- the stack

    pub(super) fn new_value(&mut self, value: Value<'a>) -> Outcome<Id> {
        let id = u32::try_from(self.values.len()).ok().map(Id);
        match id.filter(|_| self.values.len() < MAX_VALUES) {
            Some(id) => {
                self.values.push(value);
                Ok(id)
            }
            None => Err(self.wrong(format!("at most {MAX_VALUES} values"), "more")),
        }
    }

    pub(super) fn push(&mut self, value: Value<'a>) -> Outcome {
        let id = self.new_value(value)?;
        self.stack.push(id);
        Ok(())
    }

    /// The top of the stack, which must not lie below the last mark.
    pub(super) fn top(&self) -> Outcome<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(&id) if self.stack.len() > floor => Ok(id),
            _ => Err(self.wrong("a value on the stack", "nothing")),
        }
    }

    pub(super) fn pop(&mut self) -> Outcome<Id> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    /// The values above the last mark, which is closed.
    pub(super) fn pop_to_mark(&mut self) -> Outcome<Vec<Id>> {
        match self.marks.pop() {
            Some(height) => Ok(self.stack.split_off(height.min(self.stack.len()))),
            None => Err(self.wrong("a mark on the stack", "none")),
        }
    }

    fn discard(&mut self) -> Outcome {
        match self.marks.last() {
            // Nothing above the mark: the mark itself goes.
            Some(&height) if height == self.stack.len() => {
                self.marks.pop();
                Ok(())
            }
            _ => self.pop().map(drop),
        }
    }

    fn duplicate(&mut self) -> Outcome {
        let id = self.top()?;
        self.stack.push(id);
        Ok(())
    }

    pub(super) fn charge(&mut self, items: usize) -> Outcome {
        match self.copies_left.checked_sub(items) {
            Some(left) => {
                self.copies_left = left;
                Ok(())
            }
            None => Err(self.wrong("collections no larger than the pickle", "more copies")),
        }
    }

    // ---- frame of the program

    fn protocol(&mut self) -> Outcome {
        match self.bytes.u8()? {
            0..=5 => Ok(()),
            other => Err(self.wrong("pickle protocol 0 to 5", other)),
        }
    }

    fn frame(&mut self) -> Outcome {
        let length = self.bytes.u64()?;
        if length > self.bytes.remaining() as u64 {
            return Err(self.wrong(
                format!("a frame of {length} bytes"),
                format!("{} until the end", self.bytes.remaining()),
            ));
        }
        Ok(())
    }

    // ---- constants, texts and bytes

    fn fixed(&mut self, read: impl Fn(&mut Bytes<'a>) -> Outcome<i64>) -> Outcome {
        let number = read(&mut self.bytes)?;
        self.push(Value::Int(number))
    }

    fn integer(&mut self, length: impl Fn(&mut Bytes<'a>) -> Outcome<u64>) -> Outcome {
        let length = length(&mut self.bytes)?;
        let number = self.bytes.integer(length)?;
        self.push(number.map_or(Value::Opaque, Value::Int))
    }

    fn integer_line(&mut self, long: bool) -> Outcome {
        let line = self.bytes.line()?;
        let digits = match long {
            true => line.strip_suffix('L').unwrap_or(line),
            false => line,
        };
        let value = match digits.parse() {
            _ if !long && matches!(digits, "00" | "01") => Value::Bool,
            Ok(number) => Value::Int(number),
            Err(_) if !digits.is_empty() && digits.bytes().skip(1).all(|b| b.is_ascii_digit()) => {
                Value::Opaque // more than 64 bits
            }
            Err(e) => return Err(self.wrong("an integer", format!("{} ({e})", quoted(line)))),
        };
        self.push(value)
    }

    fn float_line(&mut self) -> Outcome {
        let line = self.bytes.line()?;
        if line.parse::<f64>().is_err() {
            return Err(self.wrong("a number", quoted(line)));
        }
        self.push(Value::Opaque)
    }

    fn text(&mut self, length: impl Fn(&mut Bytes<'a>) -> Outcome<u64>) -> Outcome {
        let length = length(&mut self.bytes)?;
        let text = self.bytes.text(length)?;
        self.push(Value::Text(text))
    }

    /// A text of protocol 0. One with escapes names no tensor of any known writer.
    fn text_line(&mut self, in_quotes: bool) -> Outcome {
        let line = self.bytes.line()?;
        let inner = match in_quotes {
            false => Some(line),
            true => ['\'', '"']
                .into_iter()
                .find_map(|quote| line.strip_prefix(quote)?.strip_suffix(quote)),
        };
        match inner {
            Some(text) if text.contains('\\') => self.push(Value::Opaque),
            Some(text) => self.push(Value::Text(text)),
            None => Err(self.wrong("a text in quotes", quoted(line))),
        }
    }

    /// A Python 2 string: text if it can be, otherwise bytes.
    fn text_or_bytes(&mut self, length: impl Fn(&mut Bytes<'a>) -> Outcome<u64>) -> Outcome {
        let length = length(&mut self.bytes)?;
        let bytes = self.bytes.take(length)?;
        self.push(std::str::from_utf8(bytes).map_or(Value::Opaque, Value::Text))
    }

    fn skip(&mut self, length: impl Fn(&mut Bytes<'a>) -> Outcome<u64>) -> Outcome {
        let length = length(&mut self.bytes)?;
        self.bytes.take(length)?;
        self.push(Value::Opaque)
    }

    // ---- collections

    fn short_tuple(&mut self, count: usize) -> Outcome {
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Value::Tuple(items))
    }

    fn collect_to_mark(&mut self, make: impl Fn(Vec<Id>) -> Value<'a>) -> Outcome {
        let items = self.pop_to_mark()?;
        self.push(make(items))
    }

    fn dictionary_from_mark(&mut self) -> Outcome {
        let items = self.pop_to_mark()?;
        let pairs = self.pairs(&items)?;
        self.push(Value::Dict(pairs))
    }

    fn append(&mut self) -> Outcome {
        let item = self.pop()?;
        self.extend_list(&[item])
    }

    fn appends(&mut self) -> Outcome {
        let items = self.pop_to_mark()?;
        self.extend_list(&items)
    }

    /// Appends to what is on top of the stack. An opaque object takes anything.
    fn extend_list(&mut self, items: &[Id]) -> Outcome {
        let target = self.top()?;
        match self.get_mut(target) {
            Some(Value::List(list)) => list.extend(items),
            Some(Value::Opaque) => {}
            _ => return Err(self.wrong("a list to append to", self.get(target).kind())),
        }
        Ok(())
    }

    fn set_item(&mut self) -> Outcome {
        let item = self.pop()?;
        let key = self.pop()?;
        self.extend_dictionary(&[(key, item)])
    }

    fn set_items(&mut self) -> Outcome {
        let items = self.pop_to_mark()?;
        let pairs = self.pairs(&items)?;
        self.extend_dictionary(&pairs)
    }

    fn extend_dictionary(&mut self, pairs: &[(Id, Id)]) -> Outcome {
        let target = self.top()?;
        match self.get_mut(target) {
            Some(Value::Dict(dictionary)) => dictionary.extend(pairs),
            Some(Value::Opaque) => {}
            _ => return Err(self.wrong("a dictionary to add to", self.get(target).kind())),
        }
        Ok(())
    }

    fn add_items(&mut self) -> Outcome {
        self.pop_to_mark()?;
        let target = self.top()?;
        match self.get(target) {
            Value::Opaque => Ok(()),
            other => Err(self.wrong("a set to add to", other.kind())),
        }
    }

    fn pairs(&self, items: &[Id]) -> Outcome<Vec<(Id, Id)>> {
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(self.wrong("keys and values in pairs", format!("{} items", items.len())));
        }
        Ok(pairs.iter().map(|&[key, item]| (key, item)).collect())
    }

    fn get_mut(&mut self, id: Id) -> Option<&mut Value<'a>> {
        self.values.get_mut(usize::try_from(id.0).ok()?)
    }

    // ---- the memo

    fn memorise(&mut self, index: impl Fn(&mut Bytes<'a>) -> Outcome<u32>) -> Outcome {
        let index = index(&mut self.bytes)?;
        let id = self.top()?;
        self.memo.insert(index, id);
        Ok(())
    }

    fn memorise_next(&mut self) -> Outcome {
        let id = self.top()?;
        // As many entries as opcodes at most, so this fits.
        let index = u32::try_from(self.memo.len()).unwrap_or(u32::MAX);
        self.memo.insert(index, id);
        Ok(())
    }

    fn recall(&mut self, index: impl Fn(&mut Bytes<'a>) -> Outcome<u32>) -> Outcome {
        let index = index(&mut self.bytes)?;
        match self.memo.get(&index) {
            Some(&id) => {
                self.stack.push(id);
                Ok(())
            }
            None => Err(self.wrong(format!("a value remembered as {index}"), "none")),
        }
    }
}

fn memo_line(bytes: &mut Bytes) -> Outcome<u32> {
    let line = bytes.line()?;
    line.parse()
        .map_err(|e| bytes.wrong("a memo number", format!("{} ({e})", quoted(line))))
}

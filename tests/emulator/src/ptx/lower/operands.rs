//! Operands of instructions as slots of registers.

use super::super::text;
use super::names::special;
use super::{Lowering, Symbol};
use crate::machine::arithmetic;
use crate::machine::instruction::{Address, Operation, Space};

impl Lowering<'_> {
    /// The slot of a register that may not have been seen before.
    pub(super) fn register(&mut self, name: &str) -> Result<u32, String> {
        if let Some(slot) = self
            .scopes
            .iter()
            .rev()
            .find_map(|scope| scope.get(name).copied())
        {
            return Ok(slot);
        }
        if !name.starts_with('%') {
            return Err(format!("not a register: {name}"));
        }
        let slot = self.new_slot();
        // In the outermost scope of this body: declarations with a count are made there.
        let outermost = self.body_scope();
        self.scopes[outermost].insert(name.to_string(), slot);
        Ok(slot)
    }

    /// The scope of the body that is being lowered: a called one starts with a barrier of its own.
    pub(super) fn body_scope(&self) -> usize {
        self.scopes
            .iter()
            .rposition(|scope| scope.contains_key("a called body"))
            .unwrap_or(0)
    }

    /// The slot of what is read.
    pub(super) fn source(&mut self, operand: &str) -> Result<u32, String> {
        if let Some(special) = special(operand) {
            return Ok(self.special(special));
        }
        match operand {
            "%clock" | "%clock64" | "%globaltimer" => return Ok(self.constant(0)),
            "WARP_SZ" => return Ok(self.constant(32)),
            _ => {}
        }
        if let Some(negated) = operand.strip_prefix('!') {
            let slot = self.register(negated)?;
            let result = self.new_slot();
            let (not, _) = arithmetic::find(&["not", "pred"]).ok_or("no negation")?;
            self.emit(
                Operation::Arithmetic(not, [result, slot, 0, 0, 0]),
                None,
                "not",
            );
            return Ok(result);
        }
        let is_number = operand
            .trim_start_matches('-')
            .starts_with(|c: char| c.is_ascii_digit());
        if is_number {
            let value = text::immediate(operand).ok_or_else(|| format!("number {operand}"))?;
            return Ok(self.constant(value));
        }
        if let Some(value) = self.symbol_value(operand) {
            return Ok(self.constant(value));
        }
        self.register(operand)
    }

    /// `name` or `name+4` as an address of its space.
    pub(super) fn symbol_value(&self, operand: &str) -> Option<u64> {
        let (name, offset) = operand.split_once('+').unwrap_or((operand, "0"));
        let offset = text::immediate(offset)?;
        Some(match self.symbol(name)? {
            Symbol::Global(address)
            | Symbol::Shared(address)
            | Symbol::Local(address)
            | Symbol::Parameter(address) => address.wrapping_add(offset),
        })
    }

    pub(super) fn destination(&mut self, operand: &str) -> Result<u32, String> {
        if operand == "_" {
            return Ok(self.new_slot());
        }
        self.register(operand)
    }

    /// `{a, b}` or one register.
    pub(super) fn list(operand: &str) -> Vec<&str> {
        match operand
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
        {
            Some(inner) => inner.split(',').map(str::trim).collect(),
            None => vec![operand],
        }
    }

    pub(super) fn sources(&mut self, operand: &str) -> Result<Vec<u32>, String> {
        Self::list(operand)
            .into_iter()
            .map(|name| self.source(name))
            .collect()
    }

    pub(super) fn destinations(&mut self, operand: &str) -> Result<Vec<u32>, String> {
        Self::list(operand)
            .into_iter()
            .map(|name| self.destination(name))
            .collect()
    }

    /// `[base+offset]` in a space.
    pub(super) fn address(&mut self, operand: &str, space: Space) -> Result<Address, String> {
        let inner = operand
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .ok_or_else(|| format!("not an address: {operand}"))?;
        let (base, offset) = match inner.split_once('+') {
            Some((base, offset)) => (base.trim(), offset.trim()),
            None => (inner.trim(), "0"),
        };
        let offset = text::immediate(offset).ok_or_else(|| format!("offset {offset}"))? as i64;
        if let Some(symbol) = self.symbol(base) {
            let (space, start) = match symbol {
                Symbol::Global(at) => (Space::Global, at),
                Symbol::Shared(at) => (Space::Shared, at),
                Symbol::Local(at) => (Space::Local, at),
                Symbol::Parameter(at) => (Space::Parameter, at),
            };
            return Ok(Address {
                space,
                base: self.constant(start),
                offset,
            });
        }
        Ok(Address {
            space,
            base: self.source(base)?,
            offset,
        })
    }
}

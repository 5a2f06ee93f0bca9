//! Statements as instructions: registers, labels and symbols resolved, called functions put in
//! place of their calls.

use super::text::{self, FunctionText, Statement, Variable};
use crate::machine::arithmetic;
use crate::machine::convert;
use crate::machine::instruction::{
    Address, Code, Factor, Instruction, Number, Operation, Shuffle, Slots, Space, Special, Update,
    Vote,
};
use crate::machine::{LOCAL_WINDOW, PARAMETER_WINDOW, SHARED_WINDOW};
use std::collections::HashMap;

/// How deep calls may be in one another.
const DEEPEST_CALL: usize = 8;

/// What a name that is no register stands for.
#[derive(Debug, Clone, Copy)]
enum Symbol {
    Global(u64),
    Shared(u64),
    Local(u64),
    Parameter(u64),
}

pub struct Lowering<'a> {
    functions: &'a HashMap<String, FunctionText>,
    code: Code,
    constants: HashMap<u64, u32>,
    special: HashMap<Special, u32>,
    scopes: Vec<HashMap<String, u32>>,
    symbols: Vec<HashMap<String, Symbol>>,
    /// By the number of the scope and the name: code that is put in twice brings its labels twice.
    labels: Vec<HashMap<(usize, String), usize>>,
    /// Branches to places that are not known yet: instruction, name, the scopes around.
    pending: Vec<Vec<(usize, String, Vec<usize>)>>,
    scope_numbers: Vec<usize>,
    next_scope: usize,
    returns: Vec<Vec<usize>>,
    pub shared_bytes: usize,
    carry: Option<u32>,
    depth: usize,
}

/// The code of an entry, and its shared memory in bytes.
pub fn lower(
    entry: &FunctionText,
    functions: &HashMap<String, FunctionText>,
    globals: &HashMap<String, (u64, usize)>,
    module_shared: &[Variable],
    parameters: &[(String, usize)],
) -> Result<(Code, usize), String> {
    let mut lowering = Lowering {
        functions,
        code: Code::default(),
        constants: HashMap::new(),
        special: HashMap::new(),
        scopes: vec![HashMap::new()],
        symbols: vec![HashMap::new()],
        labels: Vec::new(),
        pending: Vec::new(),
        scope_numbers: vec![0],
        next_scope: 1,
        returns: Vec::new(),
        shared_bytes: 0,
        carry: None,
        depth: 0,
    };
    for (name, &(address, _)) in globals {
        lowering.symbols[0].insert(name.clone(), Symbol::Global(address));
    }
    // What the launch sizes comes after all that the text sizes.
    let shared_of_body = text::statements(&entry.body)?
        .iter()
        .filter_map(|statement| match statement {
            Statement::Declaration(text) if text.contains(".shared") => text::variable(text).ok(),
            _ => None,
        })
        .collect::<Vec<_>>();
    // Those of functions too, which may be called.
    let is_used = |variable: &&Variable| {
        let bodies = functions.values().map(|function| &function.body);
        bodies
            .chain([&entry.body])
            .any(|body| body.contains(&variable.name))
    };
    for variable in module_shared
        .iter()
        .filter(|variable| !variable.open_ended)
        .filter(is_used)
        .chain(&shared_of_body)
        .chain(
            module_shared
                .iter()
                .filter(|variable| variable.open_ended)
                .filter(is_used),
        )
    {
        let offset = lowering
            .shared_bytes
            .next_multiple_of(variable.alignment.max(1));
        lowering.symbols[0].insert(variable.name.clone(), Symbol::Shared(offset as u64));
        lowering.shared_bytes = offset + variable.bytes;
    }
    for (name, offset) in parameters {
        lowering.symbols[0].insert(name.clone(), Symbol::Parameter(*offset as u64));
    }
    lowering.body(&entry.body)?;
    lowering.emit(Operation::Exit, None, "end");
    let mut code = lowering.code;
    code.constants = lowering
        .constants
        .into_iter()
        .map(|(value, slot)| (slot, value))
        .collect();
    code.special = lowering
        .special
        .into_iter()
        .map(|(special, slot)| (slot, special))
        .collect();
    Ok((code, lowering.shared_bytes))
}

impl Lowering<'_> {
    fn emit(&mut self, operation: Operation, guard: Option<(u32, bool)>, text: &str) {
        self.code
            .instructions
            .push(Instruction { operation, guard });
        self.code.texts.push(text.to_string());
    }

    fn new_slot(&mut self) -> u32 {
        self.code.registers += 1;
        self.code.registers as u32 - 1
    }

    fn constant(&mut self, value: u64) -> u32 {
        if let Some(&slot) = self.constants.get(&value) {
            return slot;
        }
        let slot = self.new_slot();
        self.constants.insert(value, slot);
        slot
    }

    fn special(&mut self, special: Special) -> u32 {
        if let Some(&slot) = self.special.get(&special) {
            return slot;
        }
        let slot = self.new_slot();
        self.special.insert(special, slot);
        slot
    }

    fn symbol(&self, name: &str) -> Option<Symbol> {
        self.symbols
            .iter()
            .rev()
            .find_map(|scope| scope.get(name).copied())
    }

    /// A body's statements; its labels are its own.
    fn body(&mut self, body: &str) -> Result<(), String> {
        self.labels.push(HashMap::new());
        self.pending.push(Vec::new());
        self.returns.push(Vec::new());
        for statement in text::statements(body)? {
            self.statement(&statement)
                .map_err(|error| format!("{statement:?}: {error}"))?;
        }
        let labels = self.labels.pop().unwrap_or_default();
        for (at, name, scopes) in self.pending.pop().unwrap_or_default() {
            let target = scopes
                .iter()
                .rev()
                .find_map(|&scope| labels.get(&(scope, name.clone())).copied())
                .ok_or_else(|| format!("no label {name}"))?;
            self.code.instructions[at].operation = Operation::Branch(target);
        }
        let end = self.code.instructions.len();
        for at in self.returns.pop().unwrap_or_default() {
            self.code.instructions[at].operation = if self.depth == 0 {
                Operation::Exit
            } else {
                Operation::Branch(end)
            };
        }
        Ok(())
    }

    fn statement(&mut self, statement: &Statement) -> Result<(), String> {
        match statement {
            Statement::OpenScope => {
                self.scopes.push(HashMap::new());
                self.symbols.push(HashMap::new());
                self.scope_numbers.push(self.next_scope);
                self.next_scope += 1;
            }
            Statement::CloseScope => {
                self.scopes.pop();
                self.symbols.pop();
                self.scope_numbers.pop();
            }
            Statement::Label(name) => {
                let here = self.code.instructions.len();
                if let Some(labels) = self.labels.last_mut() {
                    let scope = self.scope_numbers.last().copied().unwrap_or(0);
                    labels.insert((scope, name.clone()), here);
                }
            }
            Statement::Declaration(text) => self.declaration(text)?,
            Statement::Instruction {
                guard,
                opcode,
                operands,
                text,
            } => self.instruction(guard, opcode, operands, text)?,
        }
        Ok(())
    }

    fn declaration(&mut self, declaration: &str) -> Result<(), String> {
        if let Some(registers) = declaration.strip_prefix(".reg") {
            // Names with a count come into being where they are used; those without hide others.
            let names = registers.trim_start();
            let names = names
                .find(char::is_whitespace)
                .map_or("", |end| &names[end..]);
            for name in names.split(',').map(str::trim) {
                if !name.is_empty() && !name.contains('<') {
                    let slot = self.new_slot();
                    if let Some(scope) = self.scopes.last_mut() {
                        scope.insert(name.to_string(), slot);
                    }
                }
            }
            return Ok(());
        }
        if declaration.starts_with(".local") || declaration.starts_with(".param") {
            let variable = text::variable(declaration)?;
            self.local(&variable);
        }
        // Shared variables were placed before; `.pragma` and the like say nothing to us.
        Ok(())
    }

    fn local(&mut self, variable: &Variable) {
        let offset = self
            .code
            .local_bytes
            .next_multiple_of(variable.alignment.max(8));
        self.code.local_bytes = offset + variable.bytes;
        if let Some(scope) = self.symbols.last_mut() {
            scope.insert(variable.name.clone(), Symbol::Local(offset as u64));
        }
    }

    /// The slot of a register that may not have been seen before.
    fn register(&mut self, name: &str) -> Result<u32, String> {
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
    fn body_scope(&self) -> usize {
        self.scopes
            .iter()
            .rposition(|scope| scope.contains_key("a called body"))
            .unwrap_or(0)
    }

    /// The slot of what is read.
    fn source(&mut self, operand: &str) -> Result<u32, String> {
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
    fn symbol_value(&self, operand: &str) -> Option<u64> {
        let (name, offset) = operand.split_once('+').unwrap_or((operand, "0"));
        let offset = text::immediate(offset)?;
        Some(match self.symbol(name)? {
            Symbol::Global(address)
            | Symbol::Shared(address)
            | Symbol::Local(address)
            | Symbol::Parameter(address) => address.wrapping_add(offset),
        })
    }

    fn destination(&mut self, operand: &str) -> Result<u32, String> {
        if operand == "_" {
            return Ok(self.new_slot());
        }
        self.register(operand)
    }

    /// `{a, b}` or one register.
    fn list(operand: &str) -> Vec<&str> {
        match operand
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
        {
            Some(inner) => inner.split(',').map(str::trim).collect(),
            None => vec![operand],
        }
    }

    fn sources(&mut self, operand: &str) -> Result<Vec<u32>, String> {
        Self::list(operand)
            .into_iter()
            .map(|name| self.source(name))
            .collect()
    }

    fn destinations(&mut self, operand: &str) -> Result<Vec<u32>, String> {
        Self::list(operand)
            .into_iter()
            .map(|name| self.destination(name))
            .collect()
    }

    /// `[base+offset]` in a space.
    fn address(&mut self, operand: &str, space: Space) -> Result<Address, String> {
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

    fn instruction(
        &mut self,
        guard: &Option<(String, bool)>,
        opcode: &str,
        operands: &[String],
        text: &str,
    ) -> Result<(), String> {
        let guard = match guard {
            Some((name, negated)) => Some((self.register(name)?, *negated)),
            None => None,
        };
        let name: Vec<&str> = opcode.split('.').filter(|part| !part.is_empty()).collect();
        let first = self.code.instructions.len();
        match self.operation(&name, operands) {
            Ok(Some(operation)) => self.emit(operation, guard, text),
            Ok(None) => {}
            Err(reason) => self.emit(
                Operation::Trap(format!("not understood: {reason}")),
                guard,
                text,
            ),
        }
        // All parts of one instruction run under its guard.
        if guard.is_some() {
            if name[0] == "call" {
                return Err("a call under a predicate".into());
            }
            for part in &mut self.code.instructions[first..] {
                part.guard = guard;
            }
        }
        match name[0] {
            "bra" => {
                let at = self.code.instructions.len() - 1;
                let target = operands.first().cloned().unwrap_or_default();
                if let Some(pending) = self.pending.last_mut() {
                    pending.push((at, target, self.scope_numbers.clone()));
                }
            }
            "ret" => {
                let at = self.code.instructions.len() - 1;
                if let Some(returns) = self.returns.last_mut() {
                    returns.push(at);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn simple(
        &mut self,
        found: Option<(crate::machine::instruction::Arithmetic, usize)>,
        operands: &[String],
        name: &[&str],
    ) -> Result<Option<Operation>, String> {
        let (arithmetic, count) = found.ok_or_else(|| name.join("."))?;
        let mut slots: Slots = [0; 5];
        for (slot, operand) in slots[1..=count].iter_mut().zip(
            operands
                .get(1..=count)
                .ok_or_else(|| format!("operands of {}", name.join(".")))?,
        ) {
            *slot = self.source(operand)?;
        }
        slots[0] = self.destination(&operands[0])?;
        Ok(Some(Operation::Arithmetic(arithmetic, slots)))
    }

    fn operation(
        &mut self,
        name: &[&str],
        operands: &[String],
    ) -> Result<Option<Operation>, String> {
        let operand = |index: usize| -> Result<&str, String> {
            operands
                .get(index)
                .map(String::as_str)
                .ok_or_else(|| format!("operand {index} of {}", name.join(".")))
        };
        let has = |modifier: &str| name.contains(&modifier);
        let kind = *name.last().unwrap_or(&"");
        Ok(Some(match name[0] {
            "ld" | "ldu" => {
                let address = self.address(operand(1)?, space(name))?;
                let bytes = text::width(kind).ok_or(kind)? as u8;
                Operation::Load {
                    address,
                    values: self.destinations(operand(0)?)?,
                    bytes,
                    signed: kind.starts_with('s'),
                }
            }
            "st" => Operation::Store {
                address: self.address(operand(0)?, space(name))?,
                values: self.sources(operand(1)?)?,
                bytes: text::width(kind).ok_or(kind)? as u8,
            },
            "atom" | "red" => return self.atomic(name, operands).map(Some),
            "mov" => return self.moved(name, operands),
            "cvta" => return self.address_conversion(name, operands).map(Some),
            "cvt" => return self.simple(convert::find(name), operands, name),
            "setp" | "set" => return self.comparison(name, operands).map(Some),
            "add" | "addc" | "sub" | "subc" | "mad" | "madc"
                if has("cc") || matches!(name[0], "addc" | "subc" | "madc") =>
            {
                let (arithmetic, count) =
                    arithmetic::with_carry(name).ok_or_else(|| name.join("."))?;
                let carry = match self.carry {
                    Some(carry) => carry,
                    None => {
                        let slot = self.new_slot();
                        self.carry = Some(slot);
                        slot
                    }
                };
                let zero = self.constant(0);
                let mut slots: Slots = [0, zero, zero, zero, carry];
                for (index, slot) in slots.iter_mut().enumerate().take(count + 1).skip(1) {
                    *slot = self.source(operand(index)?)?;
                }
                slots[0] = self.destination(operand(0)?)?;
                Operation::Arithmetic(arithmetic, slots)
            }
            "bra" => Operation::Branch(usize::MAX),
            "ret" => Operation::Exit,
            "exit" => Operation::Exit,
            "trap" => Operation::Trap("the kernel's own trap".into()),
            "call" => {
                self.call(operands)?;
                return Ok(None);
            }
            "bar" | "barrier" if has("warp") => Operation::WarpBarrier {
                members: self.source(operand(0)?)?,
            },
            "barrier" if has("cluster") => {
                if has("arrive") {
                    Operation::ClusterArrive
                } else {
                    Operation::ClusterWait
                }
            }
            "bar" | "barrier" if has("sync") || has("arrive") => Operation::Barrier {
                number: self.source(operand(0)?)?,
                threads: match operands.get(1) {
                    Some(threads) => Some(self.source(threads)?),
                    None => None,
                },
                waits: has("sync"),
            },
            "membar" | "fence" | "griddepcontrol" | "prefetch" | "discard" | "nanosleep"
            | "applypriority" | "prefetchu" | "setmaxnreg" => Operation::Nothing,
            "shfl" => {
                let (result, valid) = self.pair(operand(0)?)?;
                Operation::Shuffle {
                    kind: match name.get(2) {
                        Some(&"up") => Shuffle::Up,
                        Some(&"down") => Shuffle::Down,
                        Some(&"bfly") => Shuffle::Butterfly,
                        Some(&"idx") => Shuffle::Index,
                        _ => return Err(name.join(".")),
                    },
                    result,
                    valid,
                    value: self.source(operand(1)?)?,
                    lane: self.source(operand(2)?)?,
                    clamp: self.source(operand(3)?)?,
                    members: self.source(operand(4)?)?,
                }
            }
            "vote" => {
                let value = operand(1)?;
                let (value, negated) = match value.strip_prefix('!') {
                    Some(value) => (value, true),
                    None => (value, false),
                };
                Operation::Vote {
                    kind: match name.get(2) {
                        Some(&"all") => Vote::All,
                        Some(&"any") => Vote::Any,
                        Some(&"uni") => Vote::Uniform,
                        Some(&"ballot") => Vote::Ballot,
                        _ => return Err(name.join(".")),
                    },
                    value: self.source(value)?,
                    negated,
                    members: self.source(operand(2)?)?,
                    result: self.destination(operand(0)?)?,
                }
            }
            "redux" => Operation::Reduce {
                update: update(name).ok_or_else(|| name.join("."))?,
                number: number(kind).ok_or_else(|| name.join("."))?,
                value: self.source(operand(1)?)?,
                members: self.source(operand(2)?)?,
                result: self.destination(operand(0)?)?,
            },
            "activemask" => Operation::ActiveMask {
                result: self.destination(operand(0)?)?,
            },
            "mapa" => Operation::MapToBlock {
                result: self.destination(operand(0)?)?,
                address: self.source(operand(1)?)?,
                block: self.source(operand(2)?)?,
                generic: !has("shared::cluster"),
            },
            "mma" => {
                let terms = match name
                    .iter()
                    .find(|part| part.starts_with('m') && part.len() > 5)
                {
                    Some(&"m16n8k16") => 16,
                    Some(&"m16n8k8") => 8,
                    _ => return Err(name.join(".")),
                };
                let kinds = &name[name.len() - 4..];
                Operation::MatrixProduct {
                    factor: match (kinds[1], kinds[2]) {
                        ("f16", "f16") => Factor::Half,
                        ("bf16", "bf16") => Factor::BFloat,
                        _ => return Err(name.join(".")),
                    },
                    terms,
                    float_sum: match (kinds[0], kinds[3]) {
                        ("f32", "f32") => true,
                        ("f16", "f16") => false,
                        _ => return Err(name.join(".")),
                    },
                    left: self.sources(operand(1)?)?,
                    right: self.sources(operand(2)?)?,
                    addend: self.sources(operand(3)?)?,
                    result: self.destinations(operand(0)?)?,
                }
            }
            "ldmatrix" => Operation::LoadMatrices {
                transposed: has("trans"),
                address: self.address(operand(1)?, Space::Shared)?,
                result: self.destinations(operand(0)?)?,
            },
            "stmatrix" => Operation::StoreMatrices {
                transposed: has("trans"),
                address: self.address(operand(0)?, Space::Shared)?,
                values: self.sources(operand(1)?)?,
            },
            "movmatrix" => Operation::TransposeMatrix {
                value: self.source(operand(1)?)?,
                result: self.destination(operand(0)?)?,
            },
            "mbarrier" if has("init") => Operation::CreatePhases {
                address: self.address(operand(0)?, Space::Shared)?,
                count: self.source(operand(1)?)?,
            },
            "mbarrier" if has("inval") => Operation::Nothing,
            "mbarrier" if has("arrive") && operand(0)? == "_" => Operation::ArriveAtPhase {
                address: self.address(operand(1)?, Space::Shared)?,
                bytes: match operands.get(2) {
                    Some(bytes) if has("expect_tx") => Some(self.source(bytes)?),
                    None => None,
                    _ => return Err(name.join(".")),
                },
            },
            "mbarrier" if has("try_wait") && has("parity") => Operation::WaitForPhase {
                address: self.address(operand(1)?, Space::Shared)?,
                parity: self.source(operand(2)?)?,
                result: self.destination(operand(0)?)?,
            },
            "cp" if has("bulk") && has("mbarrier::complete_tx::bytes") => {
                let from = if has("global") {
                    Space::Global
                } else {
                    Space::Shared
                };
                Operation::BulkCopy {
                    to: self.address(operand(0)?, Space::Shared)?,
                    from: self.address(operand(1)?, from)?,
                    bytes: self.source(operand(2)?)?,
                    barrier: self.address(operand(3)?, Space::Shared)?,
                }
            }
            "cp" if has("bulk") => return Err(name.join(".")),
            "cp" if has("async") && has("commit_group") => Operation::EndCopies,
            "cp" if has("async") && has("wait_group") => Operation::WaitForCopies {
                groups_left: operand(0)?.parse().map_err(|_| name.join("."))?,
                all: false,
            },
            "cp" if has("async") && has("wait_all") => Operation::WaitForCopies {
                groups_left: 0,
                all: true,
            },
            "cp" if has("async") && (has("ca") || has("cg")) => Operation::AsynchronousCopy {
                to: self.address(operand(0)?, Space::Shared)?,
                from: self.address(operand(1)?, Space::Global)?,
                bytes: operand(2)?.parse().map_err(|_| name.join("."))?,
                read: match operands.get(3) {
                    Some(read) => Some(self.source(read)?),
                    None => None,
                },
            },
            _ => return self.simple(arithmetic::find(name), operands, name),
        }))
    }

    /// `a|p`: a result and a predicate.
    fn pair(&mut self, operand: &str) -> Result<(u32, Option<u32>), String> {
        match operand.split_once('|') {
            Some((first, second)) => {
                Ok((self.destination(first)?, Some(self.destination(second)?)))
            }
            None => Ok((self.destination(operand)?, None)),
        }
    }

    fn moved(&mut self, name: &[&str], operands: &[String]) -> Result<Option<Operation>, String> {
        let (Some(to), Some(from)) = (operands.first(), operands.get(1)) else {
            return Err("operands of mov".into());
        };
        let (copy, _) = arithmetic::find(&["mov"]).ok_or("no copy")?;
        let kind = *name.last().unwrap_or(&"");
        let width = 8 * text::width(kind).ok_or(kind)? as u64;
        let text = "mov of parts";
        if to.starts_with('{') {
            let parts = Self::list(to).len() as u64;
            let from = self.source(from)?;
            let (shift, _) = arithmetic::find(&["shr", "u64"]).ok_or("no shift")?;
            // The value may be in the register of one part.
            let kept = self.new_slot();
            self.emit(
                Operation::Arithmetic(copy, [kept, from, 0, 0, 0]),
                None,
                text,
            );
            for (index, part) in Self::list(to).into_iter().enumerate() {
                let amount = self.constant(index as u64 * (width / parts));
                let part = self.destination(part)?;
                self.emit(
                    Operation::Arithmetic(shift, [part, kept, amount, 0, 0]),
                    None,
                    text,
                );
            }
            return Ok(None);
        }
        if from.starts_with('{') {
            let parts = Self::list(from);
            let count = parts.len() as u64;
            let part_width = width / count;
            let (insert, _) = arithmetic::find(&["bfi", "b64"]).ok_or("no insertion")?;
            let mut so_far = self.constant(0);
            let length = self.constant(part_width);
            for (index, part) in parts.into_iter().enumerate() {
                let part = self.source(part)?;
                let at = self.constant(index as u64 * part_width);
                let next = self.new_slot();
                self.emit(
                    Operation::Arithmetic(insert, [next, part, so_far, at, length]),
                    None,
                    text,
                );
                so_far = next;
            }
            let to = self.destination(to)?;
            self.emit(
                Operation::Arithmetic(copy, [to, so_far, 0, 0, 0]),
                None,
                text,
            );
            return Ok(None);
        }
        let from = self.source(from)?;
        let to = self.destination(to)?;
        Ok(Some(Operation::Arithmetic(copy, [to, from, 0, 0, 0])))
    }

    /// Between a space's addresses and generic ones, which differ by where the space begins.
    fn address_conversion(
        &mut self,
        name: &[&str],
        operands: &[String],
    ) -> Result<Operation, String> {
        let window = if name.contains(&"shared") || name.contains(&"shared::cluster") {
            SHARED_WINDOW
        } else if name.contains(&"local") {
            LOCAL_WINDOW
        } else if name.contains(&"param") {
            PARAMETER_WINDOW
        } else {
            0
        };
        let by = if name.contains(&"to") {
            window.wrapping_neg()
        } else {
            window
        };
        let (Some(to), Some(from)) = (operands.first(), operands.get(1)) else {
            return Err("operands of cvta".into());
        };
        let from = self.source(from)?;
        let by = self.constant(by);
        let to = self.destination(to)?;
        let (add, _) = arithmetic::find(&["add", "u64"]).ok_or("no sum")?;
        Ok(Operation::Arithmetic(add, [to, from, by, 0, 0]))
    }

    /// `setp` with up to two results and a predicate to combine with; `set`.
    fn comparison(&mut self, name: &[&str], operands: &[String]) -> Result<Operation, String> {
        let kind = *name.last().unwrap_or(&"");
        let operator = *name.get(1).unwrap_or(&"");
        let compare = arithmetic::comparison(operator, kind).ok_or_else(|| name.join("."))?;
        let (Some(result), Some(a), Some(b)) = (operands.first(), operands.get(1), operands.get(2))
        else {
            return Err("operands of a comparison".into());
        };
        let a = self.source(a)?;
        let b = self.source(b)?;
        if name[0] == "set" {
            let to = name[name.len() - 2];
            let truth = arithmetic::truth(to).ok_or_else(|| name.join("."))?;
            let between = self.new_slot();
            self.emit(
                Operation::Arithmetic(compare, [between, a, b, 0, 0]),
                None,
                "set",
            );
            let result = self.destination(result)?;
            return Ok(Operation::Arithmetic(truth, [result, between, 0, 0, 0]));
        }
        let combine = ["and", "or", "xor"]
            .into_iter()
            .find(|combine| name.contains(combine));
        if result.contains('|') {
            return Err(format!("two results of {}", name.join(".")));
        }
        let Some(combine) = combine else {
            let result = self.destination(result)?;
            return Ok(Operation::Arithmetic(compare, [result, a, b, 0, 0]));
        };
        let third = operands.get(3).ok_or("no third operand")?;
        let third = self.source(third)?;
        let between = self.new_slot();
        self.emit(
            Operation::Arithmetic(compare, [between, a, b, 0, 0]),
            None,
            "setp",
        );
        let (combine, _) = arithmetic::find(&[combine, "pred"]).ok_or("no combination")?;
        let result = self.destination(result)?;
        Ok(Operation::Arithmetic(
            combine,
            [result, between, third, 0, 0],
        ))
    }

    fn atomic(&mut self, name: &[&str], operands: &[String]) -> Result<Operation, String> {
        let kind = *name.last().unwrap_or(&"");
        let number = number(kind).ok_or_else(|| name.join("."))?;
        let update = update(name).ok_or_else(|| name.join("."))?;
        let returns = name[0] == "atom";
        let rest = if returns {
            operands.get(1..)
        } else {
            Some(operands)
        };
        let Some([address, operand, more @ ..]) = rest else {
            return Err(format!("operands of {}", name.join(".")));
        };
        let address = self.address(address, space(name))?;
        let operand = self.source(operand)?;
        let replacement = match more.first() {
            Some(replacement) if update == Update::CompareAndSwap => self.source(replacement)?,
            _ => operand,
        };
        let result = if returns {
            Some(self.destination(&operands[0])?)
        } else {
            None
        };
        Ok(Operation::Atomic {
            address,
            update,
            number,
            result,
            operand,
            replacement,
        })
    }

    /// Puts the called function's body here; its parameters are the caller's variables.
    fn call(&mut self, operands: &[String]) -> Result<(), String> {
        let names = |list: &str| -> Vec<String> {
            list.trim_start_matches('(')
                .trim_end_matches(')')
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_string)
                .collect()
        };
        let mut operands = operands.iter();
        let mut returned = Vec::new();
        let mut function = operands.next().ok_or("a call of nothing")?;
        if function.starts_with('(') {
            returned = names(function);
            function = operands.next().ok_or("a call of nothing")?;
        }
        let arguments = operands.next().map(|list| names(list)).unwrap_or_default();
        let functions = self.functions;
        let Some(called) = functions.get(function) else {
            self.emit(
                Operation::Trap(format!("called {function}")),
                None,
                function,
            );
            return Ok(());
        };
        if self.depth == DEEPEST_CALL {
            return Err("calls too deep in one another".into());
        }
        let mut symbols = HashMap::new();
        for (variable, name) in called
            .returned
            .iter()
            .zip(&returned)
            .chain(called.parameters.iter().zip(&arguments))
        {
            let symbol = self
                .symbol(name)
                .ok_or_else(|| format!("no variable {name}"))?;
            symbols.insert(variable.name.clone(), symbol);
        }
        self.depth += 1;
        // Registers of the caller must not be seen: a scope that hides them all.
        let callers = std::mem::take(&mut self.scopes);
        self.scopes
            .push(HashMap::from([("a called body".to_string(), u32::MAX)]));
        self.symbols.push(symbols);
        let result = self.body(&called.body);
        self.symbols.pop();
        self.scopes = callers;
        self.depth -= 1;
        result
    }
}

fn number(kind: &str) -> Option<Number> {
    Some(match kind {
        "u32" | "b32" => Number::Unsigned32,
        "s32" => Number::Signed32,
        "u64" | "b64" => Number::Unsigned64,
        "s64" => Number::Signed64,
        "f16" => Number::Float16,
        "bf16" => Number::BFloat16,
        "f32" => Number::Float32,
        "f64" => Number::Float64,
        _ => return None,
    })
}

fn update(name: &[&str]) -> Option<Update> {
    [
        ("add", Update::Add),
        ("min", Update::Min),
        ("max", Update::Max),
        ("and", Update::And),
        ("or", Update::Or),
        ("xor", Update::Xor),
        ("exch", Update::Exchange),
        ("cas", Update::CompareAndSwap),
    ]
    .into_iter()
    .find_map(|(text, update)| name.contains(&text).then_some(update))
}

fn space(name: &[&str]) -> Space {
    for part in name {
        match *part {
            "global" | "const" => return Space::Global,
            "shared" | "shared::cta" | "shared::cluster" => return Space::Shared,
            "local" => return Space::Local,
            "param" => return Space::Parameter,
            _ => {}
        }
    }
    Space::Generic
}

fn special(name: &str) -> Option<Special> {
    let (name, axis) = match name.rsplit_once('.') {
        Some((name, "x")) => (name, 0),
        Some((name, "y")) => (name, 1),
        Some((name, "z")) => (name, 2),
        _ => (name, 0),
    };
    Some(match name {
        "%tid" => Special::Thread(axis),
        "%ctaid" => Special::Block(axis),
        "%ntid" => Special::Threads(axis),
        "%nctaid" => Special::Blocks(axis),
        "%laneid" => Special::Lane,
        "%warpid" => Special::Warp,
        "%lanemask_lt" => Special::LaneMaskBelow,
        "%clusterid" => Special::Cluster(axis),
        "%cluster_ctaid" => Special::BlockInCluster(axis),
        "%cluster_nctaid" => Special::BlocksOfCluster(axis),
        "%cluster_ctarank" => Special::BlockRankInCluster,
        "%cluster_nctarank" => Special::ClusterBlocks,
        "%dynamic_smem_size" => Special::DynamicSharedBytes,
        _ => return None,
    })
}

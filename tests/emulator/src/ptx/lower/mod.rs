//! Statements as instructions: registers, labels and symbols resolved, called functions put in
//! place of their calls.

mod names;
mod operands;
mod operations;

use super::text::{self, FunctionText, Statement, Variable};
use crate::machine::instruction::{Code, Instruction, Operation, Slots, Special};
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

//! PTX: its text as modules of kernels.

mod lower;
mod text;

use crate::machine::instruction::Code;
use crate::memory;
use std::collections::HashMap;
use std::sync::Arc;

/// What `cuModuleLoadData` makes of a text.
pub struct Module {
    pub kernels: HashMap<String, Arc<Kernel>>,
    /// Address and length of each global variable.
    pub globals: HashMap<String, (u64, usize)>,
}

/// One parameter of a kernel: where it lies in the block of all of them.
pub struct Parameter {
    pub offset: usize,
    pub bytes: usize,
}

/// An entry of a module, ready to run.
pub struct Kernel {
    pub name: String,
    pub parameters: Vec<Parameter>,
    /// Bytes of the parameters together.
    pub parameter_bytes: usize,
    /// Shared memory that it has without asking at launch.
    pub static_shared_bytes: usize,
    /// The most threads that a block can have, if the text says so.
    pub most_threads: Option<u32>,
    /// Blocks of a cluster, if the text says so.
    pub cluster: Option<[u32; 3]>,
    pub(crate) code: Code,
}

impl Module {
    /// The module of a text.
    ///
    /// # Errors
    /// What it does not understand. An unknown instruction is no error here: running it is.
    pub fn parse(text: &str) -> Result<Self, String> {
        let module = text::module(text)?;
        let mut globals = HashMap::new();
        for variable in &module.variables {
            if variable.space == "global" || variable.space == "const" {
                let address = memory::allocate(variable.bytes).ok_or("out of memory")?;
                let initial = &variable.initial;
                // SAFETY: the allocation has room for the variable, of which the initial value is
                // a part.
                unsafe {
                    std::ptr::write_bytes(address as *mut u8, 0, variable.bytes);
                    std::ptr::copy_nonoverlapping(
                        initial.as_ptr(),
                        address as *mut u8,
                        initial.len().min(variable.bytes),
                    );
                }
                globals.insert(variable.name.clone(), (address, variable.bytes));
            }
        }
        let shared: Vec<_> = module
            .variables
            .iter()
            .filter(|variable| variable.space == "shared")
            .cloned()
            .collect();
        let (entries, functions): (Vec<_>, Vec<_>) = module
            .functions
            .into_iter()
            .partition(|function| function.is_entry);
        let functions: HashMap<_, _> = functions
            .into_iter()
            .map(|function| (function.name.clone(), function))
            .collect();
        let mut kernels = HashMap::new();
        for entry in entries {
            let mut parameters = Vec::new();
            let mut places = Vec::new();
            let mut offset = 0usize;
            for variable in &entry.parameters {
                offset = offset.next_multiple_of(variable.alignment.max(1));
                parameters.push(Parameter {
                    offset,
                    bytes: variable.bytes,
                });
                places.push((variable.name.clone(), offset));
                offset += variable.bytes;
            }
            let (code, static_shared_bytes) =
                lower::lower(&entry, &functions, &globals, &shared, &places)
                    .map_err(|error| format!("{}: {error}", entry.name))?;
            let kernel = Kernel {
                parameters,
                parameter_bytes: offset,
                static_shared_bytes,
                most_threads: numbers(&entry.directives, ".maxntid")
                    .or(numbers(&entry.directives, ".reqntid"))
                    .map(|sizes| sizes.iter().product()),
                cluster: numbers(&entry.directives, ".reqnctapercluster"),
                code,
                name: entry.name.clone(),
            };
            kernels.insert(entry.name, Arc::new(kernel));
        }
        Ok(Self { kernels, globals })
    }
}

/// Up to three numbers after a directive, missing ones 1.
fn numbers(directives: &str, name: &str) -> Option<[u32; 3]> {
    let rest = &directives[directives.find(name)? + name.len()..];
    let mut sizes = [1; 3];
    let list = rest.trim_start();
    let end = list.find(['.', '\n']).unwrap_or(list.len());
    for (size, number) in sizes.iter_mut().zip(list[..end].split(',')) {
        *size = number.trim().parse().ok()?;
    }
    Some(sizes)
}

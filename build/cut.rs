//! Cuts the PTX of one `.cu` file into modules of one kernel each.
//!
//! The driver compiles a whole module when it is loaded, and a program uses few of
//! the kernels that a file holds: a module for each kernel makes its first launch
//! quick.

/// A kernel's name and the PTX that it needs.
pub struct Kernel {
    pub name: String,
    pub ptx: String,
}

/// A function of the module, or a declaration of one.
struct Function<'a> {
    name: &'a str,
    is_kernel: bool,
    text: &'a str,
}

/// What begins a line at the level of the module, beside functions.
const DIRECTIVES: [&str; 12] = [
    ".version",
    ".target",
    ".address_size",
    ".extern",
    ".shared",
    ".weak .shared",
    ".global",
    ".const",
    ".visible .global",
    ".visible .const",
    ".weak .global",
    ".weak .const",
];

/// The kernels of a module in the order in which it has them.
pub fn kernels(ptx: &str) -> Vec<Kernel> {
    let (prologue, functions) = parse(ptx);
    functions
        .iter()
        .filter(|function| function.is_kernel)
        .map(|kernel| Kernel {
            name: kernel.name.to_string(),
            ptx: assemble(&prologue, &functions, kernel),
        })
        .collect()
}

/// The directives that every kernel gets, and the functions.
fn parse(ptx: &str) -> (String, Vec<Function<'_>>) {
    let mut prologue = String::new();
    let mut functions: Vec<Function<'_>> = Vec::new();
    let mut start = None; // of the current function
    let mut offset = 0;
    let mut close = |start: &mut Option<usize>, end: usize| {
        if let Some(start) = start.take() {
            functions.extend(function(&ptx[start..end]));
        }
    };
    for line in ptx.split_inclusive('\n') {
        if DIRECTIVES
            .iter()
            .any(|directive| line.starts_with(directive))
            && !line.contains(".func")
        {
            close(&mut start, offset);
            prologue += line;
        } else if line.starts_with('.') && (line.contains(".func") || line.contains(".entry")) {
            close(&mut start, offset);
            start = Some(offset);
        }
        offset += line.len();
    }
    close(&mut start, offset);
    (prologue, functions)
}

/// What one piece of text declares or defines.
fn function(text: &str) -> Option<Function<'_>> {
    let is_kernel = text.split('\n').next()?.contains(".entry");
    let (_, rest) = text.split_once(if is_kernel { ".entry" } else { ".func" })?;
    let rest = rest.trim_start();
    // A function that returns something names that first, in parentheses.
    let rest = match rest.strip_prefix('(') {
        Some(rest) => rest.split_once(')')?.1.trim_start(),
        None => rest,
    };
    let end = rest.find(|c: char| c == '(' || c.is_whitespace())?;
    Some(Function {
        name: &rest[..end],
        is_kernel,
        text,
    })
}

/// The module of one kernel: the directives, the functions that it calls, and itself.
fn assemble(prologue: &str, functions: &[Function<'_>], kernel: &Function<'_>) -> String {
    let mut needed = vec![false; functions.len()];
    let mut pending = vec![kernel.text];
    while let Some(caller) = pending.pop() {
        for (function, needed) in functions.iter().zip(&mut needed) {
            if !*needed && !function.is_kernel && caller.contains(function.name) {
                *needed = true;
                pending.push(function.text);
            }
        }
    }
    let called = functions
        .iter()
        .zip(needed)
        .filter(|(_, needed)| *needed)
        .map(|(function, _)| function.text);
    std::iter::once(prologue)
        .chain(called)
        .chain(std::iter::once(kernel.text))
        .collect()
}

//! The text of a module: comments stripped, variables and functions apart, bodies as statements.

/// A function or entry, its body not yet looked at.
pub struct FunctionText {
    pub name: String,
    pub is_entry: bool,
    pub returned: Vec<Variable>,
    pub parameters: Vec<Variable>,
    /// What stands between the parameters and the body: `.maxntid 256` and the like.
    pub directives: String,
    pub body: String,
}

/// A variable's declaration.
#[derive(Debug, Clone)]
pub struct Variable {
    pub name: String,
    pub space: String,
    pub alignment: usize,
    pub bytes: usize,
    /// No length given: what the launch asks for.
    pub open_ended: bool,
    pub initial: Vec<u8>,
}

pub struct ModuleText {
    pub variables: Vec<Variable>,
    pub functions: Vec<FunctionText>,
}

/// A statement of a body.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    OpenScope,
    CloseScope,
    Label(String),
    Declaration(String),
    Instruction {
        guard: Option<(String, bool)>,
        opcode: String,
        operands: Vec<String>,
        text: String,
    },
}

pub fn module(text: &str) -> Result<ModuleText, String> {
    let text = without_comments(text);
    let mut module = ModuleText {
        variables: Vec::new(),
        functions: Vec::new(),
    };
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let line_end = rest.find('\n').unwrap_or(rest.len());
        let first = rest.split_whitespace().next().unwrap_or("");
        if matches!(first, ".version" | ".target" | ".address_size") {
            rest = rest[line_end..].trim_start();
            continue;
        }
        if matches!(first, ".file" | ".loc") {
            rest = rest[line_end..].trim_start();
            continue;
        }
        let brace = rest.find('{').unwrap_or(rest.len());
        let semicolon = rest.find(';').unwrap_or(rest.len());
        let head = &rest[..brace.min(semicolon)];
        let is_function = head
            .split_whitespace()
            .any(|word| word == ".entry" || word == ".func");
        if is_function && semicolon < brace {
            // A declaration: its definition, or nothing, follows.
            rest = rest[semicolon + 1..].trim_start();
        } else if is_function {
            let close = matching_brace(&rest[brace..]).ok_or("a body without an end")? + brace;
            let mut function = signature(head)?;
            function.body = rest[brace + 1..close].to_string();
            module.functions.push(function);
            rest = rest[close + 1..].trim_start();
        } else if semicolon < rest.len() {
            // An initial value has braces of its own.
            let declaration = &rest[..semicolon];
            module.variables.push(variable(declaration)?);
            rest = rest[semicolon + 1..].trim_start();
        } else {
            return Err(format!("not understood: {:.80}", rest));
        }
    }
    Ok(module)
}

fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.trim_end_matches('\0');
    while let Some(slash) = rest.find('/') {
        let (before, comment) = rest.split_at(slash);
        kept.push_str(before);
        let end = if comment.starts_with("//") {
            comment.find('\n')
        } else if comment.starts_with("/*") {
            comment.find("*/").map(|end| end + 2)
        } else {
            kept.push('/');
            Some(1)
        };
        rest = end.map_or("", |end| &comment[end..]);
    }
    kept.push_str(rest);
    kept
}

fn matching_brace(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn signature(head: &str) -> Result<FunctionText, String> {
    let is_entry = head.contains(".entry");
    let keyword = if is_entry { ".entry" } else { ".func" };
    let at = head.find(keyword).ok_or("no keyword")? + keyword.len();
    let mut rest = head[at..].trim_start();
    let mut returned = Vec::new();
    if rest.starts_with('(') {
        let end = rest.find(')').ok_or("an open list of returned values")?;
        returned = variables(&rest[1..end])?;
        rest = rest[end + 1..].trim_start();
    }
    let end = rest
        .find(|c: char| c == '(' || c.is_whitespace())
        .unwrap_or(rest.len());
    let name = rest[..end].to_string();
    rest = rest[end..].trim_start();
    let mut parameters = Vec::new();
    if rest.starts_with('(') {
        let end = rest.find(')').ok_or("an open list of parameters")?;
        parameters = variables(&rest[1..end])?;
        rest = rest[end + 1..].trim_start();
    }
    Ok(FunctionText {
        name,
        is_entry,
        returned,
        parameters,
        directives: rest.to_string(),
        body: String::new(),
    })
}

fn variables(list: &str) -> Result<Vec<Variable>, String> {
    list.split(',')
        .map(str::trim)
        .filter(|declaration| !declaration.is_empty())
        .map(variable)
        .collect()
}

/// `.param .align 8 .b8 name[16]`, `.shared .f32 x`, `.global .u32 t[2] = {1, 2}`.
pub fn variable(declaration: &str) -> Result<Variable, String> {
    let (declared, value) = match declaration.split_once('=') {
        Some((declared, value)) => (declared, Some(value)),
        None => (declaration, None),
    };
    let mut space = String::new();
    let mut alignment = None;
    let mut element = 0;
    let mut name = String::new();
    let mut count = None;
    let mut words = declared.split_whitespace().peekable();
    while let Some(word) = words.next() {
        match word {
            ".visible" | ".extern" | ".weak" | ".common" | ".ptr" | ".noreturn" => {}
            ".global" | ".shared" | ".const" | ".local" | ".param" => space = word[1..].to_string(),
            ".align" => {
                alignment = words.next().and_then(|number| number.parse().ok());
            }
            _ if word.starts_with('.') => {
                element = width(&word[1..])
                    .ok_or_else(|| format!("{declared}: no width known of {word}"))?;
            }
            _ => {
                name.push_str(word);
            }
        }
    }
    let mut open_ended = false;
    if let Some(bracket) = name.find('[') {
        let mut product = 1usize;
        for length in name[bracket..].split('[').skip(1) {
            let digits = length.trim_end_matches(']');
            if digits.is_empty() {
                open_ended = true;
                product = 0;
            } else {
                product *= digits
                    .parse::<usize>()
                    .map_err(|error| format!("{declared}: {error}"))?;
            }
        }
        count = Some(product);
        name.truncate(bracket);
    }
    let initial = match value {
        None => Vec::new(),
        Some(list) => initial_value(list, element)?,
    };
    Ok(Variable {
        name,
        space,
        alignment: alignment.unwrap_or(element.max(1)),
        bytes: element * count.unwrap_or(1),
        open_ended,
        initial,
    })
}

fn initial_value(list: &str, element: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for number in list
        .split(|c: char| c == '{' || c == '}' || c == ',' || c.is_whitespace())
        .filter(|number| !number.is_empty())
    {
        let value = immediate(number).ok_or_else(|| format!("not a number: {number}"))?;
        bytes.extend_from_slice(&value.to_le_bytes()[..element]);
    }
    Ok(bytes)
}

/// Bytes of a type: `f32` 4.
pub fn width(name: &str) -> Option<usize> {
    Some(match name {
        "pred" => 1,
        "f16x2" | "bf16x2" => 4,
        "bf16" => 2,
        "b128" => 16,
        _ => {
            let digits = name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
            digits.parse::<usize>().ok()? / 8
        }
    })
}

/// A number as its bits; floats as PTX writes them, by their bits.
pub fn immediate(text: &str) -> Option<u64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let value = if let Some(hex) = digits.strip_prefix("0f").or(digits.strip_prefix("0F")) {
        u64::from_str_radix(hex, 16).ok()?
    } else if let Some(hex) = digits.strip_prefix("0d").or(digits.strip_prefix("0D")) {
        u64::from_str_radix(hex, 16).ok()?
    } else if let Some(hex) = digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        u64::from_str_radix(hex.trim_end_matches('U'), 16).ok()?
    } else {
        let digits = digits.trim_end_matches('U');
        digits
            .parse::<u64>()
            .ok()
            .or_else(|| digits.parse::<f64>().ok().map(f64::to_bits))?
    };
    Some(if negative {
        value.wrapping_neg()
    } else {
        value
    })
}

/// The statements of a body.
pub fn statements(body: &str) -> Result<Vec<Statement>, String> {
    let mut list = Vec::new();
    let mut rest = body.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '{' {
            list.push(Statement::OpenScope);
            rest = rest[1..].trim_start();
            continue;
        }
        if first == '}' {
            list.push(Statement::CloseScope);
            rest = rest[1..].trim_start();
            continue;
        }
        if first == ';' {
            rest = rest[1..].trim_start();
            continue;
        }
        if let Some(label) = label(rest) {
            list.push(Statement::Label(label.to_string()));
            rest = rest[label.len()..].trim_start()[1..].trim_start();
            continue;
        }
        if rest.starts_with(".loc ") || rest.starts_with(".loc\t") || rest.starts_with(".file") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]).trim_start();
            continue;
        }
        let end = rest
            .find(';')
            .ok_or_else(|| format!("no end of {rest:.60}"))?;
        let text = rest[..end].trim();
        rest = rest[end + 1..].trim_start();
        if text.starts_with('.') {
            list.push(Statement::Declaration(text.to_string()));
        } else {
            list.push(instruction(text));
        }
    }
    Ok(list)
}

/// The name before a colon.
fn label(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '$'))?;
    (end > 0 && text[end..].trim_start().starts_with(':')).then(|| &text[..end])
}

fn instruction(text: &str) -> Statement {
    let mut rest = text;
    let mut guard = None;
    if let Some(after) = rest.strip_prefix('@') {
        let end = after.find(char::is_whitespace).unwrap_or(after.len());
        let name = &after[..end];
        guard = Some(match name.strip_prefix('!') {
            Some(name) => (name.to_string(), true),
            None => (name.to_string(), false),
        });
        rest = after[end..].trim_start();
    }
    let end = rest
        .find(|c: char| c.is_whitespace() || c == '{' || c == '[' || c == '(')
        .unwrap_or(rest.len());
    Statement::Instruction {
        guard,
        opcode: rest[..end].to_string(),
        operands: split_operands(&rest[end..]),
        text: text.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

/// Apart at the commas that are in no brackets.
pub fn split_operands(text: &str) -> Vec<String> {
    let mut operands = Vec::new();
    let mut depth = 0;
    let mut current = String::new();
    for c in text.chars() {
        match c {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            _ => {}
        }
        if c == ',' && depth == 0 {
            operands.push(current.trim().to_string());
            current.clear();
        } else if !c.is_whitespace() {
            current.push(c);
        }
    }
    if !current.trim().is_empty() {
        operands.push(current.trim().to_string());
    }
    operands
}

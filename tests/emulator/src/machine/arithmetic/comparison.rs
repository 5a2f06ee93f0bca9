//! Comparisons, of which the results are predicates.

use super::super::bits::Bits;
use super::super::instruction::{Arithmetic, Lanes, Slots};
use super::write;
use half::{bf16, f16};
use std::cmp::Ordering::{Equal, Greater, Less};

macro_rules! ordered {
    ($t:ty, $operator:expr) => {
        match $operator {
            "eq" => Some(two!($t, |a, b| a.partial_cmp(&b) == Some(Equal))),
            "ne" => Some(two!($t, |a, b| matches!(
                a.partial_cmp(&b),
                Some(Less | Greater)
            ))),
            "lt" | "lo" => Some(two!($t, |a, b| a.partial_cmp(&b) == Some(Less))),
            "le" | "ls" => Some(two!($t, |a, b| matches!(
                a.partial_cmp(&b),
                Some(Less | Equal)
            ))),
            "gt" | "hi" => Some(two!($t, |a, b| a.partial_cmp(&b) == Some(Greater))),
            "ge" | "hs" => Some(two!($t, |a, b| matches!(
                a.partial_cmp(&b),
                Some(Greater | Equal)
            ))),
            // The same, or unordered: one is NaN.
            "equ" => Some(two!($t, |a, b| matches!(
                a.partial_cmp(&b),
                None | Some(Equal)
            ))),
            "neu" => Some(two!($t, |a, b| a.partial_cmp(&b) != Some(Equal))),
            "ltu" => Some(two!($t, |a, b| matches!(
                a.partial_cmp(&b),
                None | Some(Less)
            ))),
            "leu" => Some(two!($t, |a, b| a.partial_cmp(&b) != Some(Greater))),
            "gtu" => Some(two!($t, |a, b| matches!(
                a.partial_cmp(&b),
                None | Some(Greater)
            ))),
            "geu" => Some(two!($t, |a, b| a.partial_cmp(&b) != Some(Less))),
            "num" => Some(two!($t, |a, b| a.partial_cmp(&b).is_some())),
            "nan" => Some(two!($t, |a, b| a.partial_cmp(&b).is_none())),
            _ => None,
        }
    };
}

/// A comparison: operator and kind of number.
#[allow(
    clippy::eq_op,
    clippy::nonminimal_bool,
    clippy::neg_cmp_op_on_partial_ord
)]
pub fn comparison(operator: &str, kind: &str) -> Option<Arithmetic> {
    match kind {
        "u16" | "b16" => ordered!(u16, operator),
        "s16" => ordered!(i16, operator),
        "u32" | "b32" => ordered!(u32, operator),
        "s32" => ordered!(i32, operator),
        "u64" | "b64" => ordered!(u64, operator),
        "s64" => ordered!(i64, operator),
        "f32" => ordered!(f32, operator),
        "f64" => ordered!(f64, operator),
        "f16" => ordered!(f16, operator),
        "bf16" => ordered!(bf16, operator),
        _ => None,
    }
}

/// A truth value as a number, as `set` gives it.
pub fn truth(kind: &str) -> Option<Arithmetic> {
    Some(match kind {
        "f16" => one!(bool, |a| if a { f16::ONE } else { f16::ZERO }),
        "bf16" => one!(bool, |a| if a { bf16::ONE } else { bf16::ZERO }),
        "f32" => one!(bool, |a| if a { 1f32 } else { 0f32 }),
        "u32" | "s32" => one!(bool, |a| if a { u32::MAX } else { 0u32 }),
        _ => return None,
    })
}

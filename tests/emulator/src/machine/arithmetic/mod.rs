//! Arithmetic by the name of the instruction.

#[macro_use]
mod macros;
mod carry;
mod comparison;
mod logic;

use super::bits::{round_f32, Bits, Direction, Pair, Short};
use super::instruction::{Arithmetic, Lanes, Slots};
pub use carry::with_carry;
pub use comparison::{comparison, truth};
use half::{bf16, f16};
use logic::logic;

/// Writes the lanes of a mask.
#[inline(always)]
pub fn write(registers: &mut [Lanes], slot: u32, values: &Lanes, mask: u32) {
    let register = &mut registers[slot as usize];
    if mask == u32::MAX {
        *register = *values;
    } else {
        for lane in 0..32 {
            if mask >> lane & 1 != 0 {
                register[lane] = values[lane];
            }
        }
    }
}

/// Without denormal numbers, where the instruction says so.
fn flushed(x: f32) -> f32 {
    if x.is_subnormal() {
        0f32.copysign(x)
    } else {
        x
    }
}

fn smaller<T: PartialOrd + Copy>(a: T, b: T, a_is_nan: bool, b_is_nan: bool) -> T {
    if a_is_nan || (!b_is_nan && b < a) {
        b
    } else {
        a
    }
}
fn larger<T: PartialOrd + Copy>(a: T, b: T, a_is_nan: bool, b_is_nan: bool) -> T {
    if a_is_nan || (!b_is_nan && b > a) {
        b
    } else {
        a
    }
}

fn short2<T: Short>(a: T, b: T, f: impl Fn(f32, f32) -> f32) -> T {
    T::rounded(f(a.wide(), b.wide()))
}
fn short3<T: Short>(a: T, b: T, c: T, f: impl Fn(f32, f32, f32) -> f32) -> T {
    T::rounded(f(a.wide(), b.wide(), c.wide()))
}
fn minimum(a: f32, b: f32) -> f32 {
    smaller(a, b, a.is_nan(), b.is_nan())
}
fn maximum(a: f32, b: f32) -> f32 {
    larger(a, b, a.is_nan(), b.is_nan())
}
/// NaN where either is.
fn or_nan(choose: fn(f32, f32) -> f32) -> impl Fn(f32, f32) -> f32 {
    move |a, b| {
        if a.is_nan() || b.is_nan() {
            f32::NAN
        } else {
            choose(a, b)
        }
    }
}

/// The arithmetic of an instruction, of which the name is split at its dots; how many operands it
/// reads.
pub fn find(name: &[&str]) -> Option<(Arithmetic, usize)> {
    let kind = *name.last()?;
    let has = |modifier: &str| name.contains(&modifier);
    let direction = if has("rz") {
        Direction::Zero
    } else if has("rm") {
        Direction::Down
    } else if has("rp") {
        Direction::Up
    } else {
        Direction::Nearest
    };
    if kind == "f64" && direction != Direction::Nearest {
        return None;
    }
    if has("sat") && kind != "f32" {
        return None;
    }
    Some(match name[0] {
        "add" | "sub" if has("cc") => return None,
        "add" => match kind {
            "u16" | "s16" | "b16" => (two!(u16, |a, b| a.wrapping_add(b)), 2),
            "u32" | "s32" | "b32" => (two!(u32, |a, b| a.wrapping_add(b)), 2),
            "u64" | "s64" | "b64" => (two!(u64, |a, b| a.wrapping_add(b)), 2),
            "f32" => match (direction, has("sat"), has("ftz")) {
                (Direction::Nearest, false, false) => (two!(f32, |a, b| a + b), 2),
                (Direction::Nearest, false, true) => {
                    (two!(f32, |a, b| flushed(flushed(a) + flushed(b))), 2)
                }
                (Direction::Nearest, true, _) => (two!(f32, |a, b| (a + b).clamp(0.0, 1.0)), 2),
                (Direction::Zero, false, _) => (
                    two!(f32, |a, b| round_f32(
                        f64::from(a) + f64::from(b),
                        Direction::Zero
                    )),
                    2,
                ),
                (Direction::Down, false, _) => (
                    two!(f32, |a, b| round_f32(
                        f64::from(a) + f64::from(b),
                        Direction::Down
                    )),
                    2,
                ),
                (Direction::Up, false, _) => (
                    two!(f32, |a, b| round_f32(
                        f64::from(a) + f64::from(b),
                        Direction::Up
                    )),
                    2,
                ),
                _ => return None,
            },
            "f64" => (two!(f64, |a, b| a + b), 2),
            _ => short_kinds_of_two!(kind, |a, b| a + b)?,
        },
        "sub" => match kind {
            "u16" | "s16" | "b16" => (two!(u16, |a, b| a.wrapping_sub(b)), 2),
            "u32" | "s32" | "b32" => (two!(u32, |a, b| a.wrapping_sub(b)), 2),
            "u64" | "s64" | "b64" => (two!(u64, |a, b| a.wrapping_sub(b)), 2),
            "f32" if direction == Direction::Nearest => (two!(f32, |a, b| a - b), 2),
            "f64" => (two!(f64, |a, b| a - b), 2),
            _ => short_kinds_of_two!(kind, |a, b| a - b)?,
        },
        "mul" if has("wide") => match kind {
            "u16" => (two!(u16, |a, b| u32::from(a) * u32::from(b)), 2),
            "s16" => (two!(i16, |a, b| i32::from(a) * i32::from(b)), 2),
            "u32" => (two!(u32, |a, b| u64::from(a) * u64::from(b)), 2),
            "s32" => (two!(i32, |a, b| i64::from(a) * i64::from(b)), 2),
            _ => return None,
        },
        "mul" if has("hi") => match kind {
            "u16" => (
                two!(u16, |a, b| ((u32::from(a) * u32::from(b)) >> 16) as u16),
                2,
            ),
            "s16" => (
                two!(i16, |a, b| ((i32::from(a) * i32::from(b)) >> 16) as i16),
                2,
            ),
            "u32" => (
                two!(u32, |a, b| ((u64::from(a) * u64::from(b)) >> 32) as u32),
                2,
            ),
            "s32" => (
                two!(i32, |a, b| ((i64::from(a) * i64::from(b)) >> 32) as i32),
                2,
            ),
            "u64" => (
                two!(u64, |a, b| ((u128::from(a) * u128::from(b)) >> 64) as u64),
                2,
            ),
            "s64" => (
                two!(i64, |a, b| ((i128::from(a) * i128::from(b)) >> 64) as i64),
                2,
            ),
            _ => return None,
        },
        "mul" => match kind {
            "u16" | "s16" => (two!(u16, |a, b| a.wrapping_mul(b)), 2),
            "u32" | "s32" => (two!(u32, |a, b| a.wrapping_mul(b)), 2),
            "u64" | "s64" => (two!(u64, |a, b| a.wrapping_mul(b)), 2),
            "f32" => match (direction, has("ftz")) {
                (Direction::Nearest, false) => (two!(f32, |a, b| a * b), 2),
                (Direction::Nearest, true) => {
                    (two!(f32, |a, b| flushed(flushed(a) * flushed(b))), 2)
                }
                (Direction::Zero, _) => (
                    two!(f32, |a, b| round_f32(
                        f64::from(a) * f64::from(b),
                        Direction::Zero
                    )),
                    2,
                ),
                _ => return None,
            },
            "f64" => (two!(f64, |a, b| a * b), 2),
            _ => short_kinds_of_two!(kind, |a, b| a * b)?,
        },
        "mad" if has("cc") => return None,
        "mad" if has("wide") => match kind {
            "u16" => (
                three!(u16, u16, u32, |a, b, c| (u32::from(a) * u32::from(b))
                    .wrapping_add(c)),
                3,
            ),
            "s16" => (
                three!(i16, i16, i32, |a, b, c| (i32::from(a) * i32::from(b))
                    .wrapping_add(c)),
                3,
            ),
            "u32" => (
                three!(u32, u32, u64, |a, b, c| (u64::from(a) * u64::from(b))
                    .wrapping_add(c)),
                3,
            ),
            "s32" => (
                three!(i32, i32, i64, |a, b, c| (i64::from(a) * i64::from(b))
                    .wrapping_add(c)),
                3,
            ),
            _ => return None,
        },
        "mad" if has("hi") => match kind {
            "u32" => (
                three!(u32, |a, b, c| (((u64::from(a) * u64::from(b)) >> 32)
                    as u32)
                    .wrapping_add(c)),
                3,
            ),
            "s32" => (
                three!(i32, |a, b, c| (((i64::from(a) * i64::from(b)) >> 32)
                    as i32)
                    .wrapping_add(c)),
                3,
            ),
            _ => return None,
        },
        "mad" | "fma" => match kind {
            "u16" | "s16" => (three!(u16, |a, b, c| a.wrapping_mul(b).wrapping_add(c)), 3),
            "u32" | "s32" => (three!(u32, |a, b, c| a.wrapping_mul(b).wrapping_add(c)), 3),
            "u64" | "s64" => (three!(u64, |a, b, c| a.wrapping_mul(b).wrapping_add(c)), 3),
            "f32" => match (direction, has("ftz"), has("sat")) {
                (Direction::Nearest, false, false) => (three!(f32, |a, b, c| a.mul_add(b, c)), 3),
                (Direction::Nearest, true, false) => (
                    three!(f32, |a, b, c| flushed(
                        flushed(a).mul_add(flushed(b), flushed(c))
                    )),
                    3,
                ),
                (Direction::Nearest, _, true) => {
                    (three!(f32, |a, b, c| a.mul_add(b, c).clamp(0.0, 1.0)), 3)
                }
                (Direction::Down, _, false) => (
                    three!(f32, |a, b, c| round_f32(
                        f64::from(a).mul_add(f64::from(b), f64::from(c)),
                        Direction::Down
                    )),
                    3,
                ),
                (Direction::Zero, _, false) => (
                    three!(f32, |a, b, c| round_f32(
                        f64::from(a).mul_add(f64::from(b), f64::from(c)),
                        Direction::Zero
                    )),
                    3,
                ),
                (Direction::Up, _, false) => (
                    three!(f32, |a, b, c| round_f32(
                        f64::from(a).mul_add(f64::from(b), f64::from(c)),
                        Direction::Up
                    )),
                    3,
                ),
                _ => return None,
            },
            "f64" => (three!(f64, |a, b, c| a.mul_add(b, c)), 3),
            "f16" => (
                three!(f16, |a, b, c| short3(a, b, c, |a, b, c| a.mul_add(b, c))),
                3,
            ),
            "bf16" => (
                three!(bf16, |a, b, c| short3(a, b, c, |a, b, c| a.mul_add(b, c))),
                3,
            ),
            "f16x2" => (
                three!(Pair<f16>, |a, b, c| Pair(
                    short3(a.0, b.0, c.0, |a, b, c| a.mul_add(b, c)),
                    short3(a.1, b.1, c.1, |a, b, c| a.mul_add(b, c))
                )),
                3,
            ),
            "bf16x2" => (
                three!(Pair<bf16>, |a, b, c| Pair(
                    short3(a.0, b.0, c.0, |a, b, c| a.mul_add(b, c)),
                    short3(a.1, b.1, c.1, |a, b, c| a.mul_add(b, c))
                )),
                3,
            ),
            _ => return None,
        },
        "div" => match kind {
            "u16" => (two!(u16, |a, b| a.checked_div(b).unwrap_or(u16::MAX)), 2),
            "s16" => (two!(i16, |a, b| a.checked_div(b).unwrap_or(-1)), 2),
            "u32" => (two!(u32, |a, b| a.checked_div(b).unwrap_or(u32::MAX)), 2),
            "s32" => (
                two!(i32, |a, b| if b == 0 { -1 } else { a.wrapping_div(b) }),
                2,
            ),
            "u64" => (two!(u64, |a, b| a.checked_div(b).unwrap_or(u64::MAX)), 2),
            "s64" => (
                two!(i64, |a, b| if b == 0 { -1 } else { a.wrapping_div(b) }),
                2,
            ),
            "f32" if direction == Direction::Nearest => (two!(f32, |a, b| a / b), 2),
            "f64" => (two!(f64, |a, b| a / b), 2),
            _ => return None,
        },
        "rem" => match kind {
            "u16" => (two!(u16, |a, b| a.checked_rem(b).unwrap_or(a)), 2),
            "s16" => (
                two!(i16, |a, b| if b == 0 { a } else { a.wrapping_rem(b) }),
                2,
            ),
            "u32" => (two!(u32, |a, b| a.checked_rem(b).unwrap_or(a)), 2),
            "s32" => (
                two!(i32, |a, b| if b == 0 { a } else { a.wrapping_rem(b) }),
                2,
            ),
            "u64" => (two!(u64, |a, b| a.checked_rem(b).unwrap_or(a)), 2),
            "s64" => (
                two!(i64, |a, b| if b == 0 { a } else { a.wrapping_rem(b) }),
                2,
            ),
            _ => return None,
        },
        "min" => match kind {
            "f32" if has("NaN") => (two!(f32, |a, b| or_nan(minimum)(a, b)), 2),
            "f32" => (two!(f32, |a, b| minimum(a, b)), 2),
            "f64" => (two!(f64, |a, b| smaller(a, b, a.is_nan(), b.is_nan())), 2),
            "f16" | "bf16" | "f16x2" | "bf16x2" if has("NaN") => {
                short_kinds_of_two!(kind, or_nan(minimum))?
            }
            "f16" | "bf16" | "f16x2" | "bf16x2" => short_kinds_of_two!(kind, minimum)?,
            _ => integer_kinds!(kind, |a, b| a.min(b))?,
        },
        "max" => match kind {
            "f32" if has("NaN") => (two!(f32, |a, b| or_nan(maximum)(a, b)), 2),
            "f32" => (two!(f32, |a, b| maximum(a, b)), 2),
            "f64" => (two!(f64, |a, b| larger(a, b, a.is_nan(), b.is_nan())), 2),
            "f16" | "bf16" | "f16x2" | "bf16x2" if has("NaN") => {
                short_kinds_of_two!(kind, or_nan(maximum))?
            }
            "f16" | "bf16" | "f16x2" | "bf16x2" => short_kinds_of_two!(kind, maximum)?,
            _ => integer_kinds!(kind, |a, b| a.max(b))?,
        },
        "abs" => match kind {
            "s16" => (one!(i16, |a| a.wrapping_abs()), 1),
            "s32" => (one!(i32, |a| a.wrapping_abs()), 1),
            "s64" => (one!(i64, |a| a.wrapping_abs()), 1),
            "f32" => (one!(f32, |a| a.abs()), 1),
            "f64" => (one!(f64, |a| a.abs()), 1),
            "f16" | "bf16" => (one!(u16, |a| a & 0x7fff), 1),
            "f16x2" | "bf16x2" => (one!(u32, |a| a & 0x7fff_7fff), 1),
            _ => return None,
        },
        "neg" => match kind {
            "s16" => (one!(i16, |a| a.wrapping_neg()), 1),
            "s32" => (one!(i32, |a| a.wrapping_neg()), 1),
            "s64" => (one!(i64, |a| a.wrapping_neg()), 1),
            "f32" => (one!(f32, |a| -a), 1),
            "f64" => (one!(f64, |a| -a), 1),
            "f16" | "bf16" => (one!(u16, |a| a ^ 0x8000), 1),
            "f16x2" | "bf16x2" => (one!(u32, |a| a ^ 0x8000_8000), 1),
            _ => return None,
        },
        "copysign" => match kind {
            "f32" => (two!(f32, |a, b| b.copysign(a)), 2),
            "f64" => (two!(f64, |a, b| b.copysign(a)), 2),
            _ => return None,
        },
        "sqrt" if direction == Direction::Nearest => match kind {
            "f32" => (one!(f32, |a| a.sqrt()), 1),
            "f64" => (one!(f64, |a| a.sqrt()), 1),
            _ => return None,
        },
        "rsqrt" => match kind {
            "f32" => (one!(f32, |a| (1.0 / f64::from(a).sqrt()) as f32), 1),
            "f64" => (one!(f64, |a| 1.0 / a.sqrt()), 1),
            _ => return None,
        },
        "rcp" if direction == Direction::Nearest => match kind {
            "f32" => (one!(f32, |a| 1.0 / a), 1),
            "f64" => (one!(f64, |a| 1.0 / a), 1),
            _ => return None,
        },
        "ex2" => match kind {
            "f32" if has("ftz") => (one!(f32, |a| flushed(flushed(a).exp2())), 1),
            "f32" => (one!(f32, |a| a.exp2()), 1),
            "f16" => (one!(f16, |a| f16::from_f32(a.to_f32().exp2())), 1),
            _ => return None,
        },
        "lg2" if kind == "f32" => (one!(f32, |a| a.log2()), 1),
        "sin" if kind == "f32" => (one!(f32, |a| a.sin()), 1),
        "cos" if kind == "f32" => (one!(f32, |a| a.cos()), 1),
        "tanh" if kind == "f32" => (one!(f32, |a| a.tanh()), 1),
        "mov" | "cvta" => (one!(u64, |a| a), 1),
        "testp" if kind == "f32" => match name[1] {
            "finite" => (one!(f32, |a| a.is_finite()), 1),
            "infinite" => (one!(f32, |a| a.is_infinite()), 1),
            "notanumber" => (one!(f32, |a| a.is_nan()), 1),
            "number" => (one!(f32, |a| !a.is_nan()), 1),
            _ => return None,
        },
        _ => return logic(name, kind),
    })
}

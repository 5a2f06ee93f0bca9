//! Conversions between types of number.

use super::arithmetic::write;
use super::bits::{round_f32, Bits, Direction, Pair};
use super::instruction::{Arithmetic, Lanes, Slots};
use half::{bf16, f16};

macro_rules! each {
    ($from:ty, |$a:ident| $result:expr) => {{
        fn run(registers: &mut [Lanes], slots: &Slots, mask: u32) {
            let mut out = [0u64; 32];
            let a = &registers[slots[1] as usize];
            for lane in 0..32 {
                let $a = <$from as Bits>::of(a[lane]);
                out[lane] = Bits::bits($result);
            }
            write(registers, slots[0], &out, mask);
        }
        run as Arithmetic
    }};
}

macro_rules! pack {
    ($to:ty) => {{
        fn run(registers: &mut [Lanes], slots: &Slots, mask: u32) {
            let mut out = [0u64; 32];
            for lane in 0..32 {
                let high = <f32 as Bits>::of(registers[slots[1] as usize][lane]);
                let low = <f32 as Bits>::of(registers[slots[2] as usize][lane]);
                out[lane] = Pair(<$to>::from_f32(low), <$to>::from_f32(high)).bits();
            }
            write(registers, slots[0], &out, mask);
        }
        run as Arithmetic
    }};
}

/// An integer of one type from one of another: as in Rust, which cuts off or extends.
macro_rules! between_integers {
    ($from:ty, $to:expr) => {
        Some(match $to {
            "u8" => each!($from, |a| a as u8),
            "s8" => each!($from, |a| i32::from(a as i8)),
            "u16" => each!($from, |a| a as u16),
            "s16" => each!($from, |a| a as i16),
            "u32" => each!($from, |a| a as u32),
            "s32" => each!($from, |a| a as i32),
            "u64" => each!($from, |a| a as u64),
            "s64" => each!($from, |a| a as i64),
            _ => return None,
        })
    };
}

macro_rules! integer_to_float {
    ($from:ty, $to:expr) => {
        Some(match $to {
            "f32" => each!($from, |a| a as f32),
            "f64" => each!($from, |a| a as f64),
            "f16" => each!($from, |a| f16::from_f64(a as f64)),
            "bf16" => each!($from, |a| bf16::from_f64(a as f64)),
            _ => return None,
        })
    };
}

/// Rounded as the modifier says, then cut to the type's range, NaN to 0.
macro_rules! float_to_integer {
    ($from:ty, $wide:expr, $to:expr, $round:expr) => {{
        macro_rules! to {
            ($integer:ty) => {
                match $round {
                    "rni" => each!($from, |a| $wide(a).round_ties_even() as $integer),
                    "rzi" => each!($from, |a| $wide(a).trunc() as $integer),
                    "rmi" => each!($from, |a| $wide(a).floor() as $integer),
                    "rpi" => each!($from, |a| $wide(a).ceil() as $integer),
                    _ => return None,
                }
            };
        }
        Some(match $to {
            "u8" => to!(u8),
            "u16" => to!(u16),
            "s16" => to!(i16),
            "u32" => to!(u32),
            "s32" => to!(i32),
            "u64" => to!(u64),
            "s64" => to!(i64),
            _ => return None,
        })
    }};
}

fn same<T>(a: T) -> T {
    a
}
fn half_wide(a: f16) -> f32 {
    a.to_f32()
}
fn bfloat_wide(a: bf16) -> f32 {
    a.to_f32()
}
/// Between 0 and 1, NaN to 0.
fn saturated(a: f32) -> f32 {
    if a.is_nan() {
        0.0
    } else {
        a.clamp(0.0, 1.0)
    }
}

/// The arithmetic of `cvt` with these modifiers, and how many operands it reads.
pub fn find(name: &[&str]) -> Option<(Arithmetic, usize)> {
    let from = *name.last()?;
    let to = *name.get(name.len().checked_sub(2)?)?;
    let modifiers = &name[1..name.len() - 2];
    let has = |modifier: &str| modifiers.contains(&modifier);
    if (to, from) == ("f16x2", "f32") && !has("relu") {
        return Some((pack!(f16), 2));
    }
    if (to, from) == ("bf16x2", "f32") && !has("relu") {
        return Some((pack!(bf16), 2));
    }
    let round = ["rni", "rzi", "rmi", "rpi"]
        .into_iter()
        .find(|round| has(round));
    let direction = ["rz", "rm", "rp"]
        .into_iter()
        .find(|direction| has(direction));
    let is_float = |kind: &str| kind.contains('f');
    let unary: Option<Arithmetic> = match (from, to) {
        _ if has("relu") || to.starts_with('e') || from.starts_with('e') => None,
        ("f32", "f32") if has("sat") => Some(each!(f32, |a| saturated(a))),
        ("f64", "f64") if has("sat") => Some(each!(f64, |a| if a.is_nan() {
            0.0
        } else {
            a.clamp(0.0, 1.0)
        })),
        _ if has("sat") && is_float(to) => None,
        ("f32", "f32") => match round {
            None => Some(each!(f32, |a| a)),
            Some("rni") => Some(each!(f32, |a| a.round_ties_even())),
            Some("rzi") => Some(each!(f32, |a| a.trunc())),
            Some("rmi") => Some(each!(f32, |a| a.floor())),
            _ => Some(each!(f32, |a| a.ceil())),
        },
        ("f64", "f64") => match round {
            None => Some(each!(f64, |a| a)),
            Some("rni") => Some(each!(f64, |a| a.round_ties_even())),
            Some("rzi") => Some(each!(f64, |a| a.trunc())),
            Some("rmi") => Some(each!(f64, |a| a.floor())),
            _ => Some(each!(f64, |a| a.ceil())),
        },
        ("f16", "f16") => match round {
            None => Some(each!(f16, |a| a)),
            Some("rni") => Some(each!(f16, |a| f16::from_f32(a.to_f32().round_ties_even()))),
            Some("rzi") => Some(each!(f16, |a| f16::from_f32(a.to_f32().trunc()))),
            Some("rmi") => Some(each!(f16, |a| f16::from_f32(a.to_f32().floor()))),
            _ => Some(each!(f16, |a| f16::from_f32(a.to_f32().ceil()))),
        },
        ("f16", "f32") => Some(each!(f16, |a| a.to_f32())),
        ("bf16", "f32") => Some(each!(bf16, |a| a.to_f32())),
        ("f16", "f64") => Some(each!(f16, |a| a.to_f64())),
        ("bf16", "f64") => Some(each!(bf16, |a| a.to_f64())),
        ("f32", "f64") => Some(each!(f32, |a| f64::from(a))),
        ("f32", "f16") if direction.is_none() => Some(each!(f32, |a| f16::from_f32(a))),
        ("f32", "bf16") if direction.is_none() => Some(each!(f32, |a| bf16::from_f32(a))),
        ("f64", "f16") if direction.is_none() => Some(each!(f64, |a| f16::from_f64(a))),
        ("f64", "bf16") if direction.is_none() => Some(each!(f64, |a| bf16::from_f64(a))),
        ("f64", "f32") => match direction {
            None => Some(each!(f64, |a| a as f32)),
            Some("rz") => Some(each!(f64, |a| round_f32(a, Direction::Zero))),
            Some("rm") => Some(each!(f64, |a| round_f32(a, Direction::Down))),
            _ => Some(each!(f64, |a| round_f32(a, Direction::Up))),
        },
        ("f32", _) if !is_float(to) => float_to_integer!(f32, same, to, round?),
        ("f64", _) if !is_float(to) => float_to_integer!(f64, same, to, round?),
        ("f16", _) if !is_float(to) => float_to_integer!(f16, half_wide, to, round?),
        ("bf16", _) if !is_float(to) => float_to_integer!(bf16, bfloat_wide, to, round?),
        (_, _) if is_float(to) && direction.is_none() => match from {
            "u8" => integer_to_float!(u8, to),
            "s8" => integer_to_float!(i8, to),
            "u16" => integer_to_float!(u16, to),
            "s16" => integer_to_float!(i16, to),
            "u32" => integer_to_float!(u32, to),
            "s32" => integer_to_float!(i32, to),
            "u64" => integer_to_float!(u64, to),
            "s64" => integer_to_float!(i64, to),
            _ => None,
        },
        (_, _) if !is_float(to) && !has("sat") => match from {
            "u8" => between_integers!(u8, to),
            "s8" => between_integers!(i8, to),
            "u16" => between_integers!(u16, to),
            "s16" => between_integers!(i16, to),
            "u32" => between_integers!(u32, to),
            "s32" => between_integers!(i32, to),
            "u64" => between_integers!(u64, to),
            "s64" => between_integers!(i64, to),
            _ => None,
        },
        _ => None,
    };
    unary.map(|arithmetic| (arithmetic, 1))
}

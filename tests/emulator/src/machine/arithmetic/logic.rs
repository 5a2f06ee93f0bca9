//! Instructions on bits, by their names.

use super::super::bits::Bits;
use super::super::instruction::{Arithmetic, Lanes, Slots};
use super::write;

/// Bytes of two words chosen by four nibbles.
fn permute(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = (u64::from(b) << 32) | u64::from(a);
    let mut result = 0;
    for i in 0..4 {
        let choice = selector >> (4 * i) & 0xf;
        let mut byte = (bytes >> (8 * (choice & 7))) as u8;
        if choice & 8 != 0 {
            byte = if byte & 0x80 != 0 { 0xff } else { 0 };
        }
        result |= u32::from(byte) << (8 * i);
    }
    result
}

/// The instruction, and how many operands it reads.
pub fn logic(name: &[&str], kind: &str) -> Option<(Arithmetic, usize)> {
    let has = |modifier: &str| name.contains(&modifier);
    Some(match *name.first()? {
        "and" => match kind {
            "pred" => (two!(bool, |a, b| a & b), 2),
            _ => integer_kinds!(kind, |a, b| a & b)?,
        },
        "or" => match kind {
            "pred" => (two!(bool, |a, b| a | b), 2),
            _ => integer_kinds!(kind, |a, b| a | b)?,
        },
        "xor" => match kind {
            "pred" => (two!(bool, |a, b| a ^ b), 2),
            _ => integer_kinds!(kind, |a, b| a ^ b)?,
        },
        "not" => match kind {
            "pred" => (one!(bool, |a| !a), 1),
            "b16" => (one!(u16, |a| !a), 1),
            "b32" => (one!(u32, |a| !a), 1),
            "b64" => (one!(u64, |a| !a), 1),
            _ => return None,
        },
        "shl" => match kind {
            "b16" => (
                two!(u16, u32, |a, b| a.checked_shl(b.min(255)).unwrap_or(0)),
                2,
            ),
            "b32" => (
                two!(u32, u32, |a, b| a.checked_shl(b.min(255)).unwrap_or(0)),
                2,
            ),
            "b64" => (
                two!(u64, u32, |a, b| a.checked_shl(b.min(255)).unwrap_or(0)),
                2,
            ),
            _ => return None,
        },
        "shr" => match kind {
            "u16" | "b16" => (two!(u16, u32, |a, b| a.checked_shr(b).unwrap_or(0)), 2),
            "u32" | "b32" => (two!(u32, u32, |a, b| a.checked_shr(b).unwrap_or(0)), 2),
            "u64" | "b64" => (two!(u64, u32, |a, b| a.checked_shr(b).unwrap_or(0)), 2),
            "s16" => (two!(i16, u32, |a, b| a >> b.min(15)), 2),
            "s32" => (two!(i32, u32, |a, b| a >> b.min(31)), 2),
            "s64" => (two!(i64, u32, |a, b| a >> b.min(63)), 2),
            _ => return None,
        },
        "shf" => {
            let wrap = has("wrap");
            match (has("l"), wrap) {
                (true, true) => (
                    three!(u32, |a, b, c| {
                        let both = u64::from(b) << 32 | u64::from(a);
                        ((both << (c & 31)) >> 32) as u32
                    }),
                    3,
                ),
                (true, false) => (
                    three!(u32, |a, b, c| {
                        let both = u64::from(b) << 32 | u64::from(a);
                        ((both << c.min(32)) >> 32) as u32
                    }),
                    3,
                ),
                (false, true) => (
                    three!(u32, |a, b, c| {
                        ((u64::from(b) << 32 | u64::from(a)) >> (c & 31)) as u32
                    }),
                    3,
                ),
                (false, false) => (
                    three!(u32, |a, b, c| {
                        ((u64::from(b) << 32 | u64::from(a)) >> c.min(32)) as u32
                    }),
                    3,
                ),
            }
        }
        "brev" => match kind {
            "b32" => (one!(u32, |a| a.reverse_bits()), 1),
            "b64" => (one!(u64, |a| a.reverse_bits()), 1),
            _ => return None,
        },
        "clz" => match kind {
            "b32" => (one!(u32, |a| a.leading_zeros()), 1),
            "b64" => (one!(u64, |a| a.leading_zeros()), 1),
            _ => return None,
        },
        "popc" => match kind {
            "b32" => (one!(u32, |a| a.count_ones()), 1),
            "b64" => (one!(u64, |a| a.count_ones()), 1),
            _ => return None,
        },
        "bfind" => match (kind, has("shiftamt")) {
            // The highest bit's place, or how far to shift it to the top.
            ("u32", true) => (
                one!(u32, |a| if a == 0 { u32::MAX } else { a.leading_zeros() }),
                1,
            ),
            ("u32", false) => (
                one!(u32, |a| if a == 0 {
                    u32::MAX
                } else {
                    31 - a.leading_zeros()
                }),
                1,
            ),
            ("u64", false) => (
                one!(u64, |a| if a == 0 {
                    u32::MAX
                } else {
                    63 - a.leading_zeros()
                }),
                1,
            ),
            _ => return None,
        },
        "bfe" => match kind {
            "u32" => (
                three!(u32, |a, b, c| {
                    let (from, length) = (b & 0xff, c & 0xff);
                    let shifted = u64::from(a).checked_shr(from).unwrap_or(0);
                    (shifted & ((1u64 << length.min(32)) - 1)) as u32
                }),
                3,
            ),
            _ => return None,
        },
        "bfi" => match kind {
            "b32" => (
                four!(u32, u32, u32, u32, |a, b, from, length| {
                    let from = from & 0xff;
                    let length = (length & 0xff).min(32);
                    let mask = ((1u64 << length) - 1).checked_shl(from).unwrap_or(0) as u32;
                    let value = u64::from(a).checked_shl(from).unwrap_or(0) as u32;
                    (b & !mask) | (value & mask)
                }),
                4,
            ),
            "b64" => (
                four!(u64, u64, u32, u32, |a, b, from, length| {
                    let from = from & 0xff;
                    let length = (length & 0xff).min(64);
                    let ones = if length == 64 {
                        u64::MAX
                    } else {
                        (1u64 << length) - 1
                    };
                    let mask = ones.checked_shl(from).unwrap_or(0);
                    let value = a.checked_shl(from).unwrap_or(0);
                    (b & !mask) | (value & mask)
                }),
                4,
            ),
            _ => return None,
        },
        "lop3" => (
            four!(u32, u32, u32, u32, |a, b, c, table| {
                let mut result = 0u32;
                for i in 0..8u32 {
                    if table >> i & 1 != 0 {
                        let x = if i & 4 != 0 { a } else { !a };
                        let y = if i & 2 != 0 { b } else { !b };
                        let z = if i & 1 != 0 { c } else { !c };
                        result |= x & y & z;
                    }
                }
                result
            }),
            4,
        ),
        "prmt" if name.len() == 2 => (three!(u32, |a, b, c| permute(a, b, c)), 3),
        "selp" => (three!(u64, u64, bool, |a, b, c| if c { a } else { b }), 3),
        _ => return None,
    })
}

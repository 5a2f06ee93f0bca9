//! Arithmetic of 32 bits with a carry.

use super::super::instruction::{Arithmetic, Lanes, Slots};
use super::write;

/// Sums with carry: the carry in and out in slot 4 of the operands.
macro_rules! carrying {
    (|$a:ident, $b:ident, $c:ident, $carry:ident| $result:expr) => {{
        fn run(registers: &mut [Lanes], slots: &Slots, mask: u32) {
            let mut out = [0u64; 32];
            let mut carries = [0u64; 32];
            for lane in 0..32 {
                let $a = registers[slots[1] as usize][lane] as u32;
                let $b = registers[slots[2] as usize][lane] as u32;
                let $c = registers[slots[3] as usize][lane] as u32;
                let $carry = registers[slots[4] as usize][lane] & 1;
                let (value, carry): (u32, bool) = $result;
                out[lane] = u64::from(value);
                carries[lane] = u64::from(carry);
            }
            write(registers, slots[0], &out, mask);
            write(registers, slots[4], &carries, mask);
        }
        run as Arithmetic
    }};
}

/// The forms of 32 bits with a carry; operands are result, a, b, c, carry.
pub fn with_carry(name: &[&str]) -> Option<(Arithmetic, usize)> {
    if !matches!(*name.last()?, "u32" | "s32" | "b32") {
        return None;
    }
    let keeps = !name.contains(&"cc");
    Some(match (name[0], name.contains(&"hi")) {
        ("add", _) => (
            carrying!(|a, b, _c, _k| {
                let sum = u64::from(a) + u64::from(b);
                (sum as u32, sum >> 32 != 0)
            }),
            2,
        ),
        ("addc", _) if keeps => (
            carrying!(|a, b, _c, k| {
                let sum = u64::from(a) + u64::from(b) + k;
                (sum as u32, k != 0)
            }),
            2,
        ),
        ("addc", _) => (
            carrying!(|a, b, _c, k| {
                let sum = u64::from(a) + u64::from(b) + k;
                (sum as u32, sum >> 32 != 0)
            }),
            2,
        ),
        ("sub", _) => (
            carrying!(|a, b, _c, _k| {
                let difference = u64::from(a).wrapping_sub(u64::from(b));
                (difference as u32, difference >> 32 != 0)
            }),
            2,
        ),
        ("subc", _) => (
            carrying!(|a, b, _c, k| {
                let difference = u64::from(a).wrapping_sub(u64::from(b)).wrapping_sub(k);
                (difference as u32, difference >> 32 != 0)
            }),
            2,
        ),
        ("mad", false) => (
            carrying!(|a, b, c, _k| {
                let product = (u64::from(a) * u64::from(b)) as u32;
                let sum = u64::from(product) + u64::from(c);
                (sum as u32, sum >> 32 != 0)
            }),
            3,
        ),
        ("mad", true) => (
            carrying!(|a, b, c, _k| {
                let product = (u64::from(a) * u64::from(b)) >> 32;
                let sum = product + u64::from(c);
                (sum as u32, sum >> 32 != 0)
            }),
            3,
        ),
        ("madc", false) => (
            carrying!(|a, b, c, k| {
                let product = (u64::from(a) * u64::from(b)) as u32;
                let sum = u64::from(product) + u64::from(c) + k;
                (sum as u32, sum >> 32 != 0)
            }),
            3,
        ),
        ("madc", true) => (
            carrying!(|a, b, c, k| {
                let product = (u64::from(a) * u64::from(b)) >> 32;
                let sum = product + u64::from(c) + k;
                (sum as u32, sum >> 32 != 0)
            }),
            3,
        ),
        _ => return None,
    })
}

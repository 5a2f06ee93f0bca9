//! Updates of memory that nothing can come between.

use super::access::{read, store};
use super::{lanes, Runner, Watch};
use crate::machine::bits::Bits;
use crate::machine::instruction::{Number, Operation, Update};
use half::{bf16, f16};
use std::sync::{Mutex, PoisonError};

/// Held by whoever updates: blocks run at the same time.
static UPDATES: Mutex<()> = Mutex::new(());

impl Runner<'_> {
    pub(super) fn atomic(
        &mut self,
        operation: &Operation,
        mask: u32,
        at: usize,
    ) -> Result<(), String> {
        if let Operation::Atomic {
            address,
            update,
            number,
            result,
            operand,
            replacement,
        } = operation
        {
            let guard = UPDATES.lock().unwrap_or_else(PoisonError::into_inner);
            let mut before = [0u64; 32];
            let bytes = width(*number);
            for lane in lanes(mask) {
                let place = self.place(at, lane, address, bytes, Watch::Not)?;
                let operand = self.register(*operand)[lane];
                let replacement = self.register(*replacement)[lane];
                let old = read(place, bytes);
                before[lane] = old;
                if let Some(new) = updated(*update, *number, old, operand, replacement) {
                    store(place, bytes, new);
                } else {
                    return Err(self.fault(at, lane, "an update that is not known"));
                }
            }
            drop(guard);
            if let Some(result) = result {
                self.set(*result, &before, mask);
            }
        }
        Ok(())
    }
}

pub(super) fn width(number: Number) -> usize {
    match number {
        Number::Float16 | Number::BFloat16 => 2,
        Number::Unsigned32 | Number::Signed32 | Number::Float32 => 4,
        Number::Unsigned64 | Number::Signed64 | Number::Float64 => 8,
    }
}

pub(super) fn updated(
    update: Update,
    number: Number,
    old: u64,
    operand: u64,
    replacement: u64,
) -> Option<u64> {
    match update {
        Update::Exchange => return Some(operand),
        Update::And => return Some(old & operand),
        Update::Or => return Some(old | operand),
        Update::Xor => return Some(old ^ operand),
        Update::CompareAndSwap => {
            let bits = 8 * width(number) as u32;
            let mask = u64::MAX >> (64 - bits);
            return Some(if old & mask == operand & mask {
                replacement
            } else {
                old
            });
        }
        Update::Add | Update::Min | Update::Max => {}
    }
    macro_rules! integer {
        ($t:ty) => {{
            let (a, b) = (<$t>::of(old), <$t>::of(operand));
            match update {
                Update::Add => a.wrapping_add(b).bits(),
                Update::Min => a.min(b).bits(),
                _ => a.max(b).bits(),
            }
        }};
    }
    Some(match (number, update) {
        (Number::Unsigned32, _) => integer!(u32),
        (Number::Signed32, _) => integer!(i32),
        (Number::Unsigned64, _) => integer!(u64),
        (Number::Signed64, _) => integer!(i64),
        (Number::Float32, Update::Add) => (f32::of(old) + f32::of(operand)).bits(),
        (Number::Float64, Update::Add) => (f64::of(old) + f64::of(operand)).bits(),
        (Number::Float16, Update::Add) => {
            f16::from_f32(f16::of(old).to_f32() + f16::of(operand).to_f32()).bits()
        }
        (Number::BFloat16, Update::Add) => {
            bf16::from_f32(bf16::of(old).to_f32() + bf16::of(operand).to_f32()).bits()
        }
        _ => return None,
    })
}

//! Instructions of a warp as a whole.

use super::access::{read, store};
use super::update::updated;
use super::{lanes, Runner, Watch};
use crate::machine::instruction::{Operation, Shuffle, Vote};
use crate::machine::matrix;
use crate::machine::races::Who;

impl Runner<'_> {
    pub(super) fn collective(
        &mut self,
        operation: &Operation,
        mask: u32,
        at: usize,
    ) -> Result<(), String> {
        match operation {
            Operation::Shuffle {
                kind,
                result,
                valid,
                value,
                lane,
                clamp,
                ..
            } => {
                let (values, sources, clamps) = (
                    *self.register(*value),
                    *self.register(*lane),
                    *self.register(*clamp),
                );
                let mut shuffled = [0; 32];
                let mut valid_lanes = [0; 32];
                for own in lanes(mask) {
                    let b = sources[own] as i64 as i32 & 0x1f;
                    let c = clamps[own] as u32;
                    let segment = (c >> 8 & 0x1f) as i32;
                    let clamp = (c & 0x1f) as i32;
                    let own = own as i32;
                    let highest = (own & segment) | (clamp & !segment);
                    let lowest = own & segment;
                    let (from, ok) = match kind {
                        Shuffle::Up => (own - b, own - b >= highest),
                        Shuffle::Down => (own + b, own + b <= highest),
                        Shuffle::Butterfly => (own ^ b, own ^ b <= highest),
                        Shuffle::Index => {
                            let from = lowest | (b & !segment);
                            (from, from <= highest)
                        }
                    };
                    let from = if ok { from } else { own };
                    if mask >> from & 1 == 0 {
                        return Err(self.fault(
                            at,
                            own as usize,
                            "a shuffle from a thread that is not there",
                        ));
                    }
                    shuffled[own as usize] = values[from as usize] & 0xffff_ffff;
                    valid_lanes[own as usize] = u64::from(ok);
                }
                self.set(*result, &shuffled, mask);
                if let Some(valid) = valid {
                    self.set(*valid, &valid_lanes, mask);
                }
            }
            Operation::Vote {
                kind,
                result,
                value,
                negated,
                ..
            } => {
                let holds = self.where_true(*value, *negated, mask);
                let answer = match kind {
                    Vote::All => u64::from(holds == mask),
                    Vote::Any => u64::from(holds != 0),
                    Vote::Uniform => u64::from(holds == mask || holds == 0),
                    Vote::Ballot => u64::from(holds),
                };
                self.set(*result, &[answer; 32], mask);
            }
            Operation::Reduce {
                update,
                number,
                result,
                value,
                ..
            } => {
                let values = self.register(*value);
                let first = mask.trailing_zeros() as usize;
                let combined = lanes(mask).skip(1).try_fold(values[first], |so_far, lane| {
                    updated(*update, *number, so_far, values[lane], 0)
                });
                let Some(combined) = combined else {
                    return Err(self.fault(at, first, "a reduction that is not known"));
                };
                self.set(*result, &[combined; 32], mask);
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn matrices(&mut self, operation: &Operation, at: usize) -> Result<(), String> {
        match operation {
            Operation::MatrixProduct {
                factor,
                terms,
                float_sum,
                result,
                left,
                right,
                addend,
            } => {
                let registers = &mut self.blocks[self.rank].warps[self.index].registers;
                matrix::product(
                    registers, *factor, *terms, *float_sum, result, left, right, addend,
                );
            }
            Operation::TransposeMatrix { result, value } => {
                let words = matrix::transposed(self.register(*value));
                self.set(*result, &words, u32::MAX);
            }
            Operation::LoadMatrices {
                transposed,
                result,
                address,
            } => {
                for (index, &slot) in result.iter().enumerate() {
                    let mut words = [0; 32];
                    for row in 0..8 {
                        let watch = Watch::Read(Who::Warp);
                        let place = self.place(at, 8 * index + row, address, 16, watch)?;
                        for pair in 0..4 {
                            words[4 * row + pair] = read(place.wrapping_add(4 * pair), 4);
                        }
                    }
                    if *transposed {
                        words = matrix::transposed(&words);
                    }
                    self.set(slot, &words, u32::MAX);
                }
            }
            Operation::StoreMatrices {
                transposed,
                values,
                address,
            } => {
                for (index, &slot) in values.iter().enumerate() {
                    let mut words = *self.register(slot);
                    if *transposed {
                        words = matrix::transposed(&words);
                    }
                    for row in 0..8 {
                        let watch = Watch::Write(Who::Warp);
                        let place = self.place(at, 8 * index + row, address, 16, watch)?;
                        for pair in 0..4 {
                            store(place.wrapping_add(4 * pair), 4, words[4 * row + pair]);
                        }
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

//! What an instruction does, by its name.

use super::super::text;
use super::names::{number, space, update};
use super::Lowering;
use crate::machine::arithmetic;
use crate::machine::convert;
use crate::machine::instruction::{Factor, Operation, Shuffle, Slots, Space, Update, Vote};
use crate::machine::{LOCAL_WINDOW, PARAMETER_WINDOW, SHARED_WINDOW};

impl Lowering<'_> {
    pub(super) fn operation(
        &mut self,
        name: &[&str],
        operands: &[String],
    ) -> Result<Option<Operation>, String> {
        let operand = |index: usize| -> Result<&str, String> {
            operands
                .get(index)
                .map(String::as_str)
                .ok_or_else(|| format!("operand {index} of {}", name.join(".")))
        };
        let has = |modifier: &str| name.contains(&modifier);
        let kind = *name.last().unwrap_or(&"");
        Ok(Some(match name[0] {
            "ld" | "ldu" => {
                let address = self.address(operand(1)?, space(name))?;
                let bytes = text::width(kind).ok_or(kind)? as u8;
                Operation::Load {
                    address,
                    values: self.destinations(operand(0)?)?,
                    bytes,
                    signed: kind.starts_with('s'),
                }
            }
            "st" => Operation::Store {
                address: self.address(operand(0)?, space(name))?,
                values: self.sources(operand(1)?)?,
                bytes: text::width(kind).ok_or(kind)? as u8,
            },
            "atom" | "red" => return self.atomic(name, operands).map(Some),
            "mov" => return self.moved(name, operands),
            "cvta" => return self.address_conversion(name, operands).map(Some),
            "cvt" => return self.simple(convert::find(name), operands, name),
            "setp" | "set" => return self.comparison(name, operands).map(Some),
            "add" | "addc" | "sub" | "subc" | "mad" | "madc"
                if has("cc") || matches!(name[0], "addc" | "subc" | "madc") =>
            {
                let (arithmetic, count) =
                    arithmetic::with_carry(name).ok_or_else(|| name.join("."))?;
                let carry = match self.carry {
                    Some(carry) => carry,
                    None => {
                        let slot = self.new_slot();
                        self.carry = Some(slot);
                        slot
                    }
                };
                let zero = self.constant(0);
                let mut slots: Slots = [0, zero, zero, zero, carry];
                for (index, slot) in slots.iter_mut().enumerate().take(count + 1).skip(1) {
                    *slot = self.source(operand(index)?)?;
                }
                slots[0] = self.destination(operand(0)?)?;
                Operation::Arithmetic(arithmetic, slots)
            }
            "bra" => Operation::Branch(usize::MAX),
            "ret" => Operation::Exit,
            "exit" => Operation::Exit,
            "trap" => Operation::Trap("the kernel's own trap".into()),
            "call" => {
                self.call(operands)?;
                return Ok(None);
            }
            "bar" | "barrier" if has("warp") => Operation::WarpBarrier {
                members: self.source(operand(0)?)?,
            },
            "barrier" if has("cluster") => {
                if has("arrive") {
                    Operation::ClusterArrive
                } else {
                    Operation::ClusterWait
                }
            }
            "bar" | "barrier" if has("sync") || has("arrive") => Operation::Barrier {
                number: self.source(operand(0)?)?,
                threads: match operands.get(1) {
                    Some(threads) => Some(self.source(threads)?),
                    None => None,
                },
                waits: has("sync"),
            },
            "membar" | "fence" | "griddepcontrol" | "prefetch" | "discard" | "nanosleep"
            | "applypriority" | "prefetchu" | "setmaxnreg" => Operation::Nothing,
            "shfl" => {
                let (result, valid) = self.pair(operand(0)?)?;
                Operation::Shuffle {
                    kind: match name.get(2) {
                        Some(&"up") => Shuffle::Up,
                        Some(&"down") => Shuffle::Down,
                        Some(&"bfly") => Shuffle::Butterfly,
                        Some(&"idx") => Shuffle::Index,
                        _ => return Err(name.join(".")),
                    },
                    result,
                    valid,
                    value: self.source(operand(1)?)?,
                    lane: self.source(operand(2)?)?,
                    clamp: self.source(operand(3)?)?,
                    members: self.source(operand(4)?)?,
                }
            }
            "vote" => {
                let value = operand(1)?;
                let (value, negated) = match value.strip_prefix('!') {
                    Some(value) => (value, true),
                    None => (value, false),
                };
                Operation::Vote {
                    kind: match name.get(2) {
                        Some(&"all") => Vote::All,
                        Some(&"any") => Vote::Any,
                        Some(&"uni") => Vote::Uniform,
                        Some(&"ballot") => Vote::Ballot,
                        _ => return Err(name.join(".")),
                    },
                    value: self.source(value)?,
                    negated,
                    members: self.source(operand(2)?)?,
                    result: self.destination(operand(0)?)?,
                }
            }
            "redux" => Operation::Reduce {
                update: update(name).ok_or_else(|| name.join("."))?,
                number: number(kind).ok_or_else(|| name.join("."))?,
                value: self.source(operand(1)?)?,
                members: self.source(operand(2)?)?,
                result: self.destination(operand(0)?)?,
            },
            "activemask" => Operation::ActiveMask {
                result: self.destination(operand(0)?)?,
            },
            "mapa" => Operation::MapToBlock {
                result: self.destination(operand(0)?)?,
                address: self.source(operand(1)?)?,
                block: self.source(operand(2)?)?,
                generic: !has("shared::cluster"),
            },
            "mma" => {
                let terms = match name
                    .iter()
                    .find(|part| part.starts_with('m') && part.len() > 5)
                {
                    Some(&"m16n8k16") => 16,
                    Some(&"m16n8k8") => 8,
                    _ => return Err(name.join(".")),
                };
                let kinds = &name[name.len() - 4..];
                Operation::MatrixProduct {
                    factor: match (kinds[1], kinds[2]) {
                        ("f16", "f16") => Factor::Half,
                        ("bf16", "bf16") => Factor::BFloat,
                        _ => return Err(name.join(".")),
                    },
                    terms,
                    float_sum: match (kinds[0], kinds[3]) {
                        ("f32", "f32") => true,
                        ("f16", "f16") => false,
                        _ => return Err(name.join(".")),
                    },
                    left: self.sources(operand(1)?)?,
                    right: self.sources(operand(2)?)?,
                    addend: self.sources(operand(3)?)?,
                    result: self.destinations(operand(0)?)?,
                }
            }
            "ldmatrix" => Operation::LoadMatrices {
                transposed: has("trans"),
                address: self.address(operand(1)?, Space::Shared)?,
                result: self.destinations(operand(0)?)?,
            },
            "stmatrix" => Operation::StoreMatrices {
                transposed: has("trans"),
                address: self.address(operand(0)?, Space::Shared)?,
                values: self.sources(operand(1)?)?,
            },
            "movmatrix" => Operation::TransposeMatrix {
                value: self.source(operand(1)?)?,
                result: self.destination(operand(0)?)?,
            },
            "mbarrier" if has("init") => Operation::CreatePhases {
                address: self.address(operand(0)?, Space::Shared)?,
                count: self.source(operand(1)?)?,
            },
            "mbarrier" if has("inval") => Operation::Nothing,
            "mbarrier" if has("arrive") && operand(0)? == "_" => Operation::ArriveAtPhase {
                address: self.address(operand(1)?, Space::Shared)?,
                bytes: match operands.get(2) {
                    Some(bytes) if has("expect_tx") => Some(self.source(bytes)?),
                    None => None,
                    _ => return Err(name.join(".")),
                },
            },
            "mbarrier" if (has("try_wait") || has("test_wait")) && has("parity") => {
                Operation::WaitForPhase {
                    address: self.address(operand(1)?, Space::Shared)?,
                    parity: self.source(operand(2)?)?,
                    result: self.destination(operand(0)?)?,
                }
            }
            "cp" if has("bulk") && has("mbarrier::complete_tx::bytes") => {
                let from = if has("global") {
                    Space::Global
                } else {
                    Space::Shared
                };
                Operation::BulkCopy {
                    to: self.address(operand(0)?, Space::Shared)?,
                    from: self.address(operand(1)?, from)?,
                    bytes: self.source(operand(2)?)?,
                    barrier: self.address(operand(3)?, Space::Shared)?,
                }
            }
            "cp" if has("bulk") => return Err(name.join(".")),
            "cp" if has("async") && has("commit_group") => Operation::EndCopies,
            "cp" if has("async") && has("wait_group") => Operation::WaitForCopies {
                groups_left: operand(0)?.parse().map_err(|_| name.join("."))?,
                all: false,
            },
            "cp" if has("async") && has("wait_all") => Operation::WaitForCopies {
                groups_left: 0,
                all: true,
            },
            "cp" if has("async") && (has("ca") || has("cg")) => Operation::AsynchronousCopy {
                to: self.address(operand(0)?, Space::Shared)?,
                from: self.address(operand(1)?, Space::Global)?,
                bytes: operand(2)?.parse().map_err(|_| name.join("."))?,
                read: match operands.get(3) {
                    Some(read) => Some(self.source(read)?),
                    None => None,
                },
            },
            _ => return self.simple(arithmetic::find(name), operands, name),
        }))
    }

    /// `a|p`: a result and a predicate.
    pub(super) fn pair(&mut self, operand: &str) -> Result<(u32, Option<u32>), String> {
        match operand.split_once('|') {
            Some((first, second)) => {
                Ok((self.destination(first)?, Some(self.destination(second)?)))
            }
            None => Ok((self.destination(operand)?, None)),
        }
    }

    pub(super) fn moved(
        &mut self,
        name: &[&str],
        operands: &[String],
    ) -> Result<Option<Operation>, String> {
        let (Some(to), Some(from)) = (operands.first(), operands.get(1)) else {
            return Err("operands of mov".into());
        };
        let (copy, _) = arithmetic::find(&["mov"]).ok_or("no copy")?;
        let kind = *name.last().unwrap_or(&"");
        let width = 8 * text::width(kind).ok_or(kind)? as u64;
        let text = "mov of parts";
        if to.starts_with('{') {
            let parts = Self::list(to).len() as u64;
            let from = self.source(from)?;
            let (shift, _) = arithmetic::find(&["shr", "u64"]).ok_or("no shift")?;
            // The value may be in the register of one part.
            let kept = self.new_slot();
            self.emit(
                Operation::Arithmetic(copy, [kept, from, 0, 0, 0]),
                None,
                text,
            );
            for (index, part) in Self::list(to).into_iter().enumerate() {
                let amount = self.constant(index as u64 * (width / parts));
                let part = self.destination(part)?;
                self.emit(
                    Operation::Arithmetic(shift, [part, kept, amount, 0, 0]),
                    None,
                    text,
                );
            }
            return Ok(None);
        }
        if from.starts_with('{') {
            let parts = Self::list(from);
            let count = parts.len() as u64;
            let part_width = width / count;
            let (insert, _) = arithmetic::find(&["bfi", "b64"]).ok_or("no insertion")?;
            let mut so_far = self.constant(0);
            let length = self.constant(part_width);
            for (index, part) in parts.into_iter().enumerate() {
                let part = self.source(part)?;
                let at = self.constant(index as u64 * part_width);
                let next = self.new_slot();
                self.emit(
                    Operation::Arithmetic(insert, [next, part, so_far, at, length]),
                    None,
                    text,
                );
                so_far = next;
            }
            let to = self.destination(to)?;
            self.emit(
                Operation::Arithmetic(copy, [to, so_far, 0, 0, 0]),
                None,
                text,
            );
            return Ok(None);
        }
        let from = self.source(from)?;
        let to = self.destination(to)?;
        Ok(Some(Operation::Arithmetic(copy, [to, from, 0, 0, 0])))
    }

    /// Between a space's addresses and generic ones, which differ by where the space begins.
    pub(super) fn address_conversion(
        &mut self,
        name: &[&str],
        operands: &[String],
    ) -> Result<Operation, String> {
        let window = if name.contains(&"shared") || name.contains(&"shared::cluster") {
            SHARED_WINDOW
        } else if name.contains(&"local") {
            LOCAL_WINDOW
        } else if name.contains(&"param") {
            PARAMETER_WINDOW
        } else {
            0
        };
        let by = if name.contains(&"to") {
            window.wrapping_neg()
        } else {
            window
        };
        let (Some(to), Some(from)) = (operands.first(), operands.get(1)) else {
            return Err("operands of cvta".into());
        };
        let from = self.source(from)?;
        let by = self.constant(by);
        let to = self.destination(to)?;
        let (add, _) = arithmetic::find(&["add", "u64"]).ok_or("no sum")?;
        Ok(Operation::Arithmetic(add, [to, from, by, 0, 0]))
    }

    /// `setp` with up to two results and a predicate to combine with; `set`.
    pub(super) fn comparison(
        &mut self,
        name: &[&str],
        operands: &[String],
    ) -> Result<Operation, String> {
        let kind = *name.last().unwrap_or(&"");
        let operator = *name.get(1).unwrap_or(&"");
        let compare = arithmetic::comparison(operator, kind).ok_or_else(|| name.join("."))?;
        let (Some(result), Some(a), Some(b)) = (operands.first(), operands.get(1), operands.get(2))
        else {
            return Err("operands of a comparison".into());
        };
        let a = self.source(a)?;
        let b = self.source(b)?;
        if name[0] == "set" {
            let to = name[name.len() - 2];
            let truth = arithmetic::truth(to).ok_or_else(|| name.join("."))?;
            let between = self.new_slot();
            self.emit(
                Operation::Arithmetic(compare, [between, a, b, 0, 0]),
                None,
                "set",
            );
            let result = self.destination(result)?;
            return Ok(Operation::Arithmetic(truth, [result, between, 0, 0, 0]));
        }
        let combine = ["and", "or", "xor"]
            .into_iter()
            .find(|combine| name.contains(combine));
        if result.contains('|') {
            return Err(format!("two results of {}", name.join(".")));
        }
        let Some(combine) = combine else {
            let result = self.destination(result)?;
            return Ok(Operation::Arithmetic(compare, [result, a, b, 0, 0]));
        };
        let third = operands.get(3).ok_or("no third operand")?;
        let third = self.source(third)?;
        let between = self.new_slot();
        self.emit(
            Operation::Arithmetic(compare, [between, a, b, 0, 0]),
            None,
            "setp",
        );
        let (combine, _) = arithmetic::find(&[combine, "pred"]).ok_or("no combination")?;
        let result = self.destination(result)?;
        Ok(Operation::Arithmetic(
            combine,
            [result, between, third, 0, 0],
        ))
    }

    pub(super) fn atomic(
        &mut self,
        name: &[&str],
        operands: &[String],
    ) -> Result<Operation, String> {
        let kind = *name.last().unwrap_or(&"");
        let number = number(kind).ok_or_else(|| name.join("."))?;
        let update = update(name).ok_or_else(|| name.join("."))?;
        let returns = name[0] == "atom";
        let rest = if returns {
            operands.get(1..)
        } else {
            Some(operands)
        };
        let Some([address, operand, more @ ..]) = rest else {
            return Err(format!("operands of {}", name.join(".")));
        };
        let address = self.address(address, space(name))?;
        let operand = self.source(operand)?;
        let replacement = match more.first() {
            Some(replacement) if update == Update::CompareAndSwap => self.source(replacement)?,
            _ => operand,
        };
        let result = if returns {
            Some(self.destination(&operands[0])?)
        } else {
            None
        };
        Ok(Operation::Atomic {
            address,
            update,
            number,
            result,
            operand,
            replacement,
        })
    }
}

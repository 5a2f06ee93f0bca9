//! Copies that go on by themselves, and the barriers in shared memory that count them.

use super::{lanes, After, Runner, Watch};
use crate::machine::block::{Copy, Fragment, Phases, Wait};
use crate::machine::instruction::{Operation, Space};
use crate::machine::races::Who;

impl Runner<'_> {
    pub(super) fn asynchronous(
        &mut self,
        operation: &Operation,
        mask: u32,
        at: usize,
    ) -> Result<(), String> {
        match operation {
            Operation::AsynchronousCopy {
                to,
                from,
                bytes,
                read,
            } => {
                for lane in lanes(mask) {
                    let place = self.place(at, lane, to, *bytes, Watch::Not)?;
                    let shared = self.blocks[self.rank].shared.as_ptr();
                    let from_address =
                        self.register(from.base)[lane].wrapping_add(from.offset as u64);
                    let read = match read {
                        Some(slot) => (self.register(*slot)[lane] as u32 as usize).min(*bytes),
                        None => *bytes,
                    };
                    // A device may read all of what it copies a part of.
                    if read > 0 {
                        self.global(at, lane, from_address, *bytes, *bytes)?;
                    }
                    let copy = Copy {
                        to: place as usize - shared as usize,
                        from: from_address,
                        bytes: *bytes,
                        read,
                        lane: lane as u32,
                    };
                    self.blocks[self.rank].warps[self.index]
                        .open_copies
                        .push(copy);
                }
            }
            Operation::CreatePhases { address, count } => {
                for lane in lanes(mask) {
                    let (rank, offset) = self.shared_place(at, lane, address)?;
                    let count = self.register(*count)[lane] as u32;
                    let phases = Phases {
                        count,
                        left: count,
                        ..Phases::default()
                    };
                    self.blocks[rank].phases.insert(offset, phases);
                }
            }
            Operation::ArriveAtPhase { address, bytes } => {
                for lane in lanes(mask) {
                    let (rank, offset) = self.shared_place(at, lane, address)?;
                    let bytes = bytes.map_or(0, |slot| self.register(slot)[lane] as u32);
                    let warp = self.rank * self.blocks[self.rank].warps.len() + self.index;
                    let Some(phases) = self.blocks[rank].phases.get_mut(&offset) else {
                        return Err(self.fault(at, lane, "no barrier was made there"));
                    };
                    if phases.left == 0 {
                        return Err(self.fault(at, lane, "more arrivals than the barrier is for"));
                    }
                    if let Some(races) = &mut self.races {
                        races.arrive(warp, &mut phases.clocks[0]);
                    }
                    phases.bytes += i64::from(bytes);
                    phases.left -= 1;
                    phases.advance();
                }
            }
            Operation::BulkCopy {
                to,
                from,
                bytes,
                barrier,
            } => {
                for lane in lanes(mask) {
                    let bytes = self.register(*bytes)[lane] as u32 as usize;
                    let (rank, offset) = self.shared_place(at, lane, to)?;
                    let (barrier_rank, barrier) = self.shared_place(at, lane, barrier)?;
                    let whole = bytes.is_multiple_of(16) && offset.is_multiple_of(16);
                    if !whole || barrier_rank != rank {
                        return Err(self.fault(
                            at,
                            lane,
                            "a copy of other than whole 16 bytes, or counted elsewhere",
                        ));
                    }
                    let source = match from.space {
                        Space::Shared => {
                            let (rank, offset) = self.shared_place(at, lane, from)?;
                            let length = self.blocks[rank].shared.len();
                            if offset + bytes > length {
                                return Err(self.fault(at, lane, "the copy's source ends outside"));
                            }
                            self.watch(
                                at,
                                lane,
                                rank,
                                offset,
                                bytes,
                                Who::Lane(lane as u8),
                                false,
                            )?;
                            self.blocks[rank].shared.as_ptr() as u64 + offset as u64
                        }
                        _ => {
                            let address =
                                self.register(from.base)[lane].wrapping_add(from.offset as u64);
                            self.global(at, lane, address, bytes, 16)? as u64
                        }
                    };
                    if offset + bytes > self.blocks[rank].shared.len() {
                        return Err(self.fault(at, lane, "the copy's target ends outside"));
                    }
                    self.watch(at, lane, rank, offset, bytes, Who::Lane(lane as u8), true)?;
                    let warp = self.rank * self.blocks[self.rank].warps.len() + self.index;
                    let Some(phases) = self.blocks[rank].phases.get_mut(&barrier) else {
                        return Err(self.fault(at, lane, "no barrier was made there"));
                    };
                    phases.copies.push((offset, source, bytes));
                    if let Some(races) = &mut self.races {
                        races.arrive(warp, &mut phases.clocks[0]);
                    }
                }
            }
            Operation::EndCopies => {
                let warp = &mut self.blocks[self.rank].warps[self.index];
                let group = std::mem::take(&mut warp.open_copies);
                warp.copy_groups.push(group);
            }
            Operation::WaitForCopies { groups_left, all } => {
                let warp = &mut self.blocks[self.rank].warps[self.index];
                let done = warp.copy_groups.len().saturating_sub(*groups_left);
                let mut copies: Vec<_> = warp.copy_groups.drain(..done).flatten().collect();
                if *all {
                    copies.append(&mut warp.open_copies);
                }
                for copy in copies {
                    let who = Who::Lane(copy.lane as u8);
                    let lane = copy.lane as usize;
                    self.watch(at, lane, self.rank, copy.to, copy.bytes, who, true)?;
                    let shared = &mut self.blocks[self.rank].shared;
                    let target = &mut shared[copy.to..copy.to + copy.bytes];
                    target.fill(0);
                    // SAFETY: the source was found inside an allocation when the copy began.
                    unsafe {
                        std::ptr::copy_nonoverlapping(
                            copy.from as *const u8,
                            target.as_mut_ptr(),
                            copy.read,
                        );
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn wait_for_phase(
        &mut self,
        operation: &Operation,
        full: u32,
        mask: u32,
        at: usize,
        chosen: usize,
    ) -> Result<After, String> {
        if let Operation::WaitForPhase {
            result,
            address,
            parity,
        } = operation
        {
            let lane = mask.trailing_zeros() as usize;
            let (rank, offset) = self.shared_place(at, lane, address)?;
            let parity = self.register(*parity)[lane] as u32;
            let warp = self.rank * self.blocks[self.rank].warps.len() + self.index;
            let Some(phases) = self.blocks[rank].phases.get_mut(&offset) else {
                return Err(self.fault(at, lane, "no barrier was made there"));
            };
            if phases.phase & 1 == parity & 1 {
                let copies = std::mem::take(&mut phases.copies);
                phases.bytes -= copies.iter().map(|copy| copy.2 as i64).sum::<i64>();
                phases.advance();
                let over = phases.phase & 1 != parity & 1;
                let moved = !copies.is_empty();
                for (to, from, bytes) in copies {
                    let target = &mut self.blocks[rank].shared[to..to + bytes];
                    // SAFETY: the source was inside memory of its space when the copy began;
                    // it may overlap the target.
                    unsafe { std::ptr::copy(from as *const u8, target.as_mut_ptr(), bytes) };
                }
                if !over {
                    self.fragments()[chosen] = Fragment {
                        at,
                        mask: full,
                        wait: Wait::Phase,
                    };
                    return Ok(if moved { After::Stop } else { After::Stall });
                }
            }
            if let (Some(races), Some(phases)) =
                (&mut self.races, self.blocks[rank].phases.get(&offset))
            {
                races.learn(warp, &phases.clocks[1]);
            }
            self.set(*result, &[1; 32], mask);
        }
        Ok(After::Next)
    }
}

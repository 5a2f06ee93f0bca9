//! A warp: which of its threads run next, and what each instruction does to them.

mod access;
mod asynchronous;
mod collective;
mod update;

use super::arithmetic::write;
use super::block::{Block, Fragment, Wait};
use super::instruction::Operation;
use super::races::{Races, Who};
use super::SHARED_WINDOW;
use crate::ptx::Kernel;

/// Bits of an address in the shared memory of another block that name the block.
const RANK_SHIFT: u32 = 24;

/// Runs a warp until all its threads wait or have ended; whether anything ran.
pub fn run(
    kernel: &Kernel,
    parameters: &[u8],
    blocks: &mut [Block],
    rank: usize,
    index: usize,
    races: Option<&mut Races>,
) -> Result<bool, String> {
    let mut runner = Runner {
        kernel,
        parameters,
        blocks,
        rank,
        index,
        known: (0, 0),
        races,
    };
    let mut progress = false;
    for fragment in runner.fragments() {
        if fragment.wait == Wait::Phase {
            fragment.wait = Wait::Nothing;
        }
    }
    while runner.next_fragment(&mut progress)? {}
    Ok(progress)
}

struct Runner<'a> {
    kernel: &'a Kernel,
    parameters: &'a [u8],
    blocks: &'a mut [Block],
    rank: usize,
    index: usize,
    /// The global allocation of the last access.
    known: (u64, u64),
    races: Option<&'a mut Races>,
}

/// How an access is watched.
#[derive(Clone, Copy)]
enum Watch {
    Read(Who),
    Write(Who),
    /// Atomic, or watched when it happens.
    Not,
}

enum After {
    Next,
    Jump(usize),
    Split,
    Stop,
    /// Nothing was done: the instruction will be tried again.
    Stall,
}

impl Runner<'_> {
    fn fragments(&mut self) -> &mut Vec<Fragment> {
        &mut self.blocks[self.rank].warps[self.index].fragments
    }

    /// Runs the threads that are furthest behind, until they meet others, wait or end. False if
    /// none can run.
    fn next_fragment(&mut self, progress: &mut bool) -> Result<bool, String> {
        self.merge();
        self.release_warp(progress);
        let fragments = self.fragments();
        let Some(chosen) = (0..fragments.len())
            .filter(|&index| fragments[index].wait == Wait::Nothing)
            .min_by_key(|&index| fragments[index].at)
        else {
            return Ok(false);
        };
        // Until they reach the next of the others, which then go on with them.
        let limit = fragments
            .iter()
            .enumerate()
            .filter(|&(index, other)| {
                index != chosen && matches!(other.wait, Wait::Nothing | Wait::Warp { .. })
            })
            .map(|(_, other)| other.at)
            .filter(|&at| at > fragments[chosen].at)
            .min()
            .unwrap_or(usize::MAX);
        let Fragment { mut at, mask, .. } = fragments[chosen];
        loop {
            let after = self.step(at, mask, chosen)?;
            *progress |= !matches!(after, After::Stall);
            match after {
                After::Next => at += 1,
                After::Jump(to) => at = to,
                After::Split | After::Stop | After::Stall => return Ok(true),
            }
            if at >= limit || (limit != usize::MAX && self.meets(at, chosen)) {
                self.fragments()[chosen].at = at;
                return Ok(true);
            }
        }
    }

    /// Whether other threads are at an instruction: those that loop back may meet them.
    fn meets(&mut self, at: usize, chosen: usize) -> bool {
        self.fragments().iter().enumerate().any(|(index, other)| {
            index != chosen
                && other.at <= at
                && matches!(other.wait, Wait::Nothing | Wait::Warp { .. })
        })
    }

    /// Threads at the same instruction go on together.
    fn merge(&mut self) {
        let fragments = self.fragments();
        if fragments.len() < 2 {
            return;
        }
        let mut merged: Vec<Fragment> = Vec::with_capacity(fragments.len());
        for fragment in fragments.drain(..) {
            let joins = |wait: Wait| matches!(wait, Wait::Nothing | Wait::Warp { .. });
            let same = merged.iter_mut().find(|other| {
                other.at == fragment.at
                    && (other.wait == fragment.wait || (joins(other.wait) && joins(fragment.wait)))
            });
            match same {
                Some(other) => {
                    other.mask |= fragment.mask;
                    if other.wait != fragment.wait {
                        other.wait = Wait::Nothing;
                    } else if let Wait::Warp {
                        anywhere: false, ..
                    } = other.wait
                    {
                        other.wait = Wait::Nothing;
                    }
                }
                None => merged.push(fragment),
            }
        }
        *fragments = merged;
    }

    /// Lets go on those who wait for others of the warp that wait too.
    fn release_warp(&mut self, progress: &mut bool) {
        let mut released = false;
        let fragments = self.fragments();
        let waiting: u32 = fragments
            .iter()
            .filter(|fragment| matches!(fragment.wait, Wait::Warp { anywhere: true, .. }))
            .fold(0, |mask, fragment| mask | fragment.mask);
        let alive: u32 = fragments
            .iter()
            .fold(0, |mask, fragment| mask | fragment.mask);
        for fragment in fragments {
            if let Wait::Warp {
                members,
                anywhere: true,
            } = fragment.wait
            {
                if members & alive & !waiting == 0 {
                    fragment.wait = Wait::Nothing;
                    fragment.at += 1;
                    released = true;
                }
            }
        }
        if released {
            *progress = true;
            self.passed_warp_barrier();
        }
    }

    fn passed_warp_barrier(&mut self) {
        let warp = self.rank * self.blocks[self.rank].warps.len() + self.index;
        if let Some(races) = &mut self.races {
            races.warp_barrier(warp);
        }
    }

    fn register(&self, slot: u32) -> &[u64; 32] {
        &self.blocks[self.rank].warps[self.index].registers[slot as usize]
    }

    fn set(&mut self, slot: u32, values: &[u64; 32], mask: u32) {
        let registers = &mut self.blocks[self.rank].warps[self.index].registers;
        write(registers, slot, values, mask);
    }

    /// The lanes of a mask in which a predicate holds.
    fn where_true(&self, slot: u32, negated: bool, mask: u32) -> u32 {
        let mut holds = 0;
        for (lane, value) in self.register(slot).iter().enumerate() {
            holds |= ((*value & 1) as u32) << lane;
        }
        mask & if negated { !holds } else { holds }
    }

    fn fault(&self, at: usize, lane: usize, what: &str) -> String {
        let block = &self.blocks[self.rank];
        format!(
            "block {:?} thread {}: {what}, at {}",
            block.coordinates,
            self.index * 32 + lane,
            self.kernel.code.texts.get(at).map_or("", String::as_str)
        )
    }

    fn step(&mut self, at: usize, full: u32, chosen: usize) -> Result<After, String> {
        let kernel = self.kernel;
        let instruction = &kernel.code.instructions[at];
        let mask = match instruction.guard {
            None => full,
            Some((slot, negated)) => self.where_true(slot, negated, full),
        };
        if let Operation::Arithmetic(arithmetic, slots) = &instruction.operation {
            if mask != 0 {
                let registers = &mut self.blocks[self.rank].warps[self.index].registers;
                arithmetic(registers, slots, mask);
            }
            return Ok(After::Next);
        }
        if mask == 0 {
            return Ok(After::Next);
        }
        match &instruction.operation {
            Operation::Branch(target) => {
                if mask == full {
                    return Ok(After::Jump(*target));
                }
                self.fragments()[chosen] = Fragment {
                    at: at + 1,
                    mask: full & !mask,
                    wait: Wait::Nothing,
                };
                self.fragments().push(Fragment {
                    at: *target,
                    mask,
                    wait: Wait::Nothing,
                });
                return Ok(After::Split);
            }
            Operation::Exit => {
                self.blocks[self.rank].running -= mask.count_ones();
                if mask == full {
                    self.fragments().remove(chosen);
                } else {
                    self.fragments()[chosen] = Fragment {
                        at: at + 1,
                        mask: full & !mask,
                        wait: Wait::Nothing,
                    };
                }
                return Ok(After::Stop);
            }
            Operation::Barrier {
                number,
                threads,
                waits,
            } => {
                if mask != full {
                    return Err(self.fault(at, 0, "a barrier under a predicate that differs"));
                }
                let lane = full.trailing_zeros() as usize;
                let number = self.register(*number)[lane] as u32;
                let expected = threads.map(|slot| self.register(slot)[lane] as u32);
                let Some(barrier) = self.blocks[self.rank].barriers.get_mut(number as usize) else {
                    return Err(self.fault(at, lane, "no such barrier"));
                };
                if barrier.arrived != 0 && barrier.expected != expected {
                    return Err(self.fault(at, lane, "a barrier of another number of threads"));
                }
                barrier.arrived += full.count_ones();
                barrier.warps |= 1 << self.index;
                barrier.expected = expected;
                if !waits {
                    return Ok(After::Next);
                }
                self.fragments()[chosen] = Fragment {
                    at: at + 1,
                    mask: full,
                    wait: Wait::Barrier(number),
                };
                return Ok(After::Stop);
            }
            Operation::ClusterArrive | Operation::Nothing => {}
            Operation::ClusterWait => {
                self.fragments()[chosen] = Fragment {
                    at: at + 1,
                    mask: full,
                    wait: Wait::Cluster,
                };
                return Ok(After::Stop);
            }
            Operation::WarpBarrier { members } => {
                let members = self.register(*members)[full.trailing_zeros() as usize] as u32;
                if self.all_here(members, full) {
                    self.passed_warp_barrier();
                    return Ok(After::Next);
                }
                self.fragments()[chosen] = Fragment {
                    at,
                    mask: full,
                    wait: Wait::Warp {
                        members,
                        anywhere: true,
                    },
                };
                return Ok(After::Stop);
            }
            Operation::Shuffle { members, .. }
            | Operation::Vote { members, .. }
            | Operation::Reduce { members, .. } => {
                let members = self.register(*members)[full.trailing_zeros() as usize] as u32;
                if !self.all_here(members, full) {
                    return Ok(self.wait_for_warp(at, full, members, chosen));
                }
                self.collective(&instruction.operation, mask, at)?;
            }
            Operation::MatrixProduct { .. }
            | Operation::LoadMatrices { .. }
            | Operation::StoreMatrices { .. }
            | Operation::TransposeMatrix { .. } => {
                if !self.all_here(u32::MAX, full) {
                    return Ok(self.wait_for_warp(at, full, u32::MAX, chosen));
                }
                if mask != u32::MAX {
                    return Err(self.fault(at, 0, "not all 32 threads of the warp"));
                }
                self.matrices(&instruction.operation, at)?;
            }
            Operation::ActiveMask { result } => {
                self.set(*result, &[u64::from(full); 32], mask);
            }
            Operation::MapToBlock {
                result,
                address,
                block,
                generic,
            } => {
                let window = if *generic { SHARED_WINDOW } else { 0 };
                let (addresses, ranks) = (*self.register(*address), *self.register(*block));
                let values = std::array::from_fn(|lane| {
                    let offset = (addresses[lane] - window) & ((1 << RANK_SHIFT) - 1);
                    window + (((ranks[lane] as u32 as u64) + 1) << RANK_SHIFT) + offset
                });
                self.set(*result, &values, mask);
            }
            Operation::Load {
                address,
                values,
                bytes,
                signed,
            } => self.load(at, mask, address, values, usize::from(*bytes), *signed)?,
            Operation::Store {
                address,
                values,
                bytes,
            } => self.store(at, mask, address, values, usize::from(*bytes))?,
            Operation::Atomic { .. } => self.atomic(&instruction.operation, mask, at)?,
            Operation::WaitForPhase { .. } => {
                return self.wait_for_phase(&instruction.operation, full, mask, at, chosen);
            }
            Operation::AsynchronousCopy { .. }
            | Operation::CreatePhases { .. }
            | Operation::ArriveAtPhase { .. }
            | Operation::BulkCopy { .. }
            | Operation::EndCopies
            | Operation::WaitForCopies { .. } => {
                self.asynchronous(&instruction.operation, mask, at)?;
            }
            Operation::Trap(message) => {
                return Err(self.fault(at, mask.trailing_zeros() as usize, message));
            }
            Operation::Arithmetic(..) => {}
        }
        Ok(After::Next)
    }

    /// Whether all threads that an instruction names, and that have not ended, are at it.
    fn all_here(&mut self, members: u32, here: u32) -> bool {
        let alive = self
            .fragments()
            .iter()
            .fold(0, |mask, fragment| mask | fragment.mask);
        members & alive & !here == 0
    }

    fn wait_for_warp(&mut self, at: usize, mask: u32, members: u32, chosen: usize) -> After {
        self.fragments()[chosen] = Fragment {
            at,
            mask,
            wait: Wait::Warp {
                members,
                anywhere: false,
            },
        };
        After::Stop
    }
}

/// The lanes of a mask.
fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    (0..32).filter(move |lane| mask >> lane & 1 != 0)
}

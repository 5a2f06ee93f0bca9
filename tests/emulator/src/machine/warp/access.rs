//! Accesses of memory: where an address leads, whether it may.

use super::RANK_SHIFT;
use super::{lanes, Runner, Watch};
use crate::machine::instruction::{Address, Space};
use crate::machine::races::{Access, Who};
use crate::machine::{LOCAL_WINDOW, PARAMETER_WINDOW, SHARED_WINDOW};
use crate::memory;

impl Runner<'_> {
    /// Block and offset of an address of 8 bytes in shared memory.
    pub(super) fn shared_place(
        &mut self,
        at: usize,
        lane: usize,
        address: &Address,
    ) -> Result<(usize, usize), String> {
        let place = self.place(at, lane, address, 8, Watch::Not)? as usize;
        let found = self.blocks.iter().enumerate().find_map(|(rank, block)| {
            let offset = place.checked_sub(block.shared.as_ptr() as usize)?;
            (offset < block.shared.len()).then_some((rank, offset))
        });
        found.ok_or_else(|| self.fault(at, lane, "not in shared memory"))
    }

    /// Where a lane's access of so many bytes goes, in the host's memory.
    pub(super) fn place(
        &mut self,
        at: usize,
        lane: usize,
        address: &Address,
        bytes: usize,
        watch: Watch,
    ) -> Result<*mut u8, String> {
        let target = self.register(address.base)[lane];
        let (space, target) = match address.space {
            // Addresses of shared memory may be in registers of 32 bits.
            Space::Shared if target < SHARED_WINDOW => (
                Space::Shared,
                u64::from((target as u32).wrapping_add(address.offset as u32)),
            ),
            Space::Generic => {
                let target = target.wrapping_add(address.offset as u64);
                if target >= PARAMETER_WINDOW {
                    (Space::Parameter, target - PARAMETER_WINDOW)
                } else if target >= LOCAL_WINDOW {
                    (Space::Local, target - LOCAL_WINDOW)
                } else if target >= SHARED_WINDOW {
                    (Space::Shared, target - SHARED_WINDOW)
                } else {
                    (Space::Global, target)
                }
            }
            space => (space, target.wrapping_add(address.offset as u64)),
        };
        if !target.is_multiple_of(bytes.next_power_of_two() as u64) {
            return Err(self.fault(at, lane, &format!("address {target:#x} is not aligned")));
        }
        let outside = |this: &Self, length: usize| {
            this.fault(
                at,
                lane,
                &format!("{bytes} bytes at {target} of {space:?} memory of {length}"),
            )
        };
        let checked = |offset: u64, length: usize| {
            let offset = usize::try_from(offset).ok()?;
            (offset.checked_add(bytes)? <= length).then_some(offset)
        };
        match space {
            Space::Global | Space::Generic => self.global(at, lane, target, bytes, bytes),
            Space::Shared => {
                let rank = match target >> RANK_SHIFT {
                    0 => self.rank,
                    rank => rank as usize - 1,
                };
                let offset = target & ((1 << RANK_SHIFT) - 1);
                let length = self.blocks.get(rank).map_or(0, |block| block.shared.len());
                let offset = checked(offset, length).ok_or_else(|| outside(self, length))?;
                match watch {
                    Watch::Read(who) => self.watch(at, lane, rank, offset, bytes, who, false)?,
                    Watch::Write(who) => self.watch(at, lane, rank, offset, bytes, who, true)?,
                    Watch::Not => {}
                }
                Ok(self.blocks[rank].shared.as_mut_ptr().wrapping_add(offset))
            }
            Space::Local => {
                let length = self.kernel.code.local_bytes;
                let offset = checked(target, length).ok_or_else(|| outside(self, length))?;
                let local = &mut self.blocks[self.rank].warps[self.index].local;
                Ok(local.as_mut_ptr().wrapping_add(lane * length + offset))
            }
            Space::Parameter => {
                let length = self.parameters.len();
                let offset = checked(target, length).ok_or_else(|| outside(self, length))?;
                Ok(self.parameters.as_ptr().wrapping_add(offset).cast_mut())
            }
        }
    }

    /// An error if this access of shared memory races with another.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn watch(
        &mut self,
        at: usize,
        lane: usize,
        rank: usize,
        offset: usize,
        bytes: usize,
        who: Who,
        writes: bool,
    ) -> Result<(), String> {
        let warp = self.rank * self.blocks[self.rank].warps.len() + self.index;
        let Some(races) = &mut self.races else {
            return Ok(());
        };
        let access = Access {
            warp,
            who,
            instruction: at,
            writes,
        };
        match races.access(rank, offset, bytes, access) {
            None => Ok(()),
            Some(other) => {
                let text = self.kernel.code.texts.get(other).map_or("", String::as_str);
                Err(self.fault(
                    at,
                    lane,
                    &format!("shared memory at {offset} raced with {other}: {text}, {at}"),
                ))
            }
        }
    }

    pub(super) fn global(
        &mut self,
        at: usize,
        lane: usize,
        address: u64,
        bytes: usize,
        alignment: usize,
    ) -> Result<*mut u8, String> {
        if !address.is_multiple_of(alignment.next_power_of_two() as u64) {
            return Err(self.fault(at, lane, &format!("address {address:#x} is not aligned")));
        }
        let (start, end) = self.known;
        if address < start || address + bytes as u64 > end {
            let Some((start, length)) = memory::containing(address) else {
                return Err(self.fault(at, lane, &format!("nothing is at address {address:#x}")));
            };
            let end = start + length as u64;
            if address + bytes as u64 > end {
                return Err(self.fault(
                    at,
                    lane,
                    &format!(
                        "{bytes} bytes at {} of an allocation of {length}",
                        address - start
                    ),
                ));
            }
            self.known = (start, end);
        }
        Ok(address as *mut u8)
    }

    pub(super) fn load(
        &mut self,
        at: usize,
        mask: u32,
        address: &Address,
        values: &[u32],
        bytes: usize,
        signed: bool,
    ) -> Result<(), String> {
        let mut loaded = [[0u64; 32]; 8];
        for lane in lanes(mask) {
            let watch = Watch::Read(Who::Lane(lane as u8));
            let place = self.place(at, lane, address, bytes * values.len(), watch)?;
            for (index, loaded) in loaded[..values.len()].iter_mut().enumerate() {
                let value = read(place.wrapping_add(bytes * index), bytes);
                loaded[lane] = if signed {
                    extended(value, bytes)
                } else {
                    value
                };
            }
        }
        for (&slot, loaded) in values.iter().zip(&loaded) {
            self.set(slot, loaded, mask);
        }
        Ok(())
    }

    pub(super) fn store(
        &mut self,
        at: usize,
        mask: u32,
        address: &Address,
        values: &[u32],
        bytes: usize,
    ) -> Result<(), String> {
        for lane in lanes(mask) {
            let watch = Watch::Write(Who::Lane(lane as u8));
            let place = self.place(at, lane, address, bytes * values.len(), watch)?;
            for (index, &slot) in values.iter().enumerate() {
                let value = self.register(slot)[lane];
                store(place.wrapping_add(bytes * index), bytes, value);
            }
        }
        Ok(())
    }
}

pub(super) fn read(place: *const u8, bytes: usize) -> u64 {
    // SAFETY: `place` was checked against the memory that it lies in. Threads of other blocks
    // may write the same memory: what then is read is the kernel's affair.
    unsafe {
        match bytes {
            1 => u64::from(place.read_volatile()),
            2 => u64::from(place.cast::<u16>().read_volatile()),
            4 => u64::from(place.cast::<u32>().read_volatile()),
            _ => place.cast::<u64>().read_unaligned(),
        }
    }
}

pub(super) fn store(place: *mut u8, bytes: usize, value: u64) {
    // SAFETY: as for `read`.
    unsafe {
        match bytes {
            1 => place.write_volatile(value as u8),
            2 => place.cast::<u16>().write_volatile(value as u16),
            4 => place.cast::<u32>().write_volatile(value as u32),
            _ => place.cast::<u64>().write_unaligned(value),
        }
    }
}

pub(super) fn extended(value: u64, bytes: usize) -> u64 {
    let shift = 64 - 8 * bytes as u32;
    ((value << shift) as i64 >> shift) as u64
}

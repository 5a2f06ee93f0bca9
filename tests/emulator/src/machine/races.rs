//! Races in shared memory: two accesses to the same place of which one at least writes, and that
//! no barrier orders.
//!
//! Each warp has a vector of clocks: how far it knows every warp of the cluster to have come. A
//! barrier makes all who meet there know what any of them knew, and then each one's own clock
//! goes on. An access at another warp's clock that the present warp does not know of is
//! unordered. Threads of one warp are ordered by the barriers of the warp alone.

/// Who made an access within a warp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Lane(u8),
    /// Several: an instruction of the warp as a whole.
    Warp,
}

#[derive(Debug, Clone, Copy)]
struct Write {
    warp: usize,
    clock: u32,
    phase: u32,
    who: Who,
    instruction: u32,
}

/// The last reads of a place, by warp.
struct Reads {
    clocks: Vec<u32>,
    /// Within the warp that read last: when, who, by which instruction.
    warp: usize,
    phase: u32,
    who: Who,
    instruction: u32,
}

pub struct Races {
    /// Bytes that are watched together: no more than the smallest access has.
    grain: usize,
    warps: usize,
    clocks: Vec<Vec<u32>>,
    /// Barriers of each warp that its threads have passed.
    phases: Vec<u32>,
    writes: Vec<Vec<Option<Write>>>,
    reads: Vec<Vec<Option<Reads>>>,
}

/// One access, as the warp of the cluster that makes it.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    pub warp: usize,
    pub who: Who,
    pub instruction: usize,
    pub writes: bool,
}

impl Races {
    /// For a cluster of blocks with so much shared memory each, accessed by at least `grain` bytes.
    pub fn new(blocks: usize, warps_of_block: usize, shared_bytes: usize, grain: usize) -> Self {
        let warps = blocks * warps_of_block;
        let grains = shared_bytes.div_ceil(grain);
        let mut races = Self {
            grain,
            warps,
            clocks: Vec::new(),
            phases: vec![0; warps],
            writes: (0..blocks).map(|_| vec![None; grains]).collect(),
            reads: (0..blocks)
                .map(|_| (0..grains).map(|_| None).collect())
                .collect(),
        };
        races.begin();
        races
    }

    /// Forgets all that was.
    pub fn begin(&mut self) {
        self.clocks = (0..self.warps)
            .map(|own| (0..self.warps).map(|warp| u32::from(warp == own)).collect())
            .collect();
        self.phases.fill(0);
        for writes in &mut self.writes {
            writes.fill(None);
        }
        for reads in &mut self.reads {
            reads.fill_with(|| None);
        }
    }

    /// The warps that meet at a barrier.
    pub fn meet(&mut self, warps: &[usize]) {
        let mut known = vec![0; self.warps];
        for &warp in warps {
            for (known, &clock) in known.iter_mut().zip(&self.clocks[warp]) {
                *known = clock.max(*known);
            }
        }
        for &warp in warps {
            self.clocks[warp].copy_from_slice(&known);
            self.clocks[warp][warp] += 1;
            self.phases[warp] += 1;
        }
    }

    /// What a warp that arrives at a barrier tells those who will wait there.
    pub fn arrive(&mut self, warp: usize, told: &mut Vec<u32>) {
        told.resize(self.warps, 0);
        for (told, &clock) in told.iter_mut().zip(&self.clocks[warp]) {
            *told = clock.max(*told);
        }
        self.clocks[warp][warp] += 1;
    }

    /// What a warp learns that waited for those who arrived.
    pub fn learn(&mut self, warp: usize, told: &[u32]) {
        for (known, &clock) in self.clocks[warp].iter_mut().zip(told) {
            *known = clock.max(*known);
        }
        self.phases[warp] += 1;
    }

    /// A barrier among the threads of one warp.
    pub fn warp_barrier(&mut self, warp: usize) {
        self.phases[warp] += 1;
    }

    /// Notes an access to a block's shared memory; the instruction that it races with.
    pub fn access(
        &mut self,
        block: usize,
        offset: usize,
        bytes: usize,
        access: Access,
    ) -> Option<usize> {
        let first = offset / self.grain;
        let last = (offset + bytes.max(1) - 1) / self.grain;
        let mut conflict = None;
        for grain in first..=last {
            conflict = conflict.or(self.grain(block, grain, access));
        }
        conflict
    }

    fn grain(&mut self, block: usize, grain: usize, access: Access) -> Option<usize> {
        let Access {
            warp,
            who,
            instruction,
            writes,
        } = access;
        let instruction = instruction as u32;
        let known = &self.clocks[warp];
        let phase = self.phases[warp];
        let mut conflict = None;
        // The warp's threads meet at an instruction of the warp as a whole: two such are in order.
        // Two lanes of one instruction that write the same place are a fault of another kind.
        let together = |other_phase: u32, other: Who, other_instruction: u32| {
            other_phase == phase && other != who && other_instruction != instruction
        };
        if let Some(write) = &self.writes[block][grain] {
            let unordered = if write.warp == warp {
                together(write.phase, write.who, write.instruction)
            } else {
                write.clock > known[write.warp]
            };
            if unordered {
                conflict = Some(write.instruction as usize);
            }
        }
        if writes {
            if let Some(reads) = &self.reads[block][grain] {
                for (other, (&clock, &known)) in reads.clocks.iter().zip(known).enumerate() {
                    if other != warp && clock > known {
                        conflict = Some(reads.instruction as usize);
                    }
                }
                if reads.warp == warp && together(reads.phase, reads.who, reads.instruction) {
                    conflict = Some(reads.instruction as usize);
                }
            }
            self.writes[block][grain] = Some(Write {
                warp,
                clock: known[warp],
                phase,
                who,
                instruction,
            });
        } else {
            let own = known[warp];
            let warps = self.warps;
            let reads = self.reads[block][grain].get_or_insert_with(|| Reads {
                clocks: vec![0; warps],
                warp,
                phase,
                who,
                instruction,
            });
            reads.clocks[warp] = own;
            let several = reads.warp == warp && reads.phase == phase && reads.who != who;
            reads.who = if several { Who::Warp } else { who };
            reads.warp = warp;
            reads.phase = phase;
            reads.instruction = instruction;
        }
        conflict
    }
}

//! A block of threads: its shared memory, its barriers, the state of its warps.

use super::instruction::{Lanes, Special};
use super::Launch;
use crate::ptx::Kernel;
use std::collections::HashMap;

/// Threads of a warp that are at the same instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    pub at: usize,
    pub mask: u32,
    pub wait: Wait,
}

/// What threads wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    Nothing,
    /// The others of the warp that the instruction names.
    Warp {
        members: u32,
        /// The others may be at another instruction.
        anywhere: bool,
    },
    Barrier(u32),
    Cluster,
    /// A phase of a barrier in shared memory: asked for again in the next turn.
    Phase,
}

/// A barrier in shared memory.
#[derive(Debug, Clone, Default)]
pub struct Phases {
    pub count: u32,
    pub left: u32,
    pub bytes: i64,
    pub phase: u32,
    /// Copies that were begun, to offsets of this block, from addresses of the host. They are
    /// made when somebody waits for them: what is read before shows.
    pub copies: Vec<(usize, u64, usize)>,
    /// What those who arrived know of other warps, for the phase going on and the one before.
    pub clocks: [Vec<u32>; 2],
}

impl Phases {
    pub fn advance(&mut self) {
        if self.left == 0 && self.bytes == 0 && self.copies.is_empty() {
            self.left = self.count;
            self.phase += 1;
            self.clocks[1] = std::mem::take(&mut self.clocks[0]);
        }
    }
}

/// A copy that was begun: to an offset of shared memory, from an address.
#[derive(Debug, Clone, Copy)]
pub struct Copy {
    pub to: usize,
    pub from: u64,
    pub bytes: usize,
    pub read: usize,
    pub lane: u32,
}

pub struct Warp {
    pub index: u32,
    pub registers: Vec<Lanes>,
    pub fragments: Vec<Fragment>,
    pub local: Vec<u8>,
    /// Begun copies of the open group, and groups that were ended.
    pub open_copies: Vec<Copy>,
    pub copy_groups: Vec<Vec<Copy>>,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Barrier {
    pub arrived: u32,
    /// The warps of those threads.
    pub warps: u32,
    pub expected: Option<u32>,
}

pub struct Block {
    pub coordinates: [u32; 3],
    pub rank_in_cluster: u32,
    pub threads: u32,
    pub running: u32,
    pub shared: Vec<u8>,
    pub warps: Vec<Warp>,
    pub barriers: [Barrier; 16],
    /// Barriers in shared memory, by their offsets.
    pub phases: HashMap<usize, Phases>,
}

impl Block {
    pub fn new(kernel: &Kernel, launch: &Launch) -> Self {
        let threads = launch.block.iter().product::<u32>();
        let warps = (0..threads.div_ceil(32))
            .map(|index| Warp {
                index,
                registers: vec![[0; 32]; kernel.code.registers],
                fragments: Vec::new(),
                local: vec![0; 32 * kernel.code.local_bytes],
                open_copies: Vec::new(),
                copy_groups: Vec::new(),
            })
            .collect();
        Self {
            coordinates: [0; 3],
            rank_in_cluster: 0,
            threads,
            running: threads,
            shared: vec![0; kernel.static_shared_bytes + launch.dynamic_shared_bytes],
            warps,
            barriers: [Barrier::default(); 16],
            phases: HashMap::new(),
        }
    }

    /// Begins a block of the grid, in memory that another may have used.
    pub fn begin(&mut self, kernel: &Kernel, launch: &Launch, coordinates: [u32; 3]) {
        self.coordinates = coordinates;
        let within = |axis: usize| coordinates[axis] % launch.cluster[axis];
        self.rank_in_cluster =
            within(0) + launch.cluster[0] * (within(1) + launch.cluster[1] * within(2));
        self.running = self.threads;
        // NaN as a float of any width, so that what is read before it is written shows.
        self.shared.fill(0xff);
        self.barriers = [Barrier::default(); 16];
        self.phases.clear();
        let threads = self.threads;
        for warp in &mut self.warps {
            let first = warp.index * 32;
            let lanes = (threads - first).min(32);
            let mask = if lanes == 32 {
                u32::MAX
            } else {
                (1 << lanes) - 1
            };
            warp.fragments.clear();
            warp.fragments.push(Fragment {
                at: 0,
                mask,
                wait: Wait::Nothing,
            });
            warp.local.fill(0xff);
            warp.open_copies.clear();
            warp.copy_groups.clear();
            for &(slot, value) in &kernel.code.constants {
                warp.registers[slot as usize] = [value; 32];
            }
            for &(slot, special) in &kernel.code.special {
                let register = &mut warp.registers[slot as usize];
                for lane in 0..32u32 {
                    let thread = first + lane;
                    register[lane as usize] = u64::from(value_of(
                        special,
                        launch,
                        coordinates,
                        self.rank_in_cluster,
                        thread,
                    ));
                }
            }
        }
    }
}

fn value_of(
    special: Special,
    launch: &Launch,
    coordinates: [u32; 3],
    rank_in_cluster: u32,
    thread: u32,
) -> u32 {
    let [x, y, _] = launch.block;
    match special {
        Special::Thread(0) => thread % x,
        Special::Thread(1) => thread / x % y,
        Special::Thread(_) => thread / (x * y),
        Special::Block(axis) => coordinates[axis],
        Special::Threads(axis) => launch.block[axis],
        Special::Blocks(axis) => launch.grid[axis],
        Special::Lane => thread % 32,
        Special::Warp => thread / 32,
        Special::LaneMaskBelow => (1 << (thread % 32)) - 1,
        Special::Cluster(axis) => coordinates[axis] / launch.cluster[axis],
        Special::BlockInCluster(axis) => coordinates[axis] % launch.cluster[axis],
        Special::BlocksOfCluster(axis) => launch.cluster[axis],
        Special::BlockRankInCluster => rank_in_cluster,
        Special::ClusterBlocks => launch.cluster.iter().product(),
        Special::DynamicSharedBytes => launch.dynamic_shared_bytes as u32,
    }
}

//! Runs kernels: blocks on the processor's cores, the warps of a block in turns, the lanes of a
//! warp together.

pub mod arithmetic;
pub mod bits;
pub mod block;
pub mod convert;
pub mod instruction;
pub mod matrix;
pub mod races;
mod warp;

use crate::ptx::Kernel;
use block::{Block, Wait};
use races::Races;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Where the generic addresses of other spaces begin: no address of the host is so high.
pub const SHARED_WINDOW: u64 = 1 << 60;
pub const LOCAL_WINDOW: u64 = 2 << 60;
pub const PARAMETER_WINDOW: u64 = 3 << 60;

/// How many of what runs.
#[derive(Debug, Clone, Copy)]
pub struct Launch {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub cluster: [u32; 3],
    pub dynamic_shared_bytes: usize,
    /// Whether races in shared memory are errors, which takes several times as long.
    pub watch_races: bool,
}

/// Runs a kernel to its end.
///
/// # Errors
/// What it did that no kernel may do: which thread, which instruction, which address.
pub fn run(kernel: &Kernel, launch: &Launch, parameters: &[u8]) -> Result<(), String> {
    if launch.cluster.contains(&0) {
        return Err("a cluster of no blocks".into());
    }
    let (grid, cluster) = (launch.grid, launch.cluster);
    if (0..3).any(|axis| !grid[axis].is_multiple_of(cluster[axis])) {
        return Err(format!(
            "a grid of {grid:?} blocks in clusters of {cluster:?}"
        ));
    }
    let clusters: [u64; 3] = std::array::from_fn(|axis| (grid[axis] / cluster[axis]).into());
    let total = clusters.iter().product::<u64>();
    let next = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let failure = Mutex::new(None);
    let workers = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(usize::try_from(total).unwrap_or(usize::MAX));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let count = launch.cluster.iter().product::<u32>();
                let mut blocks: Vec<Block> =
                    (0..count).map(|_| Block::new(kernel, launch)).collect();
                let mut races = launch.watch_races.then(|| {
                    let (warps, bytes) = (blocks[0].warps.len(), blocks[0].shared.len());
                    Races::new(blocks.len(), warps, bytes, kernel.code.smallest_access())
                });
                while !failed.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= total {
                        break;
                    }
                    let first = [
                        (index % clusters[0]) as u32 * launch.cluster[0],
                        (index / clusters[0] % clusters[1]) as u32 * launch.cluster[1],
                        (index / clusters[0] / clusters[1]) as u32 * launch.cluster[2],
                    ];
                    for (rank, block) in (0u32..).zip(&mut blocks) {
                        let [x, y, _] = launch.cluster;
                        let within = [rank % x, rank / x % y, rank / (x * y)];
                        let coordinates = std::array::from_fn(|axis| first[axis] + within[axis]);
                        block.begin(kernel, launch, coordinates);
                    }
                    if let Some(races) = &mut races {
                        races.begin();
                    }
                    let result = run_cluster(kernel, parameters, &mut blocks, races.as_mut());
                    if let Err(message) = result {
                        failed.store(true, Ordering::Relaxed);
                        let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                        failure.get_or_insert(format!("{}: {message}", kernel.name));
                    }
                }
            });
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(message) => Err(message),
        None => Ok(()),
    }
}

/// Runs the blocks of a cluster, each warp as far as it can go, until none has anything to do.
fn run_cluster(
    kernel: &Kernel,
    parameters: &[u8],
    blocks: &mut [Block],
    mut races: Option<&mut Races>,
) -> Result<(), String> {
    loop {
        let mut progress = false;
        let mut alive = false;
        for rank in 0..blocks.len() {
            for index in 0..blocks[rank].warps.len() {
                if blocks[rank].warps[index].fragments.is_empty() {
                    continue;
                }
                alive = true;
                progress |= warp::run(
                    kernel,
                    parameters,
                    blocks,
                    rank,
                    index,
                    races.as_deref_mut(),
                )?;
            }
            release_barriers(&mut blocks[rank], rank, &mut progress, races.as_deref_mut());
        }
        release_cluster(blocks, &mut progress, races.as_deref_mut());
        if !alive {
            return Ok(());
        }
        if !progress {
            return Err(deadlock(kernel, blocks));
        }
    }
}

fn release_barriers(
    block: &mut Block,
    rank: usize,
    progress: &mut bool,
    mut races: Option<&mut Races>,
) {
    for number in 0..block.barriers.len() {
        let barrier = block.barriers[number];
        // Threads that have ended are not waited for.
        let expected = barrier.expected.unwrap_or(block.running);
        if barrier.arrived == 0 || barrier.arrived < expected {
            continue;
        }
        block.barriers[number] = Default::default();
        if let Some(races) = &mut races {
            let count = block.warps.len();
            let met: Vec<_> = (0..count)
                .filter(|warp| barrier.warps >> warp & 1 != 0)
                .map(|warp| rank * count + warp)
                .collect();
            races.meet(&met);
        }
        *progress = true;
        for fragment in block.warps.iter_mut().flat_map(|warp| &mut warp.fragments) {
            if fragment.wait == Wait::Barrier(number as u32) {
                fragment.wait = Wait::Nothing;
            }
        }
    }
}

/// All threads of the cluster that have not ended must wait.
fn release_cluster(blocks: &mut [Block], progress: &mut bool, races: Option<&mut Races>) {
    let fragments = || {
        blocks
            .iter()
            .flat_map(|block| &block.warps)
            .flat_map(|warp| &warp.fragments)
    };
    let any = fragments().next().is_some();
    if any && fragments().all(|fragment| fragment.wait == Wait::Cluster) {
        *progress = true;
        if let Some(races) = races {
            let warps = blocks.iter().map(|block| block.warps.len()).sum();
            races.meet(&(0..warps).collect::<Vec<_>>());
        }
        for fragment in blocks
            .iter_mut()
            .flat_map(|block| &mut block.warps)
            .flat_map(|warp| &mut warp.fragments)
        {
            fragment.wait = Wait::Nothing;
        }
    }
}

fn deadlock(kernel: &Kernel, blocks: &[Block]) -> String {
    let mut message = "threads wait for each other for ever:".to_string();
    for block in blocks {
        for warp in &block.warps {
            for fragment in &warp.fragments {
                let text = kernel
                    .code
                    .texts
                    .get(fragment.at)
                    .map_or("", String::as_str);
                message.push_str(&format!(
                    "\n  block {:?} warp {} lanes {:08x}: {:?} before {text}",
                    block.coordinates, warp.index, fragment.mask, fragment.wait
                ));
            }
        }
    }
    message.truncate(4000);
    message
}

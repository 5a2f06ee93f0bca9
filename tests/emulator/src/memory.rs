//! The device's memory: allocations of the host, each with its exact bounds.

use std::alloc::{alloc, dealloc, Layout};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

/// Allocations by their first address.
static ALLOCATIONS: RwLock<BTreeMap<u64, usize>> = RwLock::new(BTreeMap::new());

/// The most bytes that were allocated at once.
static HIGHEST: AtomicUsize = AtomicUsize::new(0);

/// As the driver aligns its allocations.
const ALIGNMENT: usize = 256;

/// Fills what is allocated: as float of any width a NaN, so that what is read before it is
/// written shows.
const UNWRITTEN: u8 = 0xff;

fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes.max(1), ALIGNMENT).ok()
}

/// The address of `bytes` new bytes; none if there are not so many.
pub fn allocate(bytes: usize) -> Option<u64> {
    let layout = layout(bytes)?;
    // SAFETY: the layout's size is not zero.
    let start = unsafe { alloc(layout) };
    if start.is_null() {
        return None;
    }
    // SAFETY: `start` is an allocation of that many bytes.
    unsafe { start.write_bytes(UNWRITTEN, bytes.max(1)) };
    let mut allocations = ALLOCATIONS.write().unwrap_or_else(PoisonError::into_inner);
    allocations.insert(start as u64, bytes);
    HIGHEST.fetch_max(allocations.values().sum(), Ordering::Relaxed);
    Some(start as u64)
}

/// Gives an allocation back; false if there is none at that address.
pub fn free(address: u64) -> bool {
    let mut allocations = ALLOCATIONS.write().unwrap_or_else(PoisonError::into_inner);
    let Some(layout) = allocations.remove(&address).and_then(layout) else {
        return false;
    };
    // SAFETY: `allocate` made it with this layout, and it was in the table until now.
    unsafe { dealloc(address as *mut u8, layout) };
    true
}

/// First address and length of the allocation that an address lies in.
pub fn containing(address: u64) -> Option<(u64, usize)> {
    let allocations = ALLOCATIONS.read().unwrap_or_else(PoisonError::into_inner);
    let (&start, &bytes) = allocations.range(..=address).next_back()?;
    (address - start < bytes as u64).then_some((start, bytes))
}

/// Bytes that are allocated now.
pub fn in_use() -> usize {
    let allocations = ALLOCATIONS.read().unwrap_or_else(PoisonError::into_inner);
    allocations.values().sum()
}

/// The most bytes that were allocated at once since [`begin_again`].
pub fn highest() -> usize {
    HIGHEST.load(Ordering::Relaxed)
}

/// Starts to count from what is allocated now.
pub fn begin_again() {
    HIGHEST.store(in_use(), Ordering::Relaxed);
}

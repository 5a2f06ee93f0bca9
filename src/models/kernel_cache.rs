//! Keeps what was computed for a sequence length, within a budget of memory.

use candle_core::{DType, Device, Result};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many bytes of kernels a model may keep at first: 1 GiB, or a quarter of the GPU's memory.
pub(super) fn default_budget(device: &Device) -> usize {
    (gpu_memory(device) / 4).max(1 << 30)
}

/// Bytes of a GPU's memory.
#[cfg(feature = "cuda")]
fn gpu_memory(device: &Device) -> usize {
    match device {
        Device::Cuda(device) => crate::cuda::total_memory(device),
        _ => 0,
    }
}

/// Without the feature there is none.
#[cfg(not(feature = "cuda"))]
fn gpu_memory(_: &Device) -> usize {
    0
}

/// About how many bytes prepared kernels as long as the sequences keep for `channels` channels whose
/// rows have `length` samples of `dtype`.
pub(super) fn prepared_bytes(
    device: &Device,
    dtype: DType,
    channels: usize,
    length: usize,
    bidirectional: bool,
) -> usize {
    let taps = length.saturating_mul(if bidirectional { 2 } else { 1 });
    let (points, point, tap) = match (device.is_cuda(), dtype) {
        (true, DType::F16 | DType::BF16) => (length.next_power_of_two(), 4, 4),
        (true, _) => (length.next_power_of_two(), 8, 4),
        // Transforms of up to 4/3 of the length.
        (false, DType::F64) => (length.saturating_mul(4) / 3, 16, 8),
        (false, _) => (length.saturating_mul(4) / 3, 8, 4),
    };
    points
        .saturating_mul(point)
        .saturating_add(taps.saturating_mul(tap))
        .saturating_mul(channels)
}

/// Lengths kept at most, whatever their size.
const MAX_LENGTHS: usize = 4;

/// The last few lengths' kernels, most recently used last.
///
/// A value larger than the budget is never kept. Safe to share between threads;
/// two threads that miss at the same time both compute.
#[derive(Debug)]
pub(super) struct KernelCache<T> {
    budget: AtomicUsize,
    entries: Mutex<VecDeque<Entry<T>>>,
}

#[derive(Debug)]
struct Entry<T> {
    length: usize,
    bytes: usize,
    value: Arc<T>,
}

impl<T> KernelCache<T> {
    pub(super) fn new(budget_bytes: usize) -> Self {
        Self {
            budget: AtomicUsize::new(budget_bytes),
            entries: Mutex::default(),
        }
    }

    /// Sets the budget and drops what exceeds it.
    pub(super) fn set_budget(&self, bytes: usize) {
        self.budget.store(bytes, Ordering::Relaxed);
        shrink(&mut self.lock(), bytes);
    }

    /// The value of `length`: the kept one, or `make`'s, which is then kept.
    pub(super) fn get_or_make(
        &self,
        length: usize,
        bytes: usize,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        if let Some(value) = self.take_up(length) {
            return Ok(value);
        }
        // Not under the lock: other lengths need not wait.
        let value = Arc::new(make()?);
        let budget = self.budget.load(Ordering::Relaxed);
        if bytes <= budget {
            let mut entries = self.lock();
            entries.retain(|entry| entry.length != length);
            entries.push_back(Entry {
                length,
                bytes,
                value: value.clone(),
            });
            shrink(&mut entries, budget);
        }
        Ok(value)
    }

    /// The kept value of `length`, made the most recently used one.
    fn take_up(&self, length: usize) -> Option<Arc<T>> {
        let mut entries = self.lock();
        let position = entries.iter().position(|entry| entry.length == length)?;
        let entry = entries.remove(position)?;
        let value = entry.value.clone();
        entries.push_back(entry);
        Some(value)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Entry<T>>> {
        // A panic elsewhere cannot leave the entries half-changed.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shrink<T>(entries: &mut VecDeque<Entry<T>>, budget: usize) {
    let total = |entries: &VecDeque<Entry<T>>| {
        entries
            .iter()
            .fold(0usize, |sum, entry| sum.saturating_add(entry.bytes))
    };
    while entries.len() > MAX_LENGTHS || total(entries) > budget {
        if entries.pop_front().is_none() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(cache: &KernelCache<usize>) -> Vec<usize> {
        cache.lock().iter().map(|entry| entry.length).collect()
    }

    #[test]
    fn keeps_the_most_recently_used() -> Result<()> {
        let cache = KernelCache::new(1000);
        for length in [1, 2, 3, 4, 1, 5] {
            assert_eq!(*cache.get_or_make(length, 10, || Ok(length))?, length);
        }
        assert_eq!(lengths(&cache), [3, 4, 1, 5]);
        // Kept: not made again.
        assert_eq!(*cache.get_or_make(3, 10, || Ok(99))?, 3);
        Ok(())
    }

    #[test]
    fn stays_within_the_budget() -> Result<()> {
        let cache = KernelCache::new(100);
        cache.get_or_make(1, 60, || Ok(1))?;
        cache.get_or_make(2, 60, || Ok(2))?;
        assert_eq!(lengths(&cache), [2]);
        cache.get_or_make(3, 101, || Ok(3))?;
        assert_eq!(lengths(&cache), [2]);
        cache.set_budget(0);
        assert!(lengths(&cache).is_empty());
        Ok(())
    }

    #[test]
    fn keeps_nothing_of_a_failure() {
        let cache = KernelCache::<usize>::new(100);
        assert!(cache
            .get_or_make(1, 1, || candle_core::bail!("no"))
            .is_err());
        assert!(lengths(&cache).is_empty());
    }
}

//! What was computed last for a few keys.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The values of the `KEPT` keys used last, the last one at the end.
pub(crate) struct Recent<K, V, const KEPT: usize = 2>(Mutex<Vec<(K, Arc<V>)>>);

impl<K, V, const KEPT: usize> Default for Recent<K, V, KEPT> {
    fn default() -> Self {
        Recent::new()
    }
}

impl<K, V, const KEPT: usize> Recent<K, V, KEPT> {
    pub(crate) const fn new() -> Self {
        Recent(Mutex::new(Vec::new()))
    }
}

impl<K: Copy + PartialEq, V, const KEPT: usize> Recent<K, V, KEPT> {
    /// The value of `key`, computed by `compute` when it is not there.
    pub(crate) fn get<E>(
        &self,
        key: K,
        compute: impl FnOnce() -> Result<V, E>,
    ) -> Result<Arc<V>, E> {
        if let Some(value) = self.find(key) {
            return Ok(value);
        }
        // Not under the lock: the computation may run on threads that meanwhile take up
        // another call with the same kernel. Two first calls at once both compute.
        let value = Arc::new(compute()?);
        let mut recent = self.lock();
        recent.retain(|(of, _)| *of != key);
        recent.push((key, value.clone()));
        while recent.len() > KEPT {
            recent.remove(0);
        }
        Ok(value)
    }

    fn find(&self, key: K) -> Option<Arc<V>> {
        let mut recent = self.lock();
        let index = recent.iter().position(|(of, _)| *of == key)?;
        let found = recent.remove(index);
        let value = found.1.clone();
        recent.push(found);
        Some(value)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(K, Arc<V>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

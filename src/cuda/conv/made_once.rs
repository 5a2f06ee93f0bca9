//! Tables on the device, made once in a process.

use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DeviceRepr};
use candle_core::cuda_backend::WrapErr;
use candle_core::{CudaDevice, Result};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Tables by device number and what they are for.
type Made<Key, Word> = HashMap<(usize, Key), Arc<CudaSlice<Word>>>;

pub(super) struct MadeOnce<Key, Word>(LazyLock<Mutex<Made<Key, Word>>>);

impl<Key: Eq + Hash, Word: DeviceRepr + 'static> MadeOnce<Key, Word> {
    pub(super) const fn new() -> Self {
        MadeOnce(LazyLock::new(Mutex::default))
    }

    /// Those for `key`, which `make` computes the first time.
    pub(super) fn on(
        &self,
        device: &CudaDevice,
        key: Key,
        make: impl FnOnce() -> Vec<Word>,
    ) -> Result<Arc<CudaSlice<Word>>> {
        let stream = device.cuda_stream();
        let key = (stream.context().ordinal(), key);
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tables) = made.get(&key) {
            return Ok(tables.clone());
        }
        let tables = Arc::new(device.clone_htod(&make())?);
        // Other streams may use them next, and need not track when they were written.
        stream.synchronize().w()?;
        made.insert(key, tables.clone());
        Ok(tables)
    }
}

//! What a recipe asks of a device.

use super::recipe::{Card, LOADED_FRAMES, LONG_FRAME_GRADIENTS};
use crate::cuda::device::Limits;
use crate::cuda::ptx::{Entry, PTX};
use candle_core::{CudaDevice, Result};
use std::sync::LazyLock;

/// The device's.
pub(super) fn card(device: &CudaDevice) -> Result<Card> {
    static PASSING: LazyLock<Vec<Entry>> = LazyLock::new(|| entries(LOADED_FRAMES));
    static LONG: LazyLock<Vec<Entry>> = LazyLock::new(|| entries(LONG_FRAME_GRADIENTS));
    let limits = Limits::of(device)?;
    let runs = |kernels: &[Entry]| {
        kernels
            .iter()
            .any(|kernel| kernel.runs_on(limits.compute_capability))
    };
    Ok(Card {
        shared_memory_bytes: limits.shared_memory_bytes,
        passes_registers: runs(&PASSING),
        has_long_frame_gradients: runs(&LONG),
    })
}

/// A kernel for all architectures that this build has it for.
fn entries((module, function): (&str, &str)) -> Vec<Entry> {
    PTX.iter()
        .filter(|entry| (entry.module, entry.function) == (module, function))
        .copied()
        .collect()
}

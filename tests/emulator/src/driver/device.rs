//! The one device, like an H100 or H200 unless the environment says otherwise.

use super::status::{Status, INVALID_DEVICE, INVALID_VALUE, SUCCESS};
use std::ffi::{c_char, c_int};

const NAME: &[u8] = b"emulated\0";
/// CUDA 13.0.
const DRIVER_VERSION: c_int = 13000;

fn setting(name: &str, otherwise: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(otherwise)
}

/// Shared memory that a block can ask for, in bytes.
pub fn shared_memory_bytes() -> usize {
    setting("CUDA_EMULATOR_SHARED_MEMORY", 227 << 10)
}

/// Ten times the compute capability.
fn compute_capability() -> usize {
    setting("CUDA_EMULATOR_COMPUTE_CAPABILITY", 90)
}

/// Memory of the device in bytes.
pub fn memory_bytes() -> usize {
    setting("CUDA_EMULATOR_MEMORY", 16 << 30)
}

#[no_mangle]
pub unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> Status {
    if ordinal != 0 {
        return INVALID_DEVICE;
    }
    // SAFETY: the driver's contract.
    unsafe { *device = 0 };
    SUCCESS
}

#[no_mangle]
pub unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> Status {
    // SAFETY: the driver's contract.
    unsafe { *count = 1 };
    SUCCESS
}

#[no_mangle]
pub unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> Status {
    // SAFETY: the driver's contract.
    unsafe { *version = DRIVER_VERSION };
    SUCCESS
}

#[no_mangle]
pub unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, room: c_int, _: c_int) -> Status {
    let Ok(room) = usize::try_from(room) else {
        return INVALID_VALUE;
    };
    if room < NAME.len() {
        return INVALID_VALUE;
    }
    // SAFETY: the driver's contract: there are `room` bytes.
    unsafe { std::ptr::copy_nonoverlapping(NAME.as_ptr().cast(), name, NAME.len()) };
    SUCCESS
}

pub fn multiprocessors() -> usize {
    setting("CUDA_EMULATOR_MULTIPROCESSORS", 132)
}

/// Numbers of `CUdevice_attribute`.
#[no_mangle]
pub unsafe extern "C" fn cuDeviceGetAttribute(
    value: *mut c_int,
    attribute: c_int,
    _: c_int,
) -> Status {
    let answer = match attribute {
        // The most threads of a block, and along each of its axes.
        1..=3 => 1024,
        4 => 64,
        // The most blocks along the axes of a grid.
        5 => i32::MAX as usize,
        6 | 7 => 65535,
        // Shared memory of a block that does not ask, warp, registers of a block.
        8 => 48 << 10,
        10 => 32,
        12 => 65536,
        16 => multiprocessors(),
        // Bytes of the L2, threads of a multiprocessor, compute capability, shared memory of a multiprocessor.
        38 => 50 << 20,
        39 => 2048,
        75 => compute_capability() / 10,
        76 => compute_capability() % 10,
        81 => shared_memory_bytes() + 1024,
        97 => shared_memory_bytes(),
        // Blocks of a multiprocessor; asynchronous allocation; clusters.
        106 => 32,
        115 => 1,
        120 => usize::from(compute_capability() >= 90),
        _ => 0,
    };
    // SAFETY: the driver's contract.
    unsafe { *value = c_int::try_from(answer).unwrap_or(c_int::MAX) };
    SUCCESS
}

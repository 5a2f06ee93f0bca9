//! Results of the driver's functions.

use std::ffi::{c_char, c_int, CStr};
use std::sync::atomic::{AtomicI32, Ordering};

pub type Status = c_int;

pub const SUCCESS: Status = 0;
pub const INVALID_VALUE: Status = 1;
pub const OUT_OF_MEMORY: Status = 2;
pub const INVALID_DEVICE: Status = 101;
pub const INVALID_PTX: Status = 218;
pub const NOT_FOUND: Status = 500;
pub const OUT_OF_RESOURCES: Status = 701;
pub const LAUNCH_FAILED: Status = 719;
pub const NOT_SUPPORTED: Status = 801;

/// What a kernel did wrong: every later call says so too, as on a device.
static FAILURE: AtomicI32 = AtomicI32::new(SUCCESS);

pub fn failure() -> Status {
    FAILURE.load(Ordering::SeqCst)
}

pub fn fail(status: Status) -> Status {
    FAILURE.store(status, Ordering::SeqCst);
    status
}

/// Name and explanation.
fn texts(status: Status) -> (&'static CStr, &'static CStr) {
    match status {
        SUCCESS => (c"CUDA_SUCCESS", c"no error"),
        INVALID_VALUE => (c"CUDA_ERROR_INVALID_VALUE", c"invalid argument"),
        OUT_OF_MEMORY => (c"CUDA_ERROR_OUT_OF_MEMORY", c"out of memory"),
        INVALID_DEVICE => (c"CUDA_ERROR_INVALID_DEVICE", c"invalid device ordinal"),
        INVALID_PTX => (c"CUDA_ERROR_INVALID_PTX", c"PTX that is not understood"),
        NOT_FOUND => (c"CUDA_ERROR_NOT_FOUND", c"named symbol not found"),
        OUT_OF_RESOURCES => (
            c"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
            c"too many resources requested for launch",
        ),
        LAUNCH_FAILED => (
            c"CUDA_ERROR_LAUNCH_FAILED",
            c"a kernel failed: see what was printed",
        ),
        NOT_SUPPORTED => (
            c"CUDA_ERROR_NOT_SUPPORTED",
            c"the emulator does not support this",
        ),
        _ => (c"CUDA_ERROR_UNKNOWN", c"unknown error"),
    }
}

/// # Safety
/// `text` must be a place for a pointer.
#[no_mangle]
pub unsafe extern "C" fn cuGetErrorName(status: Status, text: *mut *const c_char) -> Status {
    // SAFETY: the caller's promise.
    unsafe { *text = texts(status).0.as_ptr() };
    SUCCESS
}

/// # Safety
/// `text` must be a place for a pointer.
#[no_mangle]
pub unsafe extern "C" fn cuGetErrorString(status: Status, text: *mut *const c_char) -> Status {
    // SAFETY: the caller's promise.
    unsafe { *text = texts(status).1.as_ptr() };
    SUCCESS
}

//! Contexts, streams, events and graphs, of which there is nothing but numbers.

use super::status::{failure, Status, INVALID_VALUE, NOT_SUPPORTED, SUCCESS};
use super::Handle;
use std::collections::BTreeMap;
use std::ffi::{c_int, c_uint};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The one context.
const CONTEXT: usize = 0x10;

/// When each event was recorded.
static RECORDED: Mutex<BTreeMap<usize, Instant>> = Mutex::new(BTreeMap::new());

static NEXT: AtomicUsize = AtomicUsize::new(0x1000);

/// Writes a number that no other handle has.
///
/// # Safety
/// `handle` must be a place for one.
pub unsafe fn new_handle(handle: *mut Handle) -> Status {
    // SAFETY: the caller's promise.
    unsafe { *handle = NEXT.fetch_add(16, Ordering::Relaxed) as Handle };
    failure()
}

/// Functions that have nothing to do, and those that are not there.
macro_rules! functions {
    ($result:expr; $($name:ident($($argument:ty),*);)*) => {$(
        #[no_mangle]
        pub extern "C" fn $name($(_: $argument),*) -> Status {
            $result
        }
    )*};
}

functions! { failure();
    cuInit(c_uint);
    cuCtxDestroy_v2(Handle);
    cuCtxSetCurrent(Handle);
    cuCtxSynchronize();
    cuDevicePrimaryCtxRelease_v2(c_int);
    cuStreamDestroy_v2(Handle);
    cuStreamSynchronize(Handle);
    cuStreamWaitEvent(Handle, Handle, c_uint);
    cuEventDestroy_v2(Handle);
    cuEventSynchronize(Handle);
    cuEventQuery(Handle);
}

functions! { NOT_SUPPORTED;
    cuGraphDestroy(Handle);
    cuGraphExecDestroy(Handle);
    cuGraphInstantiateWithFlags(*mut Handle, Handle, u64);
    cuGraphLaunch(Handle, Handle);
    cuStreamBeginCapture_v2(Handle, c_int);
    cuStreamEndCapture(Handle, *mut Handle);
}

#[no_mangle]
pub unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut Handle, _: c_int) -> Status {
    // SAFETY: the driver's contract.
    unsafe { *context = CONTEXT as Handle };
    SUCCESS
}

#[no_mangle]
pub unsafe extern "C" fn cuCtxGetCurrent(context: *mut Handle) -> Status {
    // SAFETY: the driver's contract.
    unsafe { *context = CONTEXT as Handle };
    SUCCESS
}

#[no_mangle]
pub unsafe extern "C" fn cuStreamCreate(stream: *mut Handle, _: c_uint) -> Status {
    // SAFETY: the driver's contract.
    unsafe { new_handle(stream) }
}

#[no_mangle]
pub unsafe extern "C" fn cuEventCreate(event: *mut Handle, _: c_uint) -> Status {
    // SAFETY: the driver's contract.
    unsafe { new_handle(event) }
}

#[no_mangle]
pub unsafe extern "C" fn cuStreamIsCapturing(_: Handle, capturing: *mut c_int) -> Status {
    // SAFETY: the driver's contract.
    unsafe { *capturing = 0 };
    SUCCESS
}

#[no_mangle]
pub extern "C" fn cuEventRecord(event: Handle, _: Handle) -> Status {
    let mut recorded = RECORDED.lock().unwrap_or_else(PoisonError::into_inner);
    recorded.insert(event as usize, Instant::now());
    failure()
}

/// Time of the host: what the emulator takes.
#[no_mangle]
pub unsafe extern "C" fn cuEventElapsedTime_v2(
    milliseconds: *mut f32,
    start: Handle,
    end: Handle,
) -> Status {
    let recorded = RECORDED.lock().unwrap_or_else(PoisonError::into_inner);
    let [Some(start), Some(end)] = [start, end].map(|event| recorded.get(&(event as usize))) else {
        return INVALID_VALUE;
    };
    // SAFETY: the driver's contract.
    unsafe { *milliseconds = end.saturating_duration_since(*start).as_secs_f32() * 1e3 };
    failure()
}

#[no_mangle]
pub unsafe extern "C" fn cuEventElapsedTime(
    milliseconds: *mut f32,
    start: Handle,
    end: Handle,
) -> Status {
    // SAFETY: the driver's contract.
    unsafe { cuEventElapsedTime_v2(milliseconds, start, end) }
}

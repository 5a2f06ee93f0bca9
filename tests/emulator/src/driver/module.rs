//! Modules of PTX and their kernels.

use super::device::shared_memory_bytes;
use super::status::{failure, Status, INVALID_PTX, INVALID_VALUE, NOT_FOUND, NOT_SUPPORTED};
use super::Handle;
use crate::ptx::{Kernel, Module};
use std::ffi::{c_char, c_int, CStr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

/// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`.
const MOST_DYNAMIC_SHARED_BYTES: c_int = 8;

/// A kernel, and what it was granted.
pub struct Function {
    pub kernel: Arc<Kernel>,
    pub most_dynamic_shared_bytes: AtomicUsize,
}

#[no_mangle]
pub unsafe extern "C" fn cuModuleLoadData(module: *mut Handle, image: *const c_char) -> Status {
    // SAFETY: the driver's contract: PTX ends with a zero.
    let text = unsafe { CStr::from_ptr(image) };
    match Module::parse(&text.to_string_lossy()) {
        Ok(parsed) => {
            // Programs load few modules, and keep them.
            // SAFETY: the driver's contract.
            unsafe { *module = Box::into_raw(Box::new(parsed)).cast() };
            failure()
        }
        Err(reason) => {
            eprintln!("PTX that is not understood: {reason:.500}");
            INVALID_PTX
        }
    }
}

#[no_mangle]
pub extern "C" fn cuModuleLoad(_: *mut Handle, _: *const c_char) -> Status {
    NOT_SUPPORTED
}

/// Modules stay: kernels may still be in use.
#[no_mangle]
pub extern "C" fn cuModuleUnload(_: Handle) -> Status {
    failure()
}

#[no_mangle]
pub unsafe extern "C" fn cuModuleGetFunction(
    function: *mut Handle,
    module: Handle,
    name: *const c_char,
) -> Status {
    // SAFETY: the driver's contract: the module is one that `cuModuleLoadData` made.
    let (module, name) = unsafe { (&*module.cast::<Module>(), CStr::from_ptr(name)) };
    let Some(kernel) = module.kernels.get(name.to_string_lossy().as_ref()) else {
        return NOT_FOUND;
    };
    let found = Function {
        kernel: kernel.clone(),
        most_dynamic_shared_bytes: AtomicUsize::new(48 << 10),
    };
    // SAFETY: the driver's contract.
    unsafe { *function = Box::into_raw(Box::new(found)).cast() };
    failure()
}

#[no_mangle]
pub unsafe extern "C" fn cuFuncSetAttribute(
    function: Handle,
    attribute: c_int,
    value: c_int,
) -> Status {
    if attribute != MOST_DYNAMIC_SHARED_BYTES {
        return failure();
    }
    // SAFETY: the driver's contract: the function is one that `cuModuleGetFunction` made.
    let function = unsafe { &*function.cast::<Function>() };
    let most = shared_memory_bytes().saturating_sub(function.kernel.static_shared_bytes);
    match usize::try_from(value) {
        Ok(bytes) if bytes <= most => {
            function
                .most_dynamic_shared_bytes
                .store(bytes, Ordering::Relaxed);
            failure()
        }
        _ => INVALID_VALUE,
    }
}

//! Allocations and copies, within their bounds.

use super::device::memory_bytes;
use super::status::{failure, Status, INVALID_VALUE, OUT_OF_MEMORY, SUCCESS};
use super::{new_handle, Handle};
use crate::memory;
use std::ffi::{c_int, c_void};

#[no_mangle]
pub unsafe extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> Status {
    if bytes == 0 {
        return INVALID_VALUE;
    }
    // SAFETY: the driver's contract.
    unsafe { cuMemAllocAsync(address, bytes, std::ptr::null_mut()) }
}

/// Unlike `cuMemAlloc_v2`, nothing may be asked for.
#[no_mangle]
pub unsafe extern "C" fn cuMemAllocAsync(address: *mut u64, bytes: usize, _: Handle) -> Status {
    if bytes > memory_bytes().saturating_sub(memory::in_use()) {
        return OUT_OF_MEMORY;
    }
    match memory::allocate(bytes) {
        Some(start) => {
            // SAFETY: the driver's contract.
            unsafe { *address = start };
            failure()
        }
        None => OUT_OF_MEMORY,
    }
}

#[no_mangle]
pub extern "C" fn cuMemFree_v2(address: u64) -> Status {
    if address == 0 || memory::free(address) {
        failure()
    } else {
        eprintln!("freed what is not allocated: {address:#x}");
        INVALID_VALUE
    }
}

#[no_mangle]
pub extern "C" fn cuMemFreeAsync(address: u64, _: Handle) -> Status {
    cuMemFree_v2(address)
}

#[no_mangle]
pub unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> Status {
    // SAFETY: the driver's contract.
    unsafe {
        *free = memory_bytes().saturating_sub(memory::in_use());
        *total = memory_bytes();
    }
    SUCCESS
}

/// Whether all of these bytes are in one allocation.
fn inside(address: u64, bytes: usize) -> bool {
    let within = |(start, length): (u64, usize)| {
        usize::try_from(address - start).is_ok_and(|offset| bytes <= length - offset)
    };
    let inside = bytes == 0 || memory::containing(address).is_some_and(within);
    if !inside {
        eprintln!("{bytes} bytes at {address:#x} are not in an allocation");
    }
    inside
}

/// # Safety
/// What is the host's must be there.
unsafe fn copy(to: *mut c_void, from: *const c_void, bytes: usize) -> Status {
    // SAFETY: the device's side was checked, the host's is the caller's promise; they may overlap.
    unsafe { std::ptr::copy(from.cast::<u8>(), to.cast::<u8>(), bytes) };
    failure()
}

#[no_mangle]
pub unsafe extern "C" fn cuMemcpyHtoDAsync_v2(
    to: u64,
    from: *const c_void,
    bytes: usize,
    _: Handle,
) -> Status {
    if !inside(to, bytes) {
        return INVALID_VALUE;
    }
    // SAFETY: the driver's contract.
    unsafe { copy(to as *mut c_void, from, bytes) }
}

#[no_mangle]
pub unsafe extern "C" fn cuMemcpyDtoHAsync_v2(
    to: *mut c_void,
    from: u64,
    bytes: usize,
    _: Handle,
) -> Status {
    if !inside(from, bytes) {
        return INVALID_VALUE;
    }
    // SAFETY: the driver's contract.
    unsafe { copy(to, from as *const c_void, bytes) }
}

#[no_mangle]
pub extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, _: Handle) -> Status {
    if !inside(to, bytes) || !inside(from, bytes) {
        return INVALID_VALUE;
    }
    // SAFETY: both sides were checked.
    unsafe { copy(to as *mut c_void, from as *const c_void, bytes) }
}

#[no_mangle]
pub extern "C" fn cuMemcpyPeerAsync(
    to: u64,
    _: Handle,
    from: u64,
    _: Handle,
    bytes: usize,
    stream: Handle,
) -> Status {
    cuMemcpyDtoDAsync_v2(to, from, bytes, stream)
}

#[no_mangle]
pub extern "C" fn cuMemsetD8Async(to: u64, value: u8, bytes: usize, _: Handle) -> Status {
    if !inside(to, bytes) {
        return INVALID_VALUE;
    }
    // SAFETY: the bytes are in an allocation.
    unsafe { std::ptr::write_bytes(to as *mut u8, value, bytes) };
    failure()
}

#[no_mangle]
pub unsafe extern "C" fn cuDeviceGetDefaultMemPool(pool: *mut Handle, _: c_int) -> Status {
    // SAFETY: the driver's contract.
    unsafe { new_handle(pool) }
}

#[no_mangle]
pub extern "C" fn cuMemPoolTrimTo(_: Handle, _: usize) -> Status {
    failure()
}

/// Of `CUmemPool_attribute`: bytes in use, and the most of them.
const USED_NOW: c_int = 7;
const USED_AT_MOST: c_int = 8;

#[no_mangle]
pub unsafe extern "C" fn cuMemPoolGetAttribute(
    _: Handle,
    attribute: c_int,
    value: *mut c_void,
) -> Status {
    let bytes = match attribute {
        USED_NOW => memory::in_use(),
        USED_AT_MOST => memory::highest(),
        _ => return INVALID_VALUE,
    };
    // SAFETY: the driver's contract: these attributes have 64 bits.
    unsafe { *value.cast::<u64>() = bytes as u64 };
    failure()
}

#[no_mangle]
pub extern "C" fn cuMemPoolSetAttribute(_: Handle, attribute: c_int, _: *mut c_void) -> Status {
    if attribute == USED_AT_MOST {
        memory::begin_again();
    }
    failure()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_stay_inside() {
        let mut address = 0;
        let null = std::ptr::null_mut();
        let source = [1u8, 2, 3, 4];
        let mut target = [0u8; 4];
        // SAFETY: the places are there, and as long as the copies.
        unsafe {
            assert_eq!(cuMemAlloc_v2(&mut address, 4), SUCCESS);
            let from = source.as_ptr().cast();
            assert_eq!(cuMemcpyHtoDAsync_v2(address, from, 4, null), SUCCESS);
            assert_eq!(
                cuMemcpyHtoDAsync_v2(address + 1, from, 4, null),
                INVALID_VALUE
            );
            let to = target.as_mut_ptr().cast();
            assert_eq!(cuMemcpyDtoHAsync_v2(to, address, 4, null), SUCCESS);
        }
        assert_eq!(target, source);
        assert_eq!(cuMemsetD8Async(address, 0, 5, null), INVALID_VALUE);
        assert_eq!(cuMemFree_v2(address), SUCCESS);
        assert_eq!(cuMemFree_v2(address), INVALID_VALUE);
    }
}

//! Launches.

use super::device::multiprocessors;
use super::module::Function;
use super::status::{
    fail, failure, Status, INVALID_VALUE, LAUNCH_FAILED, OUT_OF_RESOURCES, SUCCESS,
};
use super::Handle;
use crate::machine::{self, Launch};
use std::ffi::{c_int, c_uint, c_void};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The most threads of a block.
const MOST_THREADS: u64 = 1024;
/// The most blocks along the second and third axis of a grid.
const MOST_BLOCKS: u32 = 65535;

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| value != "0")
}

#[no_mangle]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "C" fn cuLaunchKernel(
    function: Handle,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    shared_bytes: c_uint,
    _: Handle,
    arguments: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> Status {
    if failure() != 0 {
        return failure();
    }
    // SAFETY: the driver's contract: the function is one that `cuModuleGetFunction` made.
    let function = unsafe { &*function.cast::<Function>() };
    let kernel = &*function.kernel;
    let grid = [grid_x, grid_y, grid_z];
    let block = [block_x, block_y, block_z];
    let threads: u64 = block.iter().map(|&size| u64::from(size)).product();
    let too_large = threads > MOST_THREADS || grid_y > MOST_BLOCKS || grid_z > MOST_BLOCKS;
    if threads == 0 || grid.contains(&0) || too_large || !extra.is_null() {
        eprintln!("{}: a grid of {grid:?} blocks of {block:?}", kernel.name);
        return INVALID_VALUE;
    }
    let granted = function.most_dynamic_shared_bytes.load(Ordering::Relaxed);
    let too_many = kernel
        .most_threads
        .is_some_and(|most| threads > u64::from(most));
    if too_many || shared_bytes as usize > granted {
        eprintln!(
            "{}: {threads} threads of at most {:?}, {shared_bytes} bytes of at most {granted}",
            kernel.name, kernel.most_threads
        );
        return OUT_OF_RESOURCES;
    }
    let mut parameters = vec![0u8; kernel.parameter_bytes];
    for (index, parameter) in kernel.parameters.iter().enumerate() {
        let place = &mut parameters[parameter.offset..parameter.offset + parameter.bytes];
        // SAFETY: the driver's contract: a pointer for each of the kernel's parameters, to as
        // many bytes as it has.
        unsafe {
            let argument = *arguments.add(index);
            std::ptr::copy_nonoverlapping(argument.cast(), place.as_mut_ptr(), place.len());
        }
    }
    let launch = Launch {
        grid,
        block,
        cluster: kernel.cluster.unwrap_or([1; 3]),
        dynamic_shared_bytes: shared_bytes as usize,
        watch_races: is_set("CUDA_EMULATOR_RACES"),
    };
    let start = Instant::now();
    let result = machine::run(kernel, &launch, &parameters);
    if is_set("CUDA_EMULATOR_TRACE") {
        eprintln!(
            "{} {grid:?} x {block:?}, {shared_bytes} bytes: {:.1} ms",
            kernel.name,
            start.elapsed().as_secs_f64() * 1e3
        );
    }
    match result {
        Ok(()) => failure(),
        Err(message) => {
            eprintln!("{message}");
            fail(LAUNCH_FAILED)
        }
    }
}

/// How many clusters the multiprocessors hold at a time, one block each.
#[no_mangle]
pub unsafe extern "C" fn cuOccupancyMaxActiveClusters(
    count: *mut c_int,
    function: Handle,
    _: *const c_void,
) -> Status {
    // SAFETY: the driver's contract: the function is one that `cuModuleGetFunction` made.
    let function = unsafe { &*function.cast::<Function>() };
    let blocks: u32 = function.kernel.cluster.unwrap_or([1; 3]).iter().product();
    let clusters = multiprocessors() / blocks.max(1) as usize;
    // SAFETY: the driver's contract.
    unsafe { *count = c_int::try_from(clusters).unwrap_or(c_int::MAX) };
    SUCCESS
}

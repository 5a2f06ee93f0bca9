//! What a CUDA device can hold, loading kernels on it, and whether they run there.

use super::ptx::{self, PTX, TOOLKIT};
use crate::Error;
use candle_core::cuda_backend::cudarc::driver::sys::{
    self, CUdevice_attribute, CUfunction_attribute, CUresult,
};
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaSlice, DeviceRepr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::WrapErr;
use candle_core::{CudaDevice, Result};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// What a kernel's blocks must fit into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Ten times the compute capability: 90 for an H100.
    pub compute_capability: usize,
    /// The most shared memory that one block can ask for, in bytes.
    pub shared_memory_bytes: usize,
    pub multiprocessors: usize,
}

impl Limits {
    /// Asks the driver.
    pub fn of(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        let attribute = |attribute| -> Result<usize> {
            let value = stream.context().attribute(attribute).w()?;
            Ok(usize::try_from(value).unwrap_or(0))
        };
        use CUdevice_attribute as Attribute;
        let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        Ok(Self {
            compute_capability: 10 * major + minor,
            shared_memory_bytes: attribute(
                Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
            )?,
            multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        })
    }
}

/// Whether this build has the kernel `function` of `cuda/MODULE.cu` for the device.
pub(crate) fn is_compiled(limits: &Limits, module: &str, function: &str) -> bool {
    ptx::choose(PTX, module, function, limits.compute_capability).is_ok()
}

/// The kernel `function` of `cuda/MODULE.cu`, loaded on the device.
///
/// # Errors
/// When this build has no PTX for the device, or its driver is older than the
/// toolkit that made it.
pub(crate) fn load(device: &CudaDevice, module: &str, function: &str) -> Result<CudaFunction> {
    load_with_shared_memory(device, module, function, 0)
}

/// [`load`] of a kernel whose blocks ask for `bytes` of shared memory at launch.
///
/// # Errors
/// Those of [`load`], and when the device's blocks cannot have so much.
pub(crate) fn load_with_shared_memory(
    device: &CudaDevice,
    module: &str,
    function: &str,
    bytes: usize,
) -> Result<CudaFunction> {
    let key = (
        device.cuda_stream().context().ordinal(),
        function.to_string(),
    );
    let slot = lock(&LOADED).entry(key).or_default().clone();
    // Other kernels may be compiled meanwhile.
    let mut loaded = lock(&slot);
    let (kernel, granted) = match loaded.take() {
        Some(known) => known,
        None => (load_anew(device, module, function)?, GRANTED_UNASKED),
    };
    if bytes > granted {
        let asked = i32::try_from(bytes).unwrap_or(i32::MAX);
        kernel
            .set_attribute(
                CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                asked,
            )
            .w()?;
    }
    *loaded = Some((kernel.clone(), bytes.max(granted)));
    Ok(kernel)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A kernel with the shared memory that its blocks may ask for, once it is loaded.
type Slot = Arc<Mutex<Option<(CudaFunction, usize)>>>;

/// Shared memory that every kernel may ask for.
const GRANTED_UNASKED: usize = 48 << 10;

/// Kernels by device number and name: the driver takes a second to compile one. A device has one
/// context in a process, which the kernels keep alive.
static LOADED: LazyLock<Mutex<HashMap<(usize, String), Slot>>> = LazyLock::new(Mutex::default);

fn load_anew(device: &CudaDevice, module: &str, function: &str) -> Result<CudaFunction> {
    let limits = Limits::of(device)?;
    let entry = ptx::choose(PTX, module, function, limits.compute_capability)?;
    let context = device.cuda_stream().context().clone();
    context
        .load_module(ptx::text(&entry)?.into())
        .and_then(|module| module.load_function(function))
        .map_err(|error| match error.0 {
            CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => Error::DriverTooOld {
                toolkit: TOOLKIT.into(),
                driver: driver_version(),
            }
            .into(),
            _ => candle_core::Error::wrap(error).context(format!("loading the kernel {function}")),
        })
}

/// The latest CUDA version that the driver supports, "12.4" for example.
fn driver_version() -> String {
    let mut version = 0;
    // SAFETY: the call writes one integer to a place that lives through it.
    let result = unsafe { sys::cuDriverGetVersion(&mut version) };
    match result.result() {
        Ok(()) => format!("{}.{}", version / 1000, version % 1000 / 10),
        Err(_) => "an unknown version".into(),
    }
}

/// Bytes of the device's memory; 0 where it does not tell.
pub(crate) fn total_memory(device: &CudaDevice) -> usize {
    let memory = device.cuda_stream().context().mem_get_info();
    memory.map_or(0, |(_, total)| total)
}

/// Memory for `count` elements, or for one where there are none: the driver has no empty memory.
///
/// # Errors
/// When the device has not so much.
///
/// # Safety
/// The memory holds anything until it is written.
pub(crate) unsafe fn uninitialized<T: DeviceRepr>(
    device: &CudaDevice,
    count: usize,
    what: &'static str,
) -> Result<CudaSlice<T>> {
    let expected = count as u128 * size_of::<T>() as u128;
    let too_much = || {
        let free = device.cuda_stream().context().mem_get_info();
        Error::DeviceMemory {
            what,
            expected,
            got: free.map_or("an unknown number".into(), |(free, _)| free.to_string()),
        }
        .into()
    };
    // More cannot even be asked for.
    if expected > isize::MAX as u128 {
        return Err(too_much());
    }
    // SAFETY: passed on to the caller.
    let memory = unsafe { device.cuda_stream().alloc::<T>(count.max(1)) };
    match memory {
        Err(error) if error.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY => Err(too_much()),
        memory => memory.w(),
    }
}

/// The GPU's name and compute capability, for people.
pub(crate) fn describe(device: &CudaDevice) -> Result<String> {
    let name = device.cuda_stream().context().name().w()?;
    let capability = Limits::of(device)?.compute_capability;
    Ok(format!(
        "{name} (compute capability {}.{})",
        capability / 10,
        capability % 10
    ))
}

/// What `device_probe_u32` writes to word `index`.
fn expected_word(index: u32, seed: u32) -> u32 {
    let word = (index ^ (index >> 16)).wrapping_mul(0x9E37_79B1);
    let word = (word ^ (word >> 15)).wrapping_mul(0x85EB_CA77);
    word ^ (word >> 16) ^ seed
}

/// Runs a kernel whose output is known: an error when this build's code does not
/// load on the device, does not launch, or computes something else.
pub(crate) fn probe(device: &CudaDevice) -> Result<()> {
    const COUNT: u32 = 1000; // not a whole number of blocks
    let seed = 0x5EED_0001;
    let kernel = load(device, "device_probe", "device_probe_u32")?;
    let mut words = device.alloc_zeros::<u32>(COUNT as usize)?;
    let stream = device.cuda_stream();
    let mut launch = stream.launch_builder(&kernel);
    launch.arg(&mut words).arg(&COUNT).arg(&seed);
    // SAFETY: the arguments are those that the kernel declares, of the same types
    // and in the same order; it writes COUNT words, and `words` has room for them.
    unsafe { launch.launch(LaunchConfig::for_num_elems(COUNT)) }.w()?;
    let words = device.clone_dtoh(&words)?;
    for (index, got) in (0..).zip(words) {
        let expected = expected_word(index, seed);
        if got != expected {
            return Err(Error::Malformed {
                source_name: format!("word {index} of the device probe"),
                expected: format!("{expected:#010x}"),
                got: format!("{got:#010x}"),
            }
            .into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// The first GPU; without one the test is skipped, or fails where one is required.
    fn device() -> Option<CudaDevice> {
        match Device::new_cuda(0) {
            Ok(Device::Cuda(device)) => Some(device),
            _ if std::env::var_os("FLASHFFTCONV_REQUIRE_GPU").is_some() => {
                panic!("FLASHFFTCONV_REQUIRE_GPU is set, but there is no GPU")
            }
            _ => {
                eprintln!("skipped on the GPU: there is none");
                None
            }
        }
    }

    #[test]
    fn the_probe_runs() {
        if let Some(device) = device() {
            probe(&device).unwrap();
            // Again, from candle's store of modules.
            probe(&device).unwrap();
        }
    }

    #[test]
    fn limits_are_those_of_a_device() {
        if let Some(device) = device() {
            let limits = Limits::of(&device).unwrap();
            assert!(
                (50..1000).contains(&limits.compute_capability),
                "{limits:?}"
            );
            assert!(limits.shared_memory_bytes >= 48 << 10, "{limits:?}");
            assert!(limits.multiprocessors > 0, "{limits:?}");
        }
    }

    #[test]
    fn probe_words_are_spread() {
        let words: std::collections::HashSet<_> = (0..1000).map(|i| expected_word(i, 7)).collect();
        assert_eq!(words.len(), 1000);
    }
}

//! What every test file shares: error measures, the golden files, the devices to test on.
#![allow(dead_code)] // each test binary uses its own part

pub mod conv;

use candle_core::{DType, Device, Result, Tensor};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::OnceLock;

/// The folder of the golden files: `FLASHFFTCONV_TEST_DATA`, so that a test
/// binary can run on a machine without the sources, or `tests/data`.
pub fn data_dir() -> PathBuf {
    match std::env::var_os("FLASHFFTCONV_TEST_DATA") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")),
    }
}

/// Reads `tests/data/NAME.safetensors`.
pub fn golden(name: &str) -> HashMap<String, Tensor> {
    let path = data_dir().join(format!("{name}.safetensors"));
    candle_core::safetensors::load(&path, &Device::Cpu)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Reads `tests/data/NAME` as JSON.
pub fn golden_json(name: &str) -> serde_json::Value {
    let path = data_dir().join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// The devices that a twin test runs on: the CPU and, in a build with the
/// feature `cuda`, the first GPU. Without a GPU the test says that it skipped
/// it, or fails when `FLASHFFTCONV_REQUIRE_GPU` is set.
pub fn devices() -> Vec<Device> {
    let mut devices = vec![Device::Cpu];
    devices.extend(gpu());
    devices
}

/// The first GPU, the same for all tests of a binary, so that each kernel is loaded once.
pub fn gpu() -> Option<Device> {
    static GPU: OnceLock<std::result::Result<Device, String>> = OnceLock::new();
    let required = std::env::var_os("FLASHFFTCONV_REQUIRE_GPU").is_some();
    if !cfg!(feature = "cuda") {
        let message = "FLASHFFTCONV_REQUIRE_GPU is set, but this build lacks the feature `cuda`";
        assert!(!required, "{message}");
        return None;
    }
    match GPU.get_or_init(|| Device::new_cuda(0).map_err(|e| e.to_string())) {
        Ok(gpu) => Some(gpu.clone()),
        Err(e) if required => panic!("FLASHFFTCONV_REQUIRE_GPU is set, but there is no GPU: {e}"),
        Err(e) => {
            eprintln!("skipped on the GPU: {e}");
            None
        }
    }
}

/// All elements as float64, in row-major order.
pub fn to_f64(t: &Tensor) -> Vec<f64> {
    t.to_device(&Device::Cpu)
        .and_then(|t| t.to_dtype(DType::F64))
        .and_then(|t| t.flatten_all())
        .and_then(|t| t.to_vec1::<f64>())
        .unwrap()
}

/// How far a result is from its reference.
#[derive(Debug, Clone, Copy)]
pub struct Deviation {
    /// ‖got − want‖ / ‖want‖
    pub relative_rms: f64,
    /// max |got − want| / max |want|
    pub relative_max: f64,
    /// max |got − want|
    pub absolute_max: f64,
}

pub fn deviation(got: &[f64], want: &[f64]) -> Deviation {
    assert_eq!(got.len(), want.len(), "number of elements");
    let (mut square, mut square_want) = (0f64, 0f64);
    let (mut max, mut max_want) = (0f64, 0f64);
    for (&g, &w) in got.iter().zip(want) {
        let d = (g - w).abs();
        // A NaN must not vanish in a maximum.
        let d = if d.is_nan() { f64::INFINITY } else { d };
        square += d * d;
        square_want += w * w;
        max = max.max(d);
        max_want = max_want.max(w.abs());
    }
    Deviation {
        relative_rms: (square / square_want).sqrt(),
        relative_max: max / max_want,
        absolute_max: max,
    }
}

/// Fails unless `got` has `want`'s shape, both error measures are at most
/// `tolerance`, and an all-zero result would have failed.
#[track_caller]
pub fn assert_close(got: &Tensor, want: &Tensor, tolerance: f64, what: &str) {
    assert_eq!(got.dims(), want.dims(), "{what}: shape");
    assert_close_slices(&to_f64(got), &to_f64(want), tolerance, what);
}

/// [`assert_close`] on plain numbers.
#[track_caller]
pub fn assert_close_slices(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    assert!(
        want.iter().any(|&w| w != 0.0) && tolerance < 1.0,
        "{what}: the reference is zero or the tolerance too wide: an all-zero result would pass"
    );
    let d = deviation(got, want);
    assert!(
        d.relative_rms <= tolerance && d.relative_max <= tolerance,
        "{what}: {d:?}, tolerance {tolerance:e}"
    );
}

/// Reproducible standard-normal-like numbers (sum of uniform ones), for tests that need plain data.
pub fn random(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    let mut uniform = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 11) as f64 / (1u64 << 53) as f64
    };
    // Four uniforms of variance 1/12 each, scaled to variance 1.
    (0..count)
        .map(|_| (uniform() + uniform() + uniform() + uniform() - 2.0) * 3f64.sqrt())
        .collect()
}

/// [`random`] numbers as a tensor.
pub fn random_tensor(seed: u64, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
    Tensor::from_vec(random(seed, shape.iter().product()), shape, &Device::Cpu)?
        .to_dtype(dtype)?
        .to_device(device)
}

/// Makes a test of `body(&Device) -> Result<()>` on the CPU, `name::cpu`, and, in a
/// build with the feature `cuda`, its twin on the first GPU, `name::gpu`. With
/// `not on the GPU yet` the twin expects the error that says so.
#[macro_export]
macro_rules! twin {
    ($name:ident, $body:path) => {
        $crate::twin!($name, $body, std::convert::identity);
    };
    ($name:ident, $body:path, not on the GPU yet) => {
        $crate::twin!($name, $body, $crate::common::expect_not_implemented);
    };
    ($name:ident, $body:path, $expect:path) => {
        mod $name {
            #[test]
            fn cpu() -> candle_core::Result<()> {
                $body(&candle_core::Device::Cpu)
            }

            #[cfg(feature = "cuda")]
            #[test]
            fn gpu() -> candle_core::Result<()> {
                match $crate::common::gpu() {
                    Some(gpu) => $expect($body(&gpu)),
                    None => Ok(()), // `gpu` has said so
                }
            }
        }
    };
}

/// What twins expect of the GPU of an operation that has no kernels there: the error
/// that says so, never a silent computation on the CPU.
pub fn expect_not_implemented<T>(result: Result<T>) -> Result<()> {
    match result {
        Err(e) if e.to_string().contains(" on CUDA") => Ok(()),
        Err(e) => Err(e),
        Ok(_) => {
            candle_core::bail!("expected the error that there is no GPU kernel, got a result")
        }
    }
}

/// Central difference of `loss` in one element of a variable.
pub fn difference(
    variable: &candle_core::Var,
    index: usize,
    loss: &dyn Fn() -> Result<Tensor>,
) -> Result<f64> {
    let step = 1e-5;
    let original = variable.as_tensor().copy()?;
    let at = |offset: f64| {
        let mut values = to_f64(&original);
        values[index] += offset;
        let values = Tensor::from_vec(values, original.shape(), &Device::Cpu)?;
        variable.set(&values.to_device(original.device())?)?;
        loss()?.to_scalar::<f64>()
    };
    let slope = (at(step)? - at(-step)?) / (2.0 * step);
    variable.set(&original)?;
    Ok(slope)
}

/// Sets all variables to reproducible numbers around 0, `scale` large.
pub fn fill_variables(variables: &candle_nn::VarMap, scale: f64) -> Result<()> {
    let named = variables.data().lock().unwrap();
    let mut names: Vec<_> = named.keys().collect();
    names.sort();
    for (seed, name) in names.into_iter().enumerate() {
        let variable = &named[name];
        let values = random_tensor(
            seed as u64,
            variable.dims(),
            variable.dtype(),
            variable.device(),
        )?;
        variable.set(&(values * scale)?)?;
    }
    Ok(())
}

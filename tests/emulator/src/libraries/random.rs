//! Random numbers of the device, by a counter that is mixed.

use crate::driver::new_handle;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

type Generator = *mut c_void;

/// The state of all generators: no program needs them apart.
static STATE: AtomicU64 = AtomicU64::new(0);

#[no_mangle]
pub unsafe extern "C" fn curandCreateGenerator(generator: *mut Generator, _: c_int) -> c_int {
    // SAFETY: the library's contract.
    unsafe { new_handle(generator) }
}

#[no_mangle]
pub extern "C" fn curandDestroyGenerator(_: Generator) -> c_int {
    0
}

#[no_mangle]
pub extern "C" fn curandSetPseudoRandomGeneratorSeed(_: Generator, seed: u64) -> c_int {
    STATE.store(seed, Ordering::Relaxed);
    0
}

#[no_mangle]
pub extern "C" fn curandSetStream(_: Generator, _: *mut c_void) -> c_int {
    0
}

/// Above 0, at most 1.
fn uniform() -> f64 {
    // The finalizer of splitmix64.
    let mut bits = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64 + f64::EPSILON / 2.0
}

/// Box and Muller's.
fn normal(mean: f64, deviation: f64) -> f64 {
    let radius = (-2.0 * uniform().ln()).sqrt();
    mean + deviation * radius * (std::f64::consts::TAU * uniform()).cos()
}

macro_rules! generators {
    ($number:ty, $uniform:ident, $normal:ident) => {
        #[no_mangle]
        pub unsafe extern "C" fn $uniform(
            _: Generator,
            start: *mut $number,
            count: usize,
        ) -> c_int {
            for index in 0..count {
                // SAFETY: the library's contract: there is room for `count` numbers.
                unsafe { *start.add(index) = uniform() as $number };
            }
            0
        }

        #[no_mangle]
        pub unsafe extern "C" fn $normal(
            _: Generator,
            start: *mut $number,
            count: usize,
            mean: $number,
            deviation: $number,
        ) -> c_int {
            for index in 0..count {
                let value = normal(mean.into(), deviation.into()) as $number;
                // SAFETY: the library's contract: there is room for `count` numbers.
                unsafe { *start.add(index) = value };
            }
            0
        }
    };
}
generators!(f32, curandGenerateUniform, curandGenerateNormal);
generators!(f64, curandGenerateUniformDouble, curandGenerateNormalDouble);

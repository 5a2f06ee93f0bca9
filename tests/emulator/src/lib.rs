//! A CUDA device in software: the functions of the driver that programs call, over an interpreter
//! of the PTX that they load. [`ptx`] makes kernels of the text, [`machine`] runs them,
//! [`memory`] is what the device's addresses point to.
//!
//! It runs what a device would run, but for three things. Approximate instructions give the exact
//! result, rounded. Blocks run a few at a time, so that one that waits for a later one waits for
//! ever. And nothing about it is fast, or says what is fast on a device.
//!
//! In return it looks closer than a device does: at every address, at what is read before it was
//! written, at copies that nobody waited for, and, asked to, at races in shared memory.

pub mod driver;
pub mod libraries;
pub mod machine;
pub mod memory;
pub mod ptx;

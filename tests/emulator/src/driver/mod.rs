//! The functions of the driver that cudarc and candle link to. All is done when a call returns:
//! streams are numbers without meaning, and events know when they were recorded.
//!
//! The signatures are those of `cuda.h`; a program that passes other than what they say breaks
//! here as it would break a driver.
#![allow(non_snake_case)]
#![allow(clippy::missing_safety_doc)]

mod context;
pub use context::new_handle;
mod device;
mod launch;
mod memory;
mod module;
mod status;

use std::ffi::c_void;

/// Contexts, streams, events, modules, functions.
type Handle = *mut c_void;

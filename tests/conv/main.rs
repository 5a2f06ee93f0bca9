//! The long convolution, on the CPU and, in a build with the feature `cuda`, on the first GPU. One
//! program, so that one file is all that has to travel to a machine with a GPU.

#[path = "../common/mod.rs"]
mod common;

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod errors;
mod frequencies;
mod golden;
mod gradients;
mod long_rows;
mod partial;
mod pieces;
mod properties;
mod reference;
mod rows;
mod self_test;
mod sizes;
mod views;

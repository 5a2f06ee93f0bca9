//! The short convolution against sums written out in float64, on the CPU and, in a build with the
//! feature `cuda`, on the first GPU.

#[path = "../common/mod.rs"]
mod common;

mod case;
mod edges;
mod sizes;
mod views;

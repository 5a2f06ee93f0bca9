//! The functions of cuBLAS and cuRAND that candle links to.
#![allow(non_snake_case)]
#![allow(clippy::missing_safety_doc)]

mod blas;
mod random;

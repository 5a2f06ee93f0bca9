//! Models built on the convolutions of this crate.

pub mod checkpoint;
pub mod hyena_dna;
mod kernel_cache;
pub mod layers;
pub mod m2_bert;
mod token_ids;
mod weight_files;

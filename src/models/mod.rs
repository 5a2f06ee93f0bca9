//! Models built on the convolutions of this crate.

pub mod checkpoint;
pub mod hyena_dna;
pub mod layers;
pub mod m2_bert;

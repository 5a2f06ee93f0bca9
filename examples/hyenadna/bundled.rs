//! The files inside the program, so that it runs without arguments and without a network.
//! Where they come from: `docs/training.md`.

/// The genome of phage lambda, NC_001416.1, 48,502 bases; gzipped FASTA.
pub const LAMBDA: &[u8] = include_bytes!("../data/lambda_virus.fa.gz");
/// The genome of Escherichia coli 536, NC_008253.1, 4,938,920 bases; gzipped FASTA.
pub const E_COLI: &[u8] = include_bytes!("../data/ecoli_536_NC_008253.fna.gz");
/// The configuration of the small model that `train` made from [`E_COLI`].
pub const MODEL_CONFIG: &str = include_str!("../data/hyenadna-ecoli/config.json");
/// Its weights, safetensors under the Hugging Face names.
pub const MODEL_WEIGHTS: &[u8] = include_bytes!("../data/hyenadna-ecoli/model.safetensors");

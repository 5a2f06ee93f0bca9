//! HyenaDNA: configuration, tokenizer and model.

mod config;
mod config_json;
mod tokenizer;

pub use config::{Config, PUBLISHED};
pub use tokenizer::CharacterTokenizer;

//! HyenaDNA: configuration, tokenizer and model.
//!
//! [`HyenaDna`] is the language model, [`HyenaDnaForSequenceClassification`]
//! the same backbone with another head, [`HyenaOperator`] the layer that both
//! are made of. They read the published weights of either layout, and train.

mod backbone;
mod classification;
mod config;
mod config_json;
mod model;
mod operator;
mod tokenizer;
mod weights;

pub use classification::{HyenaDnaForSequenceClassification, Pooling};
pub use config::{Config, PUBLISHED};
pub use model::{variables_from_files, HyenaDna};
pub use operator::{HyenaOperator, HyenaOperatorConfig};
pub use tokenizer::CharacterTokenizer;

//! The crate's error type.
//!
//! Every check of the crate makes one of these and hands it to the caller as a
//! [`candle_core::Error`]: code that uses the crate sees one error type,
//! candle's, whose message is the one given here.

use candle_core::{DType, DeviceLocation};

/// What was wrong with a call. Each message says what was expected and what was got.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor has another number of dimensions than the operation needs.
    #[error("{tensor}: expected {expected} dimensions {layout}, got {got} dimensions {shape:?}")]
    Rank {
        /// The tensor, by the name that it has in the documentation.
        tensor: &'static str,
        /// The number of dimensions that was expected.
        expected: usize,
        /// The expected dimensions by name, `(B, H, L)` for example.
        layout: &'static str,
        /// The number of dimensions that was got.
        got: usize,
        /// The shape that was got.
        shape: Vec<usize>,
    },
    /// A tensor has the right number of dimensions, but not the right sizes.
    #[error("{tensor}: expected shape {expected}, got {got:?}")]
    Shape {
        /// The tensor, by the name that it has in the documentation.
        tensor: &'static str,
        /// What was expected.
        expected: String,
        /// What was got.
        got: Vec<usize>,
    },
    /// A tensor has a dtype that the operation does not take.
    #[error("{tensor}: expected dtype {expected}, got {got:?}")]
    DType {
        /// The tensor, by the name that it has in the documentation.
        tensor: &'static str,
        /// What was expected.
        expected: String,
        /// What was got.
        got: DType,
    },
    /// A tensor lies on another device than the plan or the other tensors.
    #[error("{tensor}: expected a tensor on {expected:?}, got one on {got:?}")]
    Device {
        /// The tensor, by the name that it has in the documentation.
        tensor: &'static str,
        /// What was expected.
        expected: DeviceLocation,
        /// What was got.
        got: DeviceLocation,
    },
    /// A number is outside the range that the operation takes.
    #[error("{quantity}: expected {expected}, got {got}")]
    OutOfRange {
        /// What the number counts.
        quantity: &'static str,
        /// What was expected.
        expected: String,
        /// What was got.
        got: String,
    },
    /// The operation exists, but not on this device.
    #[error("{operation} is not implemented on {device}: {advice}")]
    NotOnDevice {
        /// What was asked for.
        operation: &'static str,
        /// Where it was asked for.
        device: &'static str,
        /// What to do instead.
        advice: &'static str,
    },
    /// A result of the [self-test](crate::self_test) is wrong.
    #[error(
        "self-test, {case}: expected a relative error of {expected}, got {got}: do not trust \
         results of this device; another driver or CUDA toolkit may help"
    )]
    Deviates {
        /// The operation, sequence length and dtype.
        case: String,
        /// The largest error that passes.
        expected: String,
        /// The error that was got.
        got: String,
    },
    /// The GPU driver cannot load what a newer CUDA toolkit compiled.
    #[error(
        "the GPU driver: expected one for CUDA {toolkit} or later, the toolkit that this build \
         was made with, got one for CUDA {driver}: update the driver, or build with an older toolkit"
    )]
    DriverTooOld {
        /// The version of the toolkit that this build was made with.
        toolkit: String,
        /// The latest version that the driver supports.
        driver: String,
    },
    /// The GPU's memory does not hold what a call needs. Nothing was computed.
    #[error("memory of the GPU: expected {expected} free bytes for {what}, got {got}")]
    DeviceMemory {
        /// What the memory is for.
        what: &'static str,
        /// What was expected.
        expected: u128,
        /// How much is free, of which other streams may hold a part.
        got: String,
    },
    /// A configuration, a weight file or a text input does not hold what it should.
    #[error("{source_name}: expected {expected}, got {got}")]
    Malformed {
        /// The file or field.
        source_name: String,
        /// What was expected.
        expected: String,
        /// What was got.
        got: String,
    },
}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        candle_core::Error::wrap(error)
    }
}

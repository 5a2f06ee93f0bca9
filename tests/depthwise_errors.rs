//! What the short convolution says to calls that it cannot serve.

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_flashfftconv::Conv1dLayout::{self, Bhl, Blh};
use candle_flashfftconv::FlashDepthwiseConv1d;

/// The first line of the message: a backtrace may follow.
fn message<T>(result: Result<T>) -> String {
    let text = match result {
        Ok(_) => "no error".to_string(),
        Err(error) => error.to_string(),
    };
    text.lines().next().unwrap_or_default().to_string()
}

fn zeros(shape: &[usize], dtype: DType) -> Tensor {
    Tensor::zeros(shape, dtype, &Device::Cpu).unwrap()
}

fn new(weight: &[usize], bias: Option<&[usize]>) -> Result<FlashDepthwiseConv1d> {
    let bias = bias.map(|bias| zeros(bias, DType::F32));
    FlashDepthwiseConv1d::new(zeros(weight, DType::F32), bias, 1, Bhl)
}

fn forward(layout: Conv1dLayout, padding: usize, x: &Tensor) -> Result<Tensor> {
    FlashDepthwiseConv1d::new(zeros(&[4, 3], DType::F32), None, padding, layout)?.forward(x)
}

#[test]
fn weights() {
    assert_eq!(
        message(new(&[4], None)),
        "weight: expected 2 dimensions (H, K), got 1 dimensions [4]"
    );
    assert_eq!(
        message(new(&[4, 2, 3], None)),
        "weight: expected shape (H, K) or (H, 1, K), got [4, 2, 3]"
    );
    assert_eq!(
        message(new(&[4, 0], None)),
        "taps: expected at least 1, got 0"
    );
    let integers = zeros(&[4, 3], DType::U32);
    assert_eq!(
        message(FlashDepthwiseConv1d::causal(integers, None, Bhl)),
        "weight: expected dtype F32, F16, BF16 or F64, got U32"
    );
}

#[test]
fn biases() {
    assert_eq!(
        message(new(&[4, 3], Some(&[3]))),
        "bias: expected shape (4,), one number a channel, got [3]"
    );
    assert_eq!(
        message(new(&[4, 3], Some(&[4, 1]))),
        "bias: expected shape (4,), one number a channel, got [4, 1]"
    );
    let integers = Some(zeros(&[4], DType::I64));
    assert_eq!(
        message(FlashDepthwiseConv1d::causal(
            zeros(&[4, 3], DType::F32),
            integers,
            Bhl
        )),
        "bias: expected dtype F32, F16, BF16 or F64, got I64"
    );
}

#[test]
fn inputs() {
    let x = |shape: &[usize]| zeros(shape, DType::F32);
    assert_eq!(
        message(forward(Bhl, 1, &x(&[4, 9]))),
        "x: expected 3 dimensions (B, H, L), got 2 dimensions [4, 9]"
    );
    assert_eq!(
        message(forward(Blh, 1, &x(&[1, 9, 4, 1]))),
        "x: expected 3 dimensions (B, L, H), got 4 dimensions [1, 9, 4, 1]"
    );
    assert_eq!(
        message(forward(Bhl, 1, &x(&[2, 5, 9]))),
        "x: expected shape (B, H, L) with H = 4 as in the weight, got [2, 5, 9]"
    );
    assert_eq!(
        message(forward(Blh, 1, &x(&[2, 4, 9]))),
        "x: expected shape (B, L, H) with H = 4 as in the weight, got [2, 4, 9]"
    );
    assert_eq!(
        message(forward(Bhl, 1, &zeros(&[2, 4, 9], DType::U8))),
        "x: expected dtype F32, F16, BF16 or F64, got U8"
    );
}

#[test]
fn lengths() {
    assert_eq!(
        message(forward(Bhl, 0, &zeros(&[1, 4, 1], DType::F32))),
        "taps: expected at most 2 (length 1 + 2 · padding 0 + 1), got 3"
    );
    let huge = message(forward(Bhl, usize::MAX, &zeros(&[1, 4, 9], DType::F32)));
    assert!(
        huge.starts_with("padding: expected a padded length that fits"),
        "{huge}"
    );
    let huge = message(forward(
        Bhl,
        usize::MAX / 16,
        &zeros(&[9, 4, 9], DType::F32),
    ));
    assert!(
        huge.starts_with("output size: expected an output that fits"),
        "{huge}"
    );
    // Fits the address space, but no memory.
    let huge = message(forward(Blh, 1 << 48, &zeros(&[1, 9, 4], DType::F32)));
    assert!(
        huge.starts_with("output size: expected an output that fits the memory"),
        "{huge}"
    );
}

/// In a build with the feature, on a machine with a GPU.
#[cfg(feature = "cuda")]
#[test]
fn devices() {
    let required = std::env::var_os("FLASHFFTCONV_REQUIRE_GPU").is_some();
    let gpu = match Device::new_cuda(0) {
        Ok(gpu) => gpu,
        Err(error) if required => panic!("FLASHFFTCONV_REQUIRE_GPU is set: {error}"),
        Err(error) => return eprintln!("skipped on the GPU: {error}"),
    };
    let x = Tensor::zeros((1, 4, 9), DType::F32, &gpu).unwrap();
    assert_eq!(
        message(forward(Bhl, 1, &x)),
        "x: expected a tensor on Cpu, got one on Cuda { gpu_id: 0 }"
    );
    let weight = Tensor::zeros((4, 3), DType::F32, &gpu).unwrap();
    let convolution = FlashDepthwiseConv1d::causal(weight, None, Bhl).unwrap();
    assert_eq!(convolution.forward(&x).unwrap().dims(), [1, 4, 9]);
    assert_eq!(
        message(convolution.forward(&x.to_dtype(DType::F64).unwrap())),
        "x: expected dtype F32, F16 or BF16 on a GPU, got F64"
    );
}

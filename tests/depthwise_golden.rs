//! The short convolution against the golden files.

mod common;

use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_flashfftconv::{Conv1dLayout, FlashDepthwiseConv1d};
use common::{assert_close, golden};

/// How a golden file's case pads its rows.
#[derive(Clone, Copy)]
enum Padding {
    Symmetric(usize),
    Causal,
}
use Conv1dLayout::{Bhl, Blh};
use Padding::{Causal, Symmetric};

const CASES: [(&str, Conv1dLayout, Padding); 8] = [
    ("op_dw_k3_same_bhl", Bhl, Symmetric(1)),
    ("op_dw_k3_causal_bhl", Bhl, Causal),
    ("op_dw_k4_causal_blh", Blh, Causal),
    ("op_dw_k4_pad2_bhl", Bhl, Symmetric(2)),
    ("op_dw_k5_same_blh", Blh, Symmetric(2)),
    ("op_dw_k7_same_bhl", Bhl, Symmetric(3)),
    ("op_dw_k7_valid_blh", Blh, Symmetric(0)),
    ("op_dw_k3_nobias_bhl", Bhl, Symmetric(1)),
];

fn convolution(
    weight: Tensor,
    bias: Option<Tensor>,
    padding: Padding,
    layout: Conv1dLayout,
) -> FlashDepthwiseConv1d {
    match padding {
        Symmetric(padding) => FlashDepthwiseConv1d::new(weight, bias, padding, layout),
        Causal => FlashDepthwiseConv1d::causal(weight, bias, layout),
    }
    .unwrap()
}

/// Output and gradients in `dtype`; the bf16 cases hold numbers that bf16 represents.
fn check(device: &Device, case: usize, dtype: DType, tolerance: f64, gradient_tolerance: f64) {
    let (name, layout, padding) = CASES[case];
    let data = golden(name);
    let get = |key: &str| {
        data[key]
            .to_dtype(dtype)
            .unwrap()
            .to_device(device)
            .unwrap()
    };
    let x = Var::from_tensor(&get("x")).unwrap();
    let weight = Var::from_tensor(&get("w")).unwrap();
    let bias = data
        .contains_key("bias")
        .then(|| Var::from_tensor(&get("bias")).unwrap());

    let bias_tensor = bias.as_ref().map(|bias| bias.as_tensor().clone());
    let convolution = convolution(weight.as_tensor().clone(), bias_tensor, padding, layout);
    let y = convolution.forward(&x).unwrap();
    assert_eq!(y.dtype(), dtype);
    assert_close(&y, &data["y"], tolerance, &format!("{name} y"));

    let gradients = (y * get("dy"))
        .unwrap()
        .sum_all()
        .unwrap()
        .backward()
        .unwrap();
    let close = |var: &Var, key: &str| {
        let got = gradients.get(var).unwrap();
        assert_eq!(got.dtype(), dtype, "{name} {key}");
        assert_close(
            got,
            &data[key],
            gradient_tolerance,
            &format!("{name} {key}"),
        );
    };
    close(&x, "dx");
    close(&weight, "dw");
    if let Some(bias) = &bias {
        close(bias, "dbias");
    }
}

#[test]
fn every_case_in_f64() {
    for case in 0..CASES.len() {
        check(&Device::Cpu, case, DType::F64, 1e-14, 1e-14);
    }
}

fn every_case_in_f32(device: &Device) -> Result<()> {
    for case in 0..CASES.len() {
        check(device, case, DType::F32, 1e-6, 1e-6);
    }
    Ok(())
}
twin!(every_case_in_f32, super::every_case_in_f32);

fn cases_on_the_bf16_grid_in_bf16(device: &Device) -> Result<()> {
    for case in [4, 5] {
        check(device, case, DType::BF16, 4e-3, 4e-3);
    }
    Ok(())
}
twin!(
    cases_on_the_bf16_grid_in_bf16,
    super::cases_on_the_bf16_grid_in_bf16
);

#[test]
fn every_golden_file_of_the_operation_is_covered() {
    let mut files: Vec<_> = std::fs::read_dir(common::data_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("op_dw_"))
        .collect();
    let mut covered: Vec<_> = CASES
        .iter()
        .map(|(name, ..)| format!("{name}.safetensors"))
        .collect();
    files.sort();
    covered.sort();
    assert_eq!(files, covered);
}

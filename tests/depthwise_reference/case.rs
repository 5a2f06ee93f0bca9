//! A case, what it should give, and the comparison.

use crate::common::{assert_close_slices, random_tensor, to_f64};
use candle_core::{DType, Device, Module, Tensor, Var};
use candle_flashfftconv::Conv1dLayout::{self, Bhl, Blh};
use candle_flashfftconv::FlashDepthwiseConv1d;

/// Zeros before the row, and the number of outputs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Padding {
    Symmetric(usize),
    Causal,
}
pub use Padding::{Causal, Symmetric};

#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub batch: usize,
    pub channels: usize,
    pub length: usize,
    pub taps: usize,
    pub padding: Padding,
    pub silu: bool,
}

/// What a case should give, with channels-first rows.
pub struct Reference {
    pub y: Vec<f64>,
    pub dx: Vec<f64>,
    pub dweight: Vec<f64>,
    pub dbias: Vec<f64>,
}

impl Case {
    /// Batch, channels and samples; without an activation.
    pub fn new([batch, channels, length]: [usize; 3], taps: usize, padding: Padding) -> Self {
        Case {
            batch,
            channels,
            length,
            taps,
            padding,
            silu: false,
        }
    }

    pub fn with_silu(self, silu: bool) -> Self {
        Case { silu, ..self }
    }

    pub fn output_length(&self) -> usize {
        match self.padding {
            Causal => self.length,
            Symmetric(padding) => self.length + 2 * padding + 1 - self.taps,
        }
    }

    pub fn left(&self) -> usize {
        match self.padding {
            Causal => self.taps - 1,
            Symmetric(padding) => padding,
        }
    }

    pub fn input_shape(&self, layout: Conv1dLayout) -> [usize; 3] {
        match layout {
            Bhl => [self.batch, self.channels, self.length],
            Blh => [self.batch, self.length, self.channels],
        }
    }

    pub fn reference(&self, x: &[f64], weight: &[f64], bias: &[f64], dy: &[f64]) -> Reference {
        let (length, taps, outputs) = (self.length, self.taps, self.output_length());
        let mut r = Reference {
            y: vec![0.0; self.batch * self.channels * outputs],
            dx: vec![0.0; x.len()],
            dweight: vec![0.0; weight.len()],
            dbias: vec![0.0; bias.len()],
        };
        for row in 0..self.batch * self.channels {
            let h = row % self.channels;
            for t in 0..outputs {
                // Tap and sample that it reads.
                let products = (0..taps).filter_map(|j| {
                    let s = (t + j).checked_sub(self.left()).filter(|&s| s < length)?;
                    Some((h * taps + j, row * length + s))
                });
                let sum: f64 = products.clone().map(|(j, s)| weight[j] * x[s]).sum();
                let sum = bias[h] + sum;
                let (y, slope) = match self.silu {
                    false => (sum, 1.0),
                    true => {
                        let sigmoid = 1.0 / (1.0 + (-sum).exp());
                        let slope = sigmoid * (1.0 + sum * (1.0 - sigmoid));
                        (sum * sigmoid, slope)
                    }
                };
                let gradient = dy[row * outputs + t] * slope;
                r.dbias[h] += gradient;
                for (j, s) in products {
                    r.dx[s] += weight[j] * gradient;
                    r.dweight[j] += x[s] * gradient;
                }
                r.y[row * outputs + t] = y;
            }
        }
        r
    }

    pub fn convolution(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        layout: Conv1dLayout,
    ) -> FlashDepthwiseConv1d {
        let (weight, bias) = (weight.clone(), bias.cloned());
        let convolution = match self.padding {
            Causal => FlashDepthwiseConv1d::causal(weight, bias, layout),
            Symmetric(padding) => FlashDepthwiseConv1d::new(weight, bias, padding, layout),
        }
        .unwrap();
        match self.silu {
            true => convolution.with_silu(),
            false => convolution,
        }
    }
}

/// The tensor's numbers with channels-first rows.
pub fn rows(t: &Tensor, layout: Conv1dLayout) -> Vec<f64> {
    match layout {
        Bhl => to_f64(t),
        Blh => to_f64(&t.transpose(1, 2).unwrap()),
    }
}

/// The largest relative deviation that is due to rounding alone.
pub fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-13,
        DType::F32 => 1e-5,
        DType::F16 => 2e-3,
        _ => 1e-2,
    }
}

pub const DTYPES: [DType; 4] = [DType::F64, DType::F32, DType::F16, DType::BF16];

/// The dtypes of inputs: on a GPU there is no f64.
pub fn dtypes(device: &Device) -> Vec<DType> {
    let mut dtypes = DTYPES.to_vec();
    dtypes.retain(|&dtype| dtype != DType::F64 || device.is_cpu());
    dtypes
}

/// Output and all gradients of one case.
pub fn check(device: &Device, case: Case, layout: Conv1dLayout, dtype: DType, parameters: DType) {
    let what = format!("{case:?} {layout:?} {dtype:?}, parameters {parameters:?}");
    let var = |seed, shape: &[usize], dtype| {
        Var::from_tensor(&random_tensor(seed, shape, dtype, device).unwrap()).unwrap()
    };
    let x = var(1, &case.input_shape(layout), dtype);
    let weight = var(2, &[case.channels, case.taps], parameters);
    let bias = var(3, &[case.channels], parameters);
    let convolution = case.convolution(&weight, Some(&bias), layout);
    let y = convolution.forward(&x).unwrap();
    assert_eq!(y.dtype(), dtype, "{what}");
    let mut shape = case;
    shape.length = case.output_length();
    assert_eq!(y.dims(), shape.input_shape(layout), "{what}");

    let dy = random_tensor(4, y.dims(), dtype, device).unwrap();
    let gradients = (y.clone() * &dy).unwrap().backward().unwrap();
    let want = case.reference(
        &rows(&x, layout),
        &to_f64(&weight),
        &to_f64(&bias),
        &rows(&dy, layout),
    );
    let close = |got: &[f64], want: &[f64], dtype, name: &str| {
        if want.iter().all(|&w| w == 0.0) {
            assert_eq!(got, want, "{what}: {name}");
        } else {
            assert_close_slices(got, want, tolerance(dtype), &format!("{what}: {name}"));
        }
    };
    close(&rows(&y, layout), &want.y, dtype, "y");
    if y.elem_count() == 0 {
        return; // candle has no gradient of nothing
    }
    let gradient = |var: &Var| {
        let gradient = gradients.get(var).unwrap();
        assert_eq!(
            (gradient.dtype(), gradient.dims()),
            (var.dtype(), var.dims())
        );
        gradient.clone()
    };
    close(&rows(&gradient(&x), layout), &want.dx, dtype, "dx");
    let worst = if tolerance(dtype) > tolerance(parameters) {
        dtype
    } else {
        parameters
    };
    close(&to_f64(&gradient(&weight)), &want.dweight, worst, "dweight");
    close(&to_f64(&gradient(&bias)), &want.dbias, worst, "dbias");
}

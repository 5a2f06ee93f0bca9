//! What holds for short convolutions of any size.

mod common;

use candle_core::{DType, Device, Module, Tensor};
use candle_flashfftconv::Conv1dLayout::{self, Bhl, Blh};
use candle_flashfftconv::FlashDepthwiseConv1d;
use common::{random_tensor, to_f64};
use proptest::prelude::*;

/// Batch, channels, sequence length, taps, seed.
fn sizes() -> impl Strategy<Value = (usize, usize, usize, usize, u64)> {
    (1..4usize, 1..20usize, 1..150usize, 1..12usize, any::<u64>())
}

fn tensor(seed: u64, shape: &[usize]) -> Tensor {
    random_tensor(seed, shape, DType::F64, &Device::Cpu).unwrap()
}

fn causal(weight: &Tensor, layout: Conv1dLayout) -> FlashDepthwiseConv1d {
    FlashDepthwiseConv1d::causal(weight.clone(), None, layout).unwrap()
}

fn close(got: &Tensor, want: &Tensor) -> Result<(), TestCaseError> {
    prop_assert_eq!(got.dims(), want.dims());
    for (got, want) in to_f64(got).iter().zip(to_f64(want)) {
        prop_assert!((got - want).abs() < 1e-11, "{} {}", got, want);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn linear_in_the_input((b, h, l, k, seed) in sizes(), scale in -4.0..4.0f64) {
        let convolution = causal(&tensor(seed, &[h, k]), Bhl);
        let (x, z) = (tensor(seed ^ 1, &[b, h, l]), tensor(seed ^ 2, &[b, h, l]));
        let mixed = ((&x * scale).unwrap() + &z).unwrap();
        let want = ((convolution.forward(&x).unwrap() * scale).unwrap()
            + convolution.forward(&z).unwrap()).unwrap();
        close(&convolution.forward(&mixed).unwrap(), &want)?;
    }

    #[test]
    fn linear_in_the_taps((b, h, l, k, seed) in sizes()) {
        let (v, w) = (tensor(seed, &[h, k]), tensor(seed ^ 1, &[h, k]));
        let x = tensor(seed ^ 2, &[b, h, l]);
        let want = (causal(&v, Bhl).forward(&x).unwrap() + causal(&w, Bhl).forward(&x).unwrap()).unwrap();
        close(&causal(&(v + w).unwrap(), Bhl).forward(&x).unwrap(), &want)?;
    }

    /// A later input comes out later, and is bit for bit the same.
    #[test]
    fn shifts_with_its_input((b, h, l, k, seed) in sizes(), shift in 1..40usize) {
        let convolution = causal(&tensor(seed, &[h, k]), Bhl);
        let x = tensor(seed ^ 1, &[b, h, l]);
        let shifted = x.pad_with_zeros(2, shift, 0).unwrap();
        let y = convolution.forward(&shifted).unwrap();
        prop_assert!(to_f64(&y.narrow(2, 0, shift).unwrap()).iter().all(|&y| y == 0.0));
        prop_assert_eq!(
            to_f64(&y.narrow(2, shift, l).unwrap()),
            to_f64(&convolution.forward(&x).unwrap())
        );
    }

    /// What comes later changes nothing before it.
    #[test]
    fn causal_outputs_know_no_future((b, h, l, k, seed) in sizes(), kept in 0.0..1.0f64) {
        let kept = ((l as f64 * kept) as usize).max(1);
        let x = tensor(seed ^ 1, &[b, h, l]);
        for layout in [Bhl, Blh] {
            let convolution = causal(&tensor(seed, &[h, k]), layout);
            let (x, length) = match layout {
                Bhl => (x.clone(), 2),
                Blh => (x.transpose(1, 2).unwrap().contiguous().unwrap(), 1),
            };
            let whole = convolution.forward(&x).unwrap().narrow(length, 0, kept).unwrap();
            let part = convolution.forward(&x.narrow(length, 0, kept).unwrap()).unwrap();
            prop_assert_eq!(to_f64(&whole), to_f64(&part));
        }
    }

    #[test]
    fn layouts_agree((b, h, l, k, seed) in sizes(), padding in 0..14usize) {
        prop_assume!(l + 2 * padding >= k);
        let weight = tensor(seed, &[h, k]);
        let bias = tensor(seed ^ 3, &[h]);
        let x = tensor(seed ^ 1, &[b, h, l]);
        let forward = |layout, x: &Tensor| {
            FlashDepthwiseConv1d::new(weight.clone(), Some(bias.clone()), padding, layout)
                .unwrap()
                .forward(x)
                .unwrap()
        };
        let blh = forward(Blh, &x.transpose(1, 2).unwrap()).transpose(1, 2).unwrap();
        prop_assert_eq!(to_f64(&forward(Bhl, &x)), to_f64(&blh));
    }

    #[test]
    fn agrees_with_candle((b, h, l, k, seed) in sizes(), padding in 0..6usize) {
        prop_assume!(l + 2 * padding >= k);
        let weight = tensor(seed, &[h, 1, k]);
        let x = tensor(seed ^ 1, &[b, h, l]);
        let convolution = FlashDepthwiseConv1d::new(weight.clone(), None, padding, Bhl).unwrap();
        let want = x.conv1d(&weight, padding, 1, 1, h).unwrap();
        close(&convolution.forward(&x).unwrap(), &want)?;
    }
}

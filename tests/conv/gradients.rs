//! The gradients of the long convolution against differences of the loss.
//!
//! There is no backward pass on the GPU yet: `cuda.rs` expects its error.

use crate::common::{random_tensor, to_f64};
use crate::reference::CASES;
use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_flashfftconv::FlashFftConv;

/// `Σ y ⊙ dy` for one way to compute `y` from the variables `(u, in_gate, out_gate, k)`.
pub type Loss<'a> = &'a dyn Fn(&[Tensor]) -> Result<Tensor>;

/// Compares candle's gradients with central differences along random directions, which are
/// exact up to rounding because the loss is a polynomial of degree one in each variable.
pub fn check_gradients(name: &str, variables: &[Tensor], loss: Loss<'_>) -> Result<()> {
    let vars = variables
        .iter()
        .map(Var::from_tensor)
        .collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let gradients = loss(&tensors)?.backward()?;
    for (index, variable) in vars.iter().enumerate() {
        let Some(gradient) = gradients.get(variable) else {
            panic!("{name}: variable {index} has no gradient");
        };
        assert_eq!(gradient.dims(), variable.dims(), "{name}");
        for seed in 0..3 {
            let direction = random_tensor(100 + seed, variable.dims(), DType::F64, &Device::Cpu)?;
            let moved = |sign: f64| -> Result<f64> {
                let mut moved: Vec<Tensor> = variables.to_vec();
                moved[index] = (&variables[index] + (&direction * sign)?)?;
                loss(&moved)?.to_scalar::<f64>()
            };
            let difference = (moved(1.0)? - moved(-1.0)?) / 2.0;
            let along = (gradient * &direction)?.sum_all()?.to_scalar::<f64>()?;
            let scale = difference.abs().max(1.0);
            assert!(
                (along - difference).abs() < 1e-9 * scale,
                "{name}: variable {index}: {along} against {difference}"
            );
        }
    }
    Ok(())
}

#[test]
fn gradients_are_the_differences_of_the_loss() -> Result<()> {
    let device = &Device::Cpu;
    for &(length, taps, kind) in CASES {
        let name = format!("L {length}, {taps} taps, {kind:?}");
        let sequence = |seed| random_tensor(seed, &[2, 3, length], DType::F64, device);
        let k = random_tensor(4, &[3, taps], DType::F64, device)?;
        let dy = sequence(5)?;
        let all = [sequence(1)?, sequence(2)?, sequence(3)?, k.clone()];
        let conv = kind.plan(length, device)?;
        let prepared = conv.prepare(&k)?;
        let product = |y: Tensor| y.mul(&dy)?.sum_all();
        check_gradients(&name, &all, &|v| {
            product(conv.forward_gated(&v[0], &v[3], &v[1], &v[2])?)
        })?;
        check_gradients(&name, &all[..3], &|v| {
            product(conv.forward_gated(&v[0], &k, &v[1], &v[2])?)
        })?;
        check_gradients(&name, &all[..3], &|v| {
            product(prepared.forward_gated(&v[0], &v[1], &v[2])?)
        })?;
        check_gradients(&name, &all[..3], &|v| {
            let z = Tensor::cat(&[&v[2], &v[1], &v[0]], 1)?;
            product(prepared.forward_projected(&z)?)
        })?;
        check_gradients(&name, &[all[0].clone(), k.clone()], &|v| {
            product(conv.forward(&v[0], &v[1])?)
        })?;
        check_gradients(&name, &all[..1], &|v| product(prepared.forward(&v[0])?))?;
    }
    Ok(())
}

#[test]
fn many_batch_items_of_few_channels() -> Result<()> {
    let device = &Device::Cpu;
    for (batch, channels) in [(70, 1), (1, 1), (5, 2), (33, 3)] {
        let shape = [batch, channels, 60];
        let u = random_tensor(1, &shape, DType::F64, device)?;
        let dy = random_tensor(3, &shape, DType::F64, device)?;
        let k = random_tensor(2, &[channels, 60], DType::F64, device)?;
        let conv = FlashFftConv::causal(60, device)?;
        check_gradients(&format!("{shape:?}"), &[u, k], &|v| {
            conv.forward(&v[0], &v[1])?.mul(&dy)?.sum_all()
        })?;
    }
    Ok(())
}

#[test]
fn what_is_not_finite_stays_in_its_row() -> Result<()> {
    let device = &Device::Cpu;
    for length in [3, 100, 5000] {
        let k = random_tensor(2, &[3, length], DType::F32, device)?;
        let conv = FlashFftConv::causal(length, device)?;
        for bad in [f64::NAN, f64::INFINITY, 1e30] {
            let mut values = crate::common::random(1, 2 * 3 * length);
            values[4 * length + length / 2] = bad;
            let u = Tensor::from_vec(values, (2, 3, length), device)?.to_dtype(DType::F32)?;
            let u = Var::from_tensor(&u)?;
            let dy = Var::from_tensor(&u.detach())?;
            let gradients = conv.forward(&u, &k)?.mul(&dy)?.sum_all()?.backward()?;
            let gradient = gradients.get(&u).map(to_f64).unwrap_or_default();
            for row in [0, 1, 2, 3, 5] {
                assert!(gradient[row * length..(row + 1) * length]
                    .iter()
                    .all(|g| g.is_finite() && g.abs() < 1e6));
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_have_the_shape_of_what_was_broadcast() -> Result<()> {
    let device = &Device::Cpu;
    let conv = FlashFftConv::causal(40, device)?;
    let k = random_tensor(2, &[1, 40], DType::F32, device)?.broadcast_as((4, 40))?;
    for dims in [[1, 4, 40], [3, 1, 40], [1, 1, 40], [3, 4, 1], [1, 1, 1]] {
        let narrow = Var::from_tensor(&random_tensor(1, &dims, DType::F32, device)?)?;
        let y = conv.forward(&narrow.broadcast_as((3, 4, 40))?, &k)?;
        let gradients = y.sum_all()?.backward()?;
        let gradient = gradients.get(&narrow).map(|g| g.dims().to_vec());
        assert_eq!(gradient, Some(dims.to_vec()));
    }
    Ok(())
}

//! The check that a user runs on a machine of theirs: does this device compute what the CPU computes
//! in float64?
//!
//! Compilers and drivers for new GPUs have made wrong code before, and nothing else says so.

mod cases;
mod report;

pub use report::{SelfTestCase, SelfTestReport};

use crate::{Error, FlashDepthwiseConv1d, FlashFftConv};
use candle_core::{DType, Device, Module, Result, Tensor, Var};
use cases::{Case, Depthwise, Long, Operation};

/// Computes convolutions of known numbers on `device`, and compares them with float64 on the CPU.
///
/// Takes a second or two, and on a GPU longer the first time, while the driver compiles every kernel
/// (which it keeps on disk). The cases are the lengths at both ends of each transform size that a GPU
/// has a kernel for, up to 32768 samples, in f32, f16 and bf16: causal, causal with both gates, and
/// two-sided with both gates (a circular convolution of twice the length with that many taps); and at
/// the same lengths depthwise convolutions of 3, 7 and 64 taps of f32 in both layouts, and at some of
/// them up to 4096 samples their gradients.
/// Worth a call when a program first meets a new GPU, driver or toolkit, and the first thing to run
/// where results look wrong.
///
/// # Errors
///
/// [`Error::Deviates`] when a result is further from the reference than its dtype allows; it names the
/// worst case. Otherwise whatever the operation or the device reports, for example
/// [`Error::NotOnDevice`].
///
/// # Example
///
/// ```
/// use candle_core::Device;
/// use candle_flashfftconv::self_test;
///
/// let report = self_test(&Device::Cpu)?;
/// println!("{report}"); // a table: lengths by dtypes and operations
/// assert!(report.cases().iter().all(|case| case.error <= case.bound));
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn self_test(device: &Device) -> Result<SelfTestReport> {
    let description = describe(device)?;
    let cases = cases::all()
        .into_iter()
        .map(|case| {
            Ok(SelfTestCase {
                length: case.length,
                dtype: case.dtype,
                convolution: case.operation.convolution(),
                operation: case.operation.name(),
                error: run(&case, device)?,
                bound: case.bound(),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let report = SelfTestReport::new(description, cases);
    match report.worst() {
        Some(worst) if !worst.passed() => Err(Error::Deviates {
            case: worst.to_string(),
            expected: format!("at most {:.1e}", worst.bound),
            got: format!("{:.1e}", worst.error),
        }
        .into()),
        _ => Ok(report),
    }
}

/// The device's name. A GPU has to run the simplest kernel first, whose errors say most.
fn describe(device: &Device) -> Result<String> {
    match device {
        Device::Cpu => Ok("the CPU".into()),
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => {
            crate::cuda::probe(device)?;
            crate::cuda::describe(device)
        }
        device => Ok(format!("{:?}", device.location())),
    }
}

/// The error of one case, the largest of its results.
fn run(case: &Case, device: &Device) -> Result<f64> {
    let inputs = case.inputs()?;
    let got = compute(case.operation, &inputs, device)?;
    let exact = inputs
        .iter()
        .map(|tensor| tensor.to_dtype(DType::F64))
        .collect::<Result<Vec<_>>>()?;
    let want = compute(case.operation, &exact, &Device::Cpu)?;
    let errors = got
        .iter()
        .zip(&want)
        .map(|(got, want)| Ok(deviation(&numbers(got)?, &numbers(want)?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(errors.into_iter().fold(0.0, f64::max))
}

/// The results of one operation on its inputs, on `device`.
fn compute(operation: Operation, inputs: &[Tensor], device: &Device) -> Result<Vec<Tensor>> {
    let moved = inputs
        .iter()
        .map(|tensor| tensor.to_device(device))
        .collect::<Result<Vec<_>>>()?;
    match (operation, moved.as_slice()) {
        (Operation::Depthwise(depthwise), [x, weight, bias]) => {
            Ok(vec![forward_depthwise(depthwise, x, weight, bias)?])
        }
        (Operation::DepthwiseGradients(depthwise), [x, weight, bias, dy]) => {
            depthwise_gradients(depthwise, [x, weight, bias], dy)
        }
        (Operation::Long(long), [u, in_gate, out_gate, k]) => {
            Ok(vec![compute_long(long, [u, in_gate, out_gate], k, device)?])
        }
        _ => candle_core::bail!("expected the tensors of {operation:?}, got {}", moved.len()),
    }
}

fn forward_depthwise(
    depthwise: Depthwise,
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
) -> Result<Tensor> {
    let (weight, bias) = (weight.clone(), Some(bias.clone()));
    FlashDepthwiseConv1d::causal(weight, bias, depthwise.layout)?.forward(x)
}

/// The gradients of `x`, `weight` and `bias`, from that of the output.
fn depthwise_gradients(
    depthwise: Depthwise,
    arguments: [&Tensor; 3],
    dy: &Tensor,
) -> Result<Vec<Tensor>> {
    let [x, weight, bias] = arguments.map(Var::from_tensor);
    let (x, weight, bias) = (x?, weight?, bias?);
    let y = forward_depthwise(depthwise, &x, &weight, &bias)?;
    let gradients = (y * dy)?.backward()?;
    [&x, &weight, &bias]
        .into_iter()
        .map(|argument| match gradients.get(argument) {
            Some(gradient) => Ok(gradient.clone()),
            None => candle_core::bail!("expected a gradient of every argument, got none"),
        })
        .collect()
}

fn compute_long(
    long: Long,
    [u, in_gate, out_gate]: [&Tensor; 3],
    k: &Tensor,
    device: &Device,
) -> Result<Tensor> {
    let length = u.dim(2)?;
    match long {
        Long::CausalGated => {
            let z = Tensor::cat(&[out_gate, in_gate, u], 1)?;
            FlashFftConv::causal(length, device)?.forward_projected(&z, k)
        }
        Long::TwoSidedGated => FlashFftConv::new(2 * length, device)?
            .prepare(k)?
            .forward_gated(u, in_gate, out_gate),
        Long::Causal => FlashFftConv::causal(length, device)?.forward(u, k),
    }
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor
        .to_device(&Device::Cpu)?
        .to_dtype(DType::F64)?
        .flatten_all()?
        .to_vec1()
}

/// The larger of `‖got − want‖ / ‖want‖` and a quarter of `max |got − want| / max |want|`: the first
/// sees what is a little wrong everywhere, the second one wrong number among many right ones.
/// Infinite where a number is missing or not finite.
fn deviation(got: &[f64], want: &[f64]) -> f64 {
    if got.len() != want.len() || want.iter().all(|&number| number == 0.0) {
        return f64::INFINITY;
    }
    let (mut square, mut square_want) = (0f64, 0f64);
    let (mut largest, mut largest_want) = (0f64, 0f64);
    for (got, want) in got.iter().zip(want) {
        let difference = (got - want).abs();
        square += difference * difference;
        square_want += want * want;
        largest = largest.max(difference);
        largest_want = largest_want.max(want.abs());
    }
    let error = (square / square_want)
        .sqrt()
        .max(largest / largest_want / 4.0);
    // A maximum forgets NaN, a sum does not.
    match square.is_finite() && square_want.is_finite() {
        true => error,
        false => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_passes() {
        let report = self_test(&Device::Cpu).unwrap();
        assert_eq!(report.cases().len(), cases::all().len());
        // Results that are too good were compared with themselves.
        assert!(report.cases().iter().any(|case| case.error > 1e-8));
    }

    #[test]
    fn deviations_show() {
        let want: Vec<f64> = (0..1000).map(|i| f64::from(i).sin()).collect();
        assert_eq!(deviation(&want, &want), 0.0);
        let changed = |index: usize, value: f64| {
            let mut got = want.clone();
            got[index] = value;
            deviation(&got, &want)
        };
        assert!(changed(500, want[500] + 0.1) > 2e-2);
        assert_eq!(changed(3, f64::NAN), f64::INFINITY);
        assert_eq!(changed(3, f64::NEG_INFINITY), f64::INFINITY);
        assert!(deviation(&[0.0; 1000], &want) >= 1.0);
        assert_eq!(deviation(&want[1..], &want), f64::INFINITY);
        assert_eq!(deviation(&[0.0], &[0.0]), f64::INFINITY);
    }
}

//! What is not finite, empty or nothing but padding; derivatives by differences; threads.

use crate::case::{dtypes, rows, tolerance, Case, Causal, Symmetric};
use crate::common::{assert_close_slices, random, random_tensor, to_f64};
use crate::twin;
use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_flashfftconv::Conv1dLayout::{Bhl, Blh};
use candle_flashfftconv::FlashDepthwiseConv1d;

/// Each derivative against a difference quotient of the forward pass alone.
#[test]
fn finite_differences() {
    let device = &Device::Cpu;
    let case = Case::new([2, 3, 7], 4, Symmetric(5));
    for layout in [Bhl, Blh] {
        let shapes: [Vec<usize>; 3] = [case.input_shape(layout).to_vec(), vec![3, 4], vec![3]];
        let values: Vec<Vec<f64>> = shapes
            .iter()
            .enumerate()
            .map(|(i, shape)| random(10 + i as u64, shape.iter().product()))
            .collect();
        let vars = |values: &[Vec<f64>]| -> Vec<Var> {
            values
                .iter()
                .zip(&shapes)
                .map(|(v, shape)| {
                    Var::from_tensor(&Tensor::from_slice(v, shape.as_slice(), device).unwrap())
                        .unwrap()
                })
                .collect()
        };
        // A nonlinear loss, so that the gradient of the output varies.
        let loss = |vars: &[Var]| {
            let convolution = case.convolution(&vars[1], Some(&vars[2]), layout);
            let y = convolution.forward(&vars[0]).unwrap();
            y.sin().unwrap().sum_all().unwrap()
        };
        let at = vars(&values);
        let gradients = loss(&at).backward().unwrap();
        for (i, var) in at.iter().enumerate() {
            let gradient = to_f64(gradients.get(var).unwrap());
            let step = 1e-5;
            let quotients: Vec<f64> = (0..values[i].len())
                .map(|j| {
                    let shifted = |by: f64| {
                        let mut values = values.clone();
                        values[i][j] += by;
                        loss(&vars(&values)).to_scalar::<f64>().unwrap()
                    };
                    (shifted(step) - shifted(-step)) / (2.0 * step)
                })
                .collect();
            assert_close_slices(
                &gradient,
                &quotients,
                1e-8,
                &format!("{layout:?} argument {i}"),
            );
        }
    }
}

fn what_is_not_finite_stays_in_its_row(device: &Device) -> Result<()> {
    for (channels, taps, length, sample) in [
        (4, 3, 60, 20),
        (16, 21, 60, 20),
        (3, 7, 1024, 20),
        (5, 41, 611, 0), // beside the neighbouring rows, which begin anywhere
        (5, 41, 611, 610),
        (5, 7, 611, 0),
        (5, 7, 611, 610),
        (5, 41, 517, 510), // where a row is a few samples longer than a tile
        (5, 41, 517, 516),
    ] {
        let left = taps / 2;
        let case = Case::new([3, channels, length], taps, Symmetric(left));
        let weight = random_tensor(1, &[channels, taps], DType::F32, device)?;
        for layout in [Bhl, Blh] {
            for dtype in dtypes(device) {
                for poison in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                    let clean = random(2, 3 * channels * length);
                    let mut poisoned = clean.clone();
                    // That sample of channel 2 of batch item 1.
                    let row = channels + 2;
                    let at = match layout {
                        Bhl => row * length + sample,
                        Blh => (length + sample) * channels + 2,
                    };
                    poisoned[at] = poison;
                    let forward = |values: &[f64]| -> Result<Vec<f64>> {
                        let shape = case.input_shape(layout);
                        let x = Tensor::from_slice(values, shape.as_slice(), device)?;
                        let convolution = case.convolution(&weight, None, layout);
                        Ok(rows(&convolution.forward(&x.to_dtype(dtype)?)?, layout))
                    };
                    let (got, want) = (forward(&poisoned)?, forward(&clean)?);
                    let what = |t| format!("{layout:?} {dtype:?} {taps} taps, output {t}");
                    let first = (sample + left + 1).saturating_sub(taps);
                    let last = (sample + left).min(length - 1);
                    let reached = row * length + first..=row * length + last;
                    for i in reached.clone() {
                        assert!(!got[i].is_finite(), "{}", what(i));
                    }
                    // Many taps are summed in another order where something is not finite.
                    let bound = match taps {
                        3 => 0.0,
                        _ => tolerance(dtype) * want.iter().fold(0.0, |a, b| b.abs().max(a)),
                    };
                    for i in (0..got.len()).filter(|i| !reached.contains(i)) {
                        assert!((got[i] - want[i]).abs() <= bound, "{}", what(i));
                    }
                }
            }
        }
    }
    Ok(())
}
twin!(
    what_is_not_finite_stays_in_its_row,
    super::what_is_not_finite_stays_in_its_row
);

/// The same of the gradient of x, where a sample of that of y is not finite, and of the other channels' taps.
fn gradients_of_what_is_not_finite_stay_in_their_row(device: &Device) -> Result<()> {
    for (layout, channels, taps, length, sample) in [
        (Bhl, 3, 7, 1024, 20),
        (Bhl, 4, 3, 60, 20),
        (Bhl, 3, 7, 611, 0), // beside the neighbouring rows, which begin anywhere
        (Bhl, 3, 7, 611, 610),
        (Bhl, 3, 21, 611, 0),
        (Bhl, 3, 21, 611, 610),
        (Blh, 8, 21, 611, 0),
        (Blh, 24, 127, 1100, 1030), // in the second tile
    ] {
        let left = taps / 2;
        let case = Case::new([2, channels, length], taps, Symmetric(left));
        let weight = random_tensor(1, &[channels, taps], DType::F32, device)?;
        let weight = Var::from_tensor(&weight)?;
        let convolution = case.convolution(&weight, None, layout);
        for dtype in dtypes(device) {
            let x = Var::from_tensor(&random_tensor(2, &case.input_shape(layout), dtype, device)?)?;
            let y = convolution.forward(&x)?;
            let gradients = |dy: &[f64]| -> Result<[Vec<f64>; 2]> {
                let dy = Tensor::from_slice(dy, (2, channels, length), device)?.to_dtype(dtype)?;
                let dy = match layout {
                    Bhl => dy,
                    Blh => dy.transpose(1, 2)?.contiguous()?,
                };
                let gradients = (&y * dy)?.backward()?;
                let of = |var: &Var| gradients.get(var).unwrap();
                Ok([rows(of(&x), layout), to_f64(of(&weight))])
            };
            let clean = random(3, 2 * channels * length);
            let row = (channels + 1) * length;
            let at = row + sample;
            for poison in [f64::NAN, f64::INFINITY] {
                let mut poisoned = clean.clone();
                poisoned[at] = poison;
                let ([got, got_taps], [want, want_taps]) =
                    (gradients(&poisoned)?, gradients(&clean)?);
                for (k, (got, want)) in got_taps.iter().zip(&want_taps).enumerate() {
                    let is_finite = (got - want).abs() <= 1e-5 * want.abs().max(1.0);
                    assert!(is_finite || k / taps == 1, "{dtype:?} {poison} tap {k}");
                }
                assert!(got_taps.iter().any(|tap| !tap.is_finite()));
                let first = (at - left).max(row);
                let reached = first..(at - left + taps).min(row + length);
                let bound = tolerance(dtype) * want.iter().fold(0.0, |a, b| b.abs().max(a));
                for (s, (got, want)) in got.iter().zip(&want).enumerate() {
                    let what = format!("{dtype:?} {taps} taps, {poison}, sample {s}");
                    match reached.contains(&s) {
                        true => assert!(!got.is_finite(), "{what}"),
                        false => assert!((got - want).abs() <= bound, "{what}"),
                    }
                }
            }
        }
    }
    Ok(())
}
twin!(
    gradients_of_what_is_not_finite_stay_in_their_row,
    super::gradients_of_what_is_not_finite_stay_in_their_row
);

/// Of x, taps and bias any one alone, as with the others.
fn one_gradient_alone(device: &Device) -> Result<()> {
    for (layout, taps, length, dtype) in [
        (Bhl, 4, 512, DType::BF16),
        (Bhl, 40, 512, DType::F16),
        (Bhl, 4, 40, DType::F32),
        (Bhl, 40, 45, DType::F32),
        (Blh, 4, 40, DType::F32),
        (Blh, 12, 40, DType::BF16),
    ] {
        let case = Case::new([2, 16, length], taps, Causal);
        let arguments = [
            random_tensor(1, &case.input_shape(layout), dtype, device)?,
            random_tensor(2, &[case.channels, taps], DType::F32, device)?,
            random_tensor(3, &[case.channels], DType::F32, device)?,
        ];
        let gradient = |tracked: &[usize], of: usize| -> Result<Vec<f64>> {
            let mut tensors = arguments.clone();
            for &i in tracked {
                tensors[i] = Var::from_tensor(&arguments[i])?.as_tensor().clone();
            }
            let [x, weight, bias] = &tensors;
            let y = case.convolution(weight, Some(bias), layout).forward(x)?;
            let dy = random_tensor(4, y.dims(), dtype, device)?;
            let gradients = (y * dy)?.backward()?;
            Ok(to_f64(gradients.get(&tensors[of]).unwrap()))
        };
        for of in 0..3 {
            let (alone, all) = (gradient(&[of], of)?, gradient(&[0, 1, 2], of)?);
            assert!(alone.iter().any(|&g| g != 0.0));
            assert_eq!(
                alone, all,
                "{layout:?} {taps} taps {dtype:?}, argument {of}"
            );
        }
    }
    Ok(())
}
twin!(one_gradient_alone, super::one_gradient_alone);

/// The same of channels-last tensors with many taps, where all together have a kernel of their own, which rounds otherwise.
fn one_gradient_of_many_taps_of_frames_alone(device: &Device) -> Result<()> {
    for (taps, length, parameters) in [(12, 520, DType::BF16), (100, 1030, DType::F32)] {
        let case = Case::new([2, 24, length], taps, Symmetric(taps / 2));
        let arguments = [
            random_tensor(1, &case.input_shape(Blh), DType::BF16, device)?,
            random_tensor(2, &[case.channels, taps], parameters, device)?,
            random_tensor(3, &[case.channels], parameters, device)?,
        ];
        let gradients = |tracked: &[usize]| -> Result<Vec<Vec<f64>>> {
            let mut tensors = arguments.clone();
            for &i in tracked {
                tensors[i] = Var::from_tensor(&arguments[i])?.as_tensor().clone();
            }
            let [x, weight, bias] = &tensors;
            let y = case.convolution(weight, Some(bias), Blh).forward(x)?;
            let dy = random_tensor(4, y.dims(), DType::BF16, device)?;
            let gradients = (y * dy)?.backward()?;
            let of = |&i: &usize| to_f64(gradients.get(&tensors[i]).unwrap());
            Ok(tracked.iter().map(of).collect())
        };
        let all = gradients(&[0, 1, 2])?;
        for tracked in [&[0][..], &[1], &[2], &[0, 1], &[1, 2]] {
            for (got, &of) in gradients(tracked)?.iter().zip(tracked) {
                let dtype = arguments[of].dtype();
                let what = format!("{taps} taps, argument {of} of {tracked:?}");
                assert_close_slices(got, &all[of], tolerance(dtype), &what);
            }
        }
    }
    Ok(())
}
twin!(
    one_gradient_of_many_taps_of_frames_alone,
    super::one_gradient_of_many_taps_of_frames_alone
);

fn empty_tensors_give_empty_tensors(device: &Device) -> Result<()> {
    let empty = |dims: [usize; 3], channels: usize, taps, padding, layout| {
        let x = Var::zeros(&dims, DType::F32, device).unwrap();
        let weight = Var::zeros((channels, taps), DType::F32, device).unwrap();
        let case = Case::new([0, channels, 0], taps, padding);
        let y = case.convolution(&weight, None, layout).forward(&x).unwrap();
        if device.is_cuda() {
            return y.dims().to_vec(); // candle has no sum of nothing there
        }
        // The gradient of nothing is zero, not an error.
        let gradients = y.sum_all().unwrap().backward().unwrap();
        if let Some(gradient) = gradients.get(&weight) {
            assert!(to_f64(gradient).iter().all(|&g| g == 0.0));
        }
        y.dims().to_vec()
    };
    assert_eq!(empty([0, 3, 5], 3, 3, Causal, Bhl), [0, 3, 5]);
    assert_eq!(empty([2, 3, 0], 3, 3, Causal, Bhl), [2, 3, 0]);
    assert_eq!(empty([2, 0, 3], 3, 3, Causal, Blh), [2, 0, 3]);
    assert_eq!(empty([2, 0, 5], 0, 3, Causal, Bhl), [2, 0, 5]);
    assert_eq!(empty([2, 5, 0], 0, 3, Symmetric(1), Blh), [2, 5, 0]);
    assert_eq!(empty([2, 3, 0], 3, 5, Symmetric(0), Bhl), [2, 3, 0]);
    // As many taps as would need one more sample: no output.
    assert_eq!(empty([2, 3, 4], 3, 5, Symmetric(0), Bhl), [2, 3, 0]);
    assert_eq!(empty([2, 4, 3], 3, 5, Symmetric(0), Blh), [2, 0, 3]);
    Ok(())
}
twin!(
    empty_tensors_give_empty_tensors,
    super::empty_tensors_give_empty_tensors
);

/// No samples, but padding: the outputs are the bias.
fn rows_of_padding_alone(device: &Device) -> Result<()> {
    for (layout, dims) in [(Bhl, [2, 3, 0]), (Blh, [2, 0, 3])] {
        let x = Tensor::zeros(&dims, DType::F32, device).unwrap();
        let weight = Tensor::ones((3, 3), DType::F32, device).unwrap();
        let bias = Tensor::new(&[1f32, 2., 3.], device).unwrap();
        let convolution = FlashDepthwiseConv1d::new(weight, Some(bias), 2, layout).unwrap();
        let y = convolution.forward(&x).unwrap();
        let want: Vec<f64> = [1., 1., 2., 2., 3., 3.].repeat(2);
        assert_eq!(rows(&y, layout), want);
    }
    Ok(())
}
twin!(rows_of_padding_alone, super::rows_of_padding_alone);

#[test]
fn results_are_bit_identical_whatever_the_threads() {
    let device = &Device::Cpu;
    let run = |layout| {
        let case = Case::new([3, 70, 2000], 5, Causal);
        let shape = case.input_shape(layout);
        let x = Var::from_tensor(&random_tensor(1, &shape, DType::F32, device).unwrap()).unwrap();
        let weight =
            Var::from_tensor(&random_tensor(2, &[70, 5], DType::F32, device).unwrap()).unwrap();
        let y = case.convolution(&weight, None, layout).forward(&x).unwrap();
        let gradients = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        [
            to_f64(&y),
            to_f64(gradients.get(&x).unwrap()),
            to_f64(gradients.get(&weight).unwrap()),
        ]
    };
    for layout in [Bhl, Blh] {
        let want = run(layout);
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            assert!(
                pool.install(|| run(layout)) == want,
                "{threads} threads, {layout:?}"
            );
        }
    }
}

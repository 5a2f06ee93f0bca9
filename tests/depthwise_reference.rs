//! The short convolution against sums written out in float64.

mod common;

use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_flashfftconv::Conv1dLayout::{self, Bhl, Blh};
use candle_flashfftconv::FlashDepthwiseConv1d;
use common::{assert_close_slices, random, random_tensor, to_f64};

/// Zeros before the row, and the number of outputs.
#[derive(Debug, Clone, Copy)]
enum Padding {
    Symmetric(usize),
    Causal,
}
use Padding::{Causal, Symmetric};

#[derive(Debug, Clone, Copy)]
struct Case {
    batch: usize,
    channels: usize,
    length: usize,
    taps: usize,
    padding: Padding,
    silu: bool,
}

/// What a case should give, with channels-first rows.
struct Reference {
    y: Vec<f64>,
    dx: Vec<f64>,
    dweight: Vec<f64>,
    dbias: Vec<f64>,
}

impl Case {
    fn output_length(&self) -> usize {
        match self.padding {
            Causal => self.length,
            Symmetric(padding) => self.length + 2 * padding + 1 - self.taps,
        }
    }

    fn left(&self) -> usize {
        match self.padding {
            Causal => self.taps - 1,
            Symmetric(padding) => padding,
        }
    }

    fn input_shape(&self, layout: Conv1dLayout) -> [usize; 3] {
        match layout {
            Bhl => [self.batch, self.channels, self.length],
            Blh => [self.batch, self.length, self.channels],
        }
    }

    fn reference(&self, x: &[f64], weight: &[f64], bias: &[f64], dy: &[f64]) -> Reference {
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

    fn convolution(
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
fn rows(t: &Tensor, layout: Conv1dLayout) -> Vec<f64> {
    match layout {
        Bhl => to_f64(t),
        Blh => to_f64(&t.transpose(1, 2).unwrap()),
    }
}

/// The largest relative deviation that is due to rounding alone.
fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-13,
        DType::F32 => 1e-5,
        DType::F16 => 2e-3,
        _ => 1e-2,
    }
}

const DTYPES: [DType; 4] = [DType::F64, DType::F32, DType::F16, DType::BF16];

/// The dtypes of inputs: on a GPU there is no f64.
fn dtypes(device: &Device) -> Vec<DType> {
    let mut dtypes = DTYPES.to_vec();
    dtypes.retain(|&dtype| dtype != DType::F64 || device.is_cpu());
    dtypes
}

/// Output and all gradients of one case.
fn check(device: &Device, case: Case, layout: Conv1dLayout, dtype: DType, parameters: DType) {
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

fn ugly_sizes(device: &Device) -> Result<()> {
    for length in [1, 2, 129, 372, 1134] {
        for taps in [1, 2, 3, 4, 5, 7, 8, 9, 17, 130] {
            for padding in [
                Causal,
                Symmetric(0),
                Symmetric(taps / 2),
                Symmetric(taps + 3),
            ] {
                let case = Case {
                    batch: 2,
                    channels: 3,
                    length,
                    taps,
                    padding,
                    silu: false,
                };
                if matches!(padding, Symmetric(p) if length + 2 * p < taps) {
                    continue;
                }
                for layout in [Bhl, Blh] {
                    check(device, case, layout, DType::F32, DType::F32);
                }
            }
        }
    }
    Ok(())
}
twin!(ugly_sizes, super::ugly_sizes);

fn every_pair_of_dtypes(device: &Device) -> Result<()> {
    let case = Case {
        batch: 3,
        channels: 5,
        length: 129,
        taps: 4,
        padding: Causal,
        silu: false,
    };
    for layout in [Bhl, Blh] {
        for dtype in dtypes(device) {
            for parameters in DTYPES {
                check(device, case, layout, dtype, parameters);
            }
        }
    }
    Ok(())
}
twin!(every_pair_of_dtypes, super::every_pair_of_dtypes);

/// Sizes at which tasks, blocks and pieces are cut.
fn sizes_beyond_one_block(device: &Device) -> Result<()> {
    let sizes = [
        (1, 1, 70_001, 3),
        (2, 700, 300, 5),
        (70, 3, 131, 3),
        (1, 2, 17_000, 700),
    ];
    for (batch, channels, length, taps) in sizes {
        let case = Case {
            batch,
            channels,
            length,
            taps,
            padding: Symmetric(taps / 2),
            silu: false,
        };
        for layout in [Bhl, Blh] {
            for dtype in [DType::F32, DType::BF16] {
                check(device, case, layout, dtype, DType::F32);
            }
        }
    }
    Ok(())
}
twin!(sizes_beyond_one_block, super::sizes_beyond_one_block);

/// Between what fits the registers and what passes through them in blocks, on a GPU with and
/// without tensor cores.
fn many_taps(device: &Device) -> Result<()> {
    for (length, taps, padding) in [
        (600, 16, Causal),
        (600, 17, Symmetric(8)),
        (1134, 32, Symmetric(16)),
        (1025, 33, Causal),
        (96, 64, Symmetric(70)),
        (700, 65, Symmetric(0)),
        (2100, 128, Causal),
        (1000, 127, Symmetric(63)),
        (500, 300, Causal),
    ] {
        for silu in [false, true] {
            let case = Case {
                batch: 2,
                channels: 3,
                length,
                taps,
                padding,
                silu,
            };
            for layout in [Bhl, Blh] {
                for dtype in [DType::F32, DType::F16, DType::BF16] {
                    check(device, case, layout, dtype, dtype);
                    check(device, case, layout, dtype, DType::F32);
                }
            }
        }
    }
    Ok(())
}
twin!(many_taps, super::many_taps);

fn every_number_of_taps(device: &Device) -> Result<()> {
    for taps in 1..=17 {
        for (length, silu) in [(129, false), (64, true)] {
            for padding in [Causal, Symmetric(taps / 2)] {
                let case = Case {
                    batch: 2,
                    channels: 16,
                    length,
                    taps,
                    padding,
                    silu,
                };
                for layout in [Bhl, Blh] {
                    for dtype in dtypes(device) {
                        check(device, case, layout, dtype, DType::F32);
                    }
                }
            }
        }
    }
    Ok(())
}
twin!(every_number_of_taps, super::every_number_of_taps);

fn one_batch_item_one_channel(device: &Device) -> Result<()> {
    for layout in [Bhl, Blh] {
        for taps in 1..=9 {
            let case = Case {
                batch: 1,
                channels: 1,
                length: 40,
                taps,
                padding: Causal,
                silu: false,
            };
            for dtype in dtypes(device) {
                check(device, case, layout, dtype, dtype);
            }
        }
    }
    Ok(())
}
twin!(
    one_batch_item_one_channel,
    super::one_batch_item_one_channel
);

/// Padding far beyond the row gives the bias.
fn padding_beyond_the_row(device: &Device) -> Result<()> {
    let case = Case {
        batch: 1,
        channels: 2,
        length: 3,
        taps: 2,
        padding: Symmetric(9000),
        silu: false,
    };
    for layout in [Bhl, Blh] {
        check(device, case, layout, DType::F32, DType::F32);
        check(device, case, layout, DType::F16, DType::F32);
    }
    Ok(())
}
twin!(padding_beyond_the_row, super::padding_beyond_the_row);

fn views_are_read_where_they_lie(device: &Device) -> Result<()> {
    let wide = |dtype| random_tensor(5, &[4, 20, 36], dtype, device).unwrap();
    let weight = random_tensor(6, &[9, 3], DType::F32, device).unwrap();
    for dtype in dtypes(device) {
        for layout in [Bhl, Blh] {
            // Dimension of the channels, of the samples.
            let (channels, samples) = match layout {
                Bhl => (1, 2),
                Blh => (2, 1),
            };
            let narrowed = wide(dtype).narrow(channels, 5, 9).unwrap();
            let views = [
                ("channels", narrowed.clone()),
                ("samples", narrowed.narrow(samples, 3, 11).unwrap()),
                ("batch", narrowed.narrow(0, 1, 2).unwrap()),
                ("one sample", narrowed.narrow(samples, 7, 1).unwrap()),
                (
                    "transposed",
                    wide(dtype)
                        .transpose(1, 2)
                        .unwrap()
                        .narrow(channels, 2, 9)
                        .unwrap(),
                ),
                (
                    "broadcast batch",
                    narrowed
                        .narrow(0, 2, 1)
                        .unwrap()
                        .broadcast_as({
                            let mut dims = narrowed.dims().to_vec();
                            dims[0] = 3;
                            dims
                        })
                        .unwrap(),
                ),
                (
                    "broadcast channels",
                    wide(dtype)
                        .narrow(channels, 4, 1)
                        .unwrap()
                        .broadcast_as(narrowed.dims())
                        .unwrap(),
                ),
                (
                    "broadcast samples",
                    narrowed
                        .narrow(samples, 4, 1)
                        .unwrap()
                        .broadcast_as(narrowed.dims())
                        .unwrap(),
                ),
                ("reversed batch", narrowed.permute([0, 1, 2]).unwrap()),
            ];
            let convolution = FlashDepthwiseConv1d::new(weight.clone(), None, 1, layout).unwrap();
            for (name, view) in views {
                // A copy in fresh memory.
                let copy = Tensor::from_vec(to_f64(&view), view.dims(), device)
                    .unwrap()
                    .to_dtype(dtype)
                    .unwrap();
                let want = to_f64(&convolution.forward(&copy).unwrap());
                let got = to_f64(&convolution.forward(&view).unwrap());
                assert!(want.iter().any(|&w| w != 0.0));
                assert_eq!(got, want, "{name} {layout:?} {dtype:?}");
            }
        }
    }
    Ok(())
}
twin!(
    views_are_read_where_they_lie,
    super::views_are_read_where_they_lie
);

fn weights_and_biases_may_be_views_too(device: &Device) -> Result<()> {
    let x = random_tensor(1, &[2, 4, 30], DType::F32, device).unwrap();
    let wide = random_tensor(2, &[3, 9], DType::F32, device).unwrap();
    let weight = wide.t().unwrap().narrow(0, 2, 4).unwrap();
    let bias = wide.narrow(1, 3, 4).unwrap().get(1).unwrap();
    let convolution = |weight: &Tensor| {
        FlashDepthwiseConv1d::causal(weight.clone(), Some(bias.clone()), Bhl).unwrap()
    };
    let want = to_f64(
        &convolution(&weight.contiguous().unwrap())
            .forward(&x)
            .unwrap(),
    );
    let got = to_f64(&convolution(&weight).forward(&x).unwrap());
    assert_eq!(got, want);
    let three_dimensional = weight.unsqueeze(1).unwrap();
    assert_eq!(
        to_f64(&convolution(&three_dimensional).forward(&x).unwrap()),
        want
    );
    Ok(())
}
twin!(
    weights_and_biases_may_be_views_too,
    super::weights_and_biases_may_be_views_too
);

/// Gradients flow to and from views as well, and have the shape `(H, 1, K)` where the weight has.
#[test]
fn gradients_through_views() {
    let device = &Device::Cpu;
    let whole =
        Var::from_tensor(&random_tensor(1, &[2, 9, 40], DType::F64, device).unwrap()).unwrap();
    let weight =
        Var::from_tensor(&random_tensor(2, &[4, 1, 3], DType::F64, device).unwrap()).unwrap();
    let x = whole.narrow(1, 3, 4).unwrap().narrow(2, 5, 30).unwrap();
    let convolution = FlashDepthwiseConv1d::causal(weight.as_tensor().clone(), None, Bhl).unwrap();
    let y = convolution.forward(&x).unwrap();
    let dy = random_tensor(3, &[2, 30, 4], DType::F64, device).unwrap();
    let dy = dy.transpose(1, 2).unwrap();
    let gradients = (y * &dy).unwrap().sum_all().unwrap().backward().unwrap();

    let case = Case {
        batch: 2,
        channels: 4,
        length: 30,
        taps: 3,
        padding: Causal,
        silu: false,
    };
    let want = case.reference(&to_f64(&x), &to_f64(&weight), &[0.0; 4], &to_f64(&dy));
    let dweight = gradients.get(&weight).unwrap();
    assert_eq!(dweight.dims(), [4, 1, 3]);
    assert_close_slices(&to_f64(dweight), &want.dweight, 1e-13, "dweight");
    let dwhole = gradients.get(&whole).unwrap();
    let dx = dwhole.narrow(1, 3, 4).unwrap().narrow(2, 5, 30).unwrap();
    assert_close_slices(&to_f64(&dx), &want.dx, 1e-13, "dx");
    let elsewhere = dwhole.narrow(1, 0, 3).unwrap();
    assert!(to_f64(&elsewhere).iter().all(|&g| g == 0.0));
}

/// Each derivative against a difference quotient of the forward pass alone.
#[test]
fn finite_differences() {
    let device = &Device::Cpu;
    let case = Case {
        batch: 2,
        channels: 3,
        length: 7,
        taps: 4,
        padding: Symmetric(5),
        silu: false,
    };
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
    let case = Case {
        batch: 3,
        channels: 4,
        length: 50,
        taps: 3,
        padding: Symmetric(1),
        silu: false,
    };
    let weight = random_tensor(1, &[4, 3], DType::F32, device).unwrap();
    for layout in [Bhl, Blh] {
        for dtype in dtypes(device) {
            for poison in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                let clean = random(2, 3 * 4 * 50);
                let mut poisoned = clean.clone();
                // Sample 20 of channel 2 of batch item 1.
                let at = match layout {
                    Bhl => (4 + 2) * 50 + 20,
                    Blh => (50 + 20) * 4 + 2,
                };
                poisoned[at] = poison;
                let forward = |values: &[f64]| {
                    let x = Tensor::from_slice(values, case.input_shape(layout).as_slice(), device)
                        .unwrap()
                        .to_dtype(dtype)
                        .unwrap();
                    rows(
                        &case.convolution(&weight, None, layout).forward(&x).unwrap(),
                        layout,
                    )
                };
                let (got, want) = (forward(&poisoned), forward(&clean));
                for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                    let (row, t) = (i / 50, i % 50);
                    if row == 4 + 2 && (19..=21).contains(&t) {
                        assert!(!got.is_finite(), "{layout:?} {dtype:?} output {t}");
                    } else {
                        assert_eq!(got, want, "{layout:?} {dtype:?} row {row} output {t}");
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

fn empty_tensors_give_empty_tensors(device: &Device) -> Result<()> {
    let empty = |dims: [usize; 3], channels: usize, taps, padding, layout| {
        let x = Var::zeros(&dims, DType::F32, device).unwrap();
        let weight = Var::zeros((channels, taps), DType::F32, device).unwrap();
        let case = Case {
            batch: 0,
            channels,
            length: 0,
            taps,
            padding,
            silu: false,
        };
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
        let case = Case {
            batch: 3,
            channels: 70,
            length: 2000,
            taps: 5,
            padding: Causal,
            silu: false,
        };
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

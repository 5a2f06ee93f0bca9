//! Strided inputs, weights and gradients.

use crate::case::{dtypes, Case, Causal};
use crate::common::{assert_close_slices, random_tensor, to_f64};
use crate::twin;
use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_flashfftconv::Conv1dLayout::{Bhl, Blh};
use candle_flashfftconv::FlashDepthwiseConv1d;

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

/// Rows long enough for the kernels of whole vectors, at other places than their own tensor's: the same as copies of them.
fn long_rows_of_views(device: &Device) -> Result<()> {
    let whole_vectors = random_tensor(8, &[3, 4, 1048], DType::BF16, device)?;
    let between_vectors = random_tensor(8, &[3, 10, 1047], DType::BF16, device)?;
    for taps in [4, 7, 12, 40] {
        let weight = random_tensor(9, &[2, taps], DType::F32, device)?;
        let convolution = FlashDepthwiseConv1d::causal(weight, None, Bhl)?;
        // Aligned or not, rows further apart than they are long.
        for (wide, channel, first, length) in [
            (&whole_vectors, 1, 0, 1048),
            (&whole_vectors, 1, 8, 1032),
            (&whole_vectors, 1, 16, 520),
            (&whole_vectors, 1, 3, 1032),
            (&whole_vectors, 1, 8, 1031),
            (&between_vectors, 8, 16, 1031), // begin as outputs do, and end with the memory
            (&between_vectors, 1, 9, 1031),  // begin as outputs do
            (&between_vectors, 1, 12, 1031), // always three samples further
        ] {
            let view = wide.narrow(1, channel, 2)?.narrow(2, first, length)?;
            let outputs = |x: &Tensor| -> Result<[Vec<f64>; 2]> {
                let x = Var::from_tensor(x)?;
                let view = match x.dims() == wide.dims() {
                    true => x.narrow(1, channel, 2)?.narrow(2, first, length)?,
                    false => x.as_tensor().clone(),
                };
                let y = convolution.forward(&view)?;
                let gradients = y.sqr()?.backward()?;
                let dx = gradients.get(&x).unwrap();
                let dx = match x.dims() == wide.dims() {
                    true => dx.narrow(1, channel, 2)?.narrow(2, first, length)?,
                    false => dx.clone(),
                };
                Ok([to_f64(&y), to_f64(&dx)])
            };
            let (got, want) = (outputs(wide)?, outputs(&view.copy()?)?);
            for (got, want) in got.iter().zip(&want) {
                assert_close_slices(got, want, 1e-2, &format!("{taps} taps, {first}, {length}"));
            }
        }
    }
    Ok(())
}
twin!(long_rows_of_views, super::long_rows_of_views);

/// Rows that begin within those of the channel before, and end just behind them, with the memory: the same as copies of them.
fn rows_that_share_memory(device: &Device) -> Result<()> {
    let channels = 3;
    // Samples from one channel to the next, taps and a padding with which outputs begin as inputs do.
    for (step, taps, padding) in [
        (0, 5, 5),
        (0, 41, 19),
        (1, 7, 3),
        (1, 41, 20),
        (2, 7, 4),
        (6, 7, 4),
        (9, 5, 2),
    ] {
        let length = 1026 - step;
        let memory = random_tensor(8, &[length + (channels - 1) * step], DType::BF16, device)?;
        let view = match step {
            0 => memory.broadcast_as((channels, length))?,
            _ => memory.unfold(0, length, step)?,
        };
        let view = view.unsqueeze(0)?;
        assert_eq!(view.dims(), [1, channels, length]);
        let outputs = |x: &Tensor| -> Result<[Vec<f64>; 2]> {
            let weight = random_tensor(9, &[channels, taps], DType::F32, device)?;
            let weight = Var::from_tensor(&weight)?;
            let taps = weight.as_tensor().clone();
            let y = FlashDepthwiseConv1d::new(taps, None, padding, Bhl)?.forward(x)?;
            let gradients = y.sqr()?.backward()?;
            match gradients.get(&weight) {
                Some(weight) => Ok([to_f64(&y), to_f64(weight)]),
                None => candle_core::bail!("no gradient"),
            }
        };
        let (got, want) = (outputs(&view)?, outputs(&view.force_contiguous()?)?);
        for (got, want) in got.iter().zip(&want) {
            assert_close_slices(got, want, 1e-2, &format!("{step}, {taps} taps"));
        }
    }
    Ok(())
}
twin!(rows_that_share_memory, super::rows_that_share_memory);

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

    let case = Case::new([2, 4, 30], 3, Causal);
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

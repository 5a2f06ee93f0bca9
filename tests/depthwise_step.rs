//! One sample at a time gives what the whole sequence gives; SiLU is that of the plain output.

mod common;

use candle_core::{DType, Device, Module, Result, Tensor, D};
use candle_flashfftconv::Conv1dLayout::{self, Bhl, Blh};
use candle_flashfftconv::FlashDepthwiseConv1d;
use common::{assert_close, random_tensor, to_f64};

const DTYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => 1e-6,
        DType::F16 => 2e-3,
        _ => 1e-2,
    }
}

/// `(B, H, L)` in the layout.
fn in_layout(x: &Tensor, layout: Conv1dLayout) -> Result<Tensor> {
    match layout {
        Bhl => Ok(x.clone()),
        Blh => x.transpose(1, 2)?.contiguous(),
    }
}

fn causal(taps: usize, layout: Conv1dLayout, device: &Device) -> Result<FlashDepthwiseConv1d> {
    let weight = random_tensor(1, &[5, taps], DType::F32, device)?;
    let bias = random_tensor(2, &[5], DType::F32, device)?;
    FlashDepthwiseConv1d::causal(weight, Some(bias), layout)
}

fn steps_give_the_whole(device: &Device) -> Result<()> {
    for taps in [1, 2, 3, 4, 7, 16, 20] {
        for layout in [Bhl, Blh] {
            for dtype in DTYPES {
                let convolution = causal(taps, layout, device)?.with_silu();
                let x = random_tensor(3, &[2, 5, 12], dtype, device)?;
                let want = convolution.forward(&in_layout(&x, layout)?)?;
                let want = in_layout(&want, layout)?;

                let mut state = convolution.initial_state(2, dtype)?;
                let mut outputs = vec![];
                for t in 0..12 {
                    let sample = x.narrow(2, t, 1)?.squeeze(D::Minus1)?;
                    let before = to_f64(&state);
                    let (next, y) = convolution.step(&state, &sample)?;
                    assert_eq!(to_f64(&state), before, "the old state is left as it was");
                    assert_eq!((y.dims(), y.dtype()), (&[2, 5][..], dtype));
                    assert_eq!(next.dims(), [2, 5, taps - 1]);
                    outputs.push(y);
                    state = next;
                }
                let got = Tensor::stack(&outputs, 2)?;
                let what = format!("{taps} taps, {layout:?}, {dtype:?}");
                assert_close(&got, &want, tolerance(dtype), &what);
            }
        }
    }
    Ok(())
}
twin!(steps_give_the_whole, super::steps_give_the_whole);

/// A prompt at once, then steps.
fn steps_go_on_behind_a_prompt(device: &Device) -> Result<()> {
    for layout in [Bhl, Blh] {
        for prompt in [1, 2, 3, 9] {
            let convolution = causal(4, layout, device)?;
            let x = random_tensor(3, &[2, 5, 10], DType::F32, device)?;
            let whole = in_layout(&convolution.forward(&in_layout(&x, layout)?)?, layout)?;
            let start = in_layout(&x.narrow(2, 0, prompt)?, layout)?;
            let state = convolution.state_after(&start)?;
            assert_eq!(state.dims(), [2, 5, 3]);
            let sample = x.narrow(2, prompt, 1)?.squeeze(D::Minus1)?;
            let (_, y) = convolution.step(&state, &sample)?;
            let want = whole.narrow(2, prompt, 1)?.squeeze(D::Minus1)?;
            assert_close(&y, &want, 1e-6, &format!("{layout:?} behind {prompt}"));
        }
    }
    Ok(())
}
twin!(
    steps_go_on_behind_a_prompt,
    super::steps_go_on_behind_a_prompt
);

/// The first line of the message: a backtrace may follow.
fn message<T>(result: Result<T>) -> String {
    let text = match result {
        Ok(_) => "no error".to_string(),
        Err(error) => error.to_string(),
    };
    text.lines().next().unwrap_or_default().to_string()
}

#[test]
fn what_a_step_cannot_take() -> Result<()> {
    let device = &Device::Cpu;
    let convolution = causal(3, Bhl, device)?;
    let state = convolution.initial_state(2, DType::F32)?;
    let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, device);
    let x = zeros(&[2, 5], DType::F32)?;
    assert_eq!(
        message(convolution.step(&state, &zeros(&[2, 5, 1], DType::F32)?)),
        "x: expected 2 dimensions (B, H), got 3 dimensions [2, 5, 1]"
    );
    assert_eq!(
        message(convolution.step(&state, &zeros(&[2, 4], DType::F32)?)),
        "x: expected shape (B, H) with H = 5 as in the weight, got [2, 4]"
    );
    assert_eq!(
        message(convolution.step(&zeros(&[2, 5, 3], DType::F32)?, &x)),
        "state: expected shape (2, 5, 2), (B, H, K − 1), got [2, 5, 3]"
    );
    assert_eq!(
        message(convolution.step(&zeros(&[2, 5, 2], DType::F16)?, &x)),
        "state: expected dtype F32 as x has, got F16"
    );
    let centred = FlashDepthwiseConv1d::new(zeros(&[5, 3], DType::F32)?, None, 1, Bhl)?;
    let expected = "padding: expected that of a causal convolution, whose outputs need no later \
                    samples, got 1 on either side";
    assert_eq!(message(centred.step(&state, &x)), expected);
    assert_eq!(message(centred.initial_state(2, DType::F32)), expected);
    Ok(())
}

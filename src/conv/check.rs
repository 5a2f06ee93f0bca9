//! The checks of every call: rank, dtype, device, shape and size, in this order.

use super::ops::Arrangement;
use super::plan::Semantics;
use super::recipe::Band;
use crate::Error;
use candle_core::{DType, Device, DeviceLocation, Tensor};

/// Largest size of a circular convolution.
pub(crate) const MAX_FFT_SIZE: usize = 1 << 24;
/// Longest sequence of a causal convolution.
pub(crate) const MAX_CAUSAL_LENGTH: usize = 1 << 23;

/// Refuses a size outside `1..=max`.
pub(crate) fn size(quantity: &'static str, got: usize, max: usize) -> Result<(), Error> {
    if (1..=max).contains(&got) {
        return Ok(());
    }
    Err(Error::OutOfRange {
        quantity,
        expected: format!("1 to {max}"),
        got: got.to_string(),
    })
}

fn device(tensor: &'static str, t: &Tensor, expected: DeviceLocation) -> Result<(), Error> {
    let got = t.device().location();
    if got == expected {
        return Ok(());
    }
    Err(Error::Device {
        tensor,
        expected,
        got,
    })
}

fn dtype(tensor: &'static str, t: &Tensor, on: &Device) -> Result<(), Error> {
    let expected = match (t.dtype(), on.is_cpu()) {
        (DType::F32 | DType::F16 | DType::BF16, _) | (DType::F64, true) => return Ok(()),
        (_, true) => "f32, f16, bf16 or f64",
        (_, false) => "f32, f16 or bf16 (f64 on the CPU only)",
    };
    Err(Error::DType {
        tensor,
        expected: expected.to_string(),
        got: t.dtype(),
    })
}

/// Checks a `(B, H, L)` input and returns its dimensions.
pub(crate) fn sequence(
    tensor: &'static str,
    t: &Tensor,
    layout: &'static str,
    on: &Device,
) -> Result<(usize, usize, usize), Error> {
    let &[batch, channels, length] = t.dims() else {
        return Err(Error::Rank {
            tensor,
            expected: 3,
            layout,
            got: t.rank(),
            shape: t.dims().to_vec(),
        });
    };
    device(tensor, t, on.location())?;
    dtype(tensor, t, on)?;
    Ok((batch, channels, length))
}

/// Checks that `z`'s middle dimension is as many times the channels as it has parts, and returns `(B, H, L)`.
pub(crate) fn arranged(
    z: &Tensor,
    arrangement: Arrangement,
    on: &Device,
) -> Result<(usize, usize, usize), Error> {
    let parts = arrangement.parts().len();
    let layout = match arrangement {
        Arrangement::Plain => "(B, H, L)",
        Arrangement::OutGated => "(B, 2H, L)",
        Arrangement::Projected => "(B, 3H, L)",
    };
    let (batch, channels, length) = sequence("z", z, layout, on)?;
    if channels % parts != 0 {
        return Err(Error::Shape {
            tensor: "z",
            expected: format!("{layout}, a middle dimension that {parts} divides"),
            got: z.dims().to_vec(),
        });
    }
    Ok((batch, channels / parts, length))
}

/// Checks a gate against the input that it multiplies.
pub(crate) fn gate(tensor: &'static str, gate: &Tensor, u: &Tensor) -> Result<(), Error> {
    device(tensor, gate, u.device().location())?;
    if gate.dtype() != u.dtype() {
        return Err(Error::DType {
            tensor,
            expected: format!("{:?}, the dtype of u", u.dtype()),
            got: gate.dtype(),
        });
    }
    if gate.dims() != u.dims() {
        return Err(Error::Shape {
            tensor,
            expected: format!("{:?}, the shape of u", u.dims()),
            got: gate.dims().to_vec(),
        });
    }
    Ok(())
}

const TAPS: &str = "taps of k (Lk)";

/// Checks a kernel on its own and returns its channels and taps.
pub(crate) fn kernel(
    k: &Tensor,
    semantics: Semantics,
    on: &Device,
) -> Result<(usize, usize), Error> {
    let &[channels, taps] = k.dims() else {
        return Err(Error::Rank {
            tensor: "k",
            expected: 2,
            layout: "(H, Lk)",
            got: k.rank(),
            shape: k.dims().to_vec(),
        });
    };
    device("k", k, on.location())?;
    if !matches!(
        k.dtype(),
        DType::F32 | DType::F16 | DType::BF16 | DType::F64
    ) {
        return Err(Error::DType {
            tensor: "k",
            expected: "f32, f16, bf16 or f64".to_string(),
            got: k.dtype(),
        });
    }
    match semantics {
        Semantics::Circular { fft_size } | Semantics::Band(Band { fft_size, .. })
            if taps > fft_size =>
        {
            return Err(Error::OutOfRange {
                quantity: TAPS,
                expected: format!("at most {fft_size}, the FFT size"),
                got: taps.to_string(),
            })
        }
        _ if taps == 0 => {
            return Err(Error::OutOfRange {
                quantity: TAPS,
                expected: "at least 1".to_string(),
                got: taps.to_string(),
            })
        }
        _ => {}
    }
    Ok((channels, taps))
}

/// Checks that kernel and input have the same channels.
pub(crate) fn channels(kernel: &[usize], channels: usize) -> Result<(), Error> {
    if kernel.first() == Some(&channels) {
        return Ok(());
    }
    Err(Error::Shape {
        tensor: "k",
        expected: format!("(H, Lk) with the H = {channels} channels of the input"),
        got: kernel.to_vec(),
    })
}

/// Checks a sequence length against the plan. Empty sequences pass.
pub(crate) fn length(semantics: Semantics, length: usize) -> Result<(), Error> {
    let (quantity, max, of) = match semantics {
        Semantics::Circular { fft_size } | Semantics::Band(Band { fft_size, .. }) => {
            ("sequence length L", fft_size, "the FFT size")
        }
        Semantics::Causal { max_length } => ("sequence length L", max_length, "the plan's max_len"),
    };
    if length <= max {
        return Ok(());
    }
    Err(Error::OutOfRange {
        quantity,
        expected: format!("at most {max}, {of}"),
        got: length.to_string(),
    })
}

//! What the tests of the long convolution share: kinds, ways to call, references, tolerances.

use super::{deviation, random, to_f64, Deviation};
use candle_core::{DType, Device, Module, Result, Tensor};
use candle_flashfftconv::FlashFftConv;

/// Whether the long convolution has a backward pass on this device.
pub fn has_gradients(device: &Device) -> bool {
    device.is_cpu()
}

/// The longest rows that every GPU takes in one pass, by the smallest kernels that tests meet.
const ONE_PASS: usize = 8192;

/// The dtypes that the device computes in, without the reference's own.
pub const DTYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

/// The most precise dtype that the device computes in.
pub fn finest(device: &Device) -> DType {
    match device.is_cpu() {
        true => DType::F64,
        false => DType::F32,
    }
}

/// What a case computes: a circular convolution of a size, or a causal one.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Circular(usize),
    Causal,
}

impl Kind {
    pub fn plan(self, length: usize, device: &Device) -> Result<FlashFftConv> {
        match self {
            Kind::Circular(n) => FlashFftConv::new(n, device),
            Kind::Causal => FlashFftConv::causal(length.max(1), device),
        }
    }
}

/// `Σ_j k[h, j] · v[b, h, t − j]` by its definition, in float64 on the CPU.
pub fn naive(v: &Tensor, k: &Tensor, kind: Kind) -> Result<Tensor> {
    let (batch, channels, length) = v.dims3()?;
    let taps = k.dim(1)?;
    let (v, k) = (to_f64(v), to_f64(k));
    let mut y = vec![0f64; v.len()];
    for row in 0..batch * channels {
        let (x, w) = (
            &v[row * length..][..length],
            &k[row % channels * taps..][..taps],
        );
        for t in 0..length {
            let mut sum = 0.0;
            for (j, &tap) in w.iter().enumerate() {
                let index = match kind {
                    Kind::Causal if j > t => continue,
                    Kind::Causal => t - j,
                    Kind::Circular(n) => (t + n - j) % n,
                };
                sum += tap * x.get(index).copied().unwrap_or(0.0);
            }
            y[row * length + t] = sum;
        }
    }
    Tensor::from_vec(y, (batch, channels, length), &Device::Cpu)
}

/// The tensor in float64 on the CPU.
pub fn double(t: &Tensor) -> Result<Tensor> {
    t.to_device(&Device::Cpu)?.to_dtype(DType::F64)
}

/// Random kernels that decay as those of trained models do, of at most `2 · length` taps: in a circular
/// convolution of that size those at `2 · length − m` act at lag `−m`. In f32 on the CPU.
pub fn decaying(seed: u64, channels: usize, taps: usize, length: usize) -> Result<Tensor> {
    let mut values = random(seed, channels * taps);
    for (index, value) in values.iter_mut().enumerate() {
        let tap = index % taps;
        let lag = tap.min((2 * length).saturating_sub(tap)) as f64;
        *value *= (-6.0 * lag / length as f64).exp() / (length as f64).sqrt();
    }
    Tensor::from_vec(values, (channels, taps), &Device::Cpu)?.to_dtype(DType::F32)
}

/// The ways to compute a gated convolution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    /// `forward`, gates multiplied outside.
    Plain,
    /// `forward_gated`, all four tracked.
    Gated,
    /// `forward_gated` with a kernel that needs no gradient.
    GatedFrozen,
    Projected,
    Prepared,
    PreparedGated,
    PreparedProjected,
}

impl Way {
    pub const ALL: [Way; 7] = [
        Way::Plain,
        Way::Gated,
        Way::GatedFrozen,
        Way::Projected,
        Way::Prepared,
        Way::PreparedGated,
        Way::PreparedProjected,
    ];
    /// Those that take gates.
    pub const GATED: [Way; 4] = [
        Way::PreparedProjected,
        Way::GatedFrozen,
        Way::Projected,
        Way::PreparedGated,
    ];
    /// Those that take none.
    pub const UNGATED: [Way; 2] = [Way::Prepared, Way::Plain];

    pub fn freezes_kernel(self) -> bool {
        !matches!(self, Way::Plain | Way::Gated | Way::Projected)
    }

    pub fn compute(
        self,
        conv: &FlashFftConv,
        u: &Tensor,
        k: &Tensor,
        in_gate: &Tensor,
        out_gate: &Tensor,
    ) -> Result<Tensor> {
        let z = || Tensor::cat(&[out_gate, in_gate, u], 1);
        match self {
            Way::Plain => conv.forward(&(u * in_gate)?, k)? * out_gate,
            Way::Gated => conv.forward_gated(u, k, in_gate, out_gate),
            Way::GatedFrozen => conv.forward_gated(u, &k.detach(), in_gate, out_gate),
            Way::Projected => conv.forward_projected(&z()?, k),
            Way::Prepared => conv.prepare(k)?.forward(&(u * in_gate)?)? * out_gate,
            Way::PreparedGated => conv.prepare(k)?.forward_gated(u, in_gate, out_gate),
            Way::PreparedProjected => conv.prepare(k)?.forward_projected(&z()?),
        }
    }

    /// Without gates.
    pub fn compute_ungated(self, conv: &FlashFftConv, u: &Tensor, k: &Tensor) -> Result<Tensor> {
        match self {
            Way::Prepared => conv.prepare(k)?.forward(u),
            _ => conv.forward(u, k),
        }
    }
}

/// Bounds of both error measures, relative.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    pub rms: f64,
    pub max: f64,
}

impl Tolerance {
    pub fn times(self, factor: f64) -> Tolerance {
        Tolerance {
            rms: factor * self.rms,
            max: factor * self.max,
        }
    }
}

/// How far results of this dtype may be from float64, for standard normal inputs. On the CPU that is
/// the rounding of the result alone; GPU kernels hold half precision inside, too.
pub fn tolerance(dtype: DType, device: &Device) -> Tolerance {
    let (rms, max) = match (dtype, device.is_cpu()) {
        (DType::F64, _) => (1e-12, 1e-12),
        (DType::F32, true) => (2e-6, 2e-6),
        (DType::F32, false) => (2e-6, 8e-6),
        (DType::F16, true) => (5e-4, 1e-3),
        (DType::F16, false) => (8e-4, 3e-3),
        (_, true) => (2.0e-3, 4e-3),
        (_, false) => (2.0e-3, 8e-3),
    };
    Tolerance { rms, max }
}

/// The same for rows of `length` samples: long ones take several passes on a GPU, each of which
/// rounds.
pub fn tolerance_of_rows(length: usize, dtype: DType, device: &Device) -> Tolerance {
    let usual = tolerance(dtype, device);
    let rms = match dtype {
        _ if device.is_cpu() || length <= ONE_PASS => usual.rms,
        DType::F16 => 1.2e-3,
        DType::BF16 => 2.2e-3,
        DType::F32 => 3e-6,
        _ => usual.rms,
    };
    Tolerance { rms, ..usual }
}

/// Numbers under which an RMS is held to the bound of the maximum: it scatters.
const FEW: usize = 1000;

/// Fails unless both error measures are within the tolerance; an all-zero result fails.
#[track_caller]
pub fn within(got: &[f64], want: &[f64], tolerance: Tolerance, what: &str) -> Deviation {
    assert!(want.iter().any(|&w| w != 0.0), "{what}: nothing to compare");
    let d = deviation(got, want);
    let rms = match want.len() < FEW {
        true => tolerance.max,
        false => tolerance.rms,
    };
    assert!(
        d.relative_rms <= rms && d.relative_max <= tolerance.max,
        "{what}: {d:?}, {tolerance:?}"
    );
    d
}

/// [`within`] of tensors of the same shape.
#[track_caller]
pub fn tensor_within(got: &Tensor, want: &Tensor, tolerance: Tolerance, what: &str) -> Deviation {
    assert_eq!(got.dims(), want.dims(), "{what}: shape");
    within(&to_f64(got), &to_f64(want), tolerance, what)
}

//! What the self-test computes: pure data.

use crate::Conv1dLayout;
use candle_core::{DType, Device, Result, Tensor};

const CHANNELS: usize = 3;
/// Of a depthwise convolution of an even length.
const DEPTHWISE_CHANNELS: usize = 8;
/// Cases of short rows have so many of them that their errors average out to about this many numbers.
const NUMBERS: usize = 8192;
const DTYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

/// Taps of the depthwise convolutions: those of HyenaDNA and M2-BERT, more, and so many that other kernels take them.
const FEW_TAPS: usize = 3;
const MORE_TAPS: usize = 7;
const MANY_TAPS: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Long(Long),
    /// The short convolution, causal and with a bias.
    Depthwise(Depthwise),
    /// Its gradients, of input, taps and bias.
    DepthwiseGradients(Depthwise),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Long {
    Causal,
    /// From one tensor that holds both gates and the input.
    CausalGated,
    /// Circular of twice the length, so that every lag has a tap; prepared.
    TwoSidedGated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Depthwise {
    taps: usize,
    pub(super) layout: Conv1dLayout,
}

impl Operation {
    /// One kind of convolution after the other.
    fn all() -> Vec<Operation> {
        let depthwise = |operation: fn(Depthwise) -> Operation, layout| {
            [FEW_TAPS, MORE_TAPS, MANY_TAPS].map(|taps| operation(Depthwise { taps, layout }))
        };
        let long = [Long::Causal, Long::CausalGated, Long::TwoSidedGated];
        let mut all = long.map(Operation::Long).to_vec();
        for operation in [Operation::Depthwise, Operation::DepthwiseGradients] {
            for layout in [Conv1dLayout::Bhl, Conv1dLayout::Blh] {
                all.extend(depthwise(operation, layout));
            }
        }
        all
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Operation::Long(Long::Causal) => "causal",
            Operation::Long(Long::CausalGated) => "gated",
            Operation::Long(Long::TwoSidedGated) => "two-sided",
            Operation::Depthwise(depthwise) | Operation::DepthwiseGradients(depthwise) => {
                match depthwise.taps {
                    FEW_TAPS => "3-tap",
                    MORE_TAPS => "7-tap",
                    _ => "64-tap",
                }
            }
        }
    }

    pub(super) fn convolution(self) -> &'static str {
        match self {
            Operation::Long(_) => "long convolution",
            Operation::Depthwise(depthwise) => match depthwise.layout {
                Conv1dLayout::Bhl => "depthwise convolution of (B, H, L)",
                Conv1dLayout::Blh => "depthwise convolution of (B, L, H)",
            },
            Operation::DepthwiseGradients(depthwise) => match depthwise.layout {
                Conv1dLayout::Bhl => "gradients of the depthwise convolution of (B, H, L)",
                Conv1dLayout::Blh => "gradients of the depthwise convolution of (B, L, H)",
            },
        }
    }

    /// Cases have the lengths at both ends of each power of two with one of these exponents.
    fn log2_sizes(self) -> impl Iterator<Item = u32> {
        match self {
            // Their kernels are not for one size each.
            Operation::DepthwiseGradients(_) => (0..=12).step_by(3),
            _ => (0..=15).step_by(1),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) length: usize,
    pub(super) dtype: DType,
    pub(super) operation: Operation,
}

/// Every length, dtype and operation; those of one kind of convolution and one length together.
pub(super) fn all() -> Vec<Case> {
    let mut all = Vec::new();
    for operations in Operation::all().chunk_by(|one, next| one.convolution() == next.convolution())
    {
        for length in operations.first().into_iter().flat_map(lengths) {
            for dtype in DTYPES {
                all.extend(operations.iter().map(|&operation| Case {
                    length,
                    dtype,
                    operation,
                }));
            }
        }
    }
    all
}

/// The shortest and the longest sequence for transforms of each size that the operation is tested with.
fn lengths(operation: &Operation) -> impl Iterator<Item = usize> {
    operation.log2_sizes().flat_map(|log2| {
        let size = 1usize << log2;
        let shortest = size / 2 + 1;
        (shortest < size)
            .then_some(shortest)
            .into_iter()
            .chain([size])
    })
}

impl Case {
    /// How large an error the dtype allows: its own rounding of the output, and that of the
    /// intermediate results where they are stored in half precision.
    pub(super) fn bound(&self) -> f64 {
        match self.dtype {
            DType::F32 => 2e-6,
            DType::F16 => 1e-3,
            _ => 2.5e-3,
        }
    }

    /// What the operation takes, on the CPU: `u`, `in_gate`, `out_gate` and `k` of a long convolution,
    /// `x`, `weight` and `bias` of a depthwise one, and for its gradients that of its output.
    pub(super) fn inputs(&self) -> Result<Vec<Tensor>> {
        match self.operation {
            Operation::Long(Long::TwoSidedGated) => self.long_inputs(2 * self.length),
            Operation::Long(_) => self.long_inputs(self.length),
            Operation::Depthwise(depthwise) | Operation::DepthwiseGradients(depthwise) => {
                self.depthwise_inputs(depthwise)
            }
        }
    }

    fn long_inputs(&self, taps: usize) -> Result<Vec<Tensor>> {
        let length = self.length;
        let shape = [batch(CHANNELS * length), CHANNELS, length];
        // Decaying, as the kernels of trained models are.
        let kernel = normal(4, CHANNELS * taps)
            .zip((0..taps).cycle())
            .map(|(number, tap)| {
                let lag = tap.min(2 * length - tap) as f64;
                number * (-6.0 * lag / length as f64).exp() / (length as f64).sqrt()
            })
            .collect();
        let k = Tensor::from_vec::<_, f64>(kernel, (CHANNELS, taps), &Device::Cpu)?;
        Ok(vec![
            tensor(1, &shape, self.dtype)?,
            tensor(2, &shape, self.dtype)?,
            tensor(3, &shape, self.dtype)?,
            k.to_dtype(DType::F32)?,
        ])
    }

    fn depthwise_inputs(&self, Depthwise { taps, layout }: Depthwise) -> Result<Vec<Tensor>> {
        let length = self.length;
        // Rows of an even length, or as many channels as 8 divides, are read in vectors.
        let channels = match length % 2 {
            0 => DEPTHWISE_CHANNELS,
            _ => CHANNELS,
        };
        let batch = batch(channels * length);
        let shape = match layout {
            Conv1dLayout::Bhl => [batch, channels, length],
            Conv1dLayout::Blh => [batch, length, channels],
        };
        let mut inputs = vec![
            tensor(1, &shape, self.dtype)?,
            tensor(2, &[channels, taps], DType::F32)?,
            tensor(3, &[channels], DType::F32)?,
        ];
        if let Operation::DepthwiseGradients(_) = self.operation {
            inputs.push(tensor(4, &shape, self.dtype)?);
        }
        Ok(inputs)
    }
}

/// How many batch items of that many numbers a case has.
fn batch(numbers: usize) -> usize {
    (NUMBERS / numbers).max(2)
}

fn tensor(seed: u64, shape: &[usize], dtype: DType) -> Result<Tensor> {
    let numbers = normal(seed, shape.iter().product()).collect();
    Tensor::from_vec::<_, f64>(numbers, shape, &Device::Cpu)?.to_dtype(dtype)
}

/// Reproducible numbers of mean 0 and variance 1, nearly normal: each the sum of four uniform ones.
fn normal(seed: u64, count: usize) -> impl Iterator<Item = f64> {
    let mut state = seed << 32;
    let mut uniform = move || {
        // The generator splitmix64 (Steele, Lea, Flood, OOPSLA 2014).
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((word ^ (word >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..count).map(move |_| (uniform() + uniform() + uniform() + uniform() - 2.0) * 3f64.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_edges_of_every_size() {
        let lengths: Vec<_> = lengths(&Operation::Long(Long::Causal)).collect();
        assert_eq!(lengths[..8], [1, 2, 3, 4, 5, 8, 9, 16]);
        assert_eq!(lengths[lengths.len() - 3..], [16384, 16385, 32768]);
    }

    #[test]
    fn each_convolution_has_every_length_in_one_run() {
        let cases = all();
        let runs = cases.chunk_by(|one, next| {
            (one.operation.convolution(), one.length) == (next.operation.convolution(), next.length)
        });
        // 30 lengths each, and 9 of gradients.
        assert_eq!(runs.count(), 3 * 30 + 2 * 9);
        let names: Vec<_> = Operation::all().into_iter().map(Operation::name).collect();
        assert_eq!(names[..3], ["causal", "gated", "two-sided"]);
        for names in names[3..].chunks(3) {
            assert_eq!(names, ["3-tap", "7-tap", "64-tap"]);
        }
    }

    #[test]
    fn numbers_have_mean_0_and_variance_1() {
        let count = 100_000;
        let numbers: Vec<_> = normal(1, count).collect();
        let mean = numbers.iter().sum::<f64>() / count as f64;
        let variance = numbers.iter().map(|x| x * x).sum::<f64>() / count as f64;
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.01);
    }
}

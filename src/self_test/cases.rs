//! What the self-test computes: pure data.

use candle_core::{DType, Device, Result, Tensor};

/// The longest sequence of the cases, a power of two.
const LONGEST_LOG2: u32 = 15;
const CHANNELS: usize = 3;
/// Cases of short rows have so many of them that their errors average out to about this many numbers.
const NUMBERS: usize = 8192;
const DTYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Causal,
    /// From one tensor that holds both gates and the input.
    CausalGated,
    /// Circular of twice the length, so that every lag has a tap; prepared.
    TwoSidedGated,
}

impl Operation {
    const ALL: [Operation; 3] = [
        Operation::Causal,
        Operation::CausalGated,
        Operation::TwoSidedGated,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Operation::Causal => "causal",
            Operation::CausalGated => "gated",
            Operation::TwoSidedGated => "two-sided",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) length: usize,
    pub(super) dtype: DType,
    pub(super) operation: Operation,
}

/// Every length, dtype and operation.
pub(super) fn all() -> impl Iterator<Item = Case> {
    lengths().flat_map(|length| {
        DTYPES.into_iter().flat_map(move |dtype| {
            Operation::ALL.map(move |operation| Case {
                length,
                dtype,
                operation,
            })
        })
    })
}

/// The shortest and the longest sequence for transforms of each power of two.
fn lengths() -> impl Iterator<Item = usize> {
    (0..=LONGEST_LOG2).flat_map(|log2| {
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

    /// `u`, `in_gate`, `out_gate` and `k` on the CPU.
    pub(super) fn inputs(&self) -> Result<Vec<Tensor>> {
        let length = self.length;
        let batch = (NUMBERS / (CHANNELS * length)).max(2);
        let taps = match self.operation {
            Operation::TwoSidedGated => 2 * length,
            _ => length,
        };
        let sequence = |seed| {
            let numbers = normal(seed, batch * CHANNELS * length).collect();
            Tensor::from_vec::<_, f64>(numbers, (batch, CHANNELS, length), &Device::Cpu)?
                .to_dtype(self.dtype)
        };
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
            sequence(1)?,
            sequence(2)?,
            sequence(3)?,
            k.to_dtype(DType::F32)?,
        ])
    }
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
        let lengths: Vec<_> = lengths().collect();
        assert_eq!(lengths[..8], [1, 2, 3, 4, 5, 8, 9, 16]);
        assert_eq!(lengths[lengths.len() - 3..], [16384, 16385, 32768]);
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

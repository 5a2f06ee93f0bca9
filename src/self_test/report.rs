//! What the self-test found.

use candle_core::DType;
use std::fmt;

/// One result that was compared with float64, and how far from it it is.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SelfTestCase {
    /// The sequence length `L`.
    pub length: usize,
    /// The dtype of sequences and result.
    pub dtype: DType,
    /// By what: `"long convolution"`, `"depthwise convolution of (B, H, L)"` or `(B, L, H)`, or
    /// `"gradients of the depthwise convolution of (B, H, L)"` or `(B, L, H)`.
    pub convolution: &'static str,
    /// What was computed: `"causal"`, `"gated"` (causal with both gates) or `"two-sided"` (with both
    /// gates, and taps at negative lags too) by a long convolution, `"3-tap"`, `"7-tap"` or
    /// `"64-tap"` by a depthwise one.
    pub operation: &'static str,
    /// The larger of `‖got − want‖ / ‖want‖` and a quarter of `max |got − want| / max |want|`; of
    /// gradients the worst of input, taps and bias.
    pub error: f64,
    /// The largest error that passes.
    pub bound: f64,
}

impl SelfTestCase {
    pub(super) fn passed(&self) -> bool {
        self.error <= self.bound
    }
}

impl fmt::Display for SelfTestCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}, L = {}, {}",
            self.operation,
            self.convolution,
            self.length,
            self.dtype.as_str()
        )
    }
}

/// What [`self_test`](crate::self_test) compared. Displays as tables, one for each kind of
/// convolution, with one row for each length.
///
/// # Example
///
/// ```
/// use candle_core::Device;
/// use candle_flashfftconv::{self_test, SelfTestReport};
///
/// let report: SelfTestReport = self_test(&Device::Cpu)?;
/// assert_eq!(report.device(), "the CPU");
/// assert!(report.to_string().contains("bf16 gated"));
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SelfTestReport {
    device: String,
    cases: Vec<SelfTestCase>,
}

impl SelfTestReport {
    pub(super) fn new(device: String, cases: Vec<SelfTestCase>) -> Self {
        SelfTestReport { device, cases }
    }

    /// The device that was tested.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Every case, all of them passed.
    pub fn cases(&self) -> &[SelfTestCase] {
        &self.cases
    }

    /// The case that comes nearest to its bound, or is furthest beyond it.
    pub(super) fn worst(&self) -> Option<&SelfTestCase> {
        let share = |case: &SelfTestCase| case.error / case.bound;
        self.cases
            .iter()
            .max_by(|one, other| share(one).total_cmp(&share(other)))
    }
}

impl fmt::Display for SelfTestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables = self
            .cases
            .chunk_by(|one, next| one.convolution == next.convolution);
        for (index, cases) in tables.enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            table(cases, &self.device, f)?;
        }
        Ok(())
    }
}

/// The cases of one kind of convolution: lengths by dtypes and operations.
fn table(cases: &[SelfTestCase], device: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let convolution = cases.first().map_or("", |case| case.convolution);
    let (first, rest) = convolution.split_at_checked(1).unwrap_or_default();
    writeln!(
        f,
        "{}{rest} on {device}: relative error against float64",
        first.to_uppercase()
    )?;
    let column = |case: &SelfTestCase| format!("{} {}", case.dtype.as_str(), case.operation);
    let mut columns: Vec<(String, f64)> = Vec::new();
    for case in cases {
        if columns.iter().all(|(name, _)| *name != column(case)) {
            columns.push((column(case), case.bound));
        }
    }
    write!(f, "{:>8}", "L")?;
    for (name, _) in &columns {
        write!(f, "  {name}")?;
    }
    for row in cases.chunk_by(|one, next| one.length == next.length) {
        let length = row.first().map_or(0, |case| case.length);
        write!(f, "\n{length:>8}")?;
        for (name, _) in &columns {
            let width = name.len();
            match row.iter().find(|case| column(case) == *name) {
                Some(case) => write!(f, "  {:>width$.1e}", case.error)?,
                None => write!(f, "  {:>width$}", "")?,
            }
        }
    }
    write!(f, "\n{:>8}", "allowed")?;
    for (name, bound) in &columns {
        write!(f, "  {bound:>width$.1e}", width = name.len())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(length: usize, dtype: DType, error: f64) -> SelfTestCase {
        SelfTestCase {
            length,
            dtype,
            convolution: "long convolution",
            operation: "causal",
            error,
            bound: 1e-3,
        }
    }

    #[test]
    fn a_table_of_lengths_by_dtypes() {
        let report = SelfTestReport::new(
            "a device".into(),
            vec![
                case(1, DType::F32, 1e-7),
                case(1, DType::BF16, 2e-4),
                case(300, DType::BF16, 3e-4),
            ],
        );
        let want = "Long convolution on a device: relative error against float64\n\
                    \x20      L  f32 causal  bf16 causal\n\
                    \x20      1      1.0e-7       2.0e-4\n\
                    \x20    300                   3.0e-4\n\
                    \x20allowed      1.0e-3       1.0e-3";
        assert_eq!(report.to_string(), want);
        assert_eq!(report.worst(), report.cases().last());
    }

    #[test]
    fn a_table_for_each_convolution() {
        let depthwise = SelfTestCase {
            convolution: "depthwise convolution of (B, H, L)",
            operation: "3-tap",
            ..case(300, DType::F32, 1e-7)
        };
        assert_eq!(
            depthwise.to_string(),
            "3-tap depthwise convolution of (B, H, L), L = 300, f32"
        );
        let report = SelfTestReport::new(
            "a device".into(),
            vec![case(300, DType::F32, 2e-7), depthwise],
        );
        let want = "Long convolution on a device: relative error against float64\n\
                    \x20      L  f32 causal\n\
                    \x20    300      2.0e-7\n\
                    \x20allowed      1.0e-3\n\
                    \n\
                    Depthwise convolution of (B, H, L) on a device: relative error against float64\n\
                    \x20      L  f32 3-tap\n\
                    \x20    300     1.0e-7\n\
                    \x20allowed     1.0e-3";
        assert_eq!(report.to_string(), want);
    }

    #[test]
    fn what_is_not_a_number_does_not_pass() {
        assert!(!case(1, DType::F32, f64::NAN).passed());
        assert!(!case(1, DType::F32, f64::INFINITY).passed());
    }
}

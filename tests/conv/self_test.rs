//! The self-test that users run passes, and says what it compared.

use crate::twin;
use candle_core::{Device, Result};
use candle_flashfftconv::self_test;

fn passes_and_reports(device: &Device) -> Result<()> {
    let report = self_test(device)?;
    println!("{report}");
    assert!(!report.cases().is_empty());
    assert!(report.cases().iter().all(|case| case.error <= case.bound));
    // Exact results would be those of the reference itself.
    assert!(report.cases().iter().any(|case| case.error > 0.0));
    Ok(())
}
twin!(passes, super::passes_and_reports);

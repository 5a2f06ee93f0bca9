//! Results: as a table, and as JSON that other programs write, too.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::Path;

#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// What was measured.
    pub program: String,
    pub gpu: String,
    /// Bytes read and written each second by a large copy.
    pub copy_rate: f64,
    pub rows: Vec<Row>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    pub dtype: String,
    pub way: String,
    pub batch: usize,
    pub channels: usize,
    pub length: usize,
    /// Of the kernel, where they were fewer than samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taps: Option<usize>,
    /// Whether the kernel had zeros for the missing taps.
    #[serde(default)]
    pub padded: bool,
    pub circular: bool,
    /// Whether inputs may have been in the GPU's cache.
    pub cached: bool,
    /// The time of one call with a prepared kernel, on the GPU.
    pub ms: f64,
    /// The same, with the calls launched one after the other.
    pub launched_ms: f64,
    /// Whether `ms` was measured in a CUDA graph.
    pub graph: bool,
    /// The time of a copy of as many bytes as the call cannot but move.
    pub floor_ms: f64,
    /// What a call takes more when its kernel is not prepared.
    pub prepare_ms: Option<f64>,
    /// The most memory that a call has at once beside its inputs (and its prepared kernel).
    #[serde(default)]
    pub peak_bytes: Option<u64>,
    /// The same of a call whose kernel is not prepared.
    #[serde(default)]
    pub unprepared_peak_bytes: Option<u64>,
    /// ‖got − want‖ / ‖want‖ of sampled rows, want in float64.
    pub relative_error: f64,
}

impl Report {
    pub fn new(gpu: String, copy_rate: f64) -> Self {
        Report {
            program: format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")),
            gpu,
            copy_rate,
            rows: Vec::new(),
        }
    }

    pub fn read(path: &Path) -> Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        Ok(std::fs::write(path, json)?)
    }

    pub fn heading(&self) -> String {
        let rate = self.copy_rate / 1e12;
        format!("{} on {}, copies {rate:.2} TB/s", self.program, self.gpu)
    }

    /// The row of the same case.
    fn same_case(&self, row: &Row) -> Option<&Row> {
        self.rows.iter().find(|other| other.case() == row.case())
    }
}

impl Row {
    fn case(&self) -> (&str, &str, [usize; 3], Option<usize>, [bool; 3]) {
        (
            &self.dtype,
            &self.way,
            [self.batch, self.channels, self.length],
            self.taps,
            [self.padded, self.circular, self.cached],
        )
    }

    /// The heading of the table whose lines [`Row::line`] makes.
    pub fn heading(against: Option<&Report>) -> String {
        let mut line = String::from(
            "| dtype way | B x H x L | ms | launched | floor | of copy rate | prepare | of call | MiB | not prepared | error |",
        );
        if let Some(against) = against {
            line += &format!(" {} ms | its MiB | its error | faster |", against.program);
        }
        let columns = line.matches('|').count() - 1;
        line + "\n|" + &"---|".repeat(columns)
    }

    pub fn line(&self, against: Option<&Report>) -> String {
        let Row {
            batch,
            channels,
            length,
            ..
        } = self;
        let mut line = format!("| {} {}", self.dtype, self.way);
        if self.circular {
            line += " circular";
        }
        if self.cached {
            line += " in cache";
        }
        if let Some(taps) = self.taps {
            line += &format!(", {taps} taps");
        }
        if self.padded {
            line += " and zeros";
        }
        line += &format!(" | {batch} x {channels} x {length} | {}", number(self.ms));
        line += match self.graph {
            true => " (graph)",
            false => "",
        };
        line += &format!(
            " | {} | {} | {:.0} %",
            number(self.launched_ms),
            number(self.floor_ms),
            100.0 * self.floor_ms / self.ms,
        );
        line += &match self.prepare_ms {
            Some(prepare) => format!(
                " | {} | {:.0} %",
                number(prepare),
                100.0 * prepare / (prepare + self.ms)
            ),
            None => " | | ".to_string(),
        };
        for bytes in [self.peak_bytes, self.unprepared_peak_bytes] {
            line += &match bytes {
                Some(bytes) => format!(" | {}", bytes.div_ceil(1 << 20)),
                None => " | ".to_string(),
            };
        }
        line += &format!(" | {:.2e} |", self.relative_error);
        if let Some(against) = against {
            line += &match against.same_case(self) {
                Some(other) => format!(
                    " {} | {} | {:.2e} | {:.1} x |",
                    number(other.ms),
                    other
                        .peak_bytes
                        .map_or(String::new(), |bytes| bytes.div_ceil(1 << 20).to_string()),
                    other.relative_error,
                    other.ms / self.ms
                ),
                None => " | | | |".to_string(),
            };
        }
        line
    }
}

/// Three digits.
fn number(ms: f64) -> String {
    match ms.abs() {
        large if large >= 100.0 => format!("{ms:.0}"),
        large if large >= 10.0 => format!("{ms:.1}"),
        large if large >= 1.0 => format!("{ms:.2}"),
        large if large >= 0.1 => format!("{ms:.3}"),
        _ => format!("{ms:.4}"),
    }
}

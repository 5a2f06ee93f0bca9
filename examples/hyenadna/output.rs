//! What the commands share in writing results.

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt;
use std::path::{Path, PathBuf};

/// Writes a file into a folder, which is made if it is not there. Returns its path.
pub fn write_file(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let path = folder.join(name);
    std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// A bar on the terminal for `total` pieces of work; nothing where there is no terminal, or little work.
pub fn progress_bar(total: usize, unit: &str) -> ProgressBar {
    if total < 4 {
        return ProgressBar::hidden();
    }
    let template = format!("{{bar:40}} {{pos}}/{{len}} {unit}, {{eta}} left {{msg}}");
    let bar = ProgressBar::new(total as u64);
    match ProgressStyle::with_template(&template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// A table for people: the first column to the left, all others to the right.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a heading.
    pub fn new(heading: &[&str]) -> Self {
        Self {
            rows: vec![heading.iter().map(|s| s.to_string()).collect()],
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (index, row) in self.rows.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    0 => write!(f, "{cell:<width$}")?,
                    _ => write!(f, "  {cell:>width$}")?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["record", "bases"]);
        table.row(vec!["a".into(), "1,000,000".into()]);
        table.row(vec!["a longer one".into(), "2".into()]);
        let text = table.to_string();
        let lengths: Vec<_> = text.lines().map(str::len).collect();
        assert_eq!(lengths, [23, 23, 23]);
        assert!(text.starts_with("record "));
    }

    #[test]
    fn a_file_where_a_folder_should_be_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = write_file(&folder.path().join("a/b"), "c.txt", "text").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "text");
        let error = write_file(&path, "d", "").unwrap_err();
        assert!(format!("{error:#}").contains("c.txt"), "{error:#}");
    }
}

//! Times over the sequence length, a panel for each dtype, as SVG.

use crate::report::{Report, Row};
use anyhow::{anyhow, Result};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path;

const PANEL: (u32, u32) = (560, 440);
const COLOURS: [RGBColor; 3] = [
    RGBColor(0, 90, 170),
    RGBColor(200, 80, 0),
    RGBColor(0, 130, 90),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One line: its name and its points, length and milliseconds.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
    colour: RGBAColor,
    marked: bool,
}

pub fn write(path: &Path, report: &Report, against: Option<&Report>) -> Result<()> {
    let mut dtypes: Vec<&str> = Vec::new();
    for row in &report.rows {
        if !dtypes.contains(&row.dtype.as_str()) {
            dtypes.push(&row.dtype);
        }
    }
    let count = u32::try_from(dtypes.len().max(1))?;
    let root = SVGBackend::new(path, (PANEL.0 * count, PANEL.1)).into_drawing_area();
    let drawn = || -> Result<(), Box<dyn std::error::Error>> {
        root.fill(&WHITE)?;
        let title = format!("Long convolution, {}", report.gpu);
        let below = root.titled(&title, ("sans-serif", 18))?;
        let panels = below.split_evenly((1, dtypes.len().max(1)));
        for (panel, dtype) in panels.iter().zip(&dtypes) {
            draw(panel, dtype, &lines(dtype, report, against))?;
        }
        root.present()?;
        Ok(())
    };
    drawn().map_err(|error| anyhow!("{error}"))
}

/// The lines of one dtype, of rows that were not in the cache where there are any.
fn lines(dtype: &str, report: &Report, against: Option<&Report>) -> Vec<Line> {
    let cached = report.rows.iter().all(|row| row.cached);
    let shown = |row: &&Row| row.dtype == dtype && row.cached == cached;
    let mut ways: Vec<&str> = Vec::new();
    for row in report.rows.iter().filter(shown) {
        if !ways.contains(&row.way.as_str()) {
            ways.push(&row.way);
        }
    }
    let mut lines = Vec::new();
    for (way, colour) in ways.iter().zip(COLOURS.iter().cycle()) {
        let points = |report: &Report, ms: fn(&Row) -> f64| {
            let rows = report.rows.iter().filter(shown);
            rows.filter(|row| row.way == *way)
                .map(|row| (row.length as f64, ms(row)))
                .collect()
        };
        lines.push(Line {
            name: format!("{way}, {}", report.program),
            points: points(report, |row| row.ms),
            colour: colour.to_rgba(),
            marked: true,
        });
        if let Some(against) = against {
            lines.push(Line {
                name: format!("{way}, {}", against.program),
                points: points(against, |row| row.ms),
                colour: colour.mix(0.45),
                marked: true,
            });
        }
        lines.push(Line {
            name: format!("{way}, copy of as many bytes"),
            points: points(report, |row| row.floor_ms),
            colour: colour.mix(0.3),
            marked: false,
        });
    }
    lines
}

fn draw(panel: &Area<'_>, dtype: &str, lines: &[Line]) -> Result<(), Box<dyn std::error::Error>> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let range = |of: fn(&(f64, f64)) -> f64| {
        let values = points().map(of).filter(|value| *value > 0.0);
        let (low, high) = values.fold((f64::INFINITY, 0f64), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        match low.is_finite() {
            true => low / 1.5..high * 1.5,
            false => 0.1..1.0,
        }
    };
    let mut chart = ChartBuilder::on(panel)
        .caption(dtype, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(
            range(|point| point.0).log_scale().base(2.0),
            range(|point| point.1).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc("sequence length")
        .y_desc("ms")
        .light_line_style(WHITE)
        .x_label_formatter(&|length| format!("{length:.0}"))
        .draw()?;
    for line in lines.iter().filter(|line| !line.points.is_empty()) {
        let style = line.colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), style))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        if line.marked {
            let marks = line
                .points
                .iter()
                .map(|&p| Circle::new(p, 3, line.colour.filled()));
            chart.draw_series(marks)?;
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .draw()?;
    Ok(())
}

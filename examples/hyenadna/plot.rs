//! The drawings, as SVG text. They need no font files: the viewer sets the type.

use anyhow::{anyhow, Result};
use plotters::coord::Shift;
use plotters::prelude::*;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const AXIS_FONT: (&str, u32) = ("sans-serif", 13);
const TITLE_FONT: (&str, u32) = ("sans-serif", 17);

/// Values along an axis, and how they are called.
#[derive(Debug, Clone)]
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// Draws into a new SVG of `size` pixels.
fn svg(size: (u32, u32), draw: impl FnOnce(&Area) -> Result<()>) -> Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&WHITE).map_err(report)?;
        draw(&area)?;
        area.present().map_err(report)?;
    }
    Ok(text)
}

fn report(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

/// The smallest and the largest finite number, made into a range that is not empty.
fn range(numbers: impl Iterator<Item = f64>, margin: f64) -> std::ops::Range<f64> {
    let (low, high) = numbers
        .filter(|x| x.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
            (low.min(x), high.max(x))
        });
    if low > high {
        return 0.0..1.0;
    }
    let pad = ((high - low) * margin).max(if high > low { 0.0 } else { 0.5 });
    low - pad..high + pad
}

/// One panel below the other, each a line over positions, with a dashed mean.
pub fn tracks(title: &str, value: &str, tracks: &[Series]) -> Result<String> {
    let panels = tracks.len().max(1);
    let height = 60 + 240 * u32::try_from(panels)?;
    svg((1200, height), |area| {
        let area = area.titled(title, TITLE_FONT).map_err(report)?;
        for (panel, track) in area.split_evenly((panels, 1)).iter().zip(tracks) {
            let finite = || track.points.iter().copied().filter(|(_, y)| y.is_finite());
            let x = range(track.points.iter().map(|p| p.0), 0.0);
            let mut chart = ChartBuilder::on(panel)
                .caption(&track.name, AXIS_FONT)
                .margin(8)
                .x_label_area_size(34)
                .y_label_area_size(60)
                .build_cartesian_2d(x.clone(), range(finite().map(|p| p.1), 0.05))
                .map_err(report)?;
            chart
                .configure_mesh()
                .light_line_style(WHITE)
                .x_desc("position (bases)")
                .y_desc(value)
                .x_label_formatter(&|x| thousands(x.round()))
                .axis_desc_style(AXIS_FONT)
                .label_style(AXIS_FONT)
                .draw()
                .map_err(report)?;
            chart
                .draw_series(LineSeries::new(finite(), &BLUE))
                .map_err(report)?;
            let count = finite().count();
            if count > 0 {
                let mean = finite().map(|p| p.1).sum::<f64>() / count as f64;
                let dashes = DashedLineSeries::new(
                    [(x.start, mean), (x.end, mean)],
                    6,
                    4,
                    RED.stroke_width(1),
                );
                chart.draw_series(dashes).map_err(report)?;
            }
        }
        Ok(())
    })
}

/// A curve of training: several series over steps, and horizontal lines to compare with.
pub fn curves(
    title: &str,
    value: &str,
    series: &[Series],
    levels: &[(String, f64)],
) -> Result<String> {
    let colours = [BLUE, RED, GREEN, MAGENTA];
    svg((900, 520), |area| {
        let all = || series.iter().flat_map(|s| s.points.iter().copied());
        let x = range(all().map(|p| p.0), 0.0);
        let y = range(all().map(|p| p.1).chain(levels.iter().map(|l| l.1)), 0.05);
        let mut chart = ChartBuilder::on(area)
            .caption(title, TITLE_FONT)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(64)
            .build_cartesian_2d(x.clone(), y)
            .map_err(report)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc("step")
            .y_desc(value)
            .x_label_formatter(&|x| thousands(x.round()))
            .axis_desc_style(AXIS_FONT)
            .label_style(AXIS_FONT)
            .draw()
            .map_err(report)?;
        for (one, colour) in series.iter().zip(colours.iter().cycle()) {
            let points = one.points.iter().copied().filter(|(_, y)| y.is_finite());
            let style = colour.stroke_width(2);
            chart
                .draw_series(LineSeries::new(points, style))
                .map_err(report)?
                .label(&one.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
        let greys = [RGBColor(60, 60, 60), RGBColor(150, 150, 150)];
        for ((name, level), grey) in levels.iter().zip(greys.iter().cycle()) {
            let ends = [(x.start, *level), (x.end, *level)];
            let style = grey.stroke_width(1);
            chart
                .draw_series(DashedLineSeries::new(ends, 6, 4, style))
                .map_err(report)?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
        chart
            .configure_series_labels()
            .background_style(WHITE)
            .border_style(BLACK)
            .label_font(AXIS_FONT)
            .draw()
            .map_err(report)
    })
}

/// Rows of cells, blue where the value is negative, red where it is positive, grey without a value.
///
/// `columns` are the first column's position and the letters below the cells.
/// The colours saturate at the largest absolute value, which the caption gives.
pub fn heat_map(
    title: &str,
    rows: &[char],
    first_position: usize,
    letters: &[char],
    cells: &[Vec<Option<f64>>],
) -> Result<String> {
    let columns = letters.len().max(1);
    let cell = (1100 / columns).clamp(2, 24) as i32;
    let (left, top, row_height) = (70, 64, 24);
    let width = left + cell * i32::try_from(columns)? + 30;
    let height = top + row_height * i32::try_from(rows.len())? + 60;
    let largest = cells
        .iter()
        .flatten()
        .flatten()
        .filter(|v| v.is_finite())
        .fold(0f64, |m, v| m.max(v.abs()));
    svg(
        (u32::try_from(width.max(900))?, u32::try_from(height)?),
        |area| {
            let text = |words: String, at: (i32, i32), font: (&'static str, u32)| {
                area.draw(&Text::new(words, at, font)).map_err(report)
            };
            text(title.to_string(), (12, 10), TITLE_FONT)?;
            text(
            format!("blue: less likely, red: more likely, full colour at {largest:.3} bits; grey: the reference"),
            (12, 34),
            AXIS_FONT,
        )?;
            for (r, (name, values)) in rows.iter().zip(cells).enumerate() {
                let y = top + row_height * i32::try_from(r)?;
                text(name.to_string(), (left - 22, y + 5), AXIS_FONT)?;
                for (c, value) in values.iter().enumerate() {
                    let x = left + cell * i32::try_from(c)?;
                    let box_ = [(x, y), (x + cell, y + row_height)];
                    let colour = colour(*value, largest).filled();
                    area.draw(&Rectangle::new(box_, colour)).map_err(report)?;
                }
            }
            let below = top + row_height * i32::try_from(rows.len())?;
            if cell >= 9 {
                for (c, letter) in letters.iter().enumerate() {
                    let x = left + cell * i32::try_from(c)? + cell / 2 - 4;
                    text(letter.to_string(), (x, below + 4), AXIS_FONT)?;
                }
            }
            // A label about every 90 pixels, at round positions.
            let step = round_step(90.0 / f64::from(cell));
            for (c, position) in (first_position..).take(letters.len()).enumerate() {
                if position % step == 0 {
                    let x = left + cell * i32::try_from(c)? + cell / 2;
                    let tick = [(x, below + 20), (x, below + 26)];
                    area.draw(&PathElement::new(tick, BLACK)).map_err(report)?;
                    text(thousands(position as f64), (x - 8, below + 30), AXIS_FONT)?;
                }
            }
            Ok(())
        },
    )
}

/// The next of 1, 2, 5, 10, 20, 50, … at or above `least`.
fn round_step(least: f64) -> usize {
    let mut decade = 1usize;
    loop {
        for factor in [1, 2, 5] {
            let step = decade.saturating_mul(factor);
            if step as f64 >= least || step == usize::MAX {
                return step;
            }
        }
        decade = decade.saturating_mul(10);
    }
}

/// Blue over white to red.
fn colour(value: Option<f64>, largest: f64) -> RGBColor {
    let Some(value) = value.filter(|v| v.is_finite()) else {
        return RGBColor(190, 190, 190);
    };
    let strength = if largest > 0.0 {
        (value / largest).clamp(-1.0, 1.0)
    } else {
        0.0
    };
    let faded = (255.0 * (1.0 - strength.abs())).round() as u8;
    if strength < 0.0 {
        RGBColor(faded, faded, 255)
    } else {
        RGBColor(255, faded, faded)
    }
}

/// 1234567 as 1,234,567.
pub fn thousands(x: f64) -> String {
    let digits = format!("{:.0}", x.abs());
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if x < 0.0 && digits != "0" {
        grouped.insert(0, '-');
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, points: &[(f64, f64)]) -> Series {
        Series {
            name: name.to_string(),
            points: points.to_vec(),
        }
    }

    fn assert_is_svg(text: &str) {
        assert!(
            text.starts_with("<svg") && text.trim_end().ends_with("</svg>"),
            "{text}"
        );
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }

    #[test]
    fn names_cannot_break_the_markup() {
        let text = tracks(
            "a < b & c",
            "bits",
            &[series("<script>&\"", &[(0., 1.), (5., 2.)])],
        )
        .unwrap();
        assert_is_svg(&text);
        assert!(
            !text.contains("<script>") && text.contains("polyline"),
            "{text}"
        );
    }

    #[test]
    fn degenerate_data_draws_an_empty_picture() {
        let nothing = &[][..];
        for points in [
            nothing,
            &[(1., 2.)],
            &[(1., f64::NAN)],
            &[(0., 2.), (9., 2.)],
        ] {
            assert_is_svg(&tracks("t", "v", &[series("n", points)]).unwrap());
            assert_is_svg(&curves("t", "v", &[series("n", points)], &[]).unwrap());
        }
        assert_is_svg(&tracks("t", "v", &[]).unwrap());
        assert_is_svg(&curves("t", "v", &[], &[("order 3".into(), 1.9)]).unwrap());
        assert_is_svg(&heat_map("t", &['A'], 1, &[], &[vec![]]).unwrap());
        assert_is_svg(&heat_map("t", &['A'], 1, &['C'], &[vec![Some(0.0)]]).unwrap());
        assert_is_svg(&heat_map("t", &['A'], 1, &['C'], &[vec![Some(f64::NAN)]]).unwrap());
    }

    #[test]
    fn the_heat_map_shows_sign_and_reference() {
        let cells = vec![vec![Some(-2.0), None], vec![Some(1.0), Some(2.0)]];
        let text = heat_map("t", &['A', 'C'], 10, &['G', 'A'], &cells).unwrap();
        for colour in ["#0000FF", "#BEBEBE", "#FF8080", "#FF0000"] {
            assert!(text.contains(colour), "{colour} in {text}");
        }
        let wide = heat_map("t", &['A'], 1, &['C'; 3000], &[vec![Some(1.0); 3000]]).unwrap();
        assert_is_svg(&wide);
    }

    #[test]
    fn numbers_for_people() {
        let cases = [
            (0., "0"),
            (999., "999"),
            (1e3, "1,000"),
            (-1234567., "-1,234,567"),
        ];
        for (number, text) in cases {
            assert_eq!(thousands(number), text);
        }
        assert_eq!(
            [0.1, 1.0, 3.0, 6.0, 11.0].map(round_step),
            [1, 1, 5, 10, 20]
        );
    }
}

//! Percentile plots: x is the percentile, on the axis on which each nine takes as much room as the one before, y the
//! service time, logarithmic.

use std::ops::Range;
use std::path::Path;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::element::DashedPathElement;
use plotters::prelude::*;

use crate::figure::Row;
use crate::lane::Role;

/// How many nines the axis has.
const NINES: f64 = 5.0;
const TICKS: [(f64, &str); 6] = [
    (0.5, "50"),
    (0.9, "90"),
    (0.99, "99"),
    (0.999, "99.9"),
    (0.9999, "99.99"),
    (0.99999, "99.999"),
];
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(230, 159, 0),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(23, 190, 207),
];

/// How the curve of a candidate looks: the same name in whatever variant has the same colour, polled ones are dashed.
fn look(row: &Row, families: &mut Vec<String>) -> (RGBColor, Option<i32>) {
    match row.role {
        Role::Floor => (RGBColor(150, 150, 150), None),
        Role::Bare => (BLACK, None),
        Role::Ours if families.is_empty() => {
            families.push(row.name.clone());
            (RGBColor(213, 0, 0), None)
        }
        Role::Ours | Role::Other => {
            let family = row.name.trim_end_matches(", polled");
            let known = families.iter().position(|known| known == family);
            let place = known.unwrap_or_else(|| {
                families.push(family.to_owned());
                families.len() - 1
            });
            let dashes = row.name.ends_with(", polled").then_some(6);
            (COLOURS[place % COLOURS.len()], dashes)
        }
    }
}

pub(crate) fn plot(path: &Path, title: &str, rows: &[Row]) {
    draw(path, title, rows).expect("a plot in the build's folder");
}

fn draw(path: &Path, title: &str, rows: &[Row]) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(path, (1_080, 500)).into_drawing_area();
    area.fill(&WHITE)?;
    let (curves, legend) = area.split_horizontally(820);
    let highest = rows.iter().map(|row| row.service.max()).max().unwrap_or(0);
    let top = 10_f64.powf((highest.max(100) as f64).log10().ceil());
    let mut chart = ChartBuilder::on(&curves)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .margin_right(26)
        .x_label_area_size(44)
        .y_label_area_size(76)
        .build_cartesian_2d(Nines, (1.0..top).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("percentile of the calls")
        .y_desc("service time")
        .y_label_formatter(&|y| span(*y))
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 15))
        .light_line_style(RGBColor(240, 240, 240))
        .bold_line_style(RGBColor(205, 205, 205))
        .draw()?;
    let mut families = Vec::new();
    for (y, row) in (50..).step_by(22).zip(rows) {
        let (colour, dashes) = look(row, &mut families);
        let (points, style) = (curve(row), colour.stroke_width(2));
        let sample = vec![(4, y), (40, y)];
        if let Some(dash) = dashes {
            chart.draw_series(DashedLineSeries::new(points, dash, dash / 2, style))?;
            let sample = sample.into_iter();
            legend.draw(&DashedPathElement::new(sample, dash, dash / 2, style))?;
        } else {
            chart.draw_series(LineSeries::new(points, style))?;
            legend.draw(&PathElement::new(sample, style))?;
        }
        let name = row.name.clone();
        legend.draw(&Text::new(name, (50, y - 7), ("sans-serif", 14)))?;
    }
    area.present()?;
    Ok(())
}

/// The axis of percentiles, in nines.
struct Nines;

impl Ranged for Nines {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        #[expect(clippy::cast_possible_truncation, reason = "within the limits")]
        let offset = (value / NINES * f64::from(limit.1 - limit.0)) as i32;
        limit.0 + offset
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        TICKS.map(|(quantile, _)| nines(quantile)).to_vec()
    }

    fn range(&self) -> Range<f64> {
        0.0..NINES
    }
}

impl ValueFormatter<f64> for Nines {
    fn format(value: &f64) -> String {
        let near = |quantile: f64| (nines(quantile) - value).abs() < 0.01;
        let tick = TICKS.iter().find(|(quantile, _)| near(*quantile));
        tick.map_or_else(String::new, |(_, label)| (*label).to_owned())
    }
}

/// Where a quantile stands on the axis.
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

/// As far as there are samples.
fn curve(row: &Row) -> Vec<(f64, f64)> {
    let last = (row.service.len().max(1) as f64).log10().min(NINES);
    (0..=500)
        .map(|step| f64::from(step) / 500.0 * last)
        .map(|x| {
            let quantile = 1.0 - 10_f64.powf(-x);
            (x, row.service.value_at_quantile(quantile).max(1) as f64)
        })
        .collect()
}

fn span(ns: f64) -> String {
    match ns {
        ..1e3 => format!("{ns} ns"),
        ..1e6 => format!("{} µs", ns / 1e3),
        ..1e9 => format!("{} ms", ns / 1e6),
        _ => format!("{} s", ns / 1e9),
    }
}

//! Service times of `publish` on a logarithmic scale: a line of the plot for each way of calling it.

use std::ops::Range;
use std::path::Path;

use plotters::prelude::*;

use crate::line::Side;
use crate::table::time;
use crate::{Row, Times};

const WIDTH: u32 = 1_100;
const LINE: u32 = 26;
const LABELS: u32 = 480;
const ORIGINAL: RGBColor = RGBColor(200, 80, 40);
const SPILLRING: RGBColor = RGBColor(30, 100, 180);

pub(crate) fn draw(rows: &[Row], path: &Path) {
    let found: Vec<_> = rows
        .iter()
        .filter_map(|row| Some((row, row.times()?)))
        .collect();
    if found.is_empty() {
        return;
    }
    let height = LINE * u32::try_from(found.len()).expect("not that many") + 110;
    let root = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE).expect("it can be drawn");
    let labels: Vec<_> = found.iter().map(|(row, _)| label(row)).collect();
    let mut chart = ChartBuilder::on(&root)
        .caption(
            "publish, service time: p50 (filled), p99 (ring), p99.9 (bar)",
            ("sans-serif", 18),
        )
        .margin(12)
        .margin_right(40)
        .x_label_area_size(36)
        .y_label_area_size(LABELS)
        .build_cartesian_2d(scale(&found).log_scale(), -0.5..found.len() as f64 - 0.5)
        .expect("it can be drawn");
    chart
        .configure_mesh()
        .disable_y_mesh()
        .x_label_formatter(&|nanos| time(*nanos))
        .y_labels(found.len() * 2)
        .y_label_formatter(&|place| at(&labels, *place))
        .label_style(("sans-serif", 13))
        .light_line_style(WHITE)
        .draw()
        .expect("it can be drawn");
    let last = found.len() - 1;
    for (place, (row, times)) in found.iter().enumerate() {
        let colour = match row.side {
            Side::Original => ORIGINAL,
            Side::Spillring => SPILLRING,
        };
        // The first on top.
        let y = (last - place) as f64;
        let [p50, p99, p999] = [times.p50, times.p99, times.p999].map(|it| it.median.max(1.0));
        chart
            .draw_series(LineSeries::new([(p50, y), (p999, y)], colour))
            .expect("it can be drawn");
        chart
            .draw_series([Circle::new((p50, y), 5, colour.filled())])
            .expect("it can be drawn");
        chart
            .draw_series([Circle::new((p99, y), 5, colour)])
            .expect("it can be drawn");
        chart
            .draw_series(LineSeries::new(
                [(p999, y - 0.3), (p999, y + 0.3)],
                colour.stroke_width(2),
            ))
            .expect("it can be drawn");
    }
    root.present().expect("it can be written");
}

fn label(row: &Row) -> String {
    format!("{}: {}", row.condition, row.name())
}

/// The label of a line of the plot, none between two.
fn at(labels: &[String], place: f64) -> String {
    let whole = place.round();
    let from_top = labels.len() as f64 - 1.0 - whole;
    if (place - whole).abs() > 0.01 || from_top < 0.0 {
        return String::new();
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number, not below zero"
    )]
    let place = from_top as usize;
    labels.get(place).cloned().unwrap_or_default()
}

/// Whole powers of ten around all of them.
fn scale(found: &[(&Row, Times)]) -> Range<f64> {
    let least = found.iter().map(|(_, times)| times.p50.median);
    let most = found.iter().map(|(_, times)| times.p999.median);
    let least = least.fold(f64::MAX, f64::min).max(1.0);
    let most = most.fold(1.0, f64::max);
    10_f64.powf(least.log10().floor())..10_f64.powf(most.log10().ceil())
}

//! A run as a picture: viewers, Mbit/s, loss, latency, and how busy this program was, over time.

use std::iter;
use std::path::Path;

use plotters::prelude::{
    BLACK, BLUE, ChartBuilder, IntoDrawingArea, LineSeries, RED, RGBColor, SVGBackend, WHITE,
};
use plotters::style::Color;

use super::report::Second;

const SIZE: (u32, u32) = (900, 1100);

const GREEN: RGBColor = RGBColor(0, 128, 0);
const GREY: RGBColor = RGBColor(96, 96, 96);

/// A name, a colour, and what is drawn of a second and the one before. `None`: nothing is known.
type Row = (&'static str, RGBColor, fn(&Second, &Second) -> Option<f64>);

/// Writes an SVG.
///
/// # Errors
/// It cannot be written.
pub fn draw(path: &Path, seconds: &[Second]) -> Result<(), String> {
    try_draw(path, seconds).map_err(|error| format!("{}: {error}", path.display()))
}

fn try_draw(path: &Path, seconds: &[Second]) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    #[expect(clippy::cast_precision_loss, reason = "for the eye")]
    let rows: [Row; 5] = [
        ("viewers connected", BLUE, |second, _| {
            Some(second.connected as f64)
        }),
        ("Mbit/s delivered", GREEN, |second, _| {
            Some(second.bits as f64 / 1e6)
        }),
        ("packets lost", BLACK, |second, before| {
            Some((second.lost - before.lost) as f64)
        }),
        ("median forward latency, ms", RED, |second, _| {
            second.latency.map(|it| it.p50.as_secs_f64() * 1e3)
        }),
        ("this program was busy, %", GREY, |second, _| {
            Some(second.busy * 100.0)
        }),
    ];
    let end = seconds.last().map_or(1.0, |last| last.at.as_secs_f64());
    let nothing = Second::default();
    let areas = root.split_evenly((rows.len(), 1));
    for (area, (name, color, of)) in areas.iter().zip(rows) {
        let before = iter::once(&nothing).chain(seconds);
        let points = seconds.iter().zip(before);
        let points: Vec<_> = points
            .map(|(second, before)| (second.at.as_secs_f64(), of(second, before)))
            .collect();
        let known = points.iter().filter_map(|(_, value)| *value);
        let highest = known.fold(0.0, f64::max).max(0.001);
        let mut chart = ChartBuilder::on(area)
            .caption(name, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(24)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..end, 0.0..highest * 1.1)?;
        chart.configure_mesh().x_desc("s").draw()?;
        // Where nothing is known there is no line.
        for part in points.split(|(_, value)| value.is_none()) {
            let part = part.iter().filter_map(|(at, value)| Some((*at, (*value)?)));
            chart.draw_series(LineSeries::new(part, color.stroke_width(2)))?;
        }
    }
    root.present()?;
    Ok(())
}

//! A run as a picture: viewers, Mbit/s, latency, and how busy this program was, over time.

use std::path::Path;

use plotters::prelude::{
    BLUE, ChartBuilder, IntoDrawingArea, LineSeries, RED, RGBColor, SVGBackend, WHITE,
};
use plotters::style::Color;

use super::report::Second;

const SIZE: (u32, u32) = (900, 900);

const GREEN: RGBColor = RGBColor(0, 128, 0);
const GREY: RGBColor = RGBColor(96, 96, 96);

/// A name, a colour, and what is drawn.
type Row = (&'static str, RGBColor, fn(&Second) -> f64);

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
    let rows: [Row; 4] = [
        ("viewers connected", BLUE, |second| second.connected as f64),
        ("Mbit/s delivered", GREEN, |second| second.bits as f64 / 1e6),
        ("median forward latency, ms", RED, |second| {
            second.latency.map_or(0.0, |it| it.p50.as_secs_f64() * 1e3)
        }),
        ("this program was busy, %", GREY, |second| {
            second.busy * 100.0
        }),
    ];
    let end = seconds.last().map_or(1.0, |last| last.at.as_secs_f64());
    let areas = root.split_evenly((rows.len(), 1));
    for (area, (name, color, of)) in areas.iter().zip(rows) {
        let highest = seconds.iter().map(of).fold(0.0, f64::max).max(0.001);
        let mut chart = ChartBuilder::on(area)
            .caption(name, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(24)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..end, 0.0..highest * 1.1)?;
        chart.configure_mesh().x_desc("s").draw()?;
        let points = seconds
            .iter()
            .map(|second| (second.at.as_secs_f64(), of(second)));
        chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?;
    }
    root.present()?;
    Ok(())
}

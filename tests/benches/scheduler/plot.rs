//! CPU against viewers, as a picture.

use std::error::Error;
use std::path::Path;

use plotters::prelude::{
    BLACK, BLUE, ChartBuilder, Circle, IntoDrawingArea, LineSeries, PathElement, RED, RGBColor,
    SVGBackend, WHITE,
};
use plotters::style::Color;

const SIZE: (u32, u32) = (800, 480);

const COLORS: [RGBColor; 4] = [BLUE, RGBColor(0, 128, 0), RED, RGBColor(160, 96, 0)];

/// What one server took of a CPU, by viewers.
pub(super) struct Curve {
    pub(super) name: String,
    /// Viewers, and percent of one CPU.
    pub(super) points: Vec<(f64, f64)>,
}

/// Writes an SVG.
pub(super) fn draw(file: &Path, caption: &str, curves: &[Curve]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let viewers = points().map(|point| point.0).fold(1.0, f64::max);
    let percent = points().map(|point| point.1).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(&root)
        .caption(caption, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..viewers * 1.05, 0.0..percent * 1.1)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("viewers")
        .y_desc("% of one CPU")
        .x_label_formatter(&|viewers| format!("{viewers:.0}"))
        .y_label_formatter(&|percent| format!("{percent:.0}"))
        .draw()?;
    for (curve, color) in curves.iter().zip(COLORS.iter().cycle()) {
        let line = LineSeries::new(curve.points.iter().copied(), color.stroke_width(2));
        let drawn = chart.draw_series(line)?.label(&curve.name);
        let color = *color;
        drawn.legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color.stroke_width(2)));
        let dots = curve.points.iter();
        chart.draw_series(dots.map(|point| Circle::new(*point, 3, color.filled())))?;
    }
    chart
        .configure_series_labels()
        .border_style(BLACK)
        .background_style(WHITE)
        .position(plotters::prelude::SeriesLabelPosition::UpperLeft)
        .draw()?;
    root.present()?;
    Ok(())
}

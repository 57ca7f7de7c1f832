//! The charts of a report, as SVG: no script, no font but the reader's own, colours for light and dark.

use std::fmt::Write;

use super::results::Results;
use crate::table::three_digits;

/// Width and height of one chart.
const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 230.0;

/// Space between two charts, and around them.
const GAP: f64 = 24.0;

/// The colours; a page that shows charts includes it once.
pub(super) const STYLE: &str = "\
.chart text{font:13px system-ui,sans-serif;fill:#1d2430}\
.chart .title{font-weight:600}\
.chart .muted{fill:#5b6472}\
.chart .bar{fill:#3566c8}\
.chart .range{stroke:#1d2430;stroke-width:1.5}\
.chart .axis{stroke:#c3c9d2;stroke-width:1}\
@media(prefers-color-scheme:dark){\
.chart text{fill:#e6e9ee}\
.chart .muted{fill:#a0a9b8}\
.chart .bar{fill:#6f9cf5}\
.chart .range{stroke:#e6e9ee}\
.chart .axis{stroke:#4a5262}}";

/// Both charts as a file of their own.
pub(super) fn file(results: &Results) -> String {
    let (width, height) = (2.0 * WIDTH + 3.0 * GAP, HEIGHT + 2.0 * GAP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" role=\"img\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\"><title>Time a text, by length and by batch size</title>\
         <style>.ground{{fill:#fff}}{STYLE}@media(prefers-color-scheme:dark){{.ground{{fill:#161a21}}}}</style>\
         <rect class=\"ground\" width=\"{width}\" height=\"{height}\" rx=\"8\"/>"
    );
    let second = WIDTH + 2.0 * GAP;
    // Writing to a string does not fail.
    let _ = write!(svg, "<g transform=\"translate({GAP} {GAP})\">{}</g>", latency(results));
    let _ = write!(svg, "<g transform=\"translate({second} {GAP})\">{}</g></svg>", batches(results));
    svg.push('\n');
    svg
}

/// The charts for a page, one element each.
pub(super) fn elements(results: &Results) -> [String; 2] {
    let element = |label: &str, content: String| {
        format!(
            "<svg class=\"chart\" role=\"img\" aria-label=\"{label}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\">{content}</svg>"
        )
    };
    [
        element("Bars: milliseconds for a short, a medium and a long text", latency(results)),
        element("Columns: milliseconds for each text, by batch size", batches(results)),
    ]
}

/// A bar for the median of each length, a line from there to the 95th percentile.
fn latency(results: &Results) -> String {
    const LEFT: f64 = 64.0;
    // Room for the figures behind the longest bar.
    const ROOM: f64 = WIDTH - LEFT - 96.0;
    const TOP: f64 = 48.0;
    const STEP: f64 = 58.0;
    const THICKNESS: f64 = 30.0;
    let singles = results.single_embeddings.all();
    let longest = singles.iter().map(|(_, single)| single.timing.p95_ms).fold(f64::MIN_POSITIVE, f64::max);
    let mut svg = title("One text: median, and line to the 95th percentile");
    for (row, (name, single)) in singles.into_iter().enumerate() {
        let top = TOP + STEP * row as f64;
        let middle = top + THICKNESS / 2.0;
        let (bar, to) = (ROOM * single.timing.median_ms / longest, ROOM * single.timing.p95_ms / longest);
        let _ = write!(
            svg,
            "<text x=\"0\" y=\"{y1:.0}\">{name}</text>\
             <text class=\"muted\" x=\"0\" y=\"{y2:.0}\">{tokens} tok</text>\
             <rect class=\"bar\" x=\"{LEFT}\" y=\"{top:.0}\" width=\"{bar:.1}\" height=\"{THICKNESS}\" rx=\"2\"/>\
             <line class=\"range\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle}\" y2=\"{middle}\"/>\
             <text x=\"{after:.1}\" y=\"{y1:.0}\">{median} ms</text>\
             <text class=\"muted\" x=\"{after:.1}\" y=\"{y2:.0}\">p95 {p95} ms</text>",
            y1 = middle - 2.0,
            y2 = middle + 14.0,
            tokens = single.tokens,
            from = LEFT + bar,
            to = LEFT + to,
            after = LEFT + to + 6.0,
            median = three_digits(single.timing.median_ms),
            p95 = three_digits(single.timing.p95_ms),
        );
    }
    let bottom = TOP + STEP * 3.0 - 14.0;
    let _ = write!(svg, "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{LEFT}\" y1=\"40\" y2=\"{bottom}\"/>");
    svg
}

/// A column for the time a text at each batch size.
fn batches(results: &Results) -> String {
    const TOP: f64 = 52.0;
    const BOTTOM: f64 = HEIGHT - 42.0;
    let batches = &results.batch_embeddings;
    let highest = batches.iter().map(|batch| batch.per_text_ms).fold(f64::MIN_POSITIVE, f64::max);
    let step = WIDTH / batches.len().max(1) as f64;
    let width = step * 0.6;
    let mut svg = title("Medium texts in one call: milliseconds a text");
    for (column, batch) in batches.iter().enumerate() {
        let center = step * (column as f64 + 0.5);
        let height = (BOTTOM - TOP) * batch.per_text_ms / highest;
        let _ = write!(
            svg,
            "<rect class=\"bar\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\"/>\
             <text x=\"{center:.1}\" y=\"{above:.1}\" text-anchor=\"middle\">{figure}</text>\
             <text x=\"{center:.1}\" y=\"{below}\" text-anchor=\"middle\">{size}</text>",
            x = center - width / 2.0,
            y = BOTTOM - height,
            above = BOTTOM - height - 6.0,
            below = BOTTOM + 18.0,
            figure = three_digits(batch.per_text_ms),
            size = batch.batch_size,
        );
    }
    let _ = write!(
        svg,
        "<line class=\"axis\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{BOTTOM}\" y2=\"{BOTTOM}\"/>\
         <text class=\"muted\" x=\"{center}\" y=\"{y}\" text-anchor=\"middle\">texts in the call</text>",
        center = WIDTH / 2.0,
        y = BOTTOM + 36.0,
    );
    svg
}

fn title(text: &str) -> String {
    format!("<text class=\"title\" x=\"0\" y=\"16\">{text}</text>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::bench::results::tests::example;

    #[test]
    fn bars_are_as_long_as_the_figures_say() {
        let results = example("m");
        let [bars, columns] = elements(&results);
        assert_eq!(bars.matches("class=\"bar\"").count(), 3);
        // The long text's 95th percentile takes all the room: 240 wide; its median is 1/1.2 of that.
        assert!(bars.contains("width=\"200.0\""), "{bars}");
        assert_eq!(columns.matches("class=\"bar\"").count(), 5);
        assert!(columns.contains("height=\"136.0\""), "{columns}");
        for size in ["1", "5", "10", "20", "64"] {
            assert!(columns.contains(&format!(">{size}</text>")), "{size}");
        }
    }

    #[test]
    fn the_file_is_whole_and_refers_to_nothing() {
        let svg = file(&example("<&>"));
        assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("http").count(), 1, "the name space alone");
        assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}

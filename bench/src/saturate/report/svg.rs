//! The chart: throughput, CPU and latency over subscribers.

use std::fmt::Write;

use super::axis::Axis;
use super::{escape, grouped};
use crate::fanout::measure::Measurement;
use crate::saturate::curve::{Curve, Step};
use crate::saturate::limit::MAX_P99_US;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 190.0;
const PANEL: f64 = 190.0;
const GAP: f64 = 58.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 44.0;
const PANELS: usize = 3;

/// Colours for light and dark surroundings.
const STYLE: &str = "\
.curve{--ink:#1b1f24;--soft:#59636e;--grid:#d8dee4;--a:#0b62c4;--b:#b35900;--c:#8250df;--over:#cf222e;\
font:13px system-ui,-apple-system,'Segoe UI',sans-serif;fill:var(--ink)}\
@media(prefers-color-scheme:dark){.curve{--ink:#e6edf3;--soft:#9198a1;--grid:#30363d;--a:#58a6ff;--b:#f0883e;\
--c:#bc8cff;--over:#ff7b72}}\
.curve .title{font-weight:600}.curve .soft{fill:var(--soft)}.curve .grid{stroke:var(--grid)}\
.curve .limit{stroke:var(--soft);stroke-dasharray:5 4}\
.curve .line{fill:none;stroke-width:2;stroke-linejoin:round}\
.curve .a{stroke:var(--a)}.curve .b{stroke:var(--b)}.curve .c{stroke:var(--c)}\
.curve .dot.a{fill:var(--a)}.curve .dot.b{fill:var(--b)}.curve .dot.c{fill:var(--c)}\
.curve .dot.over{fill:var(--over);stroke:var(--over)}.curve text.a,.curve text.b,.curve text.c{stroke:none}\
.curve text.a{fill:var(--a)}.curve text.b{fill:var(--b)}.curve text.c{fill:var(--c)}";

/// One line of a panel in the chart.
struct Series {
    name: String,
    class: &'static str,
    value: Value,
}

/// Returns a value of a step, if it was measured.
type Value = Box<dyn Fn(&Measurement) -> Option<f64>>;

/// A panel of the chart: series, and values marked by horizontal lines.
struct Panel {
    title: &'static str,
    series: Vec<Series>,
    marks: Vec<(f64, String)>,
    logarithmic: bool,
}

/// The chart as an SVG document.
pub fn draw(curve: &Curve) -> String {
    let height = TOP + PANELS as f64 * PANEL + (PANELS - 1) as f64 * GAP + BOTTOM;
    let most = curve
        .steps
        .iter()
        .map(|step| step.measurement.subscribers)
        .max()
        .unwrap_or(1);
    let x = Axis::linear(most as f64, LEFT, WIDTH - RIGHT);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"curve\" viewBox=\"0 0 {WIDTH} {height}\" \
         role=\"img\" aria-label=\"{}\"><style>{STYLE}</style>\n",
        escape(&format!(
            "Subscribers against throughput, processors and latency. Limit: {}",
            curve.limit_text
        )),
    );
    let shown = curve.shown();
    for (index, panel) in panels(curve).iter().enumerate() {
        let top = TOP + index as f64 * (PANEL + GAP);
        draw_panel(&mut out, panel, &shown, &x, top);
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">subscribers</text></svg>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        height - 6.0
    );
    out
}

fn panels(curve: &Curve) -> [Panel; PANELS] {
    let series = |name: &str, class, value: fn(&Measurement) -> Option<f64>| Series {
        name: name.into(),
        class,
        value: Box::new(value),
    };
    let mut speeds = Vec::new();
    if let Some(link) = curve.link_bps {
        speeds.push((
            link as f64 / 1e9,
            format!("link {} Gb/s", link as f64 / 1e9),
        ));
    }
    if let (Some(ceiling), Some(best)) = (curve.ceiling_sendmmsg_pps, curve.best()) {
        let bits = best.delivered_gbps / best.delivered_pps.max(1.0);
        speeds.push((ceiling * bits, "plain sendmmsg".into()));
    }
    let shards = curve
        .best()
        .map_or_else(Vec::new, |m| m.shard_busy.keys().cloned().collect());
    let mut processors: Vec<Series> = shards
        .into_iter()
        .map(|shard| Series {
            name: format!("shard {shard}"),
            class: "a",
            value: Box::new(move |m| Some(m.shard_busy.get(&shard)? * 100.0)),
        })
        .collect();
    processors.push(series("load generator", "b", |m| {
        Some(m.load_generator_busy * 100.0)
    }));
    let ms = |us: u64| Some(us as f64 / 1e3);
    [
        Panel {
            title: "Delivered, Gb/s of UDP payload",
            series: vec![series("delivered", "a", |m| Some(m.delivered_gbps))],
            marks: speeds,
            logarithmic: false,
        },
        Panel {
            title: "Processor time, % of a core",
            series: processors,
            marks: vec![(100.0, "one core".into())],
            logarithmic: false,
        },
        Panel {
            title: "Latency from publisher to subscriber, ms",
            series: vec![
                Series {
                    value: Box::new(move |m| ms(m.latency_us.p50)),
                    ..series("p50", "a", |_| None)
                },
                Series {
                    value: Box::new(move |m| ms(m.latency_us.p99)),
                    ..series("p99", "b", |_| None)
                },
                Series {
                    value: Box::new(move |m| ms(m.latency_us.p999)),
                    ..series("p99.9", "c", |_| None)
                },
            ],
            marks: vec![(MAX_P99_US as f64 / 1e3, "limit of p99".into())],
            logarithmic: true,
        },
    ]
}

fn draw_panel(out: &mut String, panel: &Panel, steps: &[Step], x: &Axis, top: f64) {
    let values = || {
        let of = |series: &Series| {
            steps
                .iter()
                .filter_map(|s| (series.value)(&s.measurement))
                .collect::<Vec<_>>()
        };
        panel
            .series
            .iter()
            .flat_map(of)
            .chain(panel.marks.iter().map(|(value, _)| *value))
    };
    let most = values().fold(0.0, f64::max);
    let least = values()
        .filter(|value| *value > 0.0)
        .fold(f64::INFINITY, f64::min);
    let y = if panel.logarithmic {
        Axis::logarithmic(least.min(most), most, top + PANEL, top)
    } else {
        Axis::linear(most, top + PANEL, top)
    };
    let (left, right) = (LEFT, WIDTH - RIGHT);
    let _ = writeln!(
        out,
        "<text class=\"title\" x=\"{left}\" y=\"{:.1}\">{}</text>",
        top - 12.0,
        panel.title
    );
    for tick in y.ticks() {
        let at = y.at(tick);
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 8.0,
            at + 4.0,
            number(tick)
        );
    }
    for tick in x.ticks() {
        let _ = writeln!(
            out,
            "<text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x.at(tick),
            top + PANEL + 18.0,
            grouped(tick)
        );
    }
    let mut labels = Vec::new();
    for (value, name) in &panel.marks {
        let at = y.at(*value);
        let _ = writeln!(
            out,
            "<line class=\"limit\" x1=\"{left}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>"
        );
        labels.push((at, "soft", name.clone()));
    }
    for series in &panel.series {
        draw_series(out, series, steps, x, &y, &mut labels);
    }
    write_labels(out, labels, right + 10.0);
}

fn draw_series(
    out: &mut String,
    series: &Series,
    steps: &[Step],
    x: &Axis,
    y: &Axis,
    labels: &mut Vec<(f64, &'static str, String)>,
) {
    let class = series.class;
    let mut points = Vec::new();
    for step in steps {
        if let Some(value) = (series.value)(&step.measurement) {
            let x = x.at(step.measurement.subscribers as f64);
            points.push((x, y.at(value), value, step));
        }
    }
    let path: Vec<_> = points
        .iter()
        .map(|(x, y, ..)| format!("{x:.1},{y:.1}"))
        .collect();
    let _ = writeln!(
        out,
        "<polyline class=\"line {class}\" points=\"{}\"/>",
        path.join(" ")
    );
    for (x, y, value, step) in &points {
        let (over, words) = if step.passed {
            ("", "")
        } else {
            (" over", ", over the limit")
        };
        let _ = writeln!(
            out,
            "<circle class=\"dot {class}{over}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\">\
             <title>{} subscribers: {} {}{words}</title></circle>",
            grouped(step.measurement.subscribers as f64),
            escape(&series.name),
            number(*value),
        );
    }
    if let Some((_, y, ..)) = points.last() {
        labels.push((*y, class, series.name.clone()));
    }
}

/// Writes the names beside their lines, moved apart where they would overlap.
fn write_labels(out: &mut String, mut labels: Vec<(f64, &'static str, String)>, x: f64) {
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut free = f64::NEG_INFINITY;
    for (wanted, class, name) in labels {
        let y = (wanted + 4.0).max(free);
        free = y + 15.0;
        let _ = writeln!(
            out,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
            escape(&name)
        );
    }
}

/// Formats a value with the needed decimals.
fn number(value: f64) -> String {
    if value >= 1_000.0 {
        return grouped(value);
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::saturate::curve::tests::example;

    /// Checks that all elements are closed in order, and that text is escaped.
    pub(crate) fn assert_well_formed(text: &str) {
        let mut open = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('<') {
            assert!(
                !before.contains('>') || open.last() == Some(&"style"),
                "stray > in {before:?}"
            );
            let (tag, after) = after.split_once('>').expect("a tag ends");
            rest = after;
            let name = tag
                .trim_start_matches('/')
                .split([' ', '/', '\n'])
                .next()
                .unwrap();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "</{name}> closes nothing");
            } else if !tag.ends_with('/')
                && !tag.starts_with('!')
                && !["meta", "br"].contains(&name)
            {
                open.push(name);
            }
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn the_picture_is_well_formed_and_within_its_frame() {
        let svg = draw(&example());
        assert_well_formed(&svg);
        assert_eq!(svg.matches("<polyline").count(), 6);
        // One mark for each of three lines at each of two failed steps.
        assert_eq!(svg.matches("dot a over").count(), 6);
        for part in [
            "Gb/s",
            "p99.9",
            "shard 0",
            "subscribers",
            "plain sendmmsg",
            "limit of p99",
        ] {
            assert!(svg.contains(part), "{part}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn a_curve_without_steps_is_a_picture_too() {
        let mut curve = example();
        curve.steps.clear();
        let svg = draw(&curve);
        assert_well_formed(&svg);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}

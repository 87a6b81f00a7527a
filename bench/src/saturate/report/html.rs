//! The page with the chart: results, limit, all steps, host and method.

use std::fmt::Write;

use super::{escape, grouped, svg};
use crate::fanout::measure::Measurement;
use crate::host::facts::Facts;
use crate::saturate::curve::{Curve, Step};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--line:#d8dee4;--paper:#fff;--card:#f6f8fa;--over:#cf222e}\
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--line:#30363d;--paper:#0d1117;--card:#151b23;\
--over:#ff7b72}}\
body{margin:0 auto;max-width:1080px;padding:32px 20px 64px;background:var(--paper);color:var(--ink);\
font:15px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif}\
h1{font-size:26px;margin:0}h2{font-size:18px;margin:36px 0 10px}p{margin:6px 0 0}.soft{color:var(--soft)}\
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:24px 0 8px}\
.tile{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 14px}\
.tile b{display:block;font-size:24px;line-height:1.2}\
.limit{border-left:4px solid var(--over);background:var(--card);padding:10px 14px;margin:16px 0}\
svg{width:100%;height:auto;margin-top:8px}.scroll{overflow-x:auto}\
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\
th,td{padding:5px 9px;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}\
th:first-child,td:first-child{text-align:left}th{color:var(--soft);font-weight:600}tr.over td{color:var(--over)}\
.facts td{text-align:left;white-space:normal}.facts td:first-child{color:var(--soft);width:12em}\
code{font:13px ui-monospace,monospace;background:var(--card);border:1px solid var(--line);border-radius:6px;\
padding:8px 12px;display:block;overflow-x:auto}";

/// The HTML page of the report.
pub fn page(curve: &Curve) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>How many subscribers one host carries</title><style>{STYLE}</style></head>\n<body>\n"
    );
    let _ = writeln!(
        out,
        "<h1>How many subscribers one host carries</h1><p class=\"soft\">{} publishers of {}. \
         Through {}; every packet counted where it arrives.</p>",
        curve.publishers,
        escape(&curve.media),
        curve.server
    );
    tiles(&mut out, curve);
    let _ = writeln!(
        out,
        "<div class=\"limit\"><b>Limit:</b> {}</div>\n<h2>The curve</h2>\n{}",
        escape(&curve.limit_text),
        svg::draw(curve)
    );
    steps(&mut out, &curve.steps);
    hosts(&mut out, curve);
    let _ = writeln!(
        out,
        "<h2>To measure it again</h2><code>{}</code>\n</body></html>",
        escape(&curve.command)
    );
    out
}

fn tiles(out: &mut String, curve: &Curve) {
    let Some(best) = curve.best() else {
        out.push_str("<p>No step was carried.</p>\n");
        return;
    };
    let optional = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "not known".into(), |value| format!("{value:.digits$}"))
    };
    let memory = best.rss_bytes_per_subscriber.map(|bytes| bytes / 1024.0);
    let tiles = [
        (grouped(best.subscribers as f64), "subscribers carried"),
        (format!("{:.2}", best.delivered_gbps), "Gb/s delivered"),
        (grouped(best.delivered_pps), "packets/s delivered"),
        (
            optional(best.cpu_ns_per_packet, 0),
            "ns of processor time for each packet",
        ),
        (
            format!("{:.2}", best.latency_us.p99 as f64 / 1e3),
            "ms latency, p99",
        ),
        (
            curve.peak_pps().map_or("not known".into(), grouped),
            "packets/s at most without loss, latency aside",
        ),
        (
            optional(curve.ratio_to_ceiling(), 2),
            "times what plain sendmmsg delivers here",
        ),
        (
            optional(curve.peak_ratio_to_ceiling(), 2),
            "times it at most, latency aside",
        ),
        (
            optional(best.run_length_mean, 1),
            "packets joined for each send",
        ),
        (optional(memory, 0), "KiB of memory for each subscriber"),
    ];
    out.push_str("<div class=\"tiles\">");
    for (value, what) in tiles.iter().filter(|(value, _)| value != "not known") {
        let _ = write!(
            out,
            "<div class=\"tile\"><b>{value}</b><span class=\"soft\">{what}</span></div>"
        );
    }
    out.push_str("</div>\n");
}

fn steps(out: &mut String, steps: &[Step]) {
    out.push_str(
        "<h2>Every step</h2><div class=\"scroll\"><table><tr><th>subscribers</th><th>Gb/s</th><th>packets/s</th>\
         <th>lost %</th><th>p50 ms</th><th>p99 ms</th><th>p99.9 ms</th><th>max ms</th><th>ns/packet</th>\
         <th>joined</th><th>busiest shard %</th><th>load %</th></tr>\n",
    );
    for Step {
        passed,
        measurement: m,
    } in steps
    {
        let class = if *passed { "" } else { " class=\"over\"" };
        let _ = writeln!(out, "<tr{class}>{}</tr>", cells(m));
    }
    out.push_str(
        "</table></div><p class=\"soft\">Red steps were over the limit. Gb/s count UDP payload. Latency is \
         taken from a decrypted sample, from the publisher's send to the kernel's receipt at the subscriber. \
         Processor time is that of the server's process; interrupts are not in it.</p>\n",
    );
}

fn cells(m: &Measurement) -> String {
    let ms = |us: u64| format!("{:.2}", us as f64 / 1e3);
    let optional = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "–".into(), |value| format!("{value:.digits$}"))
    };
    let busiest = m.shard_busy.values().copied().reduce(f64::max);
    let cells = [
        grouped(m.subscribers as f64),
        format!("{:.3}", m.delivered_gbps),
        grouped(m.delivered_pps),
        format!("{:.4}", m.lost_fraction * 100.0),
        ms(m.latency_us.p50),
        ms(m.latency_us.p99),
        ms(m.latency_us.p999),
        ms(m.latency_us.max),
        optional(m.cpu_ns_per_packet, 0),
        optional(m.run_length_mean, 1),
        optional(busiest.map(|busy| busy * 100.0), 0),
        format!("{:.0}", m.load_generator_busy * 100.0),
    ];
    cells
        .iter()
        .map(|cell| format!("<td>{cell}</td>"))
        .collect()
}

fn hosts(out: &mut String, curve: &Curve) {
    out.push_str("<h2>Where</h2><table class=\"facts\">");
    let mut row = |name: &str, value: &str| {
        let _ = write!(out, "<tr><td>{name}</td><td>{}</td></tr>", escape(value));
    };
    let hosts = [
        ("server", curve.host.as_ref()),
        ("load", Some(&curve.load_host)),
    ];
    for (name, facts) in hosts {
        let Some(facts) = facts else { continue };
        row(&format!("{name}: host"), &host(facts));
        if let Some(nic) = &facts.nic {
            let features: Vec<_> = nic
                .features
                .iter()
                .map(|(name, state)| format!("{name} {state}"))
                .collect();
            let driver = nic.driver.as_deref().unwrap_or("unknown driver");
            let text = format!(
                "{} ({driver}), {} receive and {} transmit queues; {}",
                nic.interface,
                nic.rx_queues,
                nic.tx_queues,
                features.join(", ")
            );
            row(&format!("{name}: device"), &text);
        }
    }
    if let Some(link) = curve.link_bps {
        row("link", &format!("{} Gb/s", link as f64 / 1e9));
    }
    if let Some(ceiling) = curve.ceiling_sendmmsg_pps {
        let text = format!(
            "{} datagrams/s delivered, plain, in the same run",
            grouped(ceiling)
        );
        row("sendmmsg", &text);
    }
    out.push_str("</table>\n");
}

fn host(facts: &Facts) -> String {
    let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".into());
    format!(
        "{}, Linux {}, commit {}",
        or(&facts.cpu),
        or(&facts.kernel),
        or(&facts.commit)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::saturate::curve::tests::example;
    use crate::saturate::report::svg::tests::assert_well_formed;

    #[test]
    fn the_page_stands_alone_and_says_all() {
        let page = page(&example());
        assert_well_formed(&page);
        for part in [
            "900</b>",
            "the CPU of shard 0: busy 98 % of the time",
            "scripts/bench saturate &amp; more",
            "VP8 2 Mb/s &lt;30 frames/s&gt;",
            "class=\"over\"",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert!(!page.contains("src=") && !page.contains("href=") && !page.contains("url("));
    }

    #[test]
    fn a_run_that_carried_nothing_says_so() {
        let mut curve = example();
        curve.steps.retain(|step| !step.passed);
        let page = page(&curve);
        assert_well_formed(&page);
        assert!(page.contains("No step was carried"));
    }
}

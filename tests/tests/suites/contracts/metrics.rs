//! Metrics of both planes, in the requested format, checked with Prometheus' promtool.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::Context;

use super::fixtures::{Rows, TestServers};
use super::signaling_client::get;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The Accept header of Prometheus 2.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

pub(super) fn rows(servers: &TestServers, rows: &mut Rows) -> anyhow::Result<()> {
    let control = (format!("{}/metrics", servers.server.url), "spillway");
    let media = (servers.media.metrics_url(), "spillway_dataplane");
    for (url, prefix) in [control, media] {
        for (accept, kind) in [
            ("", TEXT),
            ("*/*", TEXT),
            ("text/plain", TEXT),
            ("application/json", TEXT),
            ("application/openmetrics-text", OPEN),
            (PROMETHEUS, OPEN),
            ("application/openmetrics-text;q=0.1, text/plain", TEXT),
        ] {
            let headers = [("accept", accept)];
            let headers = if accept.is_empty() { &[][..] } else { &headers };
            let (status, found, text) = get(&url, headers)?;
            let row = format!("{prefix} {accept}");
            rows.same(
                "the format that is asked for",
                &row,
                ((status, &*found), (200, kind)),
            );
            rows.same(
                "OpenMetrics has an end",
                &row,
                (text.ends_with("# EOF\n"), kind == OPEN),
            );
        }
        let (_, _, text) = get(&url, &[])?;
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_start_time_seconds",
        ] {
            let line = format!("\n{name} ");
            rows.says("the process is described", prefix, (&text, &line));
        }
        rows.says(
            "the build is described",
            prefix,
            (&text, &format!("\n{prefix}_build_info{{")),
        );
        rows.says("the build is described", prefix, (&text, "commit=\""));
        let lint = promtool(&text)?;
        rows.same(
            "promtool check metrics",
            prefix,
            (lint, (true, String::new())),
        );
        let (_, _, open) = get(&url, &[("accept", "application/openmetrics-text")])?;
        rows.same(
            "families of OpenMetrics",
            prefix,
            (strays(&open), Vec::new()),
        );
    }
    let (_, _, text) = get(&servers.media.metrics_url(), &[])?;
    for name in [
        "first_frame_seconds",
        "freeze_seconds",
        "subscriber_loss_ratio",
        "rtt_seconds",
        "estimate_bytes_per_second",
    ] {
        let line = format!("# TYPE spillway_dataplane_{name} histogram");
        rows.says("quality of calls", name, (&text, &line));
    }
    let (_, _, text) = get(&format!("{}/metrics", servers.server.url), &[])?;
    let joins = text
        .lines()
        .find_map(|line| line.strip_prefix("spillway_join_seconds_count "));
    let is_counted = joins.is_some_and(|count| count != "0");
    rows.same("quality of calls", "join_seconds", (is_counted, true));
    Ok(())
}

/// True if promtool accepts the text; with its output.
fn promtool(text: &str) -> anyhow::Result<(bool, String)> {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start promtool: apt-get install prometheus")?;
    child
        .stdin
        .take()
        .context("no input")?
        .write_all(text.as_bytes())?;
    let said = child.wait_with_output()?;
    let told = [said.stdout, said.stderr].concat();
    Ok((
        said.status.success(),
        String::from_utf8_lossy(&told).into_owned(),
    ))
}

/// Samples without a family before them, or between samples of another family.
fn strays(open: &str) -> Vec<String> {
    let (mut family, mut kind) = (String::new(), String::new());
    let mut told = std::collections::BTreeSet::new();
    let mut strays = Vec::new();
    for line in open.lines().filter(|line| *line != "# EOF") {
        if let Some((name, of)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            (family, kind) = (name.to_owned(), of.to_owned());
            if !told.insert(family.clone()) {
                strays.push(line.to_owned());
            }
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let suffixes: &[&str] = match &*kind {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            if !suffixes
                .iter()
                .any(|suffix| name == format!("{family}{suffix}"))
            {
                strays.push(line.to_owned());
            }
        }
    }
    strays
}

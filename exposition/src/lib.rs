//! Exposes metrics in two text formats, and adds the metrics of the process. A program writes
//! OpenMetrics; this crate converts it to the requested format.

mod format; // choice of the format
mod process; // metrics of the process, process_*
mod text; // OpenMetrics to Prometheus' text format

pub use format::Format;
pub use process::process;

/// The last line of OpenMetrics.
const END: &str = "# EOF\n";

/// `metrics` (OpenMetrics, with or without its last line) and the metrics of this process, in
/// `format`.
pub fn expose(metrics: &str, format: Format) -> String {
    let mut all = metrics.strip_suffix(END).unwrap_or(metrics).to_owned();
    process(&mut all);
    all.push_str(END);
    match format {
        Format::OpenMetrics => all,
        Format::Text => text::of_open_metrics(&all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_tell_of_the_process_and_end_as_they_should() {
        let metrics = "# HELP a_b Some.\n# TYPE a_b counter\na_b_total 7\n# EOF\n";
        let open = expose(metrics, Format::OpenMetrics);
        assert!(
            open.ends_with("\n# EOF\n") && open.matches("# EOF").count() == 1,
            "{open}"
        );
        let text = expose(metrics, Format::Text);
        assert!(!text.contains("EOF"), "{text}");
        for line in [
            "# TYPE a_b_total counter",
            "# TYPE process_cpu_seconds_total counter",
            "a_b_total 7",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in {text}"
            );
        }
        for line in [
            "# TYPE a_b counter",
            "# TYPE process_cpu_seconds counter",
            "# TYPE process_open_fds gauge",
        ] {
            assert!(
                open.lines().any(|found| found == line),
                "{line} is not in {open}"
            );
        }
    }
}

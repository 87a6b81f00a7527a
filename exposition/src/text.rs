//! Converts OpenMetrics 1.0 to Prometheus' text format 0.0.4. That format names the family of a counter after its
//! samples, has no units and no end marker, and has other names for two types.

use std::collections::HashMap;

/// Converts the metrics to Prometheus' text format.
pub(crate) fn of_open_metrics(open: &str) -> String {
    let kinds: HashMap<&str, &str> = open
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    // Counters and infos get the name of their samples.
    let name_of = |family: &str| match kinds.get(family) {
        Some(&"counter") => format!("{family}_total"),
        Some(&"info") => format!("{family}_info"),
        _ => family.to_owned(),
    };
    let mut text = String::with_capacity(open.len());
    for line in open.lines() {
        let comment = line.strip_prefix("# ").map(|rest| rest.splitn(3, ' '));
        let Some(mut words) = comment else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        match (words.next(), words.next(), words.next()) {
            (Some("HELP"), Some(family), Some(help)) => {
                // Only OpenMetrics escapes quotes.
                let help = help.replace("\\\"", "\"");
                text.push_str(&format!("# HELP {} {help}\n", name_of(family)));
            }
            (Some("TYPE"), Some(family), Some(kind)) => {
                let kind = match kind {
                    "info" | "stateset" => "gauge",
                    "unknown" => "untyped",
                    kind => kind,
                };
                text.push_str(&format!("# TYPE {} {kind}\n", name_of(family)));
            }
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_named_after_their_samples() {
        let open = "# HELP a Said \\\"so\\\".\n# TYPE a counter\na_total{x=\"# y\"} 1\n# HELP b_seconds Long.\n\
                    # TYPE b_seconds histogram\n# UNIT b_seconds seconds\nb_seconds_bucket{le=\"+Inf\"} 1\n\
                    # HELP c What.\n# TYPE c info\nc_info{v=\"1\"} 1\n# TYPE d unknown\nd 1\n# EOF\n";
        let text = "# HELP a_total Said \"so\".\n# TYPE a_total counter\na_total{x=\"# y\"} 1\n# HELP b_seconds Long.\n\
                    # TYPE b_seconds histogram\nb_seconds_bucket{le=\"+Inf\"} 1\n\
                    # HELP c_info What.\n# TYPE c_info gauge\nc_info{v=\"1\"} 1\n# TYPE d untyped\nd 1\n";
        assert_eq!(of_open_metrics(open), text);
    }
}

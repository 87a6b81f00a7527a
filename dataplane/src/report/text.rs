//! Text format of metrics (OpenMetrics).

use crate::key::ShardId;

/// Writes the lines before the values of a metric. The family name of a counter has no `_total`.
pub(super) fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    let name = match kind {
        "counter" => name.strip_suffix("_total").unwrap_or(name),
        _ => name,
    };
    out.push_str(&format!(
        "# HELP spillway_dataplane_{name} {help}\n# TYPE spillway_dataplane_{name} {kind}\n"
    ));
}

pub(super) fn histogram(
    out: &mut String,
    (name, shard): (&str, ShardId),
    buckets: Vec<(String, u64)>,
    (rest, sum): (u64, f64),
) {
    let mut below = 0;
    for (bound, count) in buckets.into_iter().chain([("+Inf".to_owned(), rest)]) {
        below += count;
        out.push_str(&format!(
            "spillway_dataplane_{name}_bucket{{shard=\"{shard}\",le=\"{bound}\"}} {below}\n"
        ));
    }
    out.push_str(&format!(
        "spillway_dataplane_{name}_sum{{shard=\"{shard}\"}} {sum}\n"
    ));
    out.push_str(&format!(
        "spillway_dataplane_{name}_count{{shard=\"{shard}\"}} {below}\n"
    ));
}

//! Metrics of this process, read from `/proc` at each scrape, with Prometheus' usual names.

use std::fs;

/// Clock ticks per second of times in `/proc` (USER_HZ, proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// Appends the metrics of this process in OpenMetrics. Metrics that cannot be read are left out.
pub fn process(out: &mut String) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields from the third one on. The second is the program's name in parentheses, which may have
    // spaces.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or(Vec::new(), |(_, rest)| {
        rest.split_ascii_whitespace().collect()
    });
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |name: &str| Some(word_after(&status, name)? * 1_024.0);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let cpu = field(14)
        .zip(field(15))
        .map(|(user, system)| (user + system) / TICKS_PER_SECOND);
    let boot = fs::read_to_string("/proc/stat").ok();
    let boot = boot.and_then(|stat| word_after(&stat, "btime"));
    let start = field(22)
        .zip(boot)
        .map(|(ticks, boot)| boot + ticks / TICKS_PER_SECOND);
    for (name, kind, help, value) in [
        (
            "process_cpu_seconds",
            "counter",
            "User and system time of the process",
            cpu,
        ),
        (
            "process_open_fds",
            "gauge",
            "Open file descriptors",
            open_files(),
        ),
        (
            "process_max_fds",
            "gauge",
            "File descriptors that may be open",
            word_after(&limits, "Max open files"),
        ),
        (
            "process_virtual_memory_bytes",
            "gauge",
            "Virtual memory",
            bytes("VmSize:"),
        ),
        (
            "process_resident_memory_bytes",
            "gauge",
            "Resident memory",
            bytes("VmRSS:"),
        ),
        (
            "process_start_time_seconds",
            "gauge",
            "Unix time at which the process started",
            start,
        ),
    ] {
        let Some(value) = value else {
            continue;
        };
        let suffix = if kind == "counter" { "_total" } else { "" };
        out.push_str(&format!(
            "# HELP {name} {help}.\n# TYPE {name} {kind}\n{name}{suffix} {value}\n"
        ));
    }
}

/// The number after `name`, in the line that starts with `name`.
fn word_after(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// Since Linux 6.2 the size of the directory is the number of open files; before that they are
/// counted.
fn open_files() -> Option<f64> {
    let size = fs::metadata("/proc/self/fd").ok()?.len();
    match size {
        0 => Some(fs::read_dir("/proc/self/fd").ok()?.count() as f64),
        size => Some(size as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_described() {
        let mut out = String::new();
        process(&mut out);
        let value = |name: &str| {
            let line = out
                .lines()
                .find(|line| line.starts_with(&format!("{name} ")));
            line.unwrap()
                .rsplit(' ')
                .next()
                .unwrap()
                .parse::<f64>()
                .unwrap()
        };
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let age = now.as_secs_f64() - value("process_start_time_seconds");
        assert!((-2.0..3_600.0).contains(&age), "{age}");
        assert!(
            value("process_open_fds") >= 3.0
                && value("process_max_fds") >= value("process_open_fds")
        );
        assert!(value("process_resident_memory_bytes") > 500_000.0);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_cpu_seconds_total") >= 0.0);
    }
}

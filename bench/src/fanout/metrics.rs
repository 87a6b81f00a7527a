//! Reads the data plane's metrics over HTTP during the load.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;

use crate::http;

/// One reading: values by metric name with labels, as printed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics(BTreeMap<String, f64>);

/// Reads the metrics regularly while the load runs.
pub struct Watcher {
    thread: JoinHandle<anyhow::Result<Watched>>,
    stop: Arc<AtomicBool>,
}

/// Metrics at the start and at the end.
#[derive(Debug, Default)]
pub struct Watched {
    /// Metrics at the start of the window.
    pub first: Metrics,
    /// Metrics at the end of the window.
    pub last: Metrics,
    /// Fraction of the time that each shard worked.
    pub busy: BTreeMap<String, f64>,
}

const PREFIX: &str = "spillway_dataplane_";
const PERIOD: Duration = Duration::from_millis(500);

impl Metrics {
    /// Reads the metrics from `addr`.
    pub fn fetch(addr: SocketAddr) -> anyhow::Result<Self> {
        let url = format!("http://{addr}/metrics");
        let answer = http::agent()
            .get(&url)
            .call()
            .with_context(|| format!("no metrics at {url}"))?;
        Ok(Self::parse(&answer.into_body().read_to_string()?))
    }

    /// Reads the Prometheus text format.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.strip_prefix(PREFIX));
        let pairs = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(pairs.collect())
    }

    /// The sum over all labels; `None` when the metric does not exist.
    pub fn sum(&self, name: &str) -> Option<f64> {
        let values = self
            .0
            .iter()
            .filter(|(key, _)| key.split('{').next() == Some(name));
        values.map(|(_, value)| *value).reduce(|a, b| a + b)
    }

    /// Summed by the value of `label`.
    pub fn by_label(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        let quoted = format!("{label}=\"");
        for (key, value) in &self.0 {
            let Some((metric, labels)) = key.split_once('{') else {
                continue;
            };
            let of_label = labels
                .split_once(&quoted)
                .and_then(|(_, rest)| rest.split('"').next());
            if let Some(of_label) = of_label.filter(|_| metric == name) {
                *sums.entry(of_label.to_owned()).or_insert(0.0) += value;
            }
        }
        sums
    }
}

impl Watcher {
    /// Starts to read the metrics at `addr`.
    pub fn start(addr: SocketAddr) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let first = Metrics::fetch(addr)?;
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || watch(addr, first, &seen));
        Ok(Self { thread, stop })
    }

    /// Stops recording busy times.
    pub fn pause(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Stops the readings, and reads the counters once more.
    pub fn finish(self, addr: SocketAddr) -> anyhow::Result<Watched> {
        self.pause();
        let watched = self.thread.join().expect("watching does not panic")?;
        // Shards report four times a second.
        std::thread::sleep(PERIOD);
        let last = Metrics::fetch(addr)?;
        Ok(Watched { last, ..watched })
    }
}

fn watch(addr: SocketAddr, first: Metrics, stop: &AtomicBool) -> anyhow::Result<Watched> {
    let (mut sums, mut readings) = (BTreeMap::<String, f64>::new(), 0);
    loop {
        std::thread::sleep(PERIOD);
        if stop.load(Ordering::Acquire) {
            break;
        }
        let busy = Metrics::fetch(addr)?.by_label("shard_busy_ratio", "shard");
        busy.into_iter()
            .for_each(|(shard, value)| *sums.entry(shard).or_default() += value);
        readings += 1;
    }
    sums.values_mut()
        .for_each(|sum| *sum /= f64::from(readings.max(1)));
    Ok(Watched {
        first,
        last: Metrics::default(),
        busy: sums,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_summed_over_labels() {
        let metrics = Metrics::parse(
            "# HELP spillway_dataplane_x y\n\
             spillway_dataplane_drops_total{shard=\"0\",reason=\"a\"} 3\n\
             spillway_dataplane_drops_total{shard=\"1\",reason=\"a\"} 4\n\
             spillway_dataplane_drops_total{shard=\"1\",reason=\"b\"} 5\n\
             spillway_dataplane_drops_total_other{shard=\"1\"} 9\n\
             other 4\n",
        );
        assert_eq!(metrics.sum("drops_total"), Some(12.0));
        assert_eq!(metrics.sum("nothing"), None);
        let by_reason = metrics.by_label("drops_total", "reason");
        assert_eq!(
            by_reason,
            BTreeMap::from([("a".into(), 7.0), ("b".into(), 5.0)])
        );
    }
}

//! Chooses the format of metrics from the scraper's Accept header (RFC 9110 section 12.5.1).

/// Text format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Text,
    /// Text format of OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format that the values of Accept prefer; the older format if they prefer none or accept
    /// neither.
    pub fn of_accept<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let (mut text, mut open) = (Weight::default(), Weight::default());
        for range in values.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut version, mut quality) = (None, 1.0);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                let value = value.trim().trim_matches('"');
                match &*name.trim().to_ascii_lowercase() {
                    "version" => version = Some(value.to_owned()),
                    "q" => quality = value.parse().unwrap_or(0.0),
                    _ => {}
                }
            }
            let is = |wanted: &str| version.as_deref().is_none_or(|version| version == wanted);
            match &*kind {
                "application/openmetrics-text" if is("1.0.0") => open.prefer(3, quality),
                "application/*" => open.prefer(2, quality),
                "text/plain" if is("0.0.4") => text.prefer(3, quality),
                "text/*" => text.prefer(2, quality),
                "*/*" => {
                    text.prefer(1, quality);
                    open.prefer(1, quality);
                }
                _ => {}
            }
        }
        let is_preferred = open.quality > text.quality
            || (open.precision > text.precision && open.quality == text.quality);
        match is_preferred && open.quality > 0.0 {
            true => Self::OpenMetrics,
            false => Self::Text,
        }
    }

    /// Value of the Content-Type header of an answer in this format.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Weight of a format in Accept. The most specific matching range counts.
#[derive(Debug, Default)]
struct Weight {
    precision: u8,
    quality: f64,
}

impl Weight {
    fn prefer(&mut self, precision: u8, quality: f64) {
        let is_better = precision == self.precision && quality > self.quality;
        if precision > self.precision || is_better {
            *self = Self { precision, quality };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrapers_get_what_they_prefer() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, format) in [
            (prometheus, Format::OpenMetrics),
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/plain", Format::Text),
            ("text/plain; version=0.0.4, */*;q=0.5", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            (
                "application/openmetrics-text; version=\"1.0.0\"; charset=utf-8",
                Format::OpenMetrics,
            ),
            (
                "Application/OpenMetrics-Text, text/plain;q=0.9",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;q=0.3, text/plain;q=0.9",
                Format::Text,
            ),
            ("application/openmetrics-text;q=0, */*", Format::Text),
            ("application/openmetrics-text; version=0.0.1", Format::Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text),
            ("application/json", Format::Text),
            ("application/openmetrics-text;q=x", Format::Text),
        ] {
            assert_eq!(Format::of_accept([accept].into_iter()), format, "{accept}");
        }
        let two = ["text/plain;q=0.5", "application/openmetrics-text"];
        assert_eq!(Format::of_accept(two.into_iter()), Format::OpenMetrics);
    }
}

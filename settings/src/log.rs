//! The log: syntax of its filter, and its start.
//!
//! A filter is a comma-separated list of `LEVEL`, `TARGET=LEVEL` or `TARGET::MODULE`. A target is the path of a module.

use std::io::IsTerminal as _;

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Starts logging to stderr with the filter `text`. Returns why the filter is wrong.
///
/// # Panics
///
/// If logging was started before.
pub fn start_log(text: &str) -> Result<(), String> {
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        // It would panic if stderr is closed.
        .log_internal_errors(false);
    let filter = parse(text)?;
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .init();
    Ok(())
}

/// Checks a filter without starting the log. Returns why it is wrong.
pub fn check_log(text: &str) -> Result<(), String> {
    parse(text).map(|_| ())
}

/// A misspelled level is refused here; the parser of [`Targets`] takes it for the name of a target.
fn parse(text: &str) -> Result<Targets, String> {
    let mut targets = Targets::new().with_default(LevelFilter::ERROR);
    for directive in text.split(',').map(str::trim) {
        if directive.is_empty() {
            continue;
        }
        if directive.contains(['[', ']', '{', '}']) {
            return Err(format!(
                "'{directive}' filters by span or field; filters are LEVEL or TARGET=LEVEL"
            ));
        }
        let (target, level) = match directive.rsplit_once('=') {
            Some((target, level)) => (Some(target), level),
            None if directive.contains("::") => (Some(directive), "trace"),
            None => (None, directive),
        };
        let filter: Option<LevelFilter> = level.parse().ok();
        let filter = filter.filter(|_| !level.is_empty());
        targets = match (target, filter) {
            (Some(target), Some(filter)) => targets.with_target(target, filter),
            (None, Some(filter)) => targets.with_default(filter),
            (_, None) => return Err(unknown_level(level, target.is_some())),
        };
    }
    Ok(targets)
}

fn unknown_level(level: &str, has_target: bool) -> String {
    let levels = LEVELS.join(", ");
    let hint = match has_target {
        true => String::new(),
        false => format!("; for the target {level} write {level}=trace"),
    };
    format!("'{level}' is none of the levels {levels}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_pass_and_misspelled_levels_do_not() {
        for text in [
            "",
            "info",
            "WARN",
            "3",
            "off",
            "spillway=debug",
            "info,spillway_dataplane::turn=trace",
            "debug, hyper=off",
            "spillway::hub",
        ] {
            assert_eq!(check_log(text), Ok(()), "{text}");
        }
        for (text, said) in [
            (
                "inof",
                "'inof' is none of the levels off, error, warn, info, debug, trace; for the target inof write inof=trace",
            ),
            ("loud", "'loud'"),
            ("7", "'7'"),
            ("info,verbose", "'verbose'"),
            ("spillway=inof", "'inof' is none of the levels"),
            ("spillway=", "'' is none"),
            ("a[b]=info", "'a[b]=info' filters by span or field"),
            ("info,[{room=1}]", "filters by span or field"),
        ] {
            let refused = check_log(text).unwrap_err();
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }

    #[test]
    fn filters_select_by_the_longest_target() {
        use tracing_subscriber::filter::LevelFilter as L;
        let lists = |text: &str, target: &str, level: &L| {
            let targets = parse(text).unwrap();
            targets.would_enable(target, &level.into_level().unwrap())
        };
        for (text, target, most) in [
            ("", "spillway", L::ERROR),
            ("info", "spillway", L::INFO),
            ("2", "spillway", L::WARN),
            ("info, spillway=debug", "spillway::hub", L::DEBUG),
            ("spillway=debug,info", "hyper", L::INFO),
            ("debug,spillway::hub=warn", "spillway::hub::task", L::WARN),
            ("spillway::hub", "spillway::hub", L::TRACE),
            ("spillway::hub", "spillway::room", L::ERROR),
        ] {
            for level in [L::ERROR, L::WARN, L::INFO, L::DEBUG, L::TRACE] {
                assert_eq!(
                    lists(text, target, &level),
                    level <= most,
                    "{text}: {target} {level}"
                );
            }
        }
    }
}

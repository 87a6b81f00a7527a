//! Syntax of log filters: comma-separated `tracing` directives; a single word is a level.

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Checks a list of directives. Without this, a misspelled level would be taken for the name of a
/// target.
pub fn check_log(text: &str) -> Result<(), String> {
    for directive in directives(text).filter(|directive| !directive.trim().is_empty()) {
        let directive = directive.trim();
        // Spans and fields are in brackets, the level comes after them.
        let tail = directive.rsplit(']').next().unwrap_or_default();
        let (level, has_target) = match tail.rsplit_once('=') {
            Some((_, level)) => (level, true),
            None => (tail, tail.len() != directive.len() || tail.contains("::")),
        };
        let is_level = LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level))
            || matches!(level.parse(), Ok(0..=5_u8));
        if !is_level && (!has_target || tail.contains('=')) {
            let levels = LEVELS.join(", ");
            let hint = match has_target {
                true => String::new(),
                false => format!("; for the target {directive} write {directive}=trace"),
            };
            return Err(format!("'{level}' is none of the levels {levels}{hint}"));
        }
    }
    Ok(())
}

/// Splits at commas that are not inside brackets or braces.
fn directives(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    text.split(move |character| {
        match character {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    })
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
            "spillway[{room=a,b}]=debug",
            "spillway::hub",
            "warn,[span]=info",
            "[span{x=1}]",
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
            ("a[b]=loud", "'loud'"),
        ] {
            let refused = check_log(text).unwrap_err();
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }
}

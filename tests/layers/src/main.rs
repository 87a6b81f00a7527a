//! `spillway-layers [ROOT]`: prints every import against the order in ARCHITECTURE.md and every circle of files, one a
//! line, and the figures as one JSON line last. Exits 0 where there are none, 1 where there are some, 2 where the
//! sources cannot be read.

use std::path::Path;
use std::process::ExitCode;

use spillway_layers::{Report, Sources, report};

fn main() -> ExitCode {
    let root = std::env::args_os().nth(1).unwrap_or_else(|| ".".into());
    let read = Sources::of_directory(Path::new(&root)).and_then(|sources| report(&sources));
    match read {
        Ok(report) => conclude(&report),
        Err(error) => {
            eprintln!("spillway-layers: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn conclude(report: &Report) -> ExitCode {
    for finding in &report.findings {
        println!("{finding}");
    }
    println!("{}", report.line());
    ExitCode::from(u8::from(!report.findings.is_empty()))
}

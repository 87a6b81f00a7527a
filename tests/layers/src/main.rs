//! `spillway-layers [ROOT]`: prints each import against the order in ARCHITECTURE.md and each cycle
//! of files on a line, then the figures as one line of JSON. Exits with 0 if there are no findings,
//! with 1 if there are some, and with 2 if the sources cannot be read.

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

//! `spillway-bench`: probes and load generators.

use clap::{Parser, Subcommand};
use spillway_bench::canary;

/// Probes and load generators for Spillway.
#[derive(Parser)]
#[command(name = "spillway-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A synthetic call of two participants; exits 1 with a reason when media does not flow both ways
    Canary(canary::Options),
}

fn main() -> std::process::ExitCode {
    match Cli::parse().command {
        Command::Canary(options) => canary::run(&options),
    }
}

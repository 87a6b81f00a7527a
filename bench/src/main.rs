//! `spillway-bench`: probes and load generators.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use spillway_bench::{canary, ceiling, fanout, host, output, peers, saturate, signal, turn};

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
    /// Publishers and subscribers with real sessions against a running data plane
    Fanout(fanout::Options),
    /// More and more subscribers until something is full, and what that was: JSON, SVG, HTML
    Saturate(saturate::Options),
    /// The same load on Spillway and on Janus, in turns: packets delivered per CPU-second of each
    Peers(peers::Options),
    /// What the host under test can send at all, by every way of handing packets to its kernel
    Ceiling(ceiling::Options),
    /// Many participants on signaling nodes: joins, chat, memory, and what Redis delivers by itself
    Signal(signal::Options),
    /// TURN relays side by side: what they relay and allocate for a second of processor time, memory, latency
    Turn(turn::Options),
    /// Runs on the host under test: reads its usage, and sends what the ceiling wants
    Host(host::agent::Options),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Canary(options) => canary::run(&options),
        Command::Fanout(options) => conclude(fanout::run(&options).map(Some)),
        Command::Saturate(options) => conclude(saturate::run(&options).map(Some)),
        Command::Peers(options) => conclude(peers::run(&options).map(Some)),
        Command::Ceiling(options) => conclude(ceiling::run(&options).map(|()| None)),
        Command::Signal(options) => conclude(signal::run(&options).map(Some)),
        Command::Turn(options) => conclude(turn::run(&options).map(Some)),
        Command::Host(options) => conclude(host::agent::run(&options).map(|()| None)),
    }
}

/// Prints the figures, or what stood against measuring them.
fn conclude(result: anyhow::Result<Option<String>>) -> ExitCode {
    match result {
        Ok(line) => {
            if line.iter().all(|line| output::say(line)) {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(2)
            }
        }
        Err(error) => {
            eprintln!("spillway-bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

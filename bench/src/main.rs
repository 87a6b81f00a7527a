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
    /// Increase subscribers until a resource is exhausted, and name it: JSON, SVG, HTML
    Saturate(saturate::Options),
    /// The same load on Spillway and on Janus, alternating: delivered packets per second of CPU
    Peers(peers::Options),
    /// Maximum send rate of the host under test, with each sending method of the kernel
    Ceiling(ceiling::Options),
    /// Many participants on signaling servers: joins, chat, memory, and the delivery rate of Redis alone
    Signal(signal::Options),
    /// Spillway's TURN server and coturn, alternating: packets and allocations per second of CPU, memory, latency
    Turn(turn::Options),
    /// Agent on the host under test: reads its usage, and sends datagrams for the ceiling
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

/// Prints the result, or the reason why it could not be measured.
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

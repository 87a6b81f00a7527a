//! Settings: mistakes are reported before the start, each with its place. Unusual values cause one
//! warning.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::cli::{program, run};
use super::fixtures::Rows;

const KEYS: &str = "K:0123456789abcdef";
const SERVE: [&str; 5] = [
    "serve",
    "--check",
    "--dataplane-control",
    "unix:/x",
    "--keys",
];

/// Kind, content of the file, mode, and expected output (empty if the file is valid).
const FILES: &[(&str, &str, u32, &str)] = &[
    (
        "a mistake of TOML has a line",
        "listen = '127.0.0.1:0'\nkeys =\n",
        0o600,
        "line 2, is not TOML",
    ),
    (
        "a mistake of TOML has a line",
        "a = 1\n\n[x\n",
        0o600,
        "line 3, is not TOML",
    ),
    (
        "an unknown key has a line",
        "\nlisten = '127.0.0.1:0'\nlitsen = 1\n",
        0o600,
        "line 3, did you mean 'listen'?",
    ),
    (
        "a wrong value has a line",
        "\n\ngrace-seconds = 0\n",
        0o600,
        "line 3)",
    ),
    (
        "a wrong shape has a line",
        "\n[listen]\na = 1\n",
        0o600,
        "line 2)",
    ),
    (
        "secrets that others can read",
        "keys = 'K:0123456789abcdef'\n",
        0o644,
        "chmod o-r",
    ),
    (
        "secrets that others can read",
        "turn-secret = '0123456789abcdef'\n",
        0o604,
        "chmod o-r",
    ),
    ("files without secrets", "grace-seconds = 5\n", 0o644, ""),
    (
        "secrets that others cannot read",
        "keys = 'K:0123456789abcdef'\n",
        0o640,
        "",
    ),
];

pub(super) fn rows(rows: &mut Rows) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let serve = |more: &[&str], variables: &[(&str, &str)]| {
        run(&[&SERVE[..], &[KEYS], more].concat(), variables)
    };
    for (name, args) in [
        ("spillway", &["up", "--check"][..]),
        (
            "spillway",
            &[
                "serve",
                "--check",
                "--dataplane-control",
                "unix:/x",
                "--keys",
                KEYS,
            ],
        ),
        (
            "spillway-dataplane",
            &["--check", "--advertise", "127.0.0.1"],
        ),
    ] {
        let said = program(name, args, &[])?;
        rows.same("--check says that it is good", name, (said.code, Some(0)));
        rows.says(
            "--check says that it is good",
            name,
            (&said.out, "the configuration is good"),
        );
    }
    for name in [
        "shards",
        "udp-port",
        "advertise",
        "state-dir",
        "dataplane-bin",
        "turn-port",
        "ice-tcp",
    ] {
        let flag = format!("--{name}");
        let said = serve(&[&flag, "1"], &[])?;
        let wanted = format!("{name} has no effect on serve");
        rows.same(
            "serve refuses what only up uses",
            name,
            (said.code, Some(1)),
        );
        rows.says(
            "serve refuses what only up uses",
            name,
            (&said.error, &wanted),
        );
    }
    let shared = serve(
        &[],
        &[("SPILLWAY_SHARDS", "0"), ("SPILLWAY_ADVERTISE", "auto")],
    )?;
    rows.same(
        "an environment that both planes share",
        "SHARDS, ADVERTISE",
        (shared.code, Some(0)),
    );
    levels(rows)?;
    files(dir.path(), rows)?;
    variables(rows)
}

fn levels(rows: &mut Rows) -> anyhow::Result<()> {
    for (level, said_wanted) in [
        ("inof", "'inof' is none of the levels"),
        ("spillway=loud", "'loud' is none"),
    ] {
        for (name, args) in [
            ("spillway", &["up", "--check", "--log"][..]),
            ("spillway-dataplane", &["--check", "--log"]),
        ] {
            let said = program(name, &[args, &[level]].concat(), &[])?;
            rows.same("a wrong level is a mistake", level, (said.code, Some(1)));
            rows.says(
                "a wrong level is a mistake",
                level,
                (&said.error, said_wanted),
            );
        }
    }
    Ok(())
}

fn files(dir: &Path, rows: &mut Rows) -> anyhow::Result<()> {
    let file = dir.join("x.toml");
    let path = file.display().to_string();
    let keys = dir.join("keys");
    std::fs::write(&keys, KEYS)?;
    for (kind, text, mode, wanted) in FILES.iter().copied() {
        std::fs::write(&file, text)?;
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode))?;
        let said = run(&["up", "--check", "--config", &path], &[])?;
        let code = if wanted.is_empty() { 0 } else { 1 };
        rows.same(kind, text, (said.code, Some(code)));
        rows.says(kind, text, (&said.error, wanted));
    }
    let named = format!("@{}", keys.display());
    for (mode, code) in [(0o644, 1), (0o604, 1), (0o640, 0), (0o400, 0)] {
        std::fs::set_permissions(&keys, PermissionsExt::from_mode(mode))?;
        let row = format!("{mode:o}");
        let said = run(&["up", "--check", "--keys", &named], &[])?;
        rows.same(
            "secrets that others can read",
            &row,
            (said.code, Some(code)),
        );
        let said = run(
            &[
                "token",
                "create",
                "--room",
                "r",
                "--identity",
                "a",
                "--keys",
                &named,
            ],
            &[],
        )?;
        rows.same(
            "secrets that others can read",
            &row,
            (said.code == Some(0), code == 0),
        );
    }
    Ok(())
}

fn variables(rows: &mut Rows) -> anyhow::Result<()> {
    for (name, value, wanted) in [
        (
            "SPILLWAY_LITSEN",
            "x",
            "SPILLWAY_LITSEN is no setting, did you mean SPILLWAY_LISTEN?",
        ),
        (
            "SPILLWAY_GRACE_SECOND",
            "5",
            "did you mean SPILLWAY_GRACE_SECONDS?",
        ),
        (
            "SPILLWAY_ZZZZZZZZZZZZ",
            "x",
            "SPILLWAY_ZZZZZZZZZZZZ is no setting",
        ),
    ] {
        let said = run(&["up", "--check"], &[(name, value)])?;
        let said_of = format!("variable {name} is");
        rows.same(
            "an unknown variable is said once",
            name,
            (said.code, Some(0)),
        );
        rows.says(
            "an unknown variable is said once",
            name,
            (&said.error, wanted),
        );
        rows.same(
            "an unknown variable is said once",
            name,
            (said.error.matches(&said_of).count(), 1),
        );
    }
    for (name, value) in [
        ("SPILLWAY_BENCH_COMMAND", "x"),
        ("SPILLWAY_TEST_SECONDS", "9"),
        ("SPILLWAY_CORES", "0"),
        ("SPILLWAY_URL", "x"),
        ("SPILLWAY_PORT", "tcp://10.0.0.1:7880"),
        ("SPILLWAY_SERVICE_HOST", "10.0.0.1"),
        ("SPILLWAY_SERVICE_PORT_HTTP", "7880"),
        ("SPILLWAY_PORT_7880_TCP_ADDR", "10.0.0.1"),
        ("SPILLWAY_TURN_PORT", "tcp://10.0.0.1:3478"),
        ("SPILLWAY_UDP_PORT", "udp://10.0.0.1:7882"),
    ] {
        let said = run(&["up", "--check"], &[(name, value)])?;
        rows.same(
            "a variable of another program",
            name,
            ((said.code, &*said.error), (Some(0), "")),
        );
    }
    Ok(())
}

//! The command line: closed outputs, URLs as users type them, and JSON output.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};

use serde_json::Value;
use spillway_tests::node::{Node, binary, free_tcp_port};
use spillway_tests::servers::KEY;
use spillway_tests::tls::{Authority, TlsServer};

use super::fixtures::{ADMIN_TOKEN, Rows, TestServers};

/// Output and exit status of a command.
pub(super) struct Output {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) error: String,
}

/// Runs `spillway` with `args`, without variables `SPILLWAY_*` of the environment.
pub(super) fn run(args: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<Output> {
    program("spillway", args, variables)
}

pub(super) fn program(
    name: &str,
    args: &[&str],
    variables: &[(&str, &str)],
) -> anyhow::Result<Output> {
    let said = Command::new(binary(name))
        .args(args)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Output {
        code: said.status.code(),
        out: text(said.stdout),
        error: text(said.stderr),
    })
}

/// Runs an admin command against the server at `url`.
pub(super) fn ask(url: &str, args: &[&str]) -> anyhow::Result<Output> {
    let (words, rest) = args.split_at(2);
    let target = ["--url", url, "--admin-token", ADMIN_TOKEN];
    run(&[words, &target, rest].concat(), &[])
}

pub(super) async fn rows(servers: &TestServers, rows: &mut Rows) -> anyhow::Result<()> {
    let url = &servers.server.url;
    let key = format!("{}:{}", KEY.0, KEY.1);
    let target = ["--url", url, "--admin-token", ADMIN_TOKEN];
    let commands: Vec<Vec<&str>> = vec![
        [&["room", "ls"][..], &target].concat(),
        [&["room", "ls", "--json"][..], &target].concat(),
        [&["node", "ls"][..], &target].concat(),
        [&["turn", "ls"][..], &target].concat(),
        [
            "token",
            "create",
            "--room",
            "r",
            "--identity",
            "a",
            "--keys",
            &key,
        ]
        .to_vec(),
        ["turn", "credential", "--secret", "a-secret-of-two-planes"].to_vec(),
        [
            "cost",
            "--viewers",
            "9",
            "--mbps",
            "1",
            "--hours",
            "1",
            "--price-per-gb",
            "1",
        ]
        .to_vec(),
        ["--help"].to_vec(),
    ];
    for args in &commands {
        let row = args.join(" ");
        let (code, error) = into_closed(args)?;
        rows.same(
            "a closed output ends quietly",
            &row,
            ((code, &*error), (Some(0), "")),
        );
        if args[0] != "--help" {
            let (code, error) = into_full(args)?;
            rows.same("a full output is an error", &row, (code, Some(1)));
            rows.says(
                "a full output is an error",
                &row,
                (&error, "cannot write to the standard output"),
            );
            rows.same(
                "a full output is an error",
                &row,
                (error.contains("panicked"), false),
            );
        }
    }
    urls(url, rows)?;
    json(url, &key, rows)?;
    over_tls(&servers.media, rows).await
}

fn urls(url: &str, rows: &mut Rows) -> anyhow::Result<()> {
    let host = url.trim_start_matches("http://");
    let nowhere = format!("http://127.0.0.1:{}", free_tcp_port()?);
    for (given, wanted) in [
        (host.to_owned(), format!("type --url {url}")),
        (
            "localhost:7880".to_owned(),
            "type --url http://localhost:7880".to_owned(),
        ),
        (
            format!("https://{host}"),
            format!("does not use TLS: type --url {url}"),
        ),
        (format!("{url}/rooms"), format!("type --url {url}")),
        (format!("{url}/v1/admin/rooms"), format!("type --url {url}")),
        (format!("{url}/?room=x"), format!("type --url {url}")),
        (
            format!("ws://{host}/v1/signal"),
            format!("type --url {url}"),
        ),
        (format!("http://me@{host}"), format!("type --url {url}")),
        (
            "ftp://x".to_owned(),
            "type --url http://127.0.0.1:7880".to_owned(),
        ),
        (nowhere.clone(), format!("no answer from {nowhere}")),
        (format!("{nowhere}/x"), format!("type --url {nowhere}")),
    ] {
        let said = ask(&given, &["room", "ls"])?;
        rows.same("a URL says what to type", &given, (said.code, Some(1)));
        rows.says("a URL says what to type", &given, (&said.error, &wanted));
    }
    for given in [
        format!("{url}/"),
        format!("{url}/calls"),
        format!("{url}/calls/"),
    ] {
        let said = ask(&given, &["room", "ls"])?;
        rows.same("a URL that is one", &given, (said.code, Some(0)));
    }
    Ok(())
}

/// In the rows, `@` is replaced by a server and its token, `$` by a key.
const JSON: [&str; 7] = [
    "room ls --json @",
    "room show lobby --json @",
    "node ls --json @",
    "turn ls --json @",
    "token create --json --room r --identity a --keys $",
    "turn credential --json --secret a-secret-of-two-planes",
    "cost --json --viewers 9 --mbps 1 --hours 1 --price-per-gb 1",
];

/// Also with the code of the error.
const ERRORS: [(&str, &str); 6] = [
    ("room ls --json @ --admin-token wrong", "usage"),
    ("room show nobody --json @", "not_found"),
    ("room ls --json --url x", "failed"),
    ("room ls --json --wrong", "usage"),
    ("room show --json a\u{7}", "usage"),
    (
        "token create --json --room r --identity a --keys K:short",
        "failed",
    ),
];

fn json(url: &str, key: &str, rows: &mut Rows) -> anyhow::Result<()> {
    let target = format!("--url {url} --admin-token {ADMIN_TOKEN}");
    let typed = |line: &str| line.replace('@', &target).replace('$', key);
    let said = |line: &str| run(&typed(line).split(' ').collect::<Vec<_>>(), &[]);
    for line in JSON {
        let said = said(line)?;
        let is_json = serde_json::from_str::<Value>(&said.out).is_ok();
        let lines = said.out.lines().count();
        rows.same("one form of JSON", line, ((is_json, lines), (true, 1)));
    }
    let wrong = format!("room ls --json --url {url} --admin-token wrong");
    for (line, code) in ERRORS.into_iter().chain([(&*wrong, "token_invalid")]) {
        let said = said(line)?;
        let kind = "errors are JSON, too";
        let error: Value = serde_json::from_str(&said.error).unwrap_or_default();
        rows.same(kind, line, (error["code"].as_str(), Some(code)));
        let is_told = error["message"]
            .as_str()
            .is_some_and(|said| !said.is_empty());
        rows.same(kind, line, ((is_told, &*said.out), (true, "")));
        rows.same(kind, line, (said.code == Some(0), false));
    }
    Ok(())
}

async fn over_tls(media: &Node, rows: &mut Rows) -> anyhow::Result<()> {
    let authority = Authority::new("an authority")?;
    let server = TlsServer::start(media, &authority.issue(&["127.0.0.1"])?, &authority).await?;
    let plain = format!("http://{}", server.address);
    let said = ask(&plain, &["room", "ls"])?;
    let wanted = format!("type --url https://{}", server.address);
    rows.says(
        "a URL says what to type",
        "http:// at a port with TLS",
        (&said.error, &wanted),
    );
    Ok(())
}

/// Runs with a stdout whose reader has closed it. Returns exit code and stderr.
fn into_closed(args: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    into(args, writer.into())
}

fn into_full(args: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
    into(
        args,
        OpenOptions::new().write(true).open("/dev/full")?.into(),
    )
}

fn into(args: &[&str], out: Stdio) -> anyhow::Result<(Option<i32>, String)> {
    let child = Command::new(binary("spillway"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(Stdio::piped())
        .spawn()?;
    let said = child.wait_with_output()?;
    Ok((
        said.status.code(),
        String::from_utf8_lossy(&said.stderr).into_owned(),
    ))
}

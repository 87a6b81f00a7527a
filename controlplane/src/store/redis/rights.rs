//! Checks the rights of the Redis user on every new connection. Without the check a missing right
//! would appear at the first join. Redis checks rights before anything else, so most commands are
//! tried on keys that do not exist.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, Value};

use super::errors::{LinkError, ReplyKind, lacks_rights, link_error, reply_kind};
use super::partition::{NAMESPACE, Partition};
use super::topology::Address;

/// Placeholder for a key in a tried command.
const KEY: &str = "KEY";
/// Placeholder for a shard channel in a tried command.
const CHANNEL: &str = "CHANNEL";
/// A hash that no script has.
const NO_SCRIPT: &str = "0000000000000000000000000000000000000000";

/// Every command that Spillway and its scripts use. The arguments change nothing, or only a key
/// that expires after 1 s.
const TRIED: &[&[&str]] = &[
    &["ASKING"],
    &["PING"],
    &["CLUSTER", "SLOTS"],
    &["EVAL", "return 1", "0"],
    &["EVALSHA", NO_SCRIPT, "0"],
    &["TIME"],
    &["HSET", KEY, "f", "v"],
    &["PEXPIRE", KEY, "1000"],
    &["HGET", KEY, "f"],
    &["HMGET", KEY, "f"],
    &["HVALS", KEY],
    &["HEXISTS", KEY, "f"],
    &["HLEN", KEY],
    &["HDEL", KEY, "g"],
    &["EXISTS", KEY],
    &["DEL", KEY],
    &["ZADD", KEY, "XX", "1", "m"],
    &["ZSCORE", KEY, "m"],
    &["ZCARD", KEY],
    &["ZRANGEBYSCORE", KEY, "-inf", "0", "LIMIT", "0", "1"],
    &["ZREMRANGEBYSCORE", KEY, "-inf", "0"],
    &["ZREM", KEY, "m"],
    &["XADD", KEY, "NOMKSTREAM", "1-0", "e", "v"],
    &["XRANGE", KEY, "-", "+", "COUNT", "1"],
    &["SPUBLISH", CHANNEL, "trial"],
];

/// Tries all needed commands at `address`. The error lists the ACL rules to add.
pub(super) async fn check_all(
    address: &Address,
    connection: &mut MultiplexedConnection,
    (server_id, user): (&str, &str),
) -> Result<(), LinkError> {
    let name = Partition::first().probe_key(server_id);
    let mut pipeline = redis::Pipeline::with_capacity(TRIED.len());
    pipeline.ignore_errors();
    for words in TRIED {
        pipeline.add_command(command(words, &name));
    }
    let io = |error: RedisError| link_error(address, &error);
    let values: Vec<Value> = pipeline.query_async(connection).await.map_err(io)?;
    let mut missing = Missing::default();
    for (words, value) in TRIED.iter().zip(values) {
        missing.note(address, words, value.extract_error())?;
    }
    for words in [["SSUBSCRIBE", CHANNEL], ["SUNSUBSCRIBE", CHANNEL]] {
        let answer = command(&words, &name).query_async(connection).await;
        missing.note(address, &words, answer)?;
    }
    missing.verdict(address, user)
}

fn command(words: &[&str], name: &str) -> Cmd {
    let mut command = Cmd::new();
    for word in words {
        command.arg(match *word {
            KEY | CHANNEL => name,
            word => word,
        });
    }
    command
}

/// Missing ACL rules, without duplicates.
#[derive(Debug, Default)]
struct Missing(Vec<String>);

impl Missing {
    fn note(
        &mut self,
        address: &Address,
        words: &[&str],
        answer: Result<Value, RedisError>,
    ) -> Result<(), LinkError> {
        let Err(error) = answer else {
            return Ok(());
        };
        if lacks_rights(&error) {
            let rule = rule(words, &error);
            if !self.0.contains(&rule) {
                self.0.push(rule);
            }
            return Ok(());
        }
        match reply_kind(&error) {
            // The tried slot may be on another server, or on none.
            ReplyKind::Reconnect if error.code() == Some("CLUSTERDOWN") => Ok(()),
            ReplyKind::Reconnect => Err(link_error(address, &error)),
            // The user has the right; the result does not matter.
            ReplyKind::Redirect | ReplyKind::Busy | ReplyKind::Final => Ok(()),
        }
    }

    fn verdict(self, address: &Address, user: &str) -> Result<(), LinkError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let rules = self.0.join(" ");
        Err(LinkError::Refused(format!(
            "Redis at {address} does not permit user '{user}' all needed commands: ACL SETUSER {user} {rules}"
        )))
    }
}

/// The ACL rule that permits the command.
fn rule(words: &[&str], error: &RedisError) -> String {
    let said = error.to_string();
    if said.contains("channel") {
        return format!("&{NAMESPACE}*");
    }
    if said.contains("keys used") || said.contains("access a key") {
        return format!("~{NAMESPACE}*");
    }
    match words {
        ["CLUSTER", sub, ..] => format!("+cluster|{}", sub.to_lowercase()),
        [name, ..] => format!("+{}", name.to_lowercase()),
        [] => unreachable!("a command has a name"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::store::redis::script;

    #[test]
    fn every_command_of_every_script_is_tried() {
        let tried: BTreeSet<&str> = TRIED.iter().map(|words| words[0]).collect();
        let mut found = 0;
        for source in script::texts() {
            for call in source.split("redis.call('").skip(1) {
                let name = call.split('\'').next().unwrap();
                assert!(tried.contains(name), "{name} is not tried");
                found += 1;
            }
        }
        assert!(found > 30, "{found} calls");
    }

    #[test]
    fn the_documented_user_may_do_exactly_that() {
        let docs = include_str!("../../../../docs/operating/many-servers.md");
        let line = docs
            .lines()
            .find(|line| line.starts_with("ACL SETUSER spillway "));
        let mut documented: BTreeSet<String> =
            line.unwrap().split(' ').skip(3).map(Into::into).collect();
        for rule in ["on", ">PASSWORD", "reset", "~spillway:1:*", "&spillway:1:*"] {
            assert!(documented.remove(rule), "{rule} is not in the line");
        }
        let mut needed: BTreeSet<String> = TRIED
            .iter()
            .map(|words| format!("+{}", words[0].to_lowercase()))
            .chain(["+ssubscribe".into(), "+sunsubscribe".into()])
            .collect();
        needed.remove("+cluster");
        needed.insert("+cluster|slots".into());
        assert_eq!(documented, needed);
    }

    #[test]
    fn rules_are_named_in_the_words_of_every_version() {
        let error = |line: &str| -> RedisError {
            let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
            value.extract_error().unwrap_err()
        };
        for (words, line, expected) in [
            (
                &["XADD", KEY][..],
                "NOPERM this user has no permissions to run the 'xadd' command",
                "+xadd",
            ),
            (
                &["CLUSTER", "SLOTS"],
                "NOPERM User u has no permissions to run the 'cluster|slots' command",
                "+cluster|slots",
            ),
            (
                &["HSET", KEY],
                "NOPERM this user has no permissions to access one of the keys used as arguments",
                "~spillway:1:*",
            ),
            (
                &["HSET", KEY],
                "NOPERM No permissions to access a key",
                "~spillway:1:*",
            ),
            (
                &["SPUBLISH", CHANNEL],
                "NOPERM this user has no permissions to access one of the channels used as arguments",
                "&spillway:1:*",
            ),
            (
                &["SSUBSCRIBE", CHANNEL],
                "NOPERM No permissions to access a channel",
                "&spillway:1:*",
            ),
        ] {
            assert_eq!(rule(words, &error(line)), expected);
        }
    }
}

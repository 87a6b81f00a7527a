//! Which Redis server has which hash slot: read from a cluster, or one server for all.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use redis::{FromRedisValue, Value};

use super::partition::{Partition, SLOTS, Slot};

/// Host and port of a Redis server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

/// Masters by ranges of slots.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Topology {
    ranges: Vec<(RangeInclusive<u16>, Address)>,
}

impl Topology {
    /// A topology of one server.
    pub(super) fn single(address: Address) -> Self {
        Self {
            ranges: vec![(0..=SLOTS - 1, address)],
        }
    }

    /// Parses a reply to `CLUSTER SLOTS` of the server at `asked`. `None` if it is empty or has
    /// another format.
    pub(super) fn parse(reply: Value, asked: &Address) -> Option<Self> {
        let rows = Vec::<Vec<Value>>::from_redis_value(reply).ok()?;
        let range = |row: Vec<Value>| {
            let mut row = row.into_iter();
            let first = number(row.next()?)?;
            let last = number(row.next()?)?;
            let mut master = Vec::<Value>::from_redis_value(row.next()?)
                .ok()?
                .into_iter();
            let host = String::from_redis_value(master.next()?).unwrap_or_default();
            let port = number(master.next()?)?;
            // A server that does not know its own host name sends an empty one.
            let host = match host.as_str() {
                "" | "?" => asked.host.clone(),
                _ => host,
            };
            (first <= last && last < SLOTS).then_some((first..=last, Address { host, port }))
        };
        let ranges: Option<Vec<_>> = rows.into_iter().map(range).collect();
        ranges
            .filter(|ranges| !ranges.is_empty())
            .map(|ranges| Self { ranges })
    }

    /// The master of `slot`; `None` while the slot has no master.
    pub(super) fn owner(&self, slot: Slot) -> Option<&Address> {
        let range = self
            .ranges
            .iter()
            .find(|(range, _)| range.contains(&slot.0));
        range.map(|(_, address)| address)
    }

    /// All masters, each with a partition on it; a master of few slots may have none.
    pub(super) fn masters(&self) -> BTreeMap<&Address, Option<Partition>> {
        let mut masters = BTreeMap::new();
        for (slots, address) in &self.ranges {
            let partition = masters.entry(address).or_insert(None);
            *partition = partition.or_else(|| Partition::within(slots));
        }
        masters
    }
}

/// Parses a number; the library would truncate a larger one.
fn number(value: Value) -> Option<u16> {
    u16::try_from(i64::from_redis_value(value).ok()?).ok()
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str, port: u16) -> Address {
        Address {
            host: host.into(),
            port,
        }
    }

    fn row(first: i64, last: i64, host: Value, port: i64) -> Value {
        let master = Value::Array(vec![
            host,
            Value::Int(port),
            Value::SimpleString("id".into()),
        ]);
        Value::Array(vec![
            Value::Int(first),
            Value::Int(last),
            master.clone(),
            master,
        ])
    }

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn slots_are_found_and_gaps_have_no_owner() {
        let asked = address("seed", 1);
        let reply = Value::Array(vec![
            row(0, 99, text("a"), 7000),
            row(200, 16_383, text(""), 7001),
        ]);
        let topology = Topology::parse(reply, &asked).unwrap();
        assert_eq!(topology.owner(Slot(99)), Some(&address("a", 7000)));
        assert_eq!(topology.owner(Slot(100)), None);
        assert_eq!(topology.owner(Slot(16_383)), Some(&address("seed", 7001)));
        let masters = topology.masters();
        assert_eq!(masters.len(), 2);
        let partition = masters[&address("seed", 7001)].unwrap();
        let owner = topology.owner(partition.slot());
        assert_eq!(owner, Some(&address("seed", 7001)));
        let single = Topology::single(asked.clone());
        assert_eq!(single.owner(Slot(12_345)), Some(&asked));
    }

    #[test]
    fn what_is_no_topology_is_refused() {
        let asked = address("seed", 1);
        for reply in [
            Value::Nil,
            Value::Array(vec![]),
            Value::Array(vec![Value::Array(vec![Value::Int(0)])]),
            Value::Array(vec![row(0, 99_999, text("a"), 1)]),
            Value::Array(vec![row(0, 9, text("a"), 700_000)]),
        ] {
            assert_eq!(Topology::parse(reply, &asked), None);
        }
    }
}

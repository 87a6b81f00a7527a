//! Sentinel: asks the sentinels for the address of the current master.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue as _, Value};

use super::errors::{LinkError, link_error};
use super::topology::Address;

/// The setting: sentinels, and the name of the master that they monitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MonitoredMaster {
    /// The master's name in the configuration of the sentinels.
    pub(super) master: String,
    pub(super) sentinels: Vec<Address>,
}

/// Open connections to the sentinels.
#[derive(Default)]
pub(super) struct Sentinels {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection_by_address: HashMap<Address, MultiplexedConnection>,
    /// The sentinel that answered last; it is asked first.
    best: Option<Address>,
}

impl Sentinels {
    /// Asks for the address of the master. `connect` opens a connection to a sentinel.
    pub(super) async fn master<C>(
        &self,
        monitored: &MonitoredMaster,
        connect: impl Fn(Address) -> C,
    ) -> Result<Address, LinkError>
    where
        C: Future<Output = Result<MultiplexedConnection, LinkError>>,
    {
        let best = self.with(|state| state.best.clone());
        let others = monitored
            .sentinels
            .iter()
            .filter(|address| Some(*address) != best.as_ref());
        let mut last = LinkError::Unavailable("no sentinel is named".into());
        for address in best.iter().chain(others) {
            match self.request(address, &monitored.master, &connect).await {
                Ok(master) => {
                    self.with(|state| state.best = Some(address.clone()));
                    return Ok(master);
                }
                // An error that a sentinel returned is more important than a sentinel that did not answer.
                Err(error) if matches!(last, LinkError::Refused(_)) => drop(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn request<C>(
        &self,
        address: &Address,
        master: &str,
        connect: &impl Fn(Address) -> C,
    ) -> Result<Address, LinkError>
    where
        C: Future<Output = Result<MultiplexedConnection, LinkError>>,
    {
        let known = self.with(|state| state.connection_by_address.get(address).cloned());
        let mut connection = match known {
            Some(connection) => connection,
            None => {
                let connection = connect(address.clone()).await?;
                let (key, kept) = (address.clone(), connection.clone());
                self.with(|state| state.connection_by_address.insert(key, kept));
                connection
            }
        };
        let reply: Result<Value, _> = redis::cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(master)
            .query_async(&mut connection)
            .await;
        let reply = reply.map_err(|error| {
            self.with(|state| state.connection_by_address.remove(address));
            link_error(address, &error)
        })?;
        match reply {
            Value::Nil => Err(LinkError::Refused(format!(
                "the sentinel at {address} knows no master '{master}'"
            ))),
            reply => parse(reply).ok_or_else(|| {
                LinkError::Unavailable(format!("the sentinel at {address} returned no address"))
            }),
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        // A panic elsewhere leaves whole values: each change is one step.
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn parse(reply: Value) -> Option<Address> {
    let (host, port) = <(String, u16)>::from_redis_value(reply).ok()?;
    (!host.is_empty()).then_some(Address { host, port })
}

impl std::fmt::Debug for Sentinels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sentinels").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_server_is_none() {
        let text = |text: &str| Value::BulkString(text.into());
        let master = parse(Value::Array(vec![text("10.0.0.5"), text("6379")])).unwrap();
        assert_eq!(master.to_string(), "10.0.0.5:6379");
        for reply in [
            Value::Array(vec![text("10.0.0.5")]),
            Value::Array(vec![text(""), text("6379")]),
            Value::Array(vec![text("10.0.0.5"), text("a port")]),
            Value::Okay,
        ] {
            assert_eq!(parse(reply), None);
        }
    }
}

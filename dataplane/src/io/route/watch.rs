//! Keeps [`Routes`] current on its own thread.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::Routes;
use super::facts::Facts;
use super::neighbour::Reachability;
use super::netlink::Netlink;

/// rtnetlink(7): RTNLGRP_LINK, _NEIGH, _IPV4_ROUTE, _IPV4_RULE, _IPV6_ROUTE, _IPV6_RULE.
const GROUPS: [u32; 6] = [1, 3, 7, 8, 11, 19];
/// Changes come in bursts; one dump after this pause contains all of them.
const SETTLE: Duration = Duration::from_millis(20);
/// Minimum pause between two readings when routes change all the time.
const PAUSE: Duration = Duration::from_millis(200);
/// Pause after an error, or without a usable result.
const LONG_PAUSE: Duration = Duration::from_secs(5);

/// The newest routes, shared by all readers.
#[derive(Debug, Default)]
pub struct RouteWatch {
    generation: AtomicU64,
    routes: Mutex<Arc<Routes>>,
}

/// Reads the routes on its thread.
struct Watcher {
    changes: Netlink,
    netlink: Netlink,
    last: Facts,
    watch: Weak<RouteWatch>,
    /// True until the kernel refuses a probe.
    may_probe: bool,
}

/// A shard's view of the routes, with the version that it has seen.
#[derive(Debug, Clone)]
pub struct Watched {
    watch: Arc<RouteWatch>,
    seen: u64,
    routes: Arc<Routes>,
}

impl RouteWatch {
    /// Reads the routes, and starts the thread that watches them.
    pub fn start() -> io::Result<Arc<Self>> {
        let watch = Arc::new(Self::default());
        let mut onlooker = Watcher {
            changes: Netlink::open(&GROUPS)?,
            netlink: Netlink::open(&[])?,
            last: Facts::default(),
            watch: Arc::downgrade(&watch),
            may_probe: true,
        };
        onlooker.update()?;
        std::thread::Builder::new()
            .name("routes".into())
            .spawn(move || onlooker.run())?;
        Ok(watch)
    }

    /// Routes that never change, for tests.
    #[cfg(test)]
    pub fn fixed(routes: Routes) -> Arc<Self> {
        let watch = Self::default();
        watch.publish(routes);
        Arc::new(watch)
    }

    /// A view that can be refreshed.
    pub fn watched(self: &Arc<Self>) -> Watched {
        let mut watched = Watched {
            watch: Arc::clone(self),
            seen: 0,
            routes: Arc::default(),
        };
        watched.refresh();
        watched
    }

    /// Publishes `routes` to all readers.
    pub(in crate::io) fn publish(&self, routes: Routes) {
        let mut slot = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if **slot != routes || self.generation.load(Ordering::Relaxed) == 0 {
            *slot = Arc::new(routes);
            self.generation.fetch_add(1, Ordering::Release);
        }
    }
}

impl Watcher {
    /// Runs while there is a reader.
    fn run(mut self) {
        while self.watch.strong_count() > 0 {
            std::thread::sleep(if self.last.left_out.is_some() {
                LONG_PAUSE
            } else {
                PAUSE
            });
            let looked = self.next_change().and_then(|()| self.update());
            if let Err(error) = looked {
                tracing::warn!(%error, "cannot read the host's routes: egress packet sends through the kernel's stack");
                self.forget();
                self.reopen_until_read();
            }
        }
    }

    fn next_change(&mut self) -> io::Result<()> {
        self.changes.wait_for_change()?;
        std::thread::sleep(SETTLE);
        self.changes.take_changes()
    }

    /// Retries until the routes can be read again.
    fn reopen_until_read(&mut self) {
        while self.watch.strong_count() > 0 {
            std::thread::sleep(LONG_PAUSE);
            match self.reopen().and_then(|()| self.update()) {
                Ok(()) => return tracing::info!("the host's routes can be read again"),
                Err(error) => tracing::debug!(%error, "routes"),
            }
        }
    }

    /// After an error the socket may contain old answers, so it is opened again.
    fn reopen(&mut self) -> io::Result<()> {
        self.changes = Netlink::open(&GROUPS)?;
        self.netlink = Netlink::open(&[])?;
        Ok(())
    }

    fn update(&mut self) -> io::Result<()> {
        let mut facts = Facts::read(&mut self.netlink)?;
        for router in facts.stale_routers() {
            // The kernel does not know that frames use the router, so it would not probe the router on its own.
            match self.netlink.probe(router) {
                Ok(()) => router.reach = Reachability::Fresh, // while the kernel probes
                Err(error) if self.may_probe && error.kind() == io::ErrorKind::PermissionDenied => {
                    let router = router.ip;
                    tracing::warn!(%error, %router, "cannot probe a router (needs CAP_NET_ADMIN): packets go through the kernel's stack until the router is reachable");
                    self.may_probe = false;
                }
                Err(error) => tracing::debug!(%error, router = %router.ip, "probe"),
            }
        }
        if facts == self.last {
            return Ok(());
        }
        if let Some(why) = facts
            .left_out
            .filter(|_| facts.left_out != self.last.left_out)
        {
            tracing::warn!(why, "egress packet sends through the kernel's stack");
        }
        if let Some(watch) = self.watch.upgrade() {
            watch.publish(Routes::new(&facts));
        }
        self.last = facts;
        Ok(())
    }

    /// Publishes empty routes, because outdated ones would send frames to wrong hosts.
    fn forget(&mut self) {
        self.last = Facts::default();
        if let Some(watch) = self.watch.upgrade() {
            watch.publish(Routes::default());
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Watched {
    /// Takes the newest routes. True when they changed since the last call.
    pub fn refresh(&mut self) -> bool {
        let now = self.watch.generation.load(Ordering::Acquire);
        if now == self.seen {
            return false;
        }
        let slot = self.watch.routes.lock();
        self.routes = Arc::clone(&slot.unwrap_or_else(PoisonError::into_inner));
        self.seen = now;
        true
    }

    /// The routes of the last update.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }
}

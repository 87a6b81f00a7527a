//! Keeps [`Routes`] as the kernel has them, on a thread of its own.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Routes;
use super::facts::Facts;
use super::netlink::Netlink;

/// rtnetlink(7): RTNLGRP_LINK, _NEIGH, _IPV4_ROUTE, _IPV4_RULE, _IPV6_ROUTE, _IPV6_RULE.
const GROUPS: [u32; 6] = [1, 3, 7, 8, 11, 19];
/// Changes come together; what is asked for after that has all of them.
const SETTLE: Duration = Duration::from_millis(20);
/// After an error, and between two readings on a host that changes all the time.
const PAUSE: Duration = Duration::from_millis(200);

/// The newest routes, for whoever wants to look.
#[derive(Debug, Default)]
pub struct RouteWatch {
    generation: AtomicU64,
    routes: Mutex<Arc<Routes>>,
}

/// One onlooker's copy.
#[derive(Debug, Clone)]
pub struct Watched {
    watch: Arc<RouteWatch>,
    seen: u64,
    routes: Arc<Routes>,
}

impl RouteWatch {
    /// Starts to watch; the first look is taken.
    pub fn start() -> io::Result<Arc<Self>> {
        let mut changes = Netlink::open(&GROUPS)?;
        let mut netlink = Netlink::open(&[])?;
        let watch = Arc::new(Self::default());
        let mut last = Facts::default();
        watch.look(&mut netlink, &mut last)?;
        let weak = Arc::downgrade(&watch);
        std::thread::Builder::new()
            .name("routes".into())
            .spawn(move || {
                loop {
                    let Some(watch) = weak.upgrade() else { return };
                    let looked = watch.look(&mut netlink, &mut last);
                    drop(watch);
                    std::thread::sleep(PAUSE);
                    let changed = looked.and_then(|()| {
                        changes.wait_for_change()?;
                        std::thread::sleep(SETTLE);
                        changes.take_changes()
                    });
                    if let Err(error) = changed {
                        tracing::warn!(%error, "cannot read the host's routes");
                    }
                }
            })?;
        Ok(watch)
    }

    /// These, for good.
    #[cfg(test)]
    pub fn fixed(routes: Routes) -> Arc<Self> {
        let watch = Self::default();
        watch.publish(routes);
        Arc::new(watch)
    }

    /// A copy that can be refreshed.
    pub fn watched(self: &Arc<Self>) -> Watched {
        let mut watched = Watched {
            watch: Arc::clone(self),
            seen: 0,
            routes: Arc::default(),
        };
        watched.refresh();
        watched
    }

    fn look(&self, netlink: &mut Netlink, last: &mut Facts) -> io::Result<()> {
        let facts = Facts::read(netlink)?;
        for router in facts.stale_routers() {
            // Nobody else would: what leaves as a frame does not show the kernel that the router is needed.
            if let Err(error) = netlink.probe(router) {
                tracing::debug!(%error, router = %router.ip, "cannot have a router probed");
            }
        }
        if facts == *last {
            return Ok(());
        }
        if let Some(why) = facts.left_out.filter(|_| facts.left_out != last.left_out) {
            tracing::warn!(why, "egress packet sends through the kernel's stack");
        }
        self.publish(Routes::new(&facts));
        *last = facts;
        Ok(())
    }

    fn publish(&self, routes: Routes) {
        let mut slot = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if **slot != routes || self.generation.load(Ordering::Relaxed) == 0 {
            *slot = Arc::new(routes);
            self.generation.fetch_add(1, Ordering::Release);
        }
    }
}

impl Watched {
    /// Takes the newest; true when they are others than before.
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

    /// What was taken last.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }
}

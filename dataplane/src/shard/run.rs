//! The loop of a shard on its glommio executor: numbered, bounded steps, then sleep until a socket, the
//! doorbell or a timer has something.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use glommio::timer::Timer;

use super::Shard;
use super::tick::BusyMeter;
use crate::io::clock;
use crate::io::engine::{Engine, EngineKind};
use crate::io::sys::{BellWait, SocketWait};
use crate::io::udp::MediaSockets;
use crate::letter::ToControl;
use crate::limits::{BUSY_TURN, TIMERS_PER_TURN};
use crate::path::{self, arrive::Overflows};

/// Shortest sleep: what a timer of the executor can keep apart from none.
const SHORTEST_SLEEP: Duration = Duration::from_micros(200);

/// How soon a socket that had no room for more is tried again.
const SEND_RETRY: Duration = Duration::from_micros(500);

/// What moves a shard's datagrams.
pub(super) struct Io {
    pub(super) engine: Engine,
    pub(super) overflows: Overflows,
}

/// Runs `shard` until it is told to stop. Must be called inside an executor.
pub async fn run(mut shard: Shard, sockets: MediaSockets, kind: EngineKind) -> anyhow::Result<()> {
    let alarm = Rc::new(Alarm::default());
    let sources = watch(&shard, &sockets, &alarm)?;
    let mut io = Io {
        engine: Engine::start(kind, &sockets)?,
        overflows: Overflows::default(),
    };
    let mut busy = BusyMeter::new(clock::now());
    while !shard.is_stopping() {
        let start = clock::now();
        let more = turn(&mut shard, &mut io, &mut busy, start);
        let took = clock::now().duration_since(start);
        shard.is_busy = took >= BUSY_TURN;
        busy.add(took);
        if more {
            glommio::executor().yield_task_queue_now().await;
        } else {
            sleep(&mut shard, &sources, &alarm).await;
        }
    }
    flush(&mut shard, &mut io.engine);
    while shard
        .post
        .send_control(ToControl::Stopped(shard.id))
        .is_err()
    {
        glommio::executor().yield_task_queue_now().await;
    }
    shard.post.flush();
    Ok(())
}

/// One turn of the loop. True when there is more to do right away.
pub(super) fn turn(shard: &mut Shard, io: &mut Io, busy: &mut BusyMeter, now: Instant) -> bool {
    // 1: what other threads sent.
    let mut more = shard.read_mail(now);
    // 2: sessions whose time has come.
    more |= run_timers(shard, now);
    // 3: the sockets, through the first hops of the path.
    more |= path::receive(shard, &mut io.engine, &mut io.overflows, now);
    shard.settle(now);
    // 4: what came in, to whom it is for.
    path::forward(shard, now, |shard| {
        flush(shard, &mut io.engine);
    });
    shard.settle(now);
    // 5: what is looked at now and then.
    shard.tick(now, busy);
    shard.settle(now);
    // 6: everything that is to be sent.
    shard.is_blocked = flush(shard, &mut io.engine);
    // 7: letters that found a mailbox full.
    more |= shard.post.flush();
    more
}

fn run_timers(shard: &mut Shard, now: Instant) -> bool {
    for _ in 0..TIMERS_PER_TURN {
        let Some(index) = shard.timers.pop_due(now) else {
            return false;
        };
        shard.guard(index, |shard| {
            let Some(peer) = shard.peers.get_mut(index) else {
                return;
            };
            peer.handle_timeout(now, &mut shard.out);
            shard.absorb(index);
            path::seal::periodic(shard, index, now);
        });
        shard.settle(now);
    }
    true
}

fn flush(shard: &mut Shard, engine: &mut Engine) -> bool {
    let report = &mut shard.report;
    let waits = shard.departures_v4.flush(engine, 0, report);
    waits | shard.departures_v6.flush(engine, 1, report)
}

async fn sleep(shard: &mut Shard, sources: &[Rc<Source>], alarm: &Rc<Alarm>) {
    let bell = shard.post.mesh().bell(shard.id);
    bell.fall_asleep();
    if !shard.post.mesh().is_empty(shard.id) {
        bell.wake_up();
        return;
    }
    let now = clock::now();
    let timer = shard.timers.next();
    let retry = shard.is_blocked.then(|| now + SEND_RETRY);
    let wake_at = timer.into_iter().chain(retry).chain([shard.next_tick()]);
    let wake_at = wake_at.min().expect("the tick is always due some time");
    let time = wake_at.saturating_duration_since(now);
    if time >= SHORTEST_SLEEP {
        sources.iter().for_each(|source| source.arm());
        let timer = async {
            Timer::new(time).await;
        };
        futures_lite::future::or(timer, alarm.wait()).await;
    } else {
        glommio::executor().yield_task_queue_now().await;
    }
    shard.post.mesh().bell(shard.id).wake_up();
}

/// Starts a task for each thing that can wake the loop.
fn watch(shard: &Shard, sockets: &MediaSockets, alarm: &Rc<Alarm>) -> io::Result<Vec<Rc<Source>>> {
    let mut sources = Vec::new();
    for socket in sockets.iter() {
        let (wait, source) = (SocketWait::new(socket)?, Rc::new(Source::default()));
        sources.push(Rc::clone(&source));
        let alarm = Rc::clone(alarm);
        glommio::spawn_local(async move {
            loop {
                source.armed().await;
                wait.readable().await;
                source.disarm();
                alarm.ring();
            }
        })
        .detach();
    }
    let wait = BellWait::new(shard.post.mesh().bell(shard.id).as_fd())?;
    let alarm = Rc::clone(alarm);
    glommio::spawn_local(async move {
        while wait.rung().await.is_ok() {
            alarm.ring();
        }
    })
    .detach();
    Ok(sources)
}

/// Wakes the loop.
#[derive(Default)]
struct Alarm {
    rung: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Alarm {
    fn ring(&self) {
        self.rung.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    async fn wait(&self) {
        poll_fn(|context| {
            if self.rung.take() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// One thing that can wake the loop; watched only while the loop sleeps, because a socket that was not
/// drained is readable all the time.
#[derive(Default)]
struct Source {
    is_armed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Source {
    fn arm(&self) {
        self.is_armed.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn disarm(&self) {
        self.is_armed.set(false);
    }

    async fn armed(&self) {
        poll_fn(|context| {
            if self.is_armed.get() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

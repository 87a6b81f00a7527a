//! Faults, and what people do: their kinds, and one of them as a line of text, so that a schedule can be printed and read back.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::clock::Time;

/// Kinds of faults, and of what people do. The meaning of [`Fault::target`] and [`Fault::amount`] depends on the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// More delay on the path of a client. Amount: ms.
    Delay,
    /// More jitter on the path of a client. Amount: ms.
    Jitter,
    /// Single losses on the path of a client. Amount: thousandths.
    Loss,
    /// Losses in a row on the path of a client. Amount: mean length of a burst.
    LossBurst,
    /// Datagrams of a client overtake each other. Amount: thousandths.
    Reorder,
    /// Datagrams of a client arrive twice. Amount: thousandths.
    Duplicate,
    /// A bottleneck to a client. Amount: kbit/s.
    Rate,
    /// The path of a client is cut in both directions.
    Cut,
    /// Hosts of the fleet do not reach each other. Target: a host.
    Partition,
    /// The address of a client changes, as after a change of its network.
    Roam,
    /// The send buffers of a shard take few bytes. Target: a shard. Amount: bytes each time that the shard is awake.
    FullSocket,
    /// A shard takes no turn. Target: a shard.
    StalledShard,
    /// A shard takes its turns late. Target: a shard. Amount: ms.
    LateTimers,
    /// A node ends and starts again without its state. Target: a node.
    DeadNode,
    /// A server ends and starts again without its state. Target: a server.
    DeadServer,
    /// The signaling connection of a client is cut.
    SocketCut,
    /// The store does not answer.
    StoreAway,
    /// The store answers late. Amount: ms.
    StoreSlow,
    /// The store refuses to write.
    StoreDemoted,
    /// The wall clock of a host is wrong. Target: a host. Amount: ms ahead.
    WrongClock,
    /// A client sends what no client should send. Amount: what.
    Misbehave,
    /// A person leaves the room, and comes back when this ends.
    Leave,
    /// A publisher mutes a track until this ends. Amount: the mid.
    Mute,
    /// A viewer sends no feedback, like a page that sleeps.
    Sleep,
    /// A viewer unsubscribes from a track, and subscribes again when this ends. Amount: which one.
    Unsubscribe,
    /// A viewer pauses a subscription. Amount: which one.
    Pause,
    /// A viewer wants only the lowest layer of a track. Amount: which one.
    Narrow,
    /// A publisher ends a track, and publishes it again when this ends. Amount: the mid.
    Unpublish,
    /// A person sends messages. Amount: how many.
    Message,
    /// The peer connections of a person end, as after an error of its media.
    HangUp,
}

/// One fault, or one thing that a person does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Time when the fault begins.
    pub at: Time,
    /// Kind of the fault.
    pub kind: FaultKind,
    /// Number of the client, shard or host; see [`FaultKind`].
    pub target: u32,
    /// Size of the fault; see [`FaultKind`].
    pub amount: u32,
    /// Time from begin to end.
    pub lasts: Duration,
}

/// Reason why a line is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// The line has another number of words.
    #[error("'{0}' is not: AT_US KIND TARGET AMOUNT LASTS_US")]
    Words(String),
    /// A word is no number.
    #[error("'{0}' is not a number")]
    Number(String),
    /// There is no such kind.
    #[error("'{0}' is no kind of fault")]
    Kind(String),
}

impl FaultKind {
    /// All kinds, in the order of the rows.
    pub const ALL: [FaultKind; 30] = [
        FaultKind::Delay,
        FaultKind::Jitter,
        FaultKind::Loss,
        FaultKind::LossBurst,
        FaultKind::Reorder,
        FaultKind::Duplicate,
        FaultKind::Rate,
        FaultKind::Cut,
        FaultKind::Partition,
        FaultKind::Roam,
        FaultKind::FullSocket,
        FaultKind::StalledShard,
        FaultKind::LateTimers,
        FaultKind::DeadNode,
        FaultKind::DeadServer,
        FaultKind::SocketCut,
        FaultKind::StoreAway,
        FaultKind::StoreSlow,
        FaultKind::StoreDemoted,
        FaultKind::WrongClock,
        FaultKind::Misbehave,
        FaultKind::Leave,
        FaultKind::Mute,
        FaultKind::Sleep,
        FaultKind::Unsubscribe,
        FaultKind::Pause,
        FaultKind::Narrow,
        FaultKind::Unpublish,
        FaultKind::Message,
        FaultKind::HangUp,
    ];

    /// Name of the kind in schedules and tables.
    pub fn label(self) -> &'static str {
        match self {
            FaultKind::Delay => "delay",
            FaultKind::Jitter => "jitter",
            FaultKind::Loss => "loss",
            FaultKind::LossBurst => "loss-burst",
            FaultKind::Reorder => "reorder",
            FaultKind::Duplicate => "duplicate",
            FaultKind::Rate => "rate",
            FaultKind::Cut => "cut",
            FaultKind::Partition => "partition",
            FaultKind::Roam => "roam",
            FaultKind::FullSocket => "full-socket",
            FaultKind::StalledShard => "stalled-shard",
            FaultKind::LateTimers => "late-timers",
            FaultKind::DeadNode => "dead-node",
            FaultKind::DeadServer => "dead-server",
            FaultKind::SocketCut => "socket-cut",
            FaultKind::StoreAway => "store-away",
            FaultKind::StoreSlow => "store-slow",
            FaultKind::StoreDemoted => "store-demoted",
            FaultKind::WrongClock => "wrong-clock",
            FaultKind::Misbehave => "misbehave",
            FaultKind::Leave => "leave",
            FaultKind::Mute => "mute",
            FaultKind::Sleep => "sleep",
            FaultKind::Unsubscribe => "unsubscribe",
            FaultKind::Pause => "pause",
            FaultKind::Narrow => "narrow",
            FaultKind::Unpublish => "unpublish",
            FaultKind::Message => "message",
            FaultKind::HangUp => "hang-up",
        }
    }

    /// True if the target is a person.
    pub fn is_of_person(self) -> bool {
        use FaultKind::{
            DeadNode, DeadServer, FullSocket, LateTimers, Partition, StalledShard, StoreAway,
            StoreDemoted, StoreSlow, WrongClock,
        };
        !matches!(
            self,
            DeadNode
                | DeadServer
                | FullSocket
                | LateTimers
                | Partition
                | StalledShard
                | StoreAway
                | StoreDemoted
                | StoreSlow
                | WrongClock
        )
    }

    /// Index into tables by kind.
    pub fn index(self) -> usize {
        self as usize
    }
}

impl Fault {
    /// Time when the fault ends.
    pub fn ends_at(&self) -> Time {
        self.at + self.lasts
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at.since_start(), self.lasts);
        write!(
            f,
            "{} {} {} {} {}",
            at.as_micros(),
            self.kind.label(),
            self.target,
            self.amount,
            lasts.as_micros()
        )
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(line: &str) -> Result<Self, FaultError> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [at, kind, target, amount, lasts] = words[..] else {
            return Err(FaultError::Words(line.to_owned()));
        };
        let found = FaultKind::ALL.into_iter().find(|one| one.label() == kind);
        Ok(Self {
            at: Time::ZERO + Duration::from_micros(number(at)?),
            kind: found.ok_or_else(|| FaultError::Kind(kind.to_owned()))?,
            target: number(target)?,
            amount: number(amount)?,
            lasts: Duration::from_micros(number(lasts)?),
        })
    }
}

fn number<N: FromStr>(word: &str) -> Result<N, FaultError> {
    word.parse()
        .map_err(|_| FaultError::Number(word.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_place_and_is_read_back() {
        for (index, kind) in FaultKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), index, "{kind:?}");
            let fault = Fault {
                at: Time::from_ms(12_500),
                kind,
                target: 3,
                amount: 200,
                lasts: Duration::from_micros(1_500),
            };
            assert_eq!(fault.to_string().parse::<Fault>(), Ok(fault));
            assert_eq!(
                fault.ends_at(),
                Time::from_ms(12_501) + Duration::from_micros(500)
            );
        }
    }

    #[test]
    fn a_wrong_line_is_named() {
        let read = |line: &str| line.parse::<Fault>().unwrap_err().to_string();
        assert_eq!(
            read("1 loss 2 3"),
            "'1 loss 2 3' is not: AT_US KIND TARGET AMOUNT LASTS_US"
        );
        assert_eq!(read("1 rain 2 3 4"), "'rain' is no kind of fault");
        assert_eq!(read("1 loss -2 3 4"), "'-2' is not a number");
    }
}

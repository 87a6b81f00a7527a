//! Random numbers. Each actor draws from a stream of its own, derived from the seed and its name. One more draw of one
//! actor then changes nothing for the others, and a shorter schedule keeps most of a run as it was.

use std::time::Duration;

use sha2::{Digest, Sha256};

/// The seed of a simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seed(pub u64);

/// A stream of random numbers. All draws have 64 bits, so that every host gets the same ones.
#[derive(Debug, Clone)]
pub struct Rng(fastrand::Rng);

/// A probability in parts of a million.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chance(u32);

/// [`Chance`] of a certain event.
const CERTAIN: u32 = 1_000_000;

impl Seed {
    /// The stream of the actor `name`.
    pub fn stream(self, name: &str) -> Rng {
        Rng(fastrand::Rng::with_seed(self.number(name)))
    }

    /// A seed for the actor `name`, for code that has a generator of its own.
    pub fn number(self, name: &str) -> u64 {
        let mut hash = Sha256::new();
        hash.update(self.0.to_be_bytes());
        hash.update(name.as_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let (first, _) = digest.split_first_chunk().expect("32 bytes begin with 8");
        u64::from_be_bytes(*first)
    }
}

impl Rng {
    /// A random number of 64 bits.
    pub fn number(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A number below `limit`.
    ///
    /// # Panics
    ///
    /// Panics when `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0.u64(..limit)
    }

    /// A number in `least..=most`.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        self.0.u64(least..=most)
    }

    /// True with this probability.
    pub fn happens(&mut self, chance: Chance) -> bool {
        self.below(u64::from(CERTAIN)) < u64::from(chance.0)
    }

    /// A time in `0..=most`, in whole microseconds.
    pub fn time_up_to(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.between(0, most.as_micros() as u64))
    }

    /// One of `all`; `None` when there is none.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let count = all.len() as u64;
        let index = (count > 0).then(|| self.below(count))?;
        all.get(index as usize)
    }

    /// An array of `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for chunk in bytes.chunks_mut(8) {
            let number = self.number().to_be_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
        bytes
    }
}

impl Chance {
    /// The chance of an impossible event.
    pub const NEVER: Chance = Chance(0);

    /// A probability in thousandths; above 1,000 is always.
    pub const fn per_mille(parts: u32) -> Self {
        Self(if parts > 1_000 {
            CERTAIN
        } else {
            parts * 1_000
        })
    }

    /// The probability that ends a run of `mean` events on average.
    pub const fn one_in(mean: u32) -> Self {
        match CERTAIN.checked_div(mean) {
            Some(chance) => Self(chance),
            None => Self(CERTAIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_by_seed_and_name_alone() {
        let draw = |seed, name| {
            let mut stream = Seed(seed).stream(name);
            [stream.number(), stream.number()]
        };
        assert_eq!(draw(1, "network"), draw(1, "network"));
        assert_ne!(draw(1, "network"), draw(2, "network"));
        assert_ne!(draw(1, "network"), draw(1, "clients"));
        // The first bytes of SHA-256 of eight zero bytes: the same on every host.
        assert_eq!(Seed(0).number(""), 0xaf55_70f5_a181_0b7a);
    }

    #[test]
    fn chances_are_met() {
        let mut rng = Seed(7).stream("chances");
        let mut met = |chance| (0..100_000).filter(|_| rng.happens(chance)).count();
        assert_eq!(met(Chance::NEVER), 0);
        assert_eq!(met(Chance::per_mille(5_000)), 100_000);
        assert!((4_500..5_500).contains(&met(Chance::per_mille(50))));
        assert!((9_500..10_500).contains(&met(Chance::one_in(10))));
    }

    #[test]
    fn draws_stay_within_their_limits() {
        let mut rng = Seed(3).stream("limits");
        let most = Duration::from_millis(5);
        let mut longest = Duration::ZERO;
        for _ in 0..1_000 {
            assert!(rng.below(3) < 3);
            assert!((4..=6).contains(&rng.between(4, 6)));
            longest = longest.max(rng.time_up_to(most));
            assert!(rng.one_of(&[1, 2]).is_some());
        }
        assert!(longest <= most && longest > most / 2);
        assert_eq!(rng.one_of::<u8>(&[]), None);
        assert_ne!(rng.bytes::<11>(), [0; 11]);
    }
}

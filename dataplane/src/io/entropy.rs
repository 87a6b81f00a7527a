//! The only place that reads the system's random source.

/// A random source: the system's, or a seed that makes a test or simulation repeatable.
#[derive(Debug, Clone)]
pub enum Entropy {
    /// The random source of the system; used for all secrets in production.
    System,
    /// Pseudorandom numbers from a seed.
    Seeded(fastrand::Rng),
}

impl Entropy {
    /// Pseudorandom numbers from `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(fastrand::Rng::with_seed(seed))
    }

    /// `N` random bytes.
    ///
    /// # Panics
    ///
    /// Panics when the kernel has no random source, which it would report at start.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        match self {
            Self::System => {
                getrandom::fill(&mut bytes).expect("the kernel provides random bytes");
            }
            Self::Seeded(rng) => rng.fill(&mut bytes),
        }
        bytes
    }

    /// A random name of `N` bytes in hexadecimal digits.
    pub fn name<const N: usize>(&mut self) -> String {
        let bytes = self.bytes::<N>();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Another source of the same kind: the system's, or a seed derived from this one.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        match self {
            Self::System => Self::System,
            Self::Seeded(rng) => Self::Seeded(rng.fork()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_itself_and_the_system_does_not() {
        let mut pair = [7, 7].map(Entropy::seeded);
        let drawn = pair.each_mut().map(|source| {
            let mut fork = source.fork();
            (source.name::<8>(), fork.bytes::<16>())
        });
        assert_eq!(drawn[0], drawn[1]);
        assert_ne!(drawn[0].1, Entropy::seeded(8).bytes());
        let mut system = Entropy::System;
        assert_ne!(system.bytes::<16>(), system.fork().bytes::<16>());
    }
}

//! The only place that reads the system's random source.

/// A random source: the system's, or a seed, which makes a run of a test or a simulation repeatable.
#[derive(Debug, Clone)]
pub enum Entropy {
    /// The random source of the system, for all secrets in production.
    System,
    /// Numbers that follow from a seed.
    Seeded(fastrand::Rng),
}

impl Entropy {
    /// Numbers that follow from `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(fastrand::Rng::with_seed(seed))
    }

    /// `N` bytes. Panics when the kernel has no random source, which it reports at start or never.
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

    /// A name of `N` bytes in hexadecimal digits.
    pub fn name<const N: usize>(&mut self) -> String {
        let bytes = self.bytes::<N>();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A source for another owner: the system's, or one derived from this seed.
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

//! Addresses of participants: consecutive addresses of a network, starting at the second one.

use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 network of addresses that all belong to the load generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    first: u32,
    count: u32,
}

impl Addresses {
    /// Addresses of `scripts/lab`: 10.64.0.0/10.
    pub const LAB: Self = Self {
        first: u32::from_be_bytes([10, 64, 0, 1]),
        count: (1 << 22) - 2,
    };

    /// The address of participant `index`.
    pub fn of(self, index: usize) -> Ipv4Addr {
        let index = u32::try_from(index).expect("participants are limited by `capacity`");
        Ipv4Addr::from(self.first + index)
    }

    /// Index of the address in the network.
    pub fn index(self, address: Ipv4Addr) -> Option<usize> {
        let index = u32::from(address).checked_sub(self.first)?;
        (index < self.count).then_some(index as usize)
    }

    /// Maximum number of participants.
    pub fn capacity(self) -> usize {
        self.count as usize
    }
}

impl FromStr for Addresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not of the form 10.64.0.0/10");
        let (network, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let network: Ipv4Addr = network.parse().map_err(|_| wrong())?;
        let prefix: u32 = prefix.parse().map_err(|_| wrong())?;
        if !(8..=30).contains(&prefix) {
            return Err(format!("prefix {prefix} of '{text}' is outside 8..=30"));
        }
        let size = 1_u32 << (32 - prefix);
        if u32::from(network) % size != 0 {
            return Err(format!("'{text}' has bits set after its prefix"));
        }
        // Without network address and broadcast address.
        Ok(Self {
            first: u32::from(network) + 1,
            count: size - 2,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_participants_map_both_ways() {
        let net: Addresses = "10.64.0.0/10".parse().unwrap();
        assert_eq!(net, Addresses::LAB);
        assert_eq!(net.of(0), Ipv4Addr::new(10, 64, 0, 1));
        assert_eq!(net.index(net.of(3_000)), Some(3_000));
        assert_eq!(net.index(Ipv4Addr::new(10, 64, 0, 0)), None);
        assert_eq!(net.index(Ipv4Addr::new(10, 128, 0, 0)), None);
        assert_eq!(net.capacity(), (1 << 22) - 2);
    }

    #[test]
    fn mistakes_say_what_and_why() {
        for (text, part) in [
            ("10.64.0.0", "is not of the form"),
            ("10.64.0.0/4", "outside 8..=30"),
            ("10.64.0.1/16", "bits set after its prefix"),
            ("x/16", "is not of the form"),
        ] {
            let error = text.parse::<Addresses>().unwrap_err();
            assert!(error.contains(part) && error.contains(text), "{error}");
        }
    }
}

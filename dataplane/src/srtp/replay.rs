//! Replay protection of SRTCP. Each sender SSRC of a client has its own index (RFC 3711 section 3.2.3): a browser
//! reports with one SSRC before it has a track, and with another one after.

use std::collections::HashMap;

/// Received indices of all senders of one session.
#[derive(Debug, Default)]
pub(super) struct Seen {
    window_by_ssrc: HashMap<u32, Window>,
}

/// Bitmap of the latest 64 indices that were received (RFC 3711 section 3.3.2).
#[derive(Debug)]
struct Window {
    highest: u32,
    seen: u64,
}

impl Seen {
    /// True if `index` of sender `ssrc` was received before, or is too old to be known.
    pub(super) fn contains(&self, ssrc: u32, index: u32) -> bool {
        let window = self.window_by_ssrc.get(&ssrc);
        window.is_some_and(|window| window.contains(index))
    }

    /// Records an authenticated index. False when `ssrc` is new and `max_senders` are known already.
    pub(super) fn insert(&mut self, ssrc: u32, index: u32, max_senders: usize) -> bool {
        if let Some(window) = self.window_by_ssrc.get_mut(&ssrc) {
            window.insert(index);
            return true;
        }
        if self.window_by_ssrc.len() >= max_senders {
            return false;
        }
        self.window_by_ssrc.insert(ssrc, Window::starting(index));
        true
    }
}

impl Window {
    fn starting(index: u32) -> Self {
        Self {
            highest: index,
            seen: 1,
        }
    }

    fn contains(&self, index: u32) -> bool {
        match self.highest.checked_sub(index) {
            Some(age) => age >= u64::BITS || self.seen & 1 << age != 0,
            None => false,
        }
    }

    fn insert(&mut self, index: u32) {
        match index.checked_sub(self.highest) {
            Some(ahead) => {
                self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
                self.highest = index;
            }
            // Older indices were refused before.
            None => self.seen |= 1_u64.checked_shl(self.highest - index).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_count_for_themselves_and_there_may_be_so_many() {
        let mut seen = Seen::default();
        assert!(seen.insert(0, 100, 32));
        for ssrc in 1..32 {
            assert!(!seen.contains(ssrc, 1), "another's numbers");
            assert!(seen.insert(ssrc, 1, 32));
            assert!(seen.contains(ssrc, 1));
        }
        assert!(!seen.insert(u32::MAX, 1, 32), "one too many");
        assert!(seen.contains(0, 100) && !seen.contains(0, 99));
        assert!(seen.contains(0, 36) && !seen.contains(0, 37), "the window");
        assert!(seen.insert(0, u32::MAX, 32) && seen.contains(0, 99));
    }
}

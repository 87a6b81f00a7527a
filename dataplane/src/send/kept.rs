//! Sealed datagrams that are kept for subscribers without RTX. RFC 4588 is optional; without it the same datagram is
//! sent again. A packet is never sealed again under a used number: with AES-GCM this reveals the authentication key.

use crate::limits::KEPT_DATAGRAMS;

/// The latest sealed datagrams of one stream, by sequence number.
#[derive(Debug, Default)]
pub struct Kept {
    ring: Vec<Option<(u16, Box<[u8]>)>>,
}

impl Kept {
    /// Stores `datagram` in place of the datagram [`KEPT_DATAGRAMS`] sequence numbers before it.
    pub fn keep(&mut self, seq: u16, datagram: &[u8]) {
        if self.ring.is_empty() {
            self.ring.resize(KEPT_DATAGRAMS, None);
        }
        self.ring[usize::from(seq) % KEPT_DATAGRAMS] = Some((seq, datagram.into()));
    }

    /// The datagram with this sequence number, if it is still stored.
    pub fn get(&self, seq: u16) -> Option<&[u8]> {
        let slot = self.ring.get(usize::from(seq) % KEPT_DATAGRAMS)?;
        let (kept, datagram) = slot.as_ref()?;
        (*kept == seq).then_some(datagram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_are_kept_until_as_many_followed() {
        let mut kept = Kept::default();
        assert_eq!(kept.get(65_535), None);
        kept.keep(65_535, &[1]);
        kept.keep(0, &[2]);
        assert_eq!(
            (kept.get(65_535), kept.get(0)),
            (Some(&[1][..]), Some(&[2][..]))
        );
        kept.keep(65_535_u16.wrapping_add(KEPT_DATAGRAMS as u16), &[3]);
        assert_eq!(kept.get(65_535), None);
    }
}

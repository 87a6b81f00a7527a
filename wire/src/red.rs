//! RFC 2198 redundancy around audio.

/// The newest block of a redundant payload: what a receiver without redundancy plays. `None` when the
/// headers reach past the end.
pub fn primary(payload: &[u8]) -> Option<&[u8]> {
    let mut rest = payload;
    let mut redundant_bytes = 0;
    // Section 3: blocks but the last have a header of 32 bits that starts with a 1.
    while *rest.first()? & 0x80 != 0 {
        let (header, after) = rest.split_first_chunk::<4>()?;
        redundant_bytes += usize::from(u16::from_be_bytes([header[2], header[3]]) & 0x03ff);
        rest = after;
    }
    rest.get(1..)?.get(redundant_bytes..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_block_is_the_last() {
        let one_redundant = [0x80 | 111, 0x0f, 0x00, 0x02, 111, 1, 2, 7, 8, 9];
        let table: [(&[u8], Option<&[u8]>); 6] = [
            (&one_redundant, Some(&[7, 8, 9])),
            (&[111, 7, 8], Some(&[7, 8])),
            (&one_redundant[..6], None),
            (&one_redundant[..3], None),
            (&[111], Some(&[])),
            (&[], None),
        ];
        for (payload, expected) in table {
            assert_eq!(primary(payload), expected, "{payload:02x?}");
        }
    }
}

//! WebSocket frames of a server (RFC 6455 section 5.2): not masked, not fragmented.

/// Splits `bytes` into the payloads of text frames. Control frames are left out.
///
/// # Errors
///
/// The rest that is no whole frame.
pub fn texts(mut bytes: &[u8]) -> Result<Vec<&str>, &[u8]> {
    const TEXT: u8 = 0x81;
    let mut texts = Vec::new();
    while let [first, short, rest @ ..] = bytes {
        let (length, rest) = match short {
            126 => match rest.split_first_chunk::<2>() {
                Some((length, rest)) => (usize::from(u16::from_be_bytes(*length)), rest),
                None => return Err(bytes),
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((length, rest)) => (u64::from_be_bytes(*length) as usize, rest),
                None => return Err(bytes),
            },
            short => (usize::from(*short), rest),
        };
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            return Err(bytes);
        };
        if *first == TEXT {
            texts.push(std::str::from_utf8(payload).map_err(|_| bytes)?);
        }
        bytes = rest;
    }
    match bytes.is_empty() {
        true => Ok(texts),
        false => Err(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_are_split() {
        let long = "x".repeat(300);
        let mut bytes = vec![0x81, 2, b'{', b'}', 0x89, 0, 0x81, 126, 1, 44];
        bytes.extend(long.as_bytes());
        assert_eq!(texts(&bytes), Ok(vec!["{}", &*long]));
        assert_eq!(texts(&[]), Ok(vec![]));
        assert!(texts(&bytes[..bytes.len() - 1]).is_err());
        assert!(texts(&[0x81]).is_err());
        assert!(texts(&[0x81, 126, 1]).is_err());
    }
}

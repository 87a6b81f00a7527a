//! Datagrams of the handshake. They begin like DTLS records, so that they are told apart from STUN and RTP as real ones
//! are (RFC 7983).

/// Content of a datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    /// First message of the client.
    Hello {
        /// Random number of the client.
        random: Random,
        /// Certificate of the client.
        certificate: Vec<u8>,
    },
    /// Answer of the server.
    Answer {
        /// Random number of the client, repeated.
        client_random: Random,
        /// Random number of the server.
        random: Random,
        /// Certificate of the server.
        certificate: Vec<u8>,
    },
    /// The client has the keys.
    Finished(Proof),
    /// The sender closes the connection.
    Close(Proof),
}

/// Random number of one side.
pub(super) type Random = [u8; 32];
/// Proves that the sender knows both random numbers.
pub(super) type Proof = [u8; 16];

/// Content type of a handshake record (RFC 6347 section 4.1).
const HANDSHAKE: u8 = 22;
/// Content type of an alert.
const ALERT: u8 = 21;
/// Version of DTLS 1.2.
const VERSION: [u8; 2] = [0xfe, 0xfd];
/// Bytes of a record header.
const HEADER_BYTES: usize = 13;

const HELLO: u8 = 1;
const ANSWER: u8 = 2;
const FINISHED: u8 = 20;
const CLOSE: u8 = 0;

impl Record {
    /// The datagram; `number` is the number of the record.
    pub(super) fn to_bytes(&self, number: u64) -> Vec<u8> {
        let (content, body) = match self {
            Record::Hello {
                random,
                certificate,
            } => (HANDSHAKE, [&[HELLO][..], random, certificate].concat()),
            Record::Answer {
                client_random,
                random,
                certificate,
            } => {
                let parts = [&[ANSWER][..], client_random, random, certificate];
                (HANDSHAKE, parts.concat())
            }
            Record::Finished(proof) => (HANDSHAKE, [&[FINISHED][..], proof].concat()),
            Record::Close(proof) => (ALERT, [&[CLOSE][..], proof].concat()),
        };
        let mut bytes = vec![content];
        bytes.extend(VERSION);
        bytes.extend(number.to_be_bytes()); // epoch and sequence number
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    /// Reads a datagram; `None` if it is no record of this handshake.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (header, body) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
        if header[1..3] != VERSION || length != body.len() {
            return None;
        }
        let (kind, rest) = body.split_first()?;
        match (header[0], *kind) {
            (HANDSHAKE, HELLO) => {
                let (random, certificate) = rest.split_first_chunk()?;
                Some(Record::Hello {
                    random: *random,
                    certificate: certificate.to_vec(),
                })
            }
            (HANDSHAKE, ANSWER) => {
                let (client_random, rest) = rest.split_first_chunk()?;
                let (random, certificate) = rest.split_first_chunk()?;
                Some(Record::Answer {
                    client_random: *client_random,
                    random: *random,
                    certificate: certificate.to_vec(),
                })
            }
            (HANDSHAKE, FINISHED) => Some(Record::Finished(rest.try_into().ok()?)),
            (ALERT, CLOSE) => Some(Record::Close(rest.try_into().ok()?)),
            (_, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_back_and_cut_ones_are_not() {
        let certificate = b"certificate".to_vec();
        for record in [
            Record::Hello {
                random: [1; 32],
                certificate: certificate.clone(),
            },
            Record::Answer {
                client_random: [1; 32],
                random: [2; 32],
                certificate,
            },
            Record::Finished([3; 16]),
            Record::Close([4; 16]),
        ] {
            let bytes = record.to_bytes(7);
            // RFC 7983 section 7: a first byte of 20 to 63 is DTLS.
            assert!((20..64).contains(&bytes[0]));
            assert_eq!(Record::read(&bytes), Some(record));
            for end in 0..bytes.len() {
                assert_eq!(Record::read(&bytes[..end]), None);
            }
        }
    }
}

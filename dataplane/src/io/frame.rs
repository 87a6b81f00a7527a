//! Headers of a datagram in an Ethernet frame: the offload header of packet sockets (virtio_net_hdr), Ethernet, IP and
//! UDP.
//!
//! The device computes the UDP checksum and cuts joined datagrams apart, as it does for the kernel's own datagrams.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::route::Hop;

/// Maximum length of the headers, with IPv6, in bytes.
pub const MAX_HEAD_BYTES: usize = OFFLOAD_BYTES + ETHERNET_BYTES + IPV6_BYTES + UDP_BYTES;

const OFFLOAD_BYTES: usize = 10;
const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const UDP_BYTES: usize = 8;

/// VIRTIO_NET_HDR_F_NEEDS_CSUM: the device completes the sum that the checksum field contains.
const NEEDS_CHECKSUM: u8 = 1;
/// Value of VIRTIO_NET_HDR_GSO_UDP_L4 (Linux 6.2).
const JOINED_UDP: u8 = 5;
/// Offset of the UDP checksum in the header.
const CHECKSUM_OFFSET: u16 = 6;
const PROTOCOL_UDP: u8 = 17;
/// Default hop limit of the kernel (net.ipv4.ip_default_ttl).
const HOP_LIMIT: u8 = 64;

/// Next hop and addresses of a frame.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    /// Interface and link-layer address of the next hop.
    pub hop: Hop,
    /// Source address and port of the datagram.
    pub from: SocketAddr,
    /// IPv4 identification of the first datagram; joined datagrams have consecutive values.
    pub identification: u16,
}

/// Bytes of the IP and UDP headers.
pub fn header_bytes(is_v6: bool) -> usize {
    UDP_BYTES + if is_v6 { IPV6_BYTES } else { IPV4_BYTES }
}

impl Frame {
    /// Writes the headers for `payload` bytes to `to`, in joined datagrams of `segment` bytes if given. Returns the
    /// length of the headers.
    ///
    /// # Panics
    ///
    /// Panics if the addresses are of different families, or if `payload` is more than 65,507 bytes.
    pub fn write_head(
        &self,
        head: &mut [u8; MAX_HEAD_BYTES],
        to: SocketAddr,
        payload: usize,
        segment: Option<u16>,
    ) -> usize {
        let udp = u16::try_from(UDP_BYTES + payload).expect("a datagram has less than 64 KiB");
        let (offload, rest) = head.split_at_mut(OFFLOAD_BYTES);
        let (ethernet, rest) = rest.split_at_mut(ETHERNET_BYTES);
        ethernet.copy_from_slice(&self.hop.ethernet);
        let (ip_bytes, sum) = match (self.from, to) {
            (SocketAddr::V4(from), SocketAddr::V4(to)) => {
                let header = &mut rest[..IPV4_BYTES];
                write_ipv4(header, *from.ip(), *to.ip(), udp, self.identification);
                (IPV4_BYTES, words(&header[12..20]))
            }
            (SocketAddr::V6(from), SocketAddr::V6(to)) => {
                let header = &mut rest[..IPV6_BYTES];
                write_ipv6(header, *from.ip(), *to.ip(), udp);
                (IPV6_BYTES, words(&header[8..40]))
            }
            _ => panic!("one family for both addresses"),
        };
        let header = &mut rest[ip_bytes..ip_bytes + UDP_BYTES];
        header[..2].copy_from_slice(&self.from.port().to_be_bytes());
        header[2..4].copy_from_slice(&to.port().to_be_bytes());
        header[4..6].copy_from_slice(&udp.to_be_bytes());
        let pseudo = fold(sum + u32::from(PROTOCOL_UDP) + u32::from(udp));
        header[6..8].copy_from_slice(&pseudo.to_be_bytes());
        let length = ETHERNET_BYTES + ip_bytes + UDP_BYTES;
        write_offload(offload, length, segment);
        OFFLOAD_BYTES + length
    }
}

/// Fields are in the host's byte order, as packet sockets require.
fn write_offload(header: &mut [u8], length: usize, segment: Option<u16>) {
    let length = u16::try_from(length).expect("headers are short");
    header[0] = NEEDS_CHECKSUM;
    header[1] = if segment.is_some() { JOINED_UDP } else { 0 };
    header[2..4].copy_from_slice(&length.to_ne_bytes());
    header[4..6].copy_from_slice(&segment.unwrap_or(0).to_ne_bytes());
    header[6..8].copy_from_slice(&(length - UDP_BYTES as u16).to_ne_bytes());
    header[8..10].copy_from_slice(&CHECKSUM_OFFSET.to_ne_bytes());
}

/// The packet may be fragmented (no DF), because no code here handles path MTU messages.
fn write_ipv4(header: &mut [u8], from: Ipv4Addr, to: Ipv4Addr, udp: u16, identification: u16) {
    header.fill(0);
    header[0] = 0x45;
    header[2..4].copy_from_slice(&(IPV4_BYTES as u16 + udp).to_be_bytes());
    header[4..6].copy_from_slice(&identification.to_be_bytes());
    header[8] = HOP_LIMIT;
    header[9] = PROTOCOL_UDP;
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    let checksum = !fold(words(header));
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

fn write_ipv6(header: &mut [u8], from: Ipv6Addr, to: Ipv6Addr, udp: u16) {
    header[..4].copy_from_slice(&[0x60, 0, 0, 0]);
    header[4..6].copy_from_slice(&udp.to_be_bytes());
    header[6] = PROTOCOL_UDP;
    header[7] = HOP_LIMIT;
    header[8..24].copy_from_slice(&from.octets());
    header[24..40].copy_from_slice(&to.octets());
}

/// The sum of 16-bit words (RFC 1071), not folded yet.
fn words(bytes: &[u8]) -> u32 {
    let pairs = bytes.chunks_exact(2);
    pairs
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum()
}

fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(from: &str) -> Frame {
        Frame {
            hop: Hop {
                interface: 3,
                ethernet: *b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0",
                mtu: 1_500,
            },
            from: from.parse().unwrap(),
            identification: 0x1234,
        }
    }

    fn head(frame: &Frame, to: &str, payload: usize, segment: Option<u16>) -> Vec<u8> {
        let mut head = [0xff; MAX_HEAD_BYTES]; // earlier content must be overwritten
        let to = to.parse().unwrap();
        let length = frame.write_head(&mut head, to, payload, segment);
        head[..length].to_vec()
    }

    #[test]
    fn an_ipv4_datagram_has_the_headers_a_receiver_expects() {
        let head = head(&frame("192.0.2.1:7882"), "198.51.100.9:5004", 5, None);
        assert_eq!(head.len(), 10 + 42);
        assert_eq!(head[..2], [NEEDS_CHECKSUM, 0]);
        assert_eq!(head[2..4], 42_u16.to_ne_bytes());
        assert_eq!(head[6..8], 34_u16.to_ne_bytes(), "UDP begins there");
        assert_eq!(head[10..24], frame("192.0.2.1:1").hop.ethernet);
        let ip = &head[24..44];
        let expected = [
            0x45, 0, 0, 33, 0x12, 0x34, 0, 0, 64, 17, 0x38, 0xe7, 192, 0, 2, 1, 198, 51, 100, 9,
        ];
        assert_eq!(fold(words(ip)), 0xffff, "the checksum is right");
        assert_eq!(ip[..10], expected[..10]);
        assert_eq!(ip[12..], expected[12..]);
        let udp = &head[44..];
        assert_eq!(udp[..6], [0x1e, 0xca, 0x13, 0x8c, 0, 13]);
        // RFC 768: addresses, protocol and length; the device adds the rest and complements the sum.
        let pseudo = [192, 0, 2, 1, 198, 51, 100, 9, 0, PROTOCOL_UDP, 0, 13];
        assert_eq!(udp[6..8], fold(words(&pseudo)).to_be_bytes());
    }

    #[test]
    fn joined_ipv6_datagrams_say_how_long_each_is() {
        let mut frame = frame("[2001:db8::1]:7882");
        frame.hop.ethernet[12..].copy_from_slice(&[0x86, 0xdd]);
        let head = head(&frame, "[2001:db8::9]:5004", 2_500, Some(1_000));
        assert_eq!(head.len(), MAX_HEAD_BYTES);
        assert_eq!(head[1], JOINED_UDP);
        assert_eq!(head[4..6], 1_000_u16.to_ne_bytes());
        assert_eq!(head[24..32], [0x60, 0, 0, 0, 0x09, 0xcc, 17, 64]);
        let addresses = &head[32..64];
        assert_eq!(addresses[15], 1);
        assert_eq!(addresses[31], 9);
        let length = 2_508_u16.to_be_bytes();
        assert_eq!(head[68..70], length);
        let pseudo = fold(words(addresses) + 17 + 2_508);
        assert_eq!(head[70..72], pseudo.to_be_bytes());
    }
}

//! Ancillary data of datagrams: the local address (IP_PKTINFO, IPV6_PKTINFO), the count of datagrams dropped because
//! the receive buffer was full (SO_RXQ_OVFL), and the size of joined datagrams (UDP_GRO for receives, UDP_SEGMENT for
//! sends).

use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Space for one packet info, one overflow count and one segment size with their headers; aligned for cmsghdr.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct ControlBuffer(pub(super) [u8; 128]);

impl ControlBuffer {
    pub(super) const EMPTY: ControlBuffer = ControlBuffer([0; 128]);
}

/// Control messages of a received datagram.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Ancillary {
    pub(super) local: Option<IpAddr>,
    pub(super) queue_overflows: Option<u32>,
    /// Bytes of each joined datagram but the last; `None` for a single datagram.
    pub(super) segment_bytes: Option<usize>,
}

/// Reads the ancillary data that `header` points to.
pub(super) fn read(header: &libc::msghdr) -> Ancillary {
    let mut found = Ancillary::default();
    // SAFETY: msg_control and msg_controllen of `header` describe initialised memory that outlives it.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a header inside the control buffer.
        let cmsg = unsafe { &*next };
        // SAFETY: `next` is a valid header; its data follows it inside the control buffer.
        let data = unsafe { libc::CMSG_DATA(next) };
        match (cmsg.cmsg_level, cmsg.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: the kernel wrote an in_pktinfo there; read_unaligned needs no alignment.
                let info = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
                let ip = Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr));
                found.local = Some(IpAddr::V4(ip));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: the kernel wrote an in6_pktinfo there.
                let info = unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
                found.local = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                // SAFETY: the kernel wrote a u32 there.
                found.queue_overflows = Some(unsafe { data.cast::<u32>().read_unaligned() });
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                // SAFETY: the kernel wrote an int there.
                let bytes = unsafe { data.cast::<libc::c_int>().read_unaligned() };
                found.segment_bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes > 0);
            }
            _ => {} // data that was not requested
        }
        // SAFETY: `header` and `next` are as above.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    found
}

/// Writes ancillary data for the source address `source` and for datagrams of `segment` bytes. Returns the length of
/// the data.
pub(super) fn write(
    control: &mut ControlBuffer,
    source: Option<IpAddr>,
    segment: Option<u16>,
) -> usize {
    let after_source = match source {
        Some(IpAddr::V4(ip)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from(ip).to_be(),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            write_one(control, 0, (libc::IPPROTO_IP, libc::IP_PKTINFO), info)
        }
        Some(IpAddr::V6(ip)) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: ip.octets(),
                },
                ipi6_ifindex: 0,
            };
            write_one(control, 0, (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO), info)
        }
        None => 0,
    };
    match segment {
        Some(bytes) => write_one(
            control,
            after_source,
            (libc::SOL_UDP, libc::UDP_SEGMENT),
            bytes,
        ),
        None => after_source,
    }
}

/// Writes one control message at offset `at`, a multiple of the alignment. Returns the offset of the next one.
fn write_one<T: Copy>(
    control: &mut ControlBuffer,
    at: usize,
    (level, kind): (i32, i32),
    value: T,
) -> usize {
    let size = u32::try_from(mem::size_of::<T>()).expect("ancillary values are a few bytes");
    // SAFETY: CMSG_SPACE and CMSG_LEN only compute.
    let (space, length) = unsafe { (libc::CMSG_SPACE(size), libc::CMSG_LEN(size)) };
    let end = at + space as usize;
    assert!(
        at.is_multiple_of(mem::align_of::<libc::cmsghdr>()) && end <= control.0.len(),
        "the control buffer has room for a packet info and a segment size"
    );
    let header: *mut libc::cmsghdr = control.0[at..].as_mut_ptr().cast();
    // SAFETY: the buffer is aligned for cmsghdr (align 8, `at` checked above), large enough and ours.
    unsafe {
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        (*header).cmsg_len = length as _;
    }
    // SAFETY: CMSG_DATA of the header is inside the buffer, with `size` bytes of room (checked above).
    unsafe { libc::CMSG_DATA(header).cast::<T>().write_unaligned(value) };
    end
}

//! Ancillary data of datagrams: the local address (IP_PKTINFO, IPV6_PKTINFO) and the count of datagrams
//! the kernel dropped for want of receive buffer (SO_RXQ_OVFL).

use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Room for one packet info and one overflow count, with their headers; aligned for cmsghdr.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct ControlBuffer(pub(super) [u8; 96]);

impl ControlBuffer {
    pub(super) const EMPTY: ControlBuffer = ControlBuffer([0; 96]);
}

/// What the kernel said beside a received datagram.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Ancillary {
    pub(super) local: Option<IpAddr>,
    pub(super) queue_overflows: Option<u32>,
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
            _ => {} // other data was not asked for
        }
        // SAFETY: `header` and `next` are as above.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    found
}

/// Writes a packet info that makes the kernel send from `source`; returns the control length.
pub(super) fn write_source(control: &mut ControlBuffer, source: IpAddr) -> usize {
    match source {
        IpAddr::V4(ip) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from(ip).to_be(),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            write_one(control, libc::IPPROTO_IP, libc::IP_PKTINFO, info)
        }
        IpAddr::V6(ip) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: ip.octets(),
                },
                ipi6_ifindex: 0,
            };
            write_one(control, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
        }
    }
}

fn write_one<T: Copy>(control: &mut ControlBuffer, level: i32, kind: i32, value: T) -> usize {
    let size = u32::try_from(mem::size_of::<T>()).expect("packet infos are a few bytes");
    // SAFETY: CMSG_SPACE and CMSG_LEN only compute.
    let (space, length) = unsafe { (libc::CMSG_SPACE(size), libc::CMSG_LEN(size)) };
    assert!(
        space as usize <= control.0.len(),
        "the control buffer has room for one packet info"
    );
    let header: *mut libc::cmsghdr = control.0.as_mut_ptr().cast();
    // SAFETY: the buffer is aligned for cmsghdr (align 8), large enough (asserted above) and ours.
    unsafe {
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        (*header).cmsg_len = length as _;
    }
    // SAFETY: CMSG_DATA of a header at the start of the buffer is inside it, with `size` bytes of room.
    unsafe { libc::CMSG_DATA(header).cast::<T>().write_unaligned(value) };
    space as usize
}

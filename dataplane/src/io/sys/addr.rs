//! Converts between `SocketAddr` and `sockaddr_storage`, and writes addresses of packet sockets.

use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::io::route::Hop;

/// The address the kernel wrote, or `None` for a family other than IPv4 and IPv6.
pub(super) fn from_storage(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: sockaddr_storage is at least as large and as aligned as sockaddr_in, all bit
            // patterns are valid for it, and the family says that it holds one.
            let v4: &libc::sockaddr_in = unsafe { &*std::ptr::from_ref(storage).cast() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(
                ip,
                u16::from_be(v4.sin_port),
            )))
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for sockaddr_in6.
            let v6: &libc::sockaddr_in6 = unsafe { &*std::ptr::from_ref(storage).cast() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(SocketAddr::V6(SocketAddrV6::new(
                ip,
                port,
                0,
                v6.sin6_scope_id,
            )))
        }
        _ => None,
    }
}

/// The address in the first `bytes` of a storage.
pub(super) fn from_bytes(bytes: &[u8]) -> Option<SocketAddr> {
    let mut storage = empty();
    let length = bytes.len().min(mem::size_of_val(&storage));
    let start = std::ptr::from_mut(&mut storage).cast::<u8>();
    // SAFETY: `length` bytes are readable there and fit the storage, which is plain data.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start, length) };
    from_storage(&storage)
}

/// Writes `addr` to `storage`, and returns the length for the kernel.
pub(super) fn to_storage(addr: SocketAddr, storage: &mut libc::sockaddr_storage) -> u32 {
    let length = match addr {
        SocketAddr::V4(v4) => {
            // SAFETY: see from_storage: size, alignment and validity of sockaddr_in hold.
            let out: &mut libc::sockaddr_in = unsafe { &mut *std::ptr::from_mut(storage).cast() };
            out.sin_family = libc::AF_INET as libc::sa_family_t;
            out.sin_port = v4.port().to_be();
            out.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
            mem::size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            // SAFETY: as above, for sockaddr_in6.
            let out: &mut libc::sockaddr_in6 = unsafe { &mut *std::ptr::from_mut(storage).cast() };
            out.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            out.sin6_port = v6.port().to_be();
            out.sin6_flowinfo = 0;
            out.sin6_addr.s6_addr = v6.ip().octets();
            out.sin6_scope_id = v6.scope_id();
            mem::size_of::<libc::sockaddr_in6>()
        }
    };
    u32::try_from(length).expect("a socket address is a few bytes")
}

/// Writes the interface of `hop` to `storage`, and returns the length for the kernel.
pub(super) fn to_device(hop: &Hop, storage: &mut libc::sockaddr_storage) -> u32 {
    // SAFETY: sockaddr_storage is at least as large and as aligned as sockaddr_ll, and all bit patterns are
    // valid for it.
    let out: &mut libc::sockaddr_ll = unsafe { &mut *std::ptr::from_mut(storage).cast() };
    out.sll_family = libc::AF_PACKET as libc::sa_family_t;
    out.sll_protocol = u16::from_ne_bytes([hop.ethernet[12], hop.ethernet[13]]);
    out.sll_ifindex = hop.interface.cast_signed();
    out.sll_hatype = 0;
    out.sll_pkttype = 0;
    out.sll_halen = 6;
    out.sll_addr = [0; 8];
    out.sll_addr[..6].copy_from_slice(&hop.ethernet[..6]);
    mem::size_of::<libc::sockaddr_ll>() as u32
}

/// An empty storage, to be filled by the kernel.
pub(super) fn empty() -> libc::sockaddr_storage {
    // SAFETY: sockaddr_storage is plain data for which all zeroes are a valid value.
    unsafe { mem::zeroed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["192.0.2.7:7882", "[2001:db8::1]:1", "127.0.0.1:65535"] {
            let addr: SocketAddr = text.parse().unwrap();
            let mut storage = empty();
            to_storage(addr, &mut storage);
            assert_eq!(from_storage(&storage), Some(addr));
        }
        assert_eq!(from_storage(&empty()), None);
    }
}

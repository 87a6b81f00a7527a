//! Socket options that socket2 lacks.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

/// PACKET_VNET_HDR of linux/if_packet.h: sent data starts with a virtio header.
const PACKET_VNET_HDR: i32 = 15;

/// Received datagrams come with the local address that they were sent to.
pub fn enable_packet_info(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    let (level, option) = if ipv6 {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    } else {
        (libc::IPPROTO_IP, libc::IP_PKTINFO)
    };
    set(socket, level, option, &1_i32)
}

/// Received datagrams come with the number of datagrams dropped so far (SO_RXQ_OVFL).
pub fn enable_queue_overflow_count(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &1_i32)
}

/// Lets the kernel join datagrams of one flow into one message (UDP_GRO, Linux 5.0).
pub fn enable_receive_offload(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::SOL_UDP, libc::UDP_GRO, &1_i32)
}

/// Data sent through the packet socket starts with a virtio_net_hdr, which describes checksum and segmentation offload.
pub(super) fn enable_offload_header(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::SOL_PACKET, PACKET_VNET_HDR, &1_i32)
}

/// Replaces the four-tuple hash of the SO_REUSEPORT group of `socket`: a datagram goes to the socket of the shard whose
/// core received it.
///
/// `cores[i]` is the core of the i-th socket bound to the group. Datagrams received on other cores are distributed by
/// core number.
pub fn steer_by_cpu(socket: BorrowedFd<'_>, cores: &[u32]) -> io::Result<()> {
    let mut program = steering_program(cores);
    let attach = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| {
            let message = format!("{} cores make too long a steering program", cores.len());
            io::Error::new(io::ErrorKind::InvalidInput, message)
        })?,
        filter: program.as_mut_ptr(),
    };
    set(
        socket,
        libc::SOL_SOCKET,
        libc::SO_ATTACH_REUSEPORT_CBPF,
        &attach,
    )
}

/// Classic BPF program: loads the CPU number and returns the index of its core; for other CPUs, CPU number modulo
/// count.
fn steering_program(cores: &[u32]) -> Vec<libc::sock_filter> {
    let statement = |code: u32, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let load_cpu = (libc::SKF_AD_OFF + libc::SKF_AD_CPU) as u32;
    let mut program = vec![statement(
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        load_cpu,
    )];
    for (index, core) in cores.iter().enumerate() {
        program.push(libc::sock_filter {
            code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
            jt: 0,
            jf: 1,
            k: *core,
        });
        program.push(statement(libc::BPF_RET | libc::BPF_K, index as u32));
    }
    program.push(statement(
        libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K,
        cores.len() as u32,
    ));
    program.push(statement(libc::BPF_RET | libc::BPF_A, 0));
    program
}

fn set<T>(socket: BorrowedFd<'_>, level: i32, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which outlives the call; the kernel only
    // reads it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            mem::size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn the_kernel_accepts_the_steering_program() {
        use socket2::{Domain, Socket, Type};
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.set_reuse_port(true).unwrap();
        steer_by_cpu(socket.as_fd(), &[0, 1, 5]).unwrap();
    }
}

#!/usr/bin/env python3
"""Attaches the XDP program that lets every frame pass to an interface: scripts/xdp-pass.py veth0

A veth device with a program receives through NAPI, as a network card does, so that its interrupts can be
moderated (napi_defer_hard_irqs, gro_flush_timeout); without one each frame is an interrupt. The program stays
with the interface.
"""
import ctypes
import os
import socket
import struct
import sys

SYS_BPF = {"x86_64": 321, "aarch64": 280}
BPF_PROG_LOAD, BPF_PROG_TYPE_XDP, BPF_XDP = 5, 6, 37
XDP_PASS, XDP_FLAGS_DRV_MODE = 2, 4
RTM_SETLINK, NLM_F_REQUEST, NLM_F_ACK = 19, 1, 4
IFLA_XDP, IFLA_XDP_FD, IFLA_XDP_FLAGS, NLA_F_NESTED = 43, 1, 3, 0x8000


def load():
    """r0 = XDP_PASS; exit"""
    program = struct.pack("<BBhi", 0xB7, 0, 0, XDP_PASS) + struct.pack("<BBhi", 0x95, 0, 0, 0)
    code, license = ctypes.create_string_buffer(program), ctypes.create_string_buffer(b"Dual BSD/GPL")
    attributes = struct.pack(
        "<IIQQIIQII16sII", BPF_PROG_TYPE_XDP, 2, ctypes.addressof(code), ctypes.addressof(license),
        0, 0, 0, 0, 0, b"pass", 0, BPF_XDP)
    libc = ctypes.CDLL(None, use_errno=True)
    number = SYS_BPF[os.uname().machine]
    fd = libc.syscall(number, BPF_PROG_LOAD, ctypes.create_string_buffer(attributes, 160), len(attributes))
    if fd < 0:
        sys.exit(f"xdp-pass: bpf(): {os.strerror(ctypes.get_errno())}")
    return fd


def attribute(kind, value):
    length = 4 + len(value)
    return struct.pack("<HH", length, kind) + value + bytes(-length % 4)


def attach(interface, fd):
    nested = attribute(IFLA_XDP_FD, struct.pack("<i", fd)) + attribute(IFLA_XDP_FLAGS, struct.pack("<I", XDP_FLAGS_DRV_MODE))
    body = struct.pack("<BxHiII", 0, 0, socket.if_nametoindex(interface), 0, 0)
    body += attribute(IFLA_XDP | NLA_F_NESTED, nested)
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    netlink.send(struct.pack("<IHHII", 16 + len(body), RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0) + body)
    error = -struct.unpack_from("<i", netlink.recv(4096), 16)[0]
    if error:
        sys.exit(f"xdp-pass: {interface}: {os.strerror(error)}")


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    attach(sys.argv[1], load())

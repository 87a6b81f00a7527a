//! Message headers for sends: destination, source address and ancillary data.

use std::mem;
use std::ptr;

use super::addr;
use super::cmsg::{self, ControlBuffer};
use super::message::Message;
use crate::io::frame::MAX_HEAD_BYTES;

/// Buffers that the headers of all messages point to, allocated once.
pub(super) struct Headers {
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[ControlBuffer]>,
    /// For each message: headers of a frame, and payload.
    iovecs: Box<[[libc::iovec; 2]]>,
    /// Headers of frames; short payloads are copied behind them.
    heads: Box<[[u8; FRAME_BYTES]]>,
}

/// Frames up to this length are copied into one buffer, which costs less than two buffers.
const FRAME_BYTES: usize = 384;

impl Headers {
    /// Allocates headers for up to `count` messages per call.
    pub(super) fn new(count: usize) -> Self {
        let iovec = libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        Self {
            names: vec![addr::empty(); count].into_boxed_slice(),
            controls: vec![ControlBuffer::EMPTY; count].into_boxed_slice(),
            iovecs: vec![[iovec; 2]; count].into_boxed_slice(),
            heads: vec![[0; FRAME_BYTES]; count].into_boxed_slice(),
        }
    }

    /// A msghdr with all fields zero.
    pub(super) fn empty() -> libc::msghdr {
        // SAFETY: msghdr is plain data for which all zeroes are a valid value.
        unsafe { mem::zeroed() }
    }

    /// Writes the header of `message` at `index`. It points into `self` and to the bytes of the message.
    pub(super) fn describe(&mut self, index: usize, message: &Message<'_>) -> libc::msghdr {
        let mut header = Self::empty();
        let payload = libc::iovec {
            iov_base: message.bytes.as_ptr().cast_mut().cast(),
            iov_len: message.bytes.len(),
        };
        let iovecs = &mut self.iovecs[index];
        header.msg_name = ptr::from_mut(&mut self.names[index]).cast();
        header.msg_iov = iovecs.as_mut_ptr();
        if let Some(frame) = &message.frame {
            let (head, room) = self.heads[index]
                .split_first_chunk_mut::<MAX_HEAD_BYTES>()
                .expect("a head fits");
            let (to, bytes) = (message.destination, message.bytes);
            let length = frame.write_head(head, to, bytes.len(), message.segment_bytes);
            header.msg_namelen = addr::to_device(&frame.hop, &mut self.names[index]);
            let start = MAX_HEAD_BYTES - length;
            head.copy_within(..length, start); // the headers must end where the payload starts
            let whole = room.get_mut(..bytes.len());
            let is_whole = whole.map(|room| room.copy_from_slice(bytes)).is_some();
            iovecs[0] = libc::iovec {
                iov_base: self.heads[index][start..].as_mut_ptr().cast(),
                iov_len: if is_whole {
                    length + bytes.len()
                } else {
                    length
                },
            };
            iovecs[1] = payload;
            header.msg_iovlen = if is_whole { 1 } else { 2 };
            return header;
        }
        iovecs[0] = payload;
        header.msg_iovlen = 1;
        header.msg_namelen = addr::to_storage(message.destination, &mut self.names[index]);
        let control = &mut self.controls[index];
        let length = cmsg::write(control, message.source, message.segment_bytes);
        if length > 0 {
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = length as _;
        }
        header
    }
}

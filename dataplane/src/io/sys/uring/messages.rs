//! Headers of the messages of one submission, and what became of each.

use std::mem;
use std::ptr;

use super::super::cmsg::{self, ControlBuffer};
use super::super::{Message, addr};

/// Headers, allocated once.
pub(super) struct Messages {
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[ControlBuffer]>,
    iovecs: Box<[libc::iovec]>,
    headers: Box<[libc::msghdr]>,
    results: Box<[i32]>,
    outstanding: usize,
}

impl Messages {
    pub(super) fn new(count: usize) -> Self {
        let iovec = libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        // SAFETY: msghdr is plain data for which all zeroes are a valid value.
        let header: libc::msghdr = unsafe { mem::zeroed() };
        Self {
            names: vec![addr::empty(); count].into_boxed_slice(),
            controls: vec![ControlBuffer::EMPTY; count].into_boxed_slice(),
            iovecs: vec![iovec; count].into_boxed_slice(),
            headers: vec![header; count].into_boxed_slice(),
            results: vec![0; count].into_boxed_slice(),
            outstanding: 0,
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.headers.len()
    }

    /// Describes the first of `messages`; how many.
    pub(super) fn fill<'a>(&mut self, messages: impl Iterator<Item = Message<'a>>) -> usize {
        let mut count = 0;
        for message in messages.take(self.capacity()) {
            self.describe(count, &message);
            count += 1;
        }
        self.results[..count].fill(-libc::ECANCELED);
        self.outstanding = count;
        count
    }

    pub(super) fn header(&self, index: usize) -> *const libc::msghdr {
        &raw const self.headers[index]
    }

    /// Messages whose fate is unknown.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }

    pub(super) fn complete(&mut self, index: usize, result: i32) {
        self.results[index] = result;
        self.outstanding -= 1;
    }

    /// Nobody will say what became of the rest.
    pub(super) fn forget(&mut self) {
        self.outstanding = 0;
    }

    /// Bytes, or a negative errno.
    pub(super) fn result(&self, index: usize) -> i32 {
        self.results[index]
    }

    fn describe(&mut self, index: usize, message: &Message<'_>) {
        self.iovecs[index] = libc::iovec {
            iov_base: message.bytes.as_ptr().cast_mut().cast(),
            iov_len: message.bytes.len(),
        };
        let control = &mut self.controls[index];
        let length = cmsg::write(control, message.source, message.segment_bytes);
        let header = &mut self.headers[index];
        header.msg_name = ptr::from_mut(&mut self.names[index]).cast();
        header.msg_namelen = addr::to_storage(message.destination, &mut self.names[index]);
        header.msg_iov = ptr::from_mut(&mut self.iovecs[index]);
        header.msg_iovlen = 1;
        header.msg_controllen = length as _;
        header.msg_control = match length {
            0 => ptr::null_mut(),
            _ => control.0.as_mut_ptr().cast(),
        };
    }
}

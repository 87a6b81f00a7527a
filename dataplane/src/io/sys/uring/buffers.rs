//! A ring of buffers shared with the kernel, which uses one for each received message.

use std::alloc::{self, Layout};
use std::io;
use std::mem;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

/// Id of the only buffer group.
pub(super) const BUFFER_GROUP: u16 = 0;
const PAGE_BYTES: usize = 4_096;
/// Buffers start on cache lines, which also aligns them for the kernel's headers.
const LINE_BYTES: usize = 64;

/// Buffers of the ring. The kernel owns a buffer until a completion names it.
pub(super) struct Buffers {
    entries: Memory,
    payloads: Memory,
    count: u16,
    buffer_bytes: usize,
    tail: u16,
}

/// Zeroed memory that the kernel maps as a buffer ring.
struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

impl Buffers {
    /// Gives the kernel `count` buffers (a power of two) of at least `buffer_bytes`.
    ///
    /// The buffers must live until no request of the ring can use one.
    pub(super) fn register(ring: &IoUring, count: u16, buffer_bytes: usize) -> io::Result<Self> {
        let buffer_bytes = buffer_bytes.next_multiple_of(LINE_BYTES);
        let entry_bytes = usize::from(count) * mem::size_of::<BufRingEntry>();
        let mut buffers = Self {
            entries: Memory::new(entry_bytes, PAGE_BYTES)?,
            payloads: Memory::new(usize::from(count) * buffer_bytes, PAGE_BYTES)?,
            count,
            buffer_bytes,
            tail: 0,
        };
        let address = buffers.entries.start.as_ptr() as u64;
        // SAFETY: the memory has room for `count` entries, starts at a page, and lives as long as the
        // buffers, which the caller keeps until nothing uses them.
        unsafe {
            ring.submitter()
                .register_buf_ring_with_flags(address, count, BUFFER_GROUP, 0)?;
        }
        for buffer in 0..count {
            buffers.give_back(buffer);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// The first `bytes` of a buffer that a completion named and that was not returned since.
    pub(super) fn get(&self, buffer: u16, bytes: usize) -> &[u8] {
        assert!(buffer < self.count, "the kernel names our buffers");
        let start = self.address(buffer);
        // SAFETY: inside the memory (checked above, and by the minimum), initialised, and the kernel does
        // not write to it until it is given back, which needs `&mut self`.
        unsafe { slice::from_raw_parts(start, bytes.min(self.buffer_bytes)) }
    }

    /// Returns a buffer; the kernel can use it after [`publish`](Self::publish).
    pub(super) fn give_back(&mut self, buffer: u16) {
        let address = self.address(buffer) as u64;
        let slot = usize::from(self.tail & (self.count - 1));
        let entries = self.entries.start.as_ptr().cast::<BufRingEntry>();
        // SAFETY: the slot is one of the `count` entries, which the memory has room for.
        let entry = unsafe { entries.add(slot) };
        // SAFETY: aligned and initialised; the kernel reads only entries before the published tail, and this entry is
        // behind it. The shared tail is in a part of the entry that is not written here.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address);
        entry.set_len(self.buffer_bytes as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Publishes the returned buffers to the kernel.
    pub(super) fn publish(&mut self) {
        let entries = self.entries.start.as_ptr().cast::<BufRingEntry>();
        // SAFETY: the address of the first entry, which is initialised.
        let tail = unsafe { BufRingEntry::tail(entries) };
        // SAFETY: aligned, inside our memory, and written atomically by us alone.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    fn address(&self, buffer: u16) -> *mut u8 {
        let offset = usize::from(buffer) * self.buffer_bytes;
        // SAFETY: `buffer` is less than `count`, so that this is inside the memory.
        unsafe { self.payloads.start.as_ptr().add(offset) }
    }
}

impl Memory {
    fn new(bytes: usize, align: usize) -> io::Result<Self> {
        let layout = Layout::from_size_align(bytes.max(1), align).map_err(io::Error::other)?;
        // SAFETY: the size is not zero.
        let start = unsafe { alloc::alloc_zeroed(layout) };
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, layout })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and not used any more by the contract of Buffers.
        unsafe { alloc::dealloc(self.start.as_ptr(), self.layout) };
    }
}

//! PDUs on their way out: headers here, data where the command left it, in the order they are sent.
//!
//! The shell turns the front of the queue into one vectored send ([`Queue::slices`]) and says how much the
//! socket took ([`Queue::advance`]). The memory of a command goes back to its pool when its last byte is out.

use std::collections::VecDeque;
use std::io::IoSlice;

use crate::backstore::buffer::Buffer;
use crate::wire::bhs::{LENGTH, padding};
use crate::wire::digest;
use crate::wire::response::{Header, set_data_length};

/// Where the data segment of an entry is.
enum Data {
    None,
    /// A range of a command's memory; the entry that is `last` gives it back.
    Shared {
        slot: usize,
        start: usize,
        length: usize,
        last: bool,
    },
    /// Small data of a control PDU.
    Own(Box<[u8]>),
}

struct Entry {
    head: [u8; LENGTH + digest::LENGTH],
    head_length: u8,
    data: Data,
    tail: [u8; 3 + digest::LENGTH],
    tail_length: u8,
    /// All bytes.
    length: usize,
}

/// Memory of a command put in with [`Queue::hold`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held(usize);

/// PDUs in order.
#[derive(Default)]
pub struct Queue {
    entries: VecDeque<Entry>,
    held: Vec<Option<Buffer>>,
    free: Vec<usize>,
    /// Bytes of the first entry that are out.
    sent: usize,
    bytes: usize,
}

/// Which digests go with a PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Digests {
    /// HeaderDigest.
    pub header: bool,
    /// DataDigest.
    pub data: bool,
}

impl Queue {
    /// An empty queue; it has no memory until it is used.
    pub const fn new() -> Self {
        Queue { entries: VecDeque::new(), held: Vec::new(), free: Vec::new(), sent: 0, bytes: 0 }
    }

    /// Whether nothing is left to send.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes left to send.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Queue::new();
    }

    /// Takes a command's memory, for data segments that [`Queue::push_shared`] names.
    #[inline]
    pub fn hold(&mut self, buffer: Buffer) -> Held {
        match self.free.pop() {
            Some(slot) => {
                self.held[slot] = Some(buffer);
                Held(slot)
            }
            None => {
                self.held.push(Some(buffer));
                Held(self.held.len() - 1)
            }
        }
    }

    /// A PDU without a data segment, or with a small one.
    pub fn push(&mut self, header: Header, data: &[u8], digests: Digests) {
        let tail = tail(data, digests);
        let data = if data.is_empty() { Data::None } else { Data::Own(data.into()) };
        self.append(header, data, tail, digests);
    }

    /// A PDU whose data segment is `length` bytes of `held` from `start`; with `last`, the memory goes back
    /// behind it.
    #[inline]
    pub fn push_shared(
        &mut self,
        header: Header,
        held: Held,
        start: usize,
        length: usize,
        last: bool,
        digests: Digests,
    ) {
        let bytes = self.held[held.0].as_deref().unwrap_or(&[]);
        let tail = tail(&bytes[start..start + length], digests);
        self.append(header, Data::Shared { slot: held.0, start, length, last }, tail, digests);
    }

    #[inline]
    fn append(&mut self, mut header: Header, data: Data, tail: ([u8; 7], usize), digests: Digests) {
        let data_length = match &data {
            Data::None => 0,
            Data::Shared { length, .. } => *length,
            Data::Own(bytes) => bytes.len(),
        };
        set_data_length(&mut header, data_length);
        let mut head = [0; LENGTH + digest::LENGTH];
        head[..LENGTH].copy_from_slice(&header);
        let mut head_length = LENGTH;
        if digests.header {
            head[LENGTH..].copy_from_slice(&digest::digest(&[&header]));
            head_length += digest::LENGTH;
        }
        let length = head_length + data_length + tail.1;
        self.bytes += length;
        let (head_length, tail_length) = (small(head_length), small(tail.1));
        self.entries.push_back(Entry { head, head_length, data, tail: tail.0, tail_length, length });
    }

    /// Fills `slices` with what is to be sent next; answers how many were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut free = slices.iter_mut();
        let mut skip = self.sent;
        for entry in &self.entries {
            for part in self.parts(entry) {
                let part = if skip == 0 {
                    part
                } else {
                    let (skipped, rest) = part.split_at(skip.min(part.len()));
                    skip -= skipped.len();
                    rest
                };
                if part.is_empty() {
                    continue;
                }
                let Some(slice) = free.next() else { return slices.len() };
                *slice = IoSlice::new(part);
            }
        }
        let unused = free.len();
        slices.len() - unused
    }

    fn parts<'a>(&'a self, entry: &'a Entry) -> [&'a [u8]; 3] {
        let data = match &entry.data {
            Data::None => &[][..],
            Data::Shared { slot, start, length, .. } => match &self.held[*slot] {
                Some(buffer) => &buffer[*start..*start + *length],
                None => &[],
            },
            Data::Own(bytes) => bytes,
        };
        [&entry.head[..usize::from(entry.head_length)], data, &entry.tail[..usize::from(entry.tail_length)]]
    }

    /// The socket took `count` bytes.
    pub fn advance(&mut self, count: usize) {
        self.bytes -= count.min(self.bytes);
        self.sent += count;
        while let Some(entry) = self.entries.front() {
            if self.sent < entry.length {
                return;
            }
            self.sent -= entry.length;
            if let Data::Shared { slot, last: true, .. } = entry.data {
                self.held[slot] = None;
                self.free.push(slot);
            }
            self.entries.pop_front();
        }
    }
}

fn small(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

/// Padding and data digest behind a data segment (RFC 7143 11.2.3: none behind an empty one).
#[inline]
fn tail(data: &[u8], digests: Digests) -> ([u8; 7], usize) {
    let mut tail = [0; 7];
    if data.is_empty() {
        return (tail, 0);
    }
    let padding = padding(data.len());
    if !digests.data {
        return (tail, padding);
    }
    let crc = digest::digest(&[data, &[0; 3][..padding]]);
    tail[padding..padding + digest::LENGTH].copy_from_slice(&crc);
    (tail, padding + digest::LENGTH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backstore::buffer::BufferPool;

    fn drained(queue: &mut Queue, at_once: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while !queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); 4];
            let count = queue.slices(&mut slices);
            let front: Vec<u8> = slices[..count].iter().flat_map(|s| s.iter().copied()).collect();
            let taken = front.len().min(at_once);
            out.extend_from_slice(&front[..taken]);
            queue.advance(taken);
        }
        out
    }

    #[test]
    fn rfc7143_11_2_3_padding_and_digests_in_every_fragmentation() {
        let pool = BufferPool::new(1 << 20);
        let digests = Digests { header: true, data: true };
        let mut whole = Vec::new();
        for at_once in [1, 2, 3, 7, 48, 52, 1000, 100_000] {
            let mut queue = Queue::new();
            queue.push([1; LENGTH], b"", digests);
            queue.push([2; LENGTH], b"abcde", digests);
            let mut buffer = pool.get(600).unwrap();
            buffer.fill(7);
            let held = queue.hold(buffer);
            queue.push_shared([3; LENGTH], held, 0, 512, false, digests);
            queue.push_shared([4; LENGTH], held, 512, 88, true, Digests::default());
            assert!(pool.in_use() > 0);
            let bytes = queue.bytes();
            let out = drained(&mut queue, at_once);
            assert_eq!(out.len(), bytes);
            assert_eq!(out.len(), 52 + (52 + 8 + 4) + (52 + 512 + 4) + (48 + 88));
            assert_eq!(pool.in_use(), 0, "memory goes back with the last byte");
            if whole.is_empty() {
                whole.clone_from(&out);
            }
            assert_eq!(out, whole);
        }
        assert_eq!(&whole[52 + 52..][..5], b"abcde");
        assert_eq!(whole[52 + 52 + 8..][..4], digest::digest(&[b"abcde\0\0\0"]));
    }
}

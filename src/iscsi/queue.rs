//! PDUs on their way out: headers and small data one behind the other here, large data where the command left
//! it, in the order they are sent.
//!
//! The shell turns the front of the queue into one vectored send ([`Queue::slices`]) and says how much the
//! socket took ([`Queue::advance`]). The memory of a command goes back to its pool when its last byte is out.

use std::collections::VecDeque;
use std::io::IoSlice;

use crate::backstore::buffer::Buffer;
use crate::backstore::lent::Lent;
use crate::wire::bhs::padding;
use crate::wire::digest;
use crate::wire::response::{Header, set_data_length};

/// Data of at most so many bytes is copied behind its header: that costs less than slices of its own in the
/// send call, and memory that is out until then.
pub const SMALL: usize = 1024;
/// An empty queue keeps memory for so many bytes of headers and small data.
const KEPT: usize = 512 << 10;

/// A range of a command's memory between two stretches of text.
struct Shared {
    /// Where in `text` it goes in.
    at: usize,
    slot: usize,
    start: usize,
    length: usize,
    /// The memory goes back behind it.
    last: bool,
}

/// Memory of a command put in with [`Queue::hold`] or [`Queue::hold_pages`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held(usize);

/// What a command has left to be sent.
enum Source {
    Memory(Buffer),
    /// Pages that are sent in the order in which they lie there.
    Pages(Lent),
}

/// What is to be sent next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// So many slices; and whether more follows that is not in them.
    Slices(usize, bool),
    /// So many bytes of pages, and whether more follows.
    Pages(Held, usize, bool),
}

/// PDUs in order.
#[derive(Default)]
pub struct Queue {
    /// Headers, small data, padding and digests. It begins anew when all of the queue is out.
    text: Vec<u8>,
    /// Bytes of `text` that are out.
    start: usize,
    shared: VecDeque<Shared>,
    /// Bytes of `shared`.
    shared_bytes: usize,
    held: Vec<Option<Source>>,
    free: Vec<usize>,
    /// Pieces of `shared` that are pages.
    pages: usize,
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
        Queue {
            text: Vec::new(),
            start: 0,
            shared: VecDeque::new(),
            shared_bytes: 0,
            held: Vec::new(),
            free: Vec::new(),
            pages: 0,
        }
    }

    /// Whether nothing is left to send.
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// Bytes left to send.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.text.len() - self.start + self.shared_bytes
    }

    /// Forgets everything, and keeps no memory.
    pub fn clear(&mut self) {
        *self = Queue::new();
    }

    /// Takes a command's memory, for data segments that [`Queue::push_shared`] names.
    #[inline]
    pub fn hold(&mut self, buffer: Buffer) -> Held {
        self.hold_source(Source::Memory(buffer))
    }

    /// Takes the pages of a command, for data segments that [`Queue::push_pages`] names.
    pub fn hold_pages(&mut self, lent: Lent) -> Held {
        self.hold_source(Source::Pages(lent))
    }

    #[inline]
    fn hold_source(&mut self, source: Source) -> Held {
        match self.free.pop() {
            Some(slot) => {
                self.held[slot] = Some(source);
                Held(slot)
            }
            None => {
                self.held.push(Some(source));
                Held(self.held.len() - 1)
            }
        }
    }

    /// A PDU whose data segment is none, or is copied.
    #[inline]
    pub fn push(&mut self, header: Header, data: &[u8], digests: Digests) {
        self.push_header(header, data.len(), digests);
        self.text.extend_from_slice(data);
        self.push_tail(data, digests);
    }

    /// A PDU whose data segment is `length` bytes of `held` from `start`, at least one; with `last`, the
    /// memory goes back behind it.
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
        self.push_header(header, length, digests);
        self.shared.push_back(Shared { at: self.text.len(), slot: held.0, start, length, last });
        self.shared_bytes += length;
        let source = self.held[held.0].take();
        self.push_tail(&memory(source.as_ref())[start..start + length], digests);
        self.held[held.0] = source;
    }

    /// As [`Queue::push_shared`] of the `length` bytes of pages that come next in `held`, a multiple of four:
    /// nobody sees them, so there is no data digest.
    pub fn push_pages(&mut self, header: Header, held: Held, length: usize, last: bool, digests: Digests) {
        self.push_header(header, length, digests);
        self.shared.push_back(Shared { at: self.text.len(), slot: held.0, start: 0, length, last });
        self.shared_bytes += length;
        self.pages += 1;
    }

    #[inline]
    fn push_header(&mut self, mut header: Header, data_length: usize, digests: Digests) {
        set_data_length(&mut header, data_length);
        self.text.extend_from_slice(&header);
        if digests.header {
            self.text.extend_from_slice(&digest::of_header(&header));
        }
    }

    /// Padding and data digest behind a data segment (RFC 7143 11.2.3: none behind an empty one).
    #[inline]
    fn push_tail(&mut self, data: &[u8], digests: Digests) {
        let padding = &[0; 3][..padding(data.len())];
        let is_padded = !padding.is_empty();
        if is_padded {
            self.text.extend_from_slice(padding);
        }
        if digests.data && !data.is_empty() {
            let crc = digest::append(0, data);
            let crc = if is_padded { digest::append(crc, padding) } else { crc };
            self.text.extend_from_slice(&crc.to_le_bytes());
        }
    }

    /// What is to be sent next; `slices` are filled with it if it is no pages.
    pub fn front<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> Front {
        if self.pages == 0 {
            return Front::Slices(self.slices(slices), false);
        }
        match self.shared.front() {
            Some(shared) if shared.at == self.start && self.is_pages(shared.slot) => {
                Front::Pages(Held(shared.slot), shared.length, self.bytes() > shared.length)
            }
            _ => Front::Slices(self.slices(slices), true),
        }
    }

    /// The pages of [`Front::Pages`].
    pub fn pages(&mut self, held: Held) -> Option<&mut Lent> {
        match self.held.get_mut(held.0) {
            Some(Some(Source::Pages(lent))) => Some(lent),
            _ => None,
        }
    }

    fn is_pages(&self, slot: usize) -> bool {
        matches!(self.held.get(slot), Some(Some(Source::Pages(_))))
    }

    /// Fills `slices` with what is to be sent next, up to the first pages; answers how many were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let (mut at, mut filled) = (self.start, 0);
        let mut put = |bytes: &'a [u8]| {
            if bytes.is_empty() {
                return true;
            }
            let Some(slice) = slices.get_mut(filled) else { return false };
            *slice = IoSlice::new(bytes);
            filled += 1;
            true
        };
        for shared in &self.shared {
            if self.is_pages(shared.slot) {
                put(&self.text[at..shared.at]);
                return filled;
            }
            let data = memory(self.held[shared.slot].as_ref());
            if !put(&self.text[at..shared.at]) || !put(&data[shared.start..shared.start + shared.length]) {
                return filled;
            }
            at = shared.at;
        }
        put(&self.text[at..]);
        filled
    }

    /// The socket took `count` bytes, which were there.
    pub fn advance(&mut self, mut count: usize) {
        while let Some(shared) = self.shared.front_mut() {
            let before = shared.at - self.start;
            if count < before {
                break;
            }
            (self.start, count) = (shared.at, count - before);
            let taken = count.min(shared.length);
            self.shared_bytes -= taken;
            if taken < shared.length {
                shared.start += taken;
                shared.length -= taken;
                return;
            }
            count -= taken;
            self.pages -= usize::from(matches!(self.held[shared.slot], Some(Source::Pages(_))));
            if shared.last {
                self.held[shared.slot] = None;
                self.free.push(shared.slot);
            }
            self.shared.pop_front();
        }
        self.start += count;
        if self.is_empty() {
            self.text.clear();
            self.text.shrink_to(KEPT);
            self.start = 0;
        }
    }
}

fn memory(source: Option<&Source>) -> &[u8] {
    match source {
        Some(Source::Memory(buffer)) => buffer,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backstore::buffer::BufferPool;
    use crate::wire::bhs::LENGTH;

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

    #[test]
    fn headers_small_data_and_digests_are_one_slice_whatever_is_out_already() {
        let digests = Digests { header: true, data: true };
        let pdus: [&[u8]; 3] = [b"abcde", b"fghi", b""];
        let mut queue = Queue::new();
        for data in pdus {
            queue.push([1; LENGTH], data, digests);
        }
        assert_eq!(queue.slices(&mut [IoSlice::new(&[]); 10]), 1);
        let whole = drained(&mut queue, usize::MAX);
        assert_eq!(whole.len(), (52 + 8 + 4) + (52 + 4 + 4) + 52);
        for out in 0..=whole.len() {
            let mut bytes = Vec::new();
            for data in pdus {
                queue.push([1; LENGTH], data, digests);
                while bytes.len() < out && !queue.is_empty() {
                    let mut slices = [IoSlice::new(&[]); 1];
                    let taken = if queue.slices(&mut slices) == 0 { 0 } else { slices[0].len() };
                    let taken = taken.min(out - bytes.len());
                    bytes.extend_from_slice(&slices[0][..taken]);
                    queue.advance(taken);
                }
            }
            bytes.extend(drained(&mut queue, usize::MAX));
            assert!(bytes == whole, "{out} bytes were out");
            assert_eq!(queue.bytes(), 0);
        }
    }

    #[test]
    fn an_empty_queue_keeps_little() {
        let mut queue = Queue::new();
        queue.push([1; LENGTH], &vec![7; 4 * KEPT], Digests::default());
        drained(&mut queue, usize::MAX);
        assert!(queue.text.capacity() <= KEPT);
    }

    /// What a queue should hold: all bytes that were put in, and where the memory of each command ends.
    struct Model {
        random: u64,
        bytes: Vec<u8>,
        out: usize,
        /// Position of the last byte, bytes of the pool.
        held: Vec<(usize, usize)>,
        pool: BufferPool,
    }

    impl Model {
        fn below(&mut self, limit: usize) -> usize {
            self.random =
                self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.random >> 33).unwrap() % limit
        }

        fn noise(&mut self, length: usize) -> Vec<u8> {
            (0..length).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
        }

        fn header(&mut self) -> Header {
            let mut header = [0; LENGTH];
            header.copy_from_slice(&self.noise(LENGTH));
            header
        }

        fn expect(&mut self, mut header: Header, data: &[u8], digests: Digests) {
            header[5..8].copy_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes()[1..]);
            self.bytes.extend_from_slice(&header);
            if digests.header {
                self.bytes.extend_from_slice(&digest::append(0, &header).to_le_bytes());
            }
            let mut data = data.to_vec();
            data.resize(data.len().next_multiple_of(4), 0);
            self.bytes.extend_from_slice(&data);
            if digests.data && !data.is_empty() {
                self.bytes.extend_from_slice(&digest::append(0, &data).to_le_bytes());
            }
        }

        fn push(&mut self, queue: &mut Queue, digests: Digests) {
            let length = [0, 1, 3, 48, 600, SMALL][self.below(6)];
            let (header, data) = (self.header(), self.noise(length));
            queue.push(header, &data, digests);
            self.expect(header, &data, digests);
        }

        /// The memory of a command in up to three PDUs, others between them; part of it may not be sent.
        fn share(&mut self, queue: &mut Queue, digests: Digests) {
            let length = 3 + self.below(6000);
            let mut buffer = self.pool.get(length).unwrap();
            let bytes = self.noise(length);
            buffer.copy_from_slice(&bytes);
            let before = self.pool.in_use();
            let held = queue.hold(buffer);
            assert_eq!(self.pool.in_use(), before);
            let count = 1 + self.below(3);
            let mut at = self.below(length - count + 1);
            for left in (0..count).rev() {
                let size = 1 + self.below(length - at - left);
                let header = self.header();
                queue.push_shared(header, held, at, size, left == 0, digests);
                let before = self.bytes.len();
                self.expect(header, &bytes[at..at + size], digests);
                if left == 0 {
                    let head = LENGTH + if digests.header { digest::LENGTH } else { 0 };
                    let memory = length.next_power_of_two().max(4096);
                    self.held.push((before + head + size, memory));
                } else if self.below(2) == 0 {
                    self.push(queue, digests);
                }
                at += size;
            }
        }

        /// Shows up to `limit` slices, takes `count` bytes of them at most.
        fn take(&mut self, queue: &mut Queue, limit: usize, count: usize) {
            let mut slices = vec![IoSlice::new(&[]); limit];
            let filled = queue.slices(&mut slices);
            let front: Vec<u8> = slices[..filled].iter().flat_map(|s| s.iter().copied()).collect();
            assert!(slices[..filled].iter().all(|slice| !slice.is_empty()), "a slice of nothing");
            let left = &self.bytes[self.out..];
            assert!(left.starts_with(&front));
            assert!(filled == limit || front.len() == left.len(), "{filled} of {limit} slices are not all");
            let count = count.min(front.len());
            queue.advance(count);
            self.out += count;
        }

        fn check(&self, queue: &Queue) {
            let left = self.bytes.len() - self.out;
            assert_eq!((queue.bytes(), queue.is_empty()), (left, left == 0));
            let out: usize = self.held.iter().filter(|(end, _)| *end > self.out).map(|(_, size)| size).sum();
            assert_eq!(self.pool.in_use(), out, "memory is out until its last byte is, and not longer");
            assert!(left > 0 || (queue.text.is_empty() && queue.text.capacity() <= KEPT));
            let live = queue.held.iter().flatten().count();
            assert_eq!(live + queue.free.len(), queue.held.len(), "a place is used again");
        }
    }

    #[test]
    fn what_is_put_in_comes_out_in_order_and_memory_goes_back_with_its_last_byte() {
        for seed in 0..100 {
            let pool = BufferPool::new(64 << 20);
            let mut model = Model { random: seed, bytes: Vec::new(), out: 0, held: Vec::new(), pool };
            let mut queue = Queue::new();
            for _ in 0..80 {
                let digests = Digests { header: model.below(2) == 0, data: model.below(2) == 0 };
                match model.below(8) {
                    0 | 1 => model.push(&mut queue, digests),
                    2 | 3 => model.share(&mut queue, digests),
                    4 if model.below(4) == 0 => {
                        queue.clear();
                        model.out = model.bytes.len();
                    }
                    5 => {
                        // Just to the end of a command's memory, or to one byte before.
                        let next = model.held.iter().find(|(end, _)| *end > model.out);
                        let count = next.map_or(0, |(end, _)| end - model.out);
                        let count = count - model.below(2).min(count);
                        model.take(&mut queue, 100, count);
                    }
                    6 => model.take(&mut queue, 100, usize::MAX),
                    _ => {
                        let (limit, count) = (model.below(6), [1, 50, 700, 20_000][model.below(4)]);
                        let count = model.below(count) + 1;
                        model.take(&mut queue, limit, count);
                    }
                }
                model.check(&queue);
            }
            while !queue.is_empty() {
                model.take(&mut queue, 3, 1000);
                model.check(&queue);
            }
        }
    }

    /// A pipe with these pages of a file; and the file, of which byte `n` is `n % 251`.
    fn lent(offset: u64, length: usize) -> Lent {
        let content: Vec<u8> = (0..40_000u32).map(|at| (at % 251) as u8).collect();
        let path = std::env::temp_dir().join(format!("scstu-queue-{}-{offset}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut lent = BufferPool::new(0).pipes().take().unwrap();
        assert!(lent.pipe().unwrap().fill(&file, offset, length).unwrap());
        lent
    }

    #[test]
    fn pages_come_where_they_were_put_and_are_never_among_slices() {
        let digests = Digests { header: true, data: false };
        for at_once in [1, 7, 48, 511, 100_000] {
            let mut queue = Queue::new();
            queue.push([1; LENGTH], b"abcd", digests);
            let (first, second) = (queue.hold_pages(lent(100, 1536)), queue.hold_pages(lent(0, 512)));
            queue.push_pages([2; LENGTH], first, 1024, false, digests);
            queue.push_pages([3; LENGTH], first, 512, true, digests);
            queue.push_pages([4; LENGTH], second, 512, true, digests);
            queue.push([5; LENGTH], b"", digests);
            let (mut kinds, mut bytes, all) = (Vec::new(), 0, queue.bytes());
            while !queue.is_empty() {
                let mut slices = [IoSlice::new(&[]); 4];
                let front = queue.front(&mut slices);
                let (kind, length, follows) = match front {
                    Front::Slices(count, follows) => {
                        (None, slices[..count].iter().map(|slice| slice.len()).sum(), follows)
                    }
                    Front::Pages(held, length, follows) => (Some(held), length, follows),
                };
                assert_eq!(follows, length < queue.bytes(), "{front:?}");
                if kinds.last() != Some(&kind) {
                    kinds.push(kind);
                }
                assert_eq!(kind.is_some(), kind.is_some_and(|held| queue.pages(held).is_some()));
                let taken = length.min(at_once);
                bytes += taken;
                queue.advance(taken);
            }
            let (first, second) = (Some(first), Some(second));
            assert_eq!(kinds, [None, first, None, first, None, second, None]);
            assert_eq!((bytes, queue.pages), (all, 0));
            assert!(queue.held.iter().all(Option::is_none), "they have gone back");
        }
    }
}

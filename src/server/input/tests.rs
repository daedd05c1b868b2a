//! The receive buffer, filled from sockets: rooms, parts that await their rest, turns.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::*;

/// Sends `count` bytes and receives them for segments of `segment` bytes; the sizes of the copies.
fn pass(input: &mut Input, count: usize, segment: usize) -> Vec<usize> {
    let (mut sender, receiver) = UnixStream::pair().unwrap();
    let bytes: Vec<u8> = (0..count).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let expected = bytes.clone();
    let thread = std::thread::spawn(move || sender.write_all(&bytes).unwrap());
    let (mut got, mut copies) = (Vec::new(), Vec::new());
    while got.len() < count {
        let mut want = vec![0; segment - got.len() % segment];
        let taken = if input.is_empty() {
            input.fill(receiver.as_fd(), &mut want, true).unwrap().unwrap()
        } else {
            copies.push(input.take(&mut want));
            copies[copies.len() - 1]
        };
        got.extend_from_slice(&want[..taken]);
    }
    thread.join().unwrap();
    assert!(got == expected, "the bytes are those that were sent");
    copies
}

#[test]
fn room_follows_the_size_of_segments_and_goes_when_nothing_comes() {
    let mut input = Input::default();
    pass(&mut input, 48 * 1000, 48);
    assert_eq!(input.buffer.len(), ROOM);
    pass(&mut input, 1 << 20, 64 << 10);
    assert_eq!(input.buffer.len(), MEDIUM_ROOM);
    input.rest();
    assert_eq!((input.buffer.len(), input.is_empty()), (0, true));
    pass(&mut input, 48 * 1000, 48);
    assert_eq!(input.buffer.len(), ROOM);
}

#[test]
fn a_turn_is_owed_once_for_what_was_received_into_its_place() {
    let mut input = Input::default();
    pass(&mut input, 48 * 1000, 48);
    assert!(!input.owes_turn(), "small requests owe none");
    pass(&mut input, 2 << 20, 1 << 20);
    assert!(input.owes_turn());
    assert!(!input.owes_turn());
}

#[test]
fn large_segments_are_not_copied_but_for_their_first_bytes() {
    let mut input = Input::default();
    let copies = pass(&mut input, 16 << 20, 1 << 20);
    // At worst the room of a call that ends one segment holds the beginning of the next.
    assert!(copies.iter().sum::<usize>() <= 4 << 20, "{copies:?}");
}

/// The byte at this place of a stream.
fn byte(at: usize) -> u8 {
    (at.wrapping_mul(0x9e37_79b1) >> 13).to_le_bytes()[0]
}

fn bytes(range: std::ops::Range<usize>) -> Vec<u8> {
    range.map(byte).collect()
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

const HEADER: usize = 48;
/// At most so many bytes are in the socket, which has room for more.
const ON_THE_WAY: usize = 64 * 1024;

/// What takes commands out of the buffer as the thread of a connection does.
#[derive(Default)]
struct Taker {
    /// Bytes taken, of the whole stream.
    taken: usize,
    /// Of the command that is taken piece by piece: bytes of its header and of its data to come.
    pieces: Option<(usize, usize)>,
    whole: usize,
    parts: usize,
    pieced: usize,
    most_room: usize,
}

impl Taker {
    /// Bytes of the piece that comes next; a command's header is one.
    fn piece(&self) -> usize {
        self.pieces.map_or(HEADER, |(header, data)| if header > 0 { header } else { data })
    }

    fn got(&mut self, into: &[u8], next: impl Fn(usize) -> usize) {
        assert!(into == bytes(self.taken..self.taken + into.len()), "at byte {}", self.taken);
        let first = || (HEADER, next(self.taken) - HEADER);
        let (mut header, mut data) = self.pieces.unwrap_or_else(first);
        self.pieced += usize::from(self.pieces.is_none());
        self.taken += into.len();
        if header > 0 {
            header -= into.len()
        } else {
            data -= into.len()
        }
        self.pieces = Some((header, data)).filter(|left| *left != (0, 0));
    }

    /// Takes what is here, but for a part that awaits its rest.
    fn take(&mut self, input: &mut Input, next: impl Fn(usize) -> usize + Copy) {
        while !input.is_empty() {
            let front = input.front().to_vec();
            if self.pieces.is_none() && front.len() >= HEADER {
                let length = next(self.taken);
                if front.len() >= length && length < DIRECT {
                    assert!(front[..length] == bytes(self.taken..self.taken + length));
                    input.skip(length);
                    self.taken += length;
                    self.whole += 1;
                    continue;
                }
                if length > HEADER && front.len() < length && input.awaits(length) {
                    assert!(input.front() == front, "a part is what it was");
                    assert!(input.start + length <= input.room(), "there is room for the rest");
                    assert_eq!((input.room() - input.start) % length, 0, "it ends where a command does");
                    self.parts += 1;
                    return;
                }
                assert!(input.front() == front);
            }
            let mut into = vec![0; self.piece()];
            let count = input.take(&mut into);
            self.got(&into[..count], next);
        }
    }
}

/// Sends commands of these lengths, in segments of up to `most` bytes, and takes them.
fn converse(lengths: &[usize], most: usize, seed: u64) -> (Taker, Input) {
    let (mut sender, receiver) = UnixStream::pair().unwrap();
    let ends: Vec<usize> =
        lengths.iter().scan(0, |at, length| Some(*at + length).inspect(|end| *at = *end)).collect();
    let total = *ends.last().unwrap();
    // The length of the command that begins there.
    let next = |at: usize| lengths[ends.partition_point(|end| *end <= at)];
    let (mut random, mut input, mut taker) = (Random(seed), Input::default(), Taker::default());
    let (mut sent, mut received) = (0, 0);
    while taker.taken < total {
        while sent < total && (sent == received || random.below(3) > 0) {
            let count = (1 + random.below(most)).min(total - sent).min(ON_THE_WAY + received - sent);
            if count == 0 {
                break;
            }
            sender.write_all(&bytes(sent..sent + count)).unwrap();
            sent += count;
        }
        let front = input.front().to_vec();
        assert!(input.is_empty() || input.end < input.room(), "an empty place looks like a closed peer");
        let mut want = vec![0; taker.piece()];
        let direct = input.fill(receiver.as_fd(), &mut want, true).unwrap().expect("the peer is there");
        assert!(front.is_empty() || direct == 0, "what was here comes first");
        assert!(input.front().starts_with(&front), "a part is what it was");
        assert!(input.end <= input.buffer.len());
        taker.most_room = taker.most_room.max(input.buffer.len());
        received += direct + input.front().len() - front.len();
        if direct > 0 {
            taker.got(&want[..direct], next);
        }
        taker.take(&mut input, next);
    }
    assert!(input.is_empty() && sent == total);
    drop(sender);
    let closed = input.fill(receiver.as_fd(), &mut [0; HEADER], true).unwrap();
    assert_eq!(closed, None);
    (taker, input)
}

#[test]
fn commands_of_any_length_are_what_was_sent_in_any_segments() {
    const LENGTHS: [usize; 12] = [
        HEADER,
        HEADER + 512,
        HEADER + 4096,
        HEADER + 4 + 8192,
        HEADER + 16_384,
        HEADER + MEDIUM,
        HEADER + 65_536,
        ROOM,
        ROOM + 4,
        DIRECT - 1,
        DIRECT,
        HEADER + (1 << 20),
    ];
    let (mut whole, mut parts, mut pieced) = (0, 0, 0);
    for seed in 0..60 {
        let mut random = Random(seed);
        let mut lengths = Vec::new();
        while lengths.iter().sum::<usize>() < 3 << 20 {
            let length = LENGTHS[random.below(if seed % 3 == 0 { LENGTHS.len() } else { 9 })];
            // Commands of one length come in runs.
            let count = 1 + random.below(if length > MEDIUM { 4 } else { 40 });
            lengths.extend(std::iter::repeat_n(length, count));
        }
        let most = [100, 1448, 5000, 20_000, 60_000][random.below(5)];
        let (taker, _) = converse(&lengths, most, !seed);
        (whole, parts, pieced) = (whole + taker.whole, parts + taker.parts, pieced + taker.pieced);
    }
    assert!(whole > 5000 && parts > 1000 && pieced > 500, "{whole} {parts} {pieced}");
}

#[test]
fn commands_of_one_length_are_taken_whole_but_for_the_first() {
    for data in [512, 4096, 8192, 16_384, MEDIUM, 65_536] {
        let length = HEADER + data;
        let count = (4 << 20) / length;
        for most in [1448, 60_000] {
            let (taker, input) = converse(&vec![length; count], most, 7);
            // A header that is cut, and a long part at the end of the room, are taken piece by piece.
            assert!(taker.whole > count / 2, "{data} in {most}: {} of {count}", taker.whole);
            let size = if data >= MEDIUM { MEDIUM_ROOM } else { ROOM };
            assert_eq!((taker.most_room, input.buffer.len()), (size, size), "{data}");
        }
    }
}

#[test]
fn a_call_ends_where_a_command_does() {
    for data in [512, 4096, 16_384] {
        let length = HEADER + data;
        let (mut sender, receiver) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || sender.write_all(&bytes(0..6 << 20)));
        let mut input = Input::default();
        let (mut calls, mut full) = (0, 0);
        while calls < 40 {
            input.fill(receiver.as_fd(), &mut [0; HEADER], true).unwrap().unwrap();
            if input.unit == length && input.end == input.room() {
                assert_eq!(input.end % length, 0, "{data}");
                full += 1;
            }
            while input.front().len() >= length {
                input.skip(length);
            }
            if !input.is_empty() && !input.awaits(length) {
                input.skip(length);
            }
            calls += 1;
        }
        assert!(full > 3, "{data}: {full} calls have filled their room");
        drop(receiver);
        let _ = thread.join().unwrap();
    }
}

/// Every place that the part of a command can have.
#[test]
fn a_part_stays_where_its_rest_fits_is_moved_if_short_and_else_is_left() {
    let mut seen = [0; 4];
    for (size, medium) in [(ROOM, false), (MEDIUM_ROOM, true), (MEDIUM_ROOM, false), (ROOM, true)] {
        for length in [
            49,
            560,
            4144,
            8240,
            MEDIUM - 1,
            MEDIUM,
            40_000,
            65_535,
            65_536,
            65_584,
            DIRECT - 1,
            DIRECT,
            MEDIUM_ROOM,
            MEDIUM_ROOM + 1,
            1 << 20,
        ] {
            let is_medium = medium || (MEDIUM..DIRECT).contains(&length);
            for part in [1, 47, 48, 4000, MOVED - 1, MOVED, MOVED + 1, length - 1] {
                if part >= length || part > size {
                    continue;
                }
                let last = (size + 1).saturating_sub(length);
                let ends = [0, last.saturating_sub(1), last, size - part];
                for start in ends.into_iter().filter(|start| start + part <= size) {
                    let mut input = Input { buffer: Pages::new(size).unwrap(), ..Input::default() };
                    input.buffer.copy_from_slice(&bytes(0..size));
                    (input.start, input.end, input.is_medium) = (start, start + part, medium);
                    let fits = start + length <= size;
                    let awaited = length < DIRECT && length <= size && (fits || part <= MOVED);
                    let told = format!("{part} of {length} bytes at {start} of {size}, {medium}");
                    assert_eq!(input.awaits(length), awaited, "{told}");
                    assert!(input.front() == bytes(start..start + part), "{told}");
                    assert_eq!(input.start, if awaited && !fits { 0 } else { start }, "{told}");
                    assert_eq!((input.is_medium, input.unit), (is_medium, length), "{told}");
                    assert!(!awaited || input.end < input.room(), "{told}");
                    let of_size = usize::from(length >= DIRECT || length > size);
                    seen[if awaited { usize::from(!fits) } else { 2 + of_size }] += 1;
                }
            }
        }
    }
    assert!(seen.into_iter().all(|count| count > 5), "{seen:?}");
}

/// What comes behind the end of a large segment is short, and may be all of that room; the rest of it
/// comes behind that.
#[test]
fn the_rest_of_a_part_behind_a_large_segment_has_room() {
    let (mut sender, receiver) = UnixStream::pair().unwrap();
    let mut input = Input { is_bulk: true, ..Input::default() };
    let (large, length) = (40_000, 8240);
    sender.write_all(&bytes(0..large + length)).unwrap();
    let mut want = vec![0; large];
    assert_eq!(input.fill(receiver.as_fd(), &mut want, true).unwrap(), Some(large));
    assert!(want == bytes(0..large) && input.front() == bytes(large..large + BULK_ROOM));
    assert!(input.awaits(length) && input.is_bulk());
    // What is here comes first, however much is wanted.
    assert_eq!(input.fill(receiver.as_fd(), &mut vec![0; 2 * DIRECT], true).unwrap(), Some(0));
    assert!(input.front() == bytes(large..large + length));
}

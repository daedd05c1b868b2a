//! What leaves, byte for byte as an initiator takes it apart.

use std::io::IoSlice;

use super::*;
use crate::backstore::buffer::{Buffer, BufferPool};
use crate::bytes::{get_u24, get_u32};
use crate::scsi::sense::Sense;
use crate::scsi::task::SenseData;
use crate::wire::bhs::{LENGTH, padding};
use crate::wire::digest;

/// A PDU as received; digests and padding are checked and gone.
#[derive(Debug)]
struct Received {
    header: Vec<u8>,
    data: Vec<u8>,
}

impl Received {
    fn u32(&self, at: usize) -> u32 {
        get_u32(&self.header, at)
    }

    fn stat_sn(&self) -> u32 {
        self.u32(24)
    }
}

struct Wire {
    sender: Sender,
    queue: Queue,
    window: Arc<CommandWindow>,
    digests: Digests,
    pool: BufferPool,
}

impl Wire {
    fn new(parameters: &Parameters) -> Self {
        let window = Arc::new(CommandWindow::new(10, 4));
        Wire {
            sender: Sender::new(parameters, Arc::clone(&window), 100),
            queue: Queue::new(),
            window,
            digests: Digests { header: parameters.header_digest, data: parameters.data_digest },
            pool: BufferPool::new(64 << 20),
        }
    }

    fn respond(&mut self, mut done: Completion) -> Vec<Received> {
        self.sender.respond(&mut done, &mut self.queue);
        self.receive()
    }

    fn send(&mut self, outgoing: &Outgoing) -> Received {
        self.sender.send(outgoing, &mut self.queue);
        let mut received = self.receive();
        assert_eq!(received.len(), 1);
        received.remove(0)
    }

    /// A READ of `length` bytes that succeeds; the initiator has room for `expected`.
    fn read(&self, length: usize, expected: u32) -> Completion {
        let mut buffer = self.pool.get(length).unwrap();
        for (i, byte) in buffer.iter_mut().enumerate() {
            *byte = u8::try_from(i % 253).unwrap();
        }
        let mut done = completion(Status::GOOD, expected, 0);
        done.data_in = buffer;
        done.transfer.data_in = length as u64;
        done.data_in_length = u32::try_from(length).unwrap().min(expected);
        done
    }

    fn receive(&mut self) -> Vec<Received> {
        let mut bytes = Vec::new();
        while !self.queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); 3];
            let count = self.queue.slices(&mut slices);
            let sent: usize = slices[..count].iter().map(|slice| slice.len()).sum();
            slices[..count].iter().for_each(|slice| bytes.extend_from_slice(slice));
            self.queue.advance(sent);
        }
        assert_eq!(self.pool.in_use(), 0, "memory goes back when its last byte is out");
        let mut received = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let header = take(&mut rest, LENGTH).to_vec();
            if self.digests.header {
                assert_eq!(take(&mut rest, 4), digest::digest(&[&header]));
            }
            let length = get_u24(&header, 5) as usize;
            let padded = take(&mut rest, length + padding(length)).to_vec();
            if self.digests.data && length > 0 {
                assert_eq!(take(&mut rest, 4), digest::digest(&[&padded]));
            }
            assert!(padded[length..].iter().all(|byte| *byte == 0));
            received.push(Received { header, data: padded[..length].to_vec() });
        }
        received
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (head, tail) = rest.split_at(count);
    *rest = tail;
    head
}

fn completion(status: Status, expected_in: u32, expected_out: u32) -> Completion {
    Completion {
        lent: None,
        tag: 7,
        status,
        sense: SenseData::NONE,
        data_in: Buffer::empty(),
        data_in_length: 0,
        transfer: Default::default(),
        expected_in,
        expected_out,
        is_immediate: false,
        times: None,
    }
}

fn parameters() -> Parameters {
    Parameters { max_send_data_segment_length: 1024, max_burst_length: 2560, ..Parameters::default() }
}

#[test]
fn rfc7143_11_7_data_in_is_cut_into_segments_and_sequences() {
    for with_digests in [false, true] {
        let digests = Parameters { header_digest: with_digests, data_digest: with_digests, ..parameters() };
        let mut wire = Wire::new(&digests);
        let received = wire.respond(wire.read(6001, 6001));
        let facts: Vec<_> = received
            .iter()
            .map(|pdu| (pdu.header[1], pdu.u32(36), pdu.u32(40), pdu.data.len(), pdu.stat_sn()))
            .collect();
        assert_eq!(
            facts,
            [
                (0x00, 0, 0, 1024, 0),
                (0x00, 1, 1024, 1024, 0),
                (0x80, 2, 2048, 512, 0),
                (0x00, 3, 2560, 1024, 0),
                (0x00, 4, 3584, 1024, 0),
                (0x80, 5, 4608, 512, 0),
                (0x81, 6, 5120, 881, 100),
            ]
        );
        let data: Vec<u8> = received.iter().flat_map(|pdu| pdu.data.iter().copied()).collect();
        assert!(data.iter().enumerate().all(|(i, byte)| usize::from(*byte) == i % 253));
        assert_eq!(data.len(), 6001);
    }
}

#[test]
fn rfc7143_11_7_7_segments_are_whole_words() {
    let odd = Parameters { max_send_data_segment_length: 1023, ..parameters() };
    let mut wire = Wire::new(&odd);
    let lengths: Vec<usize> = wire.respond(wire.read(2500, 2500)).iter().map(|pdu| pdu.data.len()).collect();
    assert_eq!(lengths, [1020, 1020, 460]);
    wire.sender.set_max_segment(600);
    let lengths: Vec<usize> = wire.respond(wire.read(1000, 1000)).iter().map(|pdu| pdu.data.len()).collect();
    assert_eq!(lengths, [600, 400]);
}

#[test]
fn rfc7143_4_2_2_stat_sn_counts_what_carries_status() {
    let mut wire = Wire::new(&parameters());
    let r2t = ReadyToTransfer { lun: [0; 8], itt: 7, ttt: 1, r2t_sn: 0, offset: 0, length: 512 };
    assert_eq!(wire.send(&Outgoing::ReadyToTransfer(r2t)).stat_sn(), 100);
    assert_eq!(wire.send(&Outgoing::Ping { ttt: 3 }).stat_sn(), 100);
    assert_eq!(wire.send(&Outgoing::WindowUpdate).stat_sn(), 100);
    let text = TextResponse { itt: 1, ttt: 2, lun: [0; 8], is_final: true, continues: false };
    let message = AsyncMessage { lun: [0; 8], event: 1, parameters: [0; 3] };
    let counted = [
        Outgoing::Pong { itt: 1, data: Vec::new() },
        Outgoing::TaskManagement { itt: 2, response: 0 },
        Outgoing::Text { response: text, text: b"a=b\0".to_vec() },
        Outgoing::Reject { reason: 4, header: Box::new([0; 48]) },
        Outgoing::Async { message, data: Vec::new() },
        Outgoing::Logout { itt: 3, response: 0 },
    ];
    for (stat_sn, outgoing) in (100..).zip(&counted) {
        assert_eq!(wire.send(outgoing).stat_sn(), stat_sn, "{outgoing:?}");
    }
    assert_eq!(wire.respond(completion(Status::GOOD, 0, 0))[0].stat_sn(), 106);
    assert_eq!(wire.send(&Outgoing::Ping { ttt: 3 }).stat_sn(), 107);
}

#[test]
fn rfc7143_every_pdu_tells_the_window() {
    let mut wire = Wire::new(&parameters());
    wire.window.accept();
    wire.window.release();
    wire.window.release();
    let pong = wire.send(&Outgoing::Pong { itt: 1, data: vec![1; 5000] });
    assert_eq!((pong.u32(28), pong.u32(32)), (11, 15));
    assert_eq!(pong.data.len(), 1024, "cut to what the initiator accepts");
    assert_eq!(pong.u32(20), RESERVED_TAG);
    for pdu in wire.respond(wire.read(5000, 5000)) {
        assert_eq!((pdu.u32(28), pdu.u32(32)), (11, 15));
    }
}

#[test]
fn rfc7143_11_4_7_sense_data_has_its_length_before_it() {
    let mut wire = Wire::new(&parameters());
    let sense = SenseData::new(&Sense::LOGICAL_UNIT_NOT_SUPPORTED, false);
    let received = wire.respond(Completion { sense, ..completion(Status::CHECK_CONDITION, 512, 0) });
    let [response] = &received[..] else { panic!("{received:?}") };
    assert_eq!((response.header[0], response.header[2], response.header[3]), (0x21, 0, 2));
    assert_eq!(response.data[..2], [0, 18]);
    assert_eq!(response.data[2..], sense[..]);
    assert_eq!((response.header[1] & 0x06, response.u32(44)), (0x02, 512), "nothing was moved");
}

#[test]
fn rfc7143_11_4_8_exp_data_sn_counts_r2ts_and_data_in() {
    let mut wire = Wire::new(&parameters());
    for r2t_sn in 0..3 {
        let r2t = ReadyToTransfer { lun: [0; 8], itt: 7, ttt: r2t_sn, r2t_sn, offset: 0, length: 512 };
        wire.send(&Outgoing::ReadyToTransfer(r2t));
    }
    assert_eq!(wire.respond(completion(Status::GOOD, 0, 0))[0].u32(36), 3);
    assert_eq!(wire.respond(completion(Status::GOOD, 0, 0))[0].u32(36), 0);
    let status = Status::TASK_SET_FULL;
    let received = wire.respond(Completion { status, ..wire.read(2000, 2000) });
    assert_eq!((received.len(), received[1].header[1], received[2].u32(36)), (3, 0x80, 2));
}

/// Residual of a command that moves `data_in` and `data_out` bytes when the initiator expects others.
fn residual_of(status: Status, expected: (u32, u32), moved: (u64, u64)) -> Residual {
    let mut done = completion(status, expected.0, expected.1);
    (done.transfer.data_in, done.transfer.data_out) = moved;
    if status == Status::GOOD {
        done.data_in_length = u32::try_from(moved.0).unwrap_or(u32::MAX).min(expected.0);
    }
    residual(&done)
}

#[test]
fn rfc7143_11_4_5_residual_counts() {
    use Residual::{None, Overflow, Underflow};
    let good = Status::GOOD;
    for (expected, moved, residual) in [
        ((512, 0), (512, 0), None),
        ((0, 512), (0, 512), None),
        ((0, 0), (0, 0), None),
        ((0, 0), (512, 0), Overflow(512)),
        ((10_000, 0), (512, 0), Underflow(9488)),
        ((200, 0), (512, 0), Overflow(312)),
        ((512, 0), (1024, 0), Overflow(512)),
        ((0, 0), (0, 512), Overflow(512)),
        ((0, 10_000), (0, 512), Underflow(9488)),
        ((0, 200), (0, 512), Overflow(312)),
        ((255, 0), (24, 0), Underflow(231)),
        ((0, 512), (512, 0), Underflow(512)),
        ((0, 1), (0, u64::MAX), Overflow(u32::MAX)),
        ((u32::MAX, 0), (0, 0), Underflow(u32::MAX)),
    ] {
        assert_eq!(residual_of(good, expected, moved), residual, "{expected:?} {moved:?}");
    }
}

#[test]
fn rfc7143_11_4_5_residual_counts_of_commands_that_fail() {
    let failed = Status::CHECK_CONDITION;
    assert_eq!(residual_of(failed, (512, 0), (512, 0)), Residual::Underflow(512));
    assert_eq!(residual_of(failed, (0, 0), (512, 0)), Residual::None);
    assert_eq!(residual_of(failed, (0, 4096), (0, 0)), Residual::Underflow(4096), "refused at once");
    assert_eq!(residual_of(failed, (0, 4096), (0, 4096)), Residual::None, "its data was taken");
}

#[test]
fn pages_need_whole_words_and_no_data_digest() {
    let takes = |parameters: Parameters| {
        Sender::new(&parameters, Arc::new(CommandWindow::new(1, 8)), 1).takes_pages()
    };
    assert!(takes(Parameters { header_digest: true, ..parameters() }));
    assert!(!takes(Parameters { data_digest: true, ..parameters() }));
    assert!(!takes(Parameters { max_burst_length: 1001, ..parameters() }));
}

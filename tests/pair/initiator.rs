//! An initiator that checks everything it is told against RFC 7143 and against what it wrote.

use std::collections::BTreeMap;

use scstu::iscsi::parameters::Parameters;
use scstu::wire::digest;

use crate::Random;

const NO_TAG: u32 = 0xffff_ffff;
const BLOCK: usize = 512;

/// A command that was sent and has no answer.
struct Sent {
    lba: usize,
    blocks: usize,
    /// What was written; `None` for a read.
    stamp: Option<u32>,
    cmd_sn: u32,
    is_immediate: bool,
    read: Vec<u8>,
    next_data_sn: u32,
    /// Bytes in the Data-In sequence in progress.
    sequence: usize,
    next_r2t_sn: u32,
    next_r2t_offset: usize,
    r2ts: Vec<Asked>,
    /// The target has been told to abort it; its data is not sent any more.
    is_silenced: bool,
}

/// An R2T that is being answered.
struct Asked {
    ttt: u32,
    offset: usize,
    left: usize,
    data_sn: u32,
}

/// A task management function that was sent and has no answer.
struct Function {
    /// ABORT TASK; else LOGICAL UNIT RESET.
    is_abort_task: bool,
    /// The commands it affects, of those sent before it.
    affected: Vec<u32>,
}

/// The initiator's end.
pub struct Initiator {
    parameters: Parameters,
    depth: u32,
    cmd_sn: u32,
    exp_cmd_sn: u32,
    max_cmd_sn: u32,
    stat_sn: u32,
    next_itt: u32,
    next_stamp: u32,
    sent: BTreeMap<u32, Sent>,
    functions: BTreeMap<u32, Function>,
    pings: BTreeMap<u32, usize>,
    /// What each block holds: the stamp last written, 0 for zeros, `None` when a write was aborted.
    disk: Vec<Option<u32>>,
    input: Vec<u8>,
    /// Bytes on their way to the target.
    pub output: Vec<u8>,
    /// Commands answered with GOOD.
    pub good: u32,
    /// Commands that were aborted.
    pub aborted: u32,
}

fn block(stamp: Option<u32>, lba: usize) -> Option<Vec<u8>> {
    let stamp = stamp?;
    let word = if stamp == 0 { 0 } else { stamp.wrapping_mul(0x9e37_79b1) ^ u32::try_from(lba).unwrap() };
    Some(word.to_be_bytes().repeat(BLOCK / 4))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

impl Initiator {
    pub fn new(parameters: &Parameters, cmd_sn: u32, depth: u32, stat_sn: u32, blocks: usize) -> Self {
        Initiator {
            parameters: parameters.clone(),
            depth,
            cmd_sn,
            exp_cmd_sn: cmd_sn,
            max_cmd_sn: cmd_sn.wrapping_add(depth).wrapping_sub(1),
            stat_sn,
            next_itt: 1,
            next_stamp: 1,
            sent: BTreeMap::new(),
            functions: BTreeMap::new(),
            pings: BTreeMap::new(),
            disk: vec![Some(0); blocks],
            input: Vec::new(),
            output: Vec::new(),
            good: 0,
            aborted: 0,
        }
    }

    /// Whether everything sent has been answered.
    pub fn is_idle(&self) -> bool {
        self.sent.is_empty() && self.functions.is_empty() && self.pings.is_empty() && self.input.is_empty()
    }

    fn may_send(&self) -> bool {
        self.max_cmd_sn.wrapping_add(1) != self.cmd_sn
    }

    fn tag(&mut self) -> u32 {
        self.next_itt += 1;
        self.next_itt
    }

    fn emit(&mut self, mut header: [u8; 48], data: &[u8]) {
        let length = u32::try_from(data.len()).unwrap();
        header[5..8].copy_from_slice(&length.to_be_bytes()[1..]);
        self.output.extend_from_slice(&header);
        if self.parameters.header_digest {
            self.output.extend_from_slice(&digest::digest(&[&header]));
        }
        let padding = &[0; 3][..data.len().wrapping_neg() & 3];
        self.output.extend_from_slice(data);
        self.output.extend_from_slice(padding);
        if self.parameters.data_digest && !data.is_empty() {
            self.output.extend_from_slice(&digest::digest(&[data, padding]));
        }
    }

    fn header(&self, opcode: u8, flags: u8, itt: u32) -> [u8; 48] {
        let mut header = [0; 48];
        (header[0], header[1]) = (opcode, flags);
        header[16..20].copy_from_slice(&itt.to_be_bytes());
        header[20..24].copy_from_slice(&NO_TAG.to_be_bytes());
        header[24..28].copy_from_slice(&self.cmd_sn.to_be_bytes());
        header[28..32].copy_from_slice(&self.stat_sn.to_be_bytes());
        header
    }

    /// Takes the next CmdSN, unless the PDU is immediate.
    fn number(&mut self, header: &mut [u8; 48], is_immediate: bool) {
        if is_immediate {
            header[0] |= 0x40;
        } else {
            self.cmd_sn = self.cmd_sn.wrapping_add(1);
        }
    }

    /// Sends a read or a write of blocks that no other command is using.
    pub fn command(&mut self, random: &mut Random) {
        let is_immediate = random.below(16) == 0 && !self.sent.values().any(|sent| sent.is_immediate);
        if !is_immediate && !self.may_send() {
            return;
        }
        let most = random.pick(&[8, 8, 8, 64]);
        let blocks = 1 + random.below(most);
        let lba = random.below(self.disk.len() - blocks);
        let overlaps = |sent: &Sent| sent.lba < lba + blocks && lba < sent.lba + sent.blocks;
        if self.sent.values().any(overlaps) {
            return;
        }
        let is_write = random.below(2) == 0;
        let itt = self.tag();
        let mut header = self.header(0x01, if is_write { 0xa1 } else { 0xc1 }, itt);
        header[20..24].copy_from_slice(&u32::try_from(blocks * BLOCK).unwrap().to_be_bytes());
        header[32] = if is_write { 0x2a } else { 0x28 };
        header[34..38].copy_from_slice(&u32::try_from(lba).unwrap().to_be_bytes());
        header[39..41].copy_from_slice(&u16::try_from(blocks).unwrap().to_be_bytes());
        let stamp = is_write.then(|| {
            self.next_stamp += 1;
            self.next_stamp
        });
        let sent = Sent {
            lba,
            blocks,
            stamp,
            cmd_sn: self.cmd_sn,
            is_immediate,
            read: Vec::new(),
            next_data_sn: 0,
            sequence: 0,
            next_r2t_sn: 0,
            next_r2t_offset: 0,
            r2ts: Vec::new(),
            is_silenced: false,
        };
        self.number(&mut header, is_immediate);
        self.sent.insert(itt, sent);
        self.send_command(itt, header, is_write, random);
    }

    /// The command with as much unsolicited data as was agreed, or less where that is allowed.
    fn send_command(&mut self, itt: u32, mut header: [u8; 48], is_write: bool, random: &mut Random) {
        if !is_write {
            return self.emit(header, &[]);
        }
        let data = self.written(itt);
        let first = data.len().min(self.parameters.first_burst_length as usize);
        let segment = self.parameters.max_recv_data_segment_length as usize;
        let mut immediate = if self.parameters.immediate_data { first.min(segment) } else { 0 };
        if random.below(3) == 0 {
            immediate = random.below(immediate + 1);
        }
        let is_more = !self.parameters.initial_r2t && immediate < first && random.below(2) == 0;
        if is_more {
            header[1] &= 0x7f;
        }
        self.emit(header, &data[..immediate]);
        let (mut offset, mut data_sn) = (immediate, 0);
        while is_more && offset < first {
            let length = (first - offset).min(segment).min(1 + random.below(4096));
            self.data_out(
                itt,
                NO_TAG,
                data_sn,
                offset,
                &data[offset..offset + length],
                offset + length == first,
            );
            (offset, data_sn) = (offset + length, data_sn + 1);
        }
        let sent = self.sent.get_mut(&itt).unwrap();
        sent.next_r2t_offset = if is_more { first } else { immediate };
    }

    fn written(&self, itt: u32) -> Vec<u8> {
        let sent = &self.sent[&itt];
        (sent.lba..sent.lba + sent.blocks).flat_map(|lba| block(sent.stamp, lba).unwrap()).collect()
    }

    fn data_out(&mut self, itt: u32, ttt: u32, data_sn: u32, offset: usize, data: &[u8], is_final: bool) {
        let mut header = self.header(0x05, if is_final { 0x80 } else { 0 }, itt);
        header[20..24].copy_from_slice(&ttt.to_be_bytes());
        header[24..28].fill(0);
        header[36..40].copy_from_slice(&data_sn.to_be_bytes());
        header[40..44].copy_from_slice(&u32::try_from(offset).unwrap().to_be_bytes());
        self.emit(header, data);
    }

    /// Answers some R2T with one PDU.
    pub fn answer_r2t(&mut self, random: &mut Random) {
        let waiting: Vec<u32> = self
            .sent
            .iter()
            .filter(|(_, s)| !s.r2ts.is_empty() && !s.is_silenced)
            .map(|(itt, _)| *itt)
            .collect();
        if waiting.is_empty() {
            return;
        }
        let itt = waiting[random.below(waiting.len())];
        let data = self.written(itt);
        let most = (self.parameters.max_recv_data_segment_length as usize).min(1 + random.below(16384));
        let r2ts = &mut self.sent.get_mut(&itt).unwrap().r2ts;
        let asked = &mut r2ts[0];
        let length = asked.left.min(most);
        let (ttt, data_sn, offset) = (asked.ttt, asked.data_sn, asked.offset);
        asked.left -= length;
        asked.offset += length;
        asked.data_sn += 1;
        let is_final = asked.left == 0;
        if is_final {
            r2ts.remove(0);
        }
        self.data_out(itt, ttt, data_sn, offset, &data[offset..offset + length], is_final);
    }

    /// Sends a NOP-Out that wants an answer.
    pub fn ping(&mut self, random: &mut Random) {
        let is_immediate = random.below(2) == 0;
        if self.pings.len() > 4 || (!is_immediate && !self.may_send()) {
            return;
        }
        let itt = self.tag();
        let mut header = self.header(0x00, 0x80, itt);
        self.number(&mut header, is_immediate);
        let length = random.below(512);
        self.pings.insert(itt, length);
        self.emit(header, &vec![0x42; length]);
    }

    /// Aborts one command, or resets the unit.
    pub fn manage(&mut self, random: &mut Random) {
        if self.functions.len() > 2 {
            return;
        }
        let tags: Vec<u32> = self.sent.keys().copied().collect();
        let is_abort_task = random.below(4) > 0;
        if is_abort_task && tags.is_empty() {
            return;
        }
        let affected = if is_abort_task { vec![tags[random.below(tags.len())]] } else { tags };
        let itt = self.tag();
        let mut header = self.header(0x02, if is_abort_task { 0x81 } else { 0x85 }, itt);
        if is_abort_task {
            header[20..24].copy_from_slice(&affected[0].to_be_bytes());
            header[32..36].copy_from_slice(&self.sent[&affected[0]].cmd_sn.to_be_bytes());
        }
        self.number(&mut header, true);
        self.emit(header, &[]);
        // Some initiators stop sending data once they have asked for an abort, some go on.
        let is_silent = random.below(2) == 0;
        for itt in &affected {
            self.sent.get_mut(itt).unwrap().is_silenced |= is_silent;
        }
        self.functions.insert(itt, Function { is_abort_task, affected });
    }

    /// Takes bytes from the target.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while let Some((header, data)) = self.next_pdu() {
            self.receive(&header, &data);
        }
    }

    fn next_pdu(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        let header = self.input.get(..48)?.to_vec();
        let length = u32_at(&header, 4) as usize & 0x00ff_ffff;
        let padded = length.next_multiple_of(4);
        let data_at = if self.parameters.header_digest { 52 } else { 48 };
        let tail = if self.parameters.data_digest && length > 0 { 4 } else { 0 };
        if self.input.len() < data_at + padded + tail {
            return None;
        }
        if self.parameters.header_digest {
            assert_eq!(self.input[48..52], digest::digest(&[&header]));
        }
        let padded_data = self.input[data_at..data_at + padded].to_vec();
        if tail > 0 {
            assert_eq!(self.input[data_at + padded..][..4], digest::digest(&[&padded_data]));
        }
        self.input.drain(..data_at + padded + tail);
        assert!(length <= self.parameters.max_send_data_segment_length as usize);
        Some((header, padded_data[..length].to_vec()))
    }

    fn receive(&mut self, header: &[u8], data: &[u8]) {
        self.check_numbers(header);
        let itt = u32_at(header, 16);
        match header[0] {
            0x20 if itt == NO_TAG => assert_eq!(u32_at(header, 20), NO_TAG, "only the window is told"),
            0x20 => assert_eq!(self.pings.remove(&itt), Some(data.len())),
            0x21 => self.response(itt, header, data),
            0x22 => self.function_response(itt, header[2]),
            0x25 => self.data_in(itt, header, data),
            0x31 => self.r2t(itt, header),
            opcode => panic!("unexpected {opcode:#x}: {header:02x?}"),
        }
    }

    fn check_numbers(&mut self, header: &[u8]) {
        let has_status = match header[0] {
            0x25 => header[1] & 1 != 0,
            0x31 => false,
            0x20 => u32_at(header, 16) != NO_TAG,
            _ => true,
        };
        if has_status || matches!(header[0], 0x20 | 0x31) {
            assert_eq!(u32_at(header, 24), self.stat_sn, "StatSN of {:#x}", header[0]);
        }
        self.stat_sn = self.stat_sn.wrapping_add(u32::from(has_status));
        let (exp_cmd_sn, max_cmd_sn) = (u32_at(header, 28), u32_at(header, 32));
        assert!(exp_cmd_sn.wrapping_sub(self.exp_cmd_sn) <= self.depth, "ExpCmdSN goes forward");
        assert!(self.cmd_sn.wrapping_sub(exp_cmd_sn) <= self.depth, "ExpCmdSN is what was sent");
        assert!(max_cmd_sn.wrapping_sub(self.max_cmd_sn) <= self.depth, "MaxCmdSN goes forward");
        assert!(max_cmd_sn.wrapping_add(1).wrapping_sub(exp_cmd_sn) <= self.depth, "the window is bounded");
        (self.exp_cmd_sn, self.max_cmd_sn) = (exp_cmd_sn, max_cmd_sn);
    }

    fn data_in(&mut self, itt: u32, header: &[u8], data: &[u8]) {
        let max_burst = self.parameters.max_burst_length as usize;
        let sent = self.sent.get_mut(&itt).expect("data for a command that is over");
        assert_eq!(u32_at(header, 36), sent.next_data_sn, "DataSN");
        assert_eq!(u32_at(header, 40) as usize, sent.read.len(), "Buffer Offset");
        sent.next_data_sn += 1;
        sent.sequence += data.len();
        sent.read.extend_from_slice(data);
        assert!(sent.sequence <= max_burst, "MaxBurstLength");
        let (is_final, is_last) = (header[1] & 0x80 != 0, sent.read.len() == sent.blocks * BLOCK);
        assert_eq!(is_final, is_last || sent.sequence == max_burst, "F");
        if is_final {
            sent.sequence = 0;
        }
        if header[1] & 1 != 0 {
            assert!(is_final && is_last);
            assert_eq!((header[1] & 0x06, header[3], u32_at(header, 44)), (0, 0, 0), "status and residual");
            self.finish(itt, true);
        }
    }

    fn r2t(&mut self, itt: u32, header: &[u8]) {
        let parameters = &self.parameters;
        let sent = self.sent.get_mut(&itt).expect("R2T for a command that is over");
        let (offset, length) = (u32_at(header, 40) as usize, u32_at(header, 44) as usize);
        assert_eq!(u32_at(header, 36), sent.next_r2t_sn, "R2TSN");
        assert_eq!(offset, sent.next_r2t_offset, "DataSequenceInOrder");
        assert!(length > 0 && length <= parameters.max_burst_length as usize);
        assert!(sent.r2ts.len() < parameters.max_outstanding_r2t as usize, "MaxOutstandingR2T");
        sent.next_r2t_sn += 1;
        sent.next_r2t_offset += length;
        assert!(sent.next_r2t_offset <= sent.blocks * BLOCK);
        sent.r2ts.push(Asked { ttt: u32_at(header, 20), offset, left: length, data_sn: 0 });
    }

    fn response(&mut self, itt: u32, header: &[u8], data: &[u8]) {
        assert_eq!(header[2], 0, "completed at target");
        match header[3] {
            0x00 => {
                assert_eq!(header[1] & 0x06, 0, "no residual");
                let sent = &self.sent[&itt];
                assert!(sent.stamp.is_some(), "the status of a read comes with its data");
                assert_eq!(u32_at(header, 36), sent.next_r2t_sn, "ExpDataSN");
                assert!(sent.r2ts.is_empty(), "answered before its data came");
                self.finish(itt, true);
            }
            0x02 => {
                assert_eq!(usize::from(u16::from_be_bytes([data[0], data[1]])), data.len() - 2);
                assert_eq!((data[4] & 0x0f, data[14]), (0x06, 0x29), "only resets are reported here");
                self.finish(itt, false);
            }
            status => panic!("status {status:#x}"),
        }
    }

    fn finish(&mut self, itt: u32, is_good: bool) {
        let sent = self.sent.remove(&itt).expect("answered once");
        if !is_good {
            return;
        }
        self.good += 1;
        let range = sent.lba..sent.lba + sent.blocks;
        match sent.stamp {
            Some(stamp) => self.disk[range].fill(Some(stamp)),
            None => {
                for (lba, bytes) in range.zip(sent.read.chunks(BLOCK)) {
                    if let Some(expected) = block(self.disk[lba], lba) {
                        assert_eq!(bytes, expected, "block {lba}");
                    }
                }
            }
        }
    }

    fn function_response(&mut self, itt: u32, response: u8) {
        let function = self.functions.remove(&itt).expect("asked for");
        if response != 0 {
            assert!(function.is_abort_task && response == 1, "function response {response}");
            let itt = function.affected[0];
            let is_aborted_twice = self.functions.values().any(|other| other.affected.contains(&itt));
            let is_over = is_aborted_twice || !self.sent.contains_key(&itt);
            return assert!(is_over, "the task exists, or its answer would have come first");
        }
        for itt in function.affected {
            if let Some(sent) = self.sent.remove(&itt) {
                self.aborted += 1;
                if sent.stamp.is_some() {
                    self.disk[sent.lba..sent.lba + sent.blocks].fill(None);
                }
            }
        }
    }
}

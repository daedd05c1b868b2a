//! PDU after PDU out of a byte stream: header segments, data segment, padding, digests (RFC 7143 11.1,
//! 11.2).
//!
//! ```text
//!  Header --> Segments (AHS, header digest) --> Data --> Tail (padding, data digest) --> Header
//! ```
//! The frame holds everything but the data segment, which goes wherever the caller wants it.

use crate::iscsi::error::ProtocolError;
use crate::iscsi::queue::Digests;
use crate::wire::bhs::{self, Bhs, padding};
use crate::wire::digest;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Header,
    Segments,
    Data,
    Tail,
}

/// What the bytes just received have completed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Progress {
    /// Nothing.
    Partial,
    /// The header segments: the caller decides where the data goes, then calls [`Frame::begin_data`].
    Header,
    /// The PDU.
    Whole {
        /// Whether the data digest is right, or there is none.
        is_intact: bool,
    },
}

/// A PDU in progress.
#[derive(Debug)]
pub struct Frame {
    part: Part,
    /// Bytes of `part` that are here; of a header, all its segments together.
    filled: usize,
    header: Vec<u8>,
    tail: [u8; 3 + digest::LENGTH],
    data_length: usize,
    crc: u32,
    digests: Digests,
}

impl Frame {
    /// Waits for a header, without digests.
    pub fn new() -> Self {
        Frame {
            part: Part::Header,
            filled: 0,
            header: vec![0; bhs::LENGTH],
            tail: [0; 3 + digest::LENGTH],
            data_length: 0,
            crc: 0,
            digests: Digests::default(),
        }
    }

    /// The digests of the PDUs from here on (RFC 7143 13.1). Only between PDUs.
    pub fn set_digests(&mut self, digests: Digests) {
        self.digests = digests;
    }

    /// Whether no PDU is in progress beyond the first bytes of its header.
    pub fn is_between(&self) -> bool {
        self.part == Part::Header
    }

    /// Bytes of a basic header segment with the digest behind it, if headers have one.
    #[inline]
    pub fn plain_length(&self) -> usize {
        bhs::LENGTH + if self.digests.header { digest::LENGTH } else { 0 }
    }

    /// The header at the front of `received`, when that is where the next PDU begins, and it is all there and
    /// intact. With additional header segments it may seem not to be: their digest lies elsewhere.
    #[inline]
    pub fn plain_header(&self, received: &[u8]) -> Option<Bhs> {
        let bhs = Bhs(*received.first_chunk()?);
        let is_intact = || received[bhs::LENGTH..].starts_with(&digest::of_header(&bhs.0));
        let is_next = self.part == Part::Header && self.filled == 0;
        (is_next && (!self.digests.header || is_intact())).then_some(bhs)
    }

    /// Bytes of a PDU without additional header segments and with `data_length` bytes of data, not 0.
    #[inline]
    pub fn whole_length(&self, data_length: usize) -> usize {
        let digest = if self.digests.data { digest::LENGTH } else { 0 };
        self.plain_length() + data_length + padding(data_length) + digest
    }

    /// Whether the data digest of such a PDU is right, or there is none.
    #[inline]
    pub fn is_whole_intact(&self, pdu: &[u8], data_length: usize) -> bool {
        if !self.digests.data {
            return true;
        }
        let data = pdu.get(self.plain_length()..).unwrap_or_default();
        let covered = data_length + padding(data_length);
        data.split_at_checked(covered)
            .is_some_and(|(data, rest)| rest.starts_with(&digest::append(0, data).to_le_bytes()))
    }

    /// The basic header segment of the PDU in progress or, between PDUs, of the last one.
    pub fn bhs(&self) -> Bhs {
        let mut bytes = [0; bhs::LENGTH];
        bytes.copy_from_slice(&self.header[..bhs::LENGTH]);
        Bhs(bytes)
    }

    /// The additional header segments of the PDU in progress.
    pub fn segments(&self) -> &[u8] {
        &self.header[bhs::LENGTH..bhs::LENGTH + self.bhs().ahs_length()]
    }

    /// DataSegmentLength of the PDU in progress.
    pub fn data_length(&self) -> usize {
        self.data_length
    }

    /// How much of the data segment is here, while that is what comes next.
    pub fn data_filled(&self) -> Option<usize> {
        (self.part == Part::Data).then_some(self.filled)
    }

    /// Where the next bytes go, unless they are data. Never empty.
    pub fn want(&mut self) -> &mut [u8] {
        let need = self.need();
        match self.part {
            Part::Tail => &mut self.tail[self.filled..need],
            _ => {
                if self.header.len() < need {
                    self.header.resize(need, 0);
                }
                &mut self.header[self.filled..need]
            }
        }
    }

    /// Bytes of the part in progress.
    fn need(&self) -> usize {
        let digest = if self.digests.header { digest::LENGTH } else { 0 };
        match self.part {
            // Whatever segments follow, so many bytes come: mostly the header is whole with them.
            Part::Header => bhs::LENGTH + digest,
            Part::Segments => bhs::LENGTH + self.bhs().ahs_length() + digest,
            Part::Data => self.data_length,
            Part::Tail => padding(self.data_length) + if self.digests.data { digest::LENGTH } else { 0 },
        }
    }

    /// Takes data into account that was received to where the caller wanted it.
    pub fn cover(&mut self, data: &[u8]) {
        if self.digests.data {
            self.crc = digest::append(self.crc, data);
        }
    }

    /// `count` bytes of the part in progress have been received.
    pub fn got(&mut self, count: usize) -> Result<Progress, ProtocolError> {
        self.filled += count;
        if self.filled < self.need() {
            return Ok(Progress::Partial);
        }
        match self.part {
            Part::Header => {
                self.part = Part::Segments;
                if self.filled < self.need() { Ok(Progress::Partial) } else { self.header_complete() }
            }
            Part::Segments => self.header_complete(),
            Part::Data => {
                self.part = Part::Tail;
                self.filled = 0;
                Ok(if self.need() == 0 { self.whole(true) } else { Progress::Partial })
            }
            Part::Tail => {
                let (covered, digest) = self.tail.split_at(padding(self.data_length));
                let crc = digest::append(self.crc, covered);
                let is_intact = !self.digests.data || digest.starts_with(&crc.to_le_bytes());
                Ok(self.whole(is_intact))
            }
        }
    }

    fn header_complete(&mut self) -> Result<Progress, ProtocolError> {
        let bhs = self.bhs();
        let (covered, digest) = self.header.split_at(bhs::LENGTH + bhs.ahs_length());
        if self.digests.header && !digest.starts_with(&digest::digest(&[covered])) {
            return Err(ProtocolError::HeaderDigest);
        }
        self.data_length = bhs.data_length();
        Ok(Progress::Header)
    }

    /// The data segment comes next; an empty one is over at once, and has no digest (RFC 7143 11.2.3).
    pub fn begin_data(&mut self) -> Progress {
        self.part = Part::Data;
        self.filled = 0;
        self.crc = 0;
        if self.data_length == 0 { self.whole(true) } else { Progress::Partial }
    }

    fn whole(&mut self, is_intact: bool) -> Progress {
        self.part = Part::Header;
        self.filled = 0;
        Progress::Whole { is_intact }
    }
}

impl Default for Frame {
    fn default() -> Self {
        Frame::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Digests = Digests { header: true, data: true };

    fn pdu(segments: &[u8], data: &[u8], digests: Digests) -> Vec<u8> {
        let mut header = vec![0x5a; bhs::LENGTH];
        header[4] = u8::try_from(segments.len() / 4).unwrap();
        header[5..8].copy_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes()[1..]);
        header.extend_from_slice(segments);
        let covered = [data, &[0x77; 3][..padding(data.len())]].concat();
        let header_digest = digest::digest(&[&header]);
        let data_digest = digest::digest(&[&covered]);
        let mut bytes = header;
        bytes.extend_from_slice(if digests.header { &header_digest } else { &[] });
        bytes.extend_from_slice(&covered);
        bytes.extend_from_slice(if digests.data && !data.is_empty() { &data_digest } else { &[] });
        bytes
    }

    /// Feeds `bytes` in pieces; the data of each whole PDU and whether it was intact.
    fn feed(bytes: &[u8], piece: usize, digests: Digests) -> Result<Vec<(Vec<u8>, bool)>, ProtocolError> {
        let mut frame = Frame::new();
        frame.set_digests(digests);
        let (mut whole, mut data) = (Vec::new(), Vec::new());
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = match frame.data_filled() {
                Some(filled) => {
                    let count = piece.min(rest.len()).min(frame.data_length() - filled);
                    data.extend_from_slice(&rest[..count]);
                    frame.cover(&rest[..count]);
                    count
                }
                None => {
                    let want = frame.want();
                    assert!(!want.is_empty());
                    let count = piece.min(rest.len()).min(want.len());
                    want[..count].copy_from_slice(&rest[..count]);
                    count
                }
            };
            rest = &rest[count..];
            let mut progress = frame.got(count)?;
            if progress == Progress::Header {
                progress = frame.begin_data();
            }
            if let Progress::Whole { is_intact } = progress {
                whole.push((std::mem::take(&mut data), is_intact));
            }
        }
        assert!(frame.is_between());
        Ok(whole)
    }

    #[test]
    fn rfc7143_11_2_every_fragmentation_gives_the_same_pdus() {
        for digests in [Digests::default(), BOTH, Digests { header: true, data: false }] {
            let segments = [0x11; 255 * 4];
            let parts: [(&[u8], &[u8]); 4] =
                [(&[], b"abcde"), (&segments, b""), (&[1; 8], &[9; 5000]), (&[], b"1234")];
            let stream: Vec<u8> = parts.iter().flat_map(|(ahs, data)| pdu(ahs, data, digests)).collect();
            let expected: Vec<_> = parts.iter().map(|(_, data)| (data.to_vec(), true)).collect();
            for piece in [1, 2, 3, 5, 47, 48, 49, 1000, 100_000] {
                assert_eq!(feed(&stream, piece, digests), Ok(expected.clone()), "pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_header_and_its_digest_are_one_piece() {
        let mut frame = Frame::new();
        assert_eq!(frame.want().len(), bhs::LENGTH);
        frame.set_digests(BOTH);
        assert_eq!(frame.want().len(), bhs::LENGTH + digest::LENGTH);
    }

    #[test]
    fn rfc7143_7_8_digest_errors_are_seen() {
        let good = pdu(&[1; 8], b"data!", BOTH);
        assert_eq!(feed(&good, 100, BOTH), Ok(vec![(b"data!".to_vec(), true)]));
        for at in 0..good.len() {
            // A length that changes belongs to a test of its own: what follows is then not this PDU.
            if (4..8).contains(&at) {
                continue;
            }
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            match feed(&bad, 100, BOTH) {
                Err(error) => assert_eq!((error, at < 60), (ProtocolError::HeaderDigest, true)),
                Ok(whole) => assert_eq!((whole.len(), whole[0].1, at >= 60), (1, false, true)),
            }
        }
    }
}

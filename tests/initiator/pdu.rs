//! One PDU on the wire (RFC 7143 11.1, 11.2): header, padding, digests.

use std::io::{self, Read, Write};

pub struct Pdu {
    pub bhs: [u8; 48],
    pub data: Vec<u8>,
}

fn check(bytes: &[u8], digest: &[u8], what: &str) -> io::Result<()> {
    if crc32c::crc32c(bytes).to_le_bytes() == digest {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("{what} digest")))
}

impl Pdu {
    pub fn new(opcode: u8) -> Self {
        let mut bhs = [0; 48];
        bhs[0] = opcode;
        bhs[1] = 0x80;
        Pdu { bhs, data: Vec::new() }
    }

    pub fn opcode(&self) -> u8 {
        self.bhs[0] & 0x3f
    }

    pub fn get(&self, at: usize) -> u32 {
        u32::from_be_bytes([self.bhs[at], self.bhs[at + 1], self.bhs[at + 2], self.bhs[at + 3]])
    }

    pub fn put(&mut self, at: usize, value: u32) {
        self.bhs[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }

    /// Sends it in pieces of `fragment` bytes (0: as a whole); `digests` are those of header and data.
    pub fn send(&self, to: &mut impl Write, digests: (bool, bool), fragment: usize) -> io::Result<()> {
        let mut bytes = self.bhs.to_vec();
        bytes[5..8].copy_from_slice(&(self.data.len() as u32).to_be_bytes()[1..]);
        if digests.0 {
            let digest = crc32c::crc32c(&bytes[..48]);
            bytes.extend(digest.to_le_bytes());
        }
        let from = bytes.len();
        bytes.extend(&self.data);
        bytes.resize(from + self.data.len().next_multiple_of(4), 0);
        if digests.1 && !self.data.is_empty() {
            let digest = crc32c::crc32c(&bytes[from..]);
            bytes.extend(digest.to_le_bytes());
        }
        let size = if fragment == 0 { bytes.len() } else { fragment };
        bytes.chunks(size).try_for_each(|piece| to.write_all(piece))
    }

    pub fn receive(from: &mut impl Read, digests: (bool, bool)) -> io::Result<Pdu> {
        let mut pdu = Pdu::new(0);
        let mut digest = [0; 4];
        from.read_exact(&mut pdu.bhs)?;
        let ahs = usize::from(pdu.bhs[4]) * 4;
        let mut header = pdu.bhs.to_vec();
        header.resize(48 + ahs, 0);
        from.read_exact(&mut header[48..])?;
        if digests.0 {
            from.read_exact(&mut digest)?;
            check(&header, &digest, "header")?;
        }
        let length = (pdu.get(4) & 0x00ff_ffff) as usize;
        pdu.data.resize(length.next_multiple_of(4), 0);
        from.read_exact(&mut pdu.data)?;
        if digests.1 && length > 0 {
            from.read_exact(&mut digest)?;
            check(&pdu.data, &digest, "data")?;
        }
        pdu.data.truncate(length);
        Ok(pdu)
    }
}

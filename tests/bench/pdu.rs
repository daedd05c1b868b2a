//! The PDUs that a load generator sends, written from RFC 7143.

/// Basic header segment in bytes.
pub const BHS: usize = 48;
pub const NO_TAG: u32 = 0xffff_ffff;

pub type Header = [u8; BHS];

pub fn get32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// DataSegmentLength.
pub fn data_length(header: &[u8]) -> usize {
    (get32(header, 4) & 0x00ff_ffff) as usize
}

pub fn set_data_length(header: &mut [u8], length: usize) {
    let [_, bytes @ ..] = u32::try_from(length).unwrap_or(0).to_be_bytes();
    header[5..8].copy_from_slice(&bytes);
}

/// Single level LUN field (SAM-5, 4.7).
pub fn lun_field(lun: u16) -> [u8; 8] {
    let [high, low] = lun.to_be_bytes();
    let first = if lun > 255 { 0x40 | high } else { 0 };
    [first, low, 0, 0, 0, 0, 0, 0]
}

/// What one READ or WRITE moves.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    pub is_read: bool,
    pub lba: u64,
    pub blocks: u32,
    pub bytes: u32,
}

/// READ or WRITE, (10) where the numbers fit and (16) where not.
pub fn cdb(transfer: &Transfer) -> [u8; 16] {
    let mut cdb = [0; 16];
    match (u32::try_from(transfer.lba), u16::try_from(transfer.blocks)) {
        (Ok(lba), Ok(blocks)) => {
            cdb[0] = if transfer.is_read { 0x28 } else { 0x2a };
            cdb[2..6].copy_from_slice(&lba.to_be_bytes());
            cdb[7..9].copy_from_slice(&blocks.to_be_bytes());
        }
        _ => {
            cdb[0] = if transfer.is_read { 0x88 } else { 0x8a };
            cdb[2..10].copy_from_slice(&transfer.lba.to_be_bytes());
            cdb[10..14].copy_from_slice(&transfer.blocks.to_be_bytes());
        }
    }
    cdb
}

/// Numbers that every request carries.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    pub itt: u32,
    pub cmd_sn: u32,
    pub exp_stat_sn: u32,
}

/// SCSI Command (11.3). `flags` are F, R and W; the attribute is SIMPLE.
pub fn command(flags: u8, lun: [u8; 8], cdb: &[u8; 16], expected: u32, numbers: Numbers) -> Header {
    let mut header = [0; BHS];
    header[0] = 0x01;
    header[1] = flags | 0x01;
    header[8..16].copy_from_slice(&lun);
    put32(&mut header, 16, numbers.itt);
    put32(&mut header, 20, expected);
    put32(&mut header, 24, numbers.cmd_sn);
    put32(&mut header, 28, numbers.exp_stat_sn);
    header[32..48].copy_from_slice(cdb);
    header
}

/// Data-Out (11.7).
pub fn data_out(is_final: bool, lun: [u8; 8], tags: (u32, u32), data_sn: u32, offset: usize) -> Header {
    let mut header = [0; BHS];
    header[0] = 0x05;
    header[1] = if is_final { 0x80 } else { 0 };
    header[8..16].copy_from_slice(&lun);
    put32(&mut header, 16, tags.0);
    put32(&mut header, 20, tags.1);
    put32(&mut header, 36, data_sn);
    put32(&mut header, 40, u32::try_from(offset).unwrap_or(u32::MAX));
    header
}

/// NOP-Out that answers a NOP-In (11.18).
pub fn nop_out(nop_in: &[u8], numbers: Numbers) -> Header {
    let mut header = [0; BHS];
    header[0] = 0x40;
    header[1] = 0x80;
    header[8..16].copy_from_slice(&nop_in[8..16]);
    put32(&mut header, 16, NO_TAG);
    header[20..24].copy_from_slice(&nop_in[20..24]);
    put32(&mut header, 24, numbers.cmd_sn);
    put32(&mut header, 28, numbers.exp_stat_sn);
    header
}

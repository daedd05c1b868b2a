//! The parameter lists of EXTENDED COPY (LID1) and (LID4), as checked values (SPC-4, 6.4 and 6.5).

use crate::bytes::{get_u16, get_u24, get_u32, get_u64};
use crate::scsi::copy::{
    BLOCK_TO_BLOCK, BLOCK_TO_BLOCK_OFFSET, IDENTIFICATION, MAX_CSCDS, MAX_DESCRIPTOR_BYTES, MAX_SEGMENTS,
};
use crate::scsi::sense::Sense;

/// Which of the two parameter lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// LIST IDENTIFIER of one byte.
    Lid1,
    /// LIST IDENTIFIER of four bytes, and IMMED.
    Lid4,
}

/// A whole parameter list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Request {
    /// LIST IDENTIFIER; none when LIST ID USAGE is 11b.
    pub(crate) identifier: Option<u32>,
    /// What became of the copy is kept until it is asked for (LIST ID USAGE 00b).
    pub(crate) is_remembered: bool,
    /// Answered before the copy is done.
    pub(crate) is_immediate: bool,
    /// Sources and destinations.
    pub(crate) cscds: Vec<Cscd>,
    /// What to copy, in order.
    pub(crate) segments: Vec<Segment>,
}

/// An identification descriptor CSCD descriptor of a block device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cscd {
    /// PERIPHERAL DEVICE TYPE.
    pub(crate) device_type: u8,
    /// CODE SET of the designator.
    pub(crate) code_set: u8,
    /// ASSOCIATION and DESIGNATOR TYPE, as in VPD page 83h.
    pub(crate) kind: u8,
    /// DESIGNATOR.
    pub(crate) designator: Vec<u8>,
    /// DISK BLOCK LENGTH; 0 when the initiator leaves it out.
    pub(crate) block_length: u32,
    /// Where the descriptor begins in the parameter list.
    pub(crate) at: u16,
}

/// How much a segment copies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Amount {
    /// Blocks of the source, or of the destination when DC is set.
    Blocks {
        /// How many.
        count: u16,
        /// DC.
        of_destination: bool,
    },
    /// Bytes.
    Bytes(u32),
}

/// A block to block segment descriptor, with or without offsets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    /// SOURCE CSCD DESCRIPTOR ID.
    pub(crate) source: u16,
    /// DESTINATION CSCD DESCRIPTOR ID.
    pub(crate) destination: u16,
    /// How much.
    pub(crate) amount: Amount,
    /// SOURCE and DESTINATION LOGICAL BLOCK ADDRESS.
    pub(crate) lba: (u64, u64),
    /// SOURCE and DESTINATION BLOCK BYTE OFFSET.
    pub(crate) offset: (u16, u16),
    /// Where the descriptor begins in the parameter list.
    pub(crate) at: u16,
}

/// Length of a CSCD descriptor.
const CSCD: usize = 32;
/// Longest designator that a CSCD descriptor holds.
const MAX_DESIGNATOR: usize = 20;

/// What the header says of the lists behind it.
struct Header {
    length: usize,
    cscds: usize,
    segments: usize,
    inline: usize,
    at: [u16; 2],
}

fn wrong(at: usize, bit: Option<u8>) -> Sense {
    Sense::invalid_field_in_parameter_list(u16::try_from(at).unwrap_or(u16::MAX), bit)
}

fn length(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Request {
    /// Reads the list. A list of no bytes is `None`: there is nothing to do, which is no error.
    pub(crate) fn parse(form: Form, list: &[u8]) -> Result<Option<Request>, Sense> {
        if list.is_empty() {
            return Ok(None);
        }
        let (mut request, header) = match form {
            Form::Lid1 => Request::header_1(list)?,
            Form::Lid4 => Request::header_4(list)?,
        };
        let lists = header.cscds.saturating_add(header.segments);
        if lists > MAX_DESCRIPTOR_BYTES || lists.saturating_add(header.inline) > list.len() - header.length {
            return Err(Sense::PARAMETER_LIST_LENGTH_ERROR);
        }
        if header.inline > 0 {
            return Err(Sense::INLINE_DATA_LENGTH_EXCEEDED);
        }
        if header.cscds % CSCD != 0 {
            return Err(wrong(usize::from(header.at[0]), None));
        }
        if header.cscds / CSCD > MAX_CSCDS {
            return Err(Sense::TOO_MANY_TARGET_DESCRIPTORS);
        }
        let segments = header.length + header.cscds;
        for at in (header.length..segments).step_by(CSCD) {
            request.cscds.push(Cscd::parse(&list[at..at + CSCD], at)?);
        }
        request.segments = segment_list(&list[..segments + header.segments], segments)?;
        Ok(Some(request))
    }

    fn header_1(list: &[u8]) -> Result<(Request, Header), Sense> {
        const LENGTH: usize = 16;
        if list.len() < LENGTH {
            return Err(Sense::PARAMETER_LIST_LENGTH_ERROR);
        }
        let request = Request::identified(list[1], u32::from(list[0]), 0)?;
        let header = Header {
            length: LENGTH,
            cscds: usize::from(get_u16(list, 2)),
            segments: length(get_u32(list, 8)),
            inline: length(get_u32(list, 12)),
            at: [2, 8],
        };
        Ok((request, header))
    }

    fn header_4(list: &[u8]) -> Result<(Request, Header), Sense> {
        const LENGTH: usize = 48;
        const FORMAT: u8 = 0x01;
        const HEADER_DESCRIPTOR: u8 = 0xff;
        if list.len() < LENGTH {
            return Err(Sense::PARAMETER_LIST_LENGTH_ERROR);
        }
        if list[0] != FORMAT {
            return Err(wrong(0, None));
        }
        if get_u16(list, 2) != 0x20 {
            return Err(wrong(2, None));
        }
        if list[16] != HEADER_DESCRIPTOR {
            return Err(wrong(16, None));
        }
        let request = Request::identified(list[1], get_u32(list, 20), 20)?;
        let header = Header {
            length: LENGTH,
            cscds: usize::from(get_u16(list, 42)),
            segments: usize::from(get_u16(list, 44)),
            inline: usize::from(get_u16(list, 46)),
            at: [42, 44],
        };
        Ok((Request { is_immediate: list[15] & 0x01 != 0, ..request }, header))
    }

    /// LIST ID USAGE (SPC-4, table 133): with 11b there is no identifier, and the field is 0.
    fn identified(flags: u8, identifier: u32, at: usize) -> Result<Request, Sense> {
        match flags >> 3 & 3 {
            0 => Ok(Request { identifier: Some(identifier), is_remembered: true, ..Request::default() }),
            2 => Ok(Request { identifier: Some(identifier), ..Request::default() }),
            3 if identifier == 0 => Ok(Request::default()),
            3 => Err(wrong(at, None)),
            _ => Err(wrong(1, Some(4))),
        }
    }
}

impl Cscd {
    fn parse(descriptor: &[u8], at: usize) -> Result<Cscd, Sense> {
        if descriptor[0] != IDENTIFICATION {
            return Err(Sense::UNSUPPORTED_TARGET_DESCRIPTOR_TYPE_CODE);
        }
        let designator = usize::from(descriptor[7]);
        if designator == 0 || designator > MAX_DESIGNATOR {
            return Err(wrong(at + 7, None));
        }
        Ok(Cscd {
            device_type: descriptor[1] & 0x1f,
            code_set: descriptor[4] & 0x0f,
            kind: descriptor[5] & 0x3f,
            designator: descriptor[8..8 + designator].to_vec(),
            block_length: get_u24(descriptor, 29),
            at: u16::try_from(at).unwrap_or(u16::MAX),
        })
    }
}

/// The segment descriptors from `at` to the end of `list`.
fn segment_list(list: &[u8], mut at: usize) -> Result<Vec<Segment>, Sense> {
    let mut segments = Vec::new();
    while at < list.len() {
        if segments.len() == MAX_SEGMENTS {
            return Err(Sense::TOO_MANY_SEGMENT_DESCRIPTORS);
        }
        let rest = &list[at..];
        let stated = rest.get(2..4).ok_or(Sense::PARAMETER_LIST_LENGTH_ERROR)?;
        let expected = match rest[0] {
            BLOCK_TO_BLOCK => 0x18,
            BLOCK_TO_BLOCK_OFFSET => 0x1c,
            _ => return Err(Sense::UNSUPPORTED_SEGMENT_DESCRIPTOR_TYPE_CODE),
        };
        if usize::from(get_u16(stated, 0)) != expected {
            return Err(wrong(at + 2, None));
        }
        let descriptor = rest.get(..4 + expected).ok_or(Sense::PARAMETER_LIST_LENGTH_ERROR)?;
        segments.push(Segment::parse(descriptor, at));
        at += descriptor.len();
    }
    Ok(segments)
}

impl Segment {
    /// The length has been checked against the type.
    fn parse(descriptor: &[u8], at: usize) -> Segment {
        let has_offsets = descriptor[0] == BLOCK_TO_BLOCK_OFFSET;
        Segment {
            source: get_u16(descriptor, 4),
            destination: get_u16(descriptor, 6),
            amount: if has_offsets {
                Amount::Bytes(get_u32(descriptor, 8))
            } else {
                Amount::Blocks { count: get_u16(descriptor, 10), of_destination: descriptor[1] & 0x02 != 0 }
            },
            lba: (get_u64(descriptor, 12), get_u64(descriptor, 20)),
            offset: if has_offsets { (get_u16(descriptor, 28), get_u16(descriptor, 30)) } else { (0, 0) },
            at: u16::try_from(at).unwrap_or(u16::MAX),
        }
    }
}

#[cfg(test)]
mod tests;

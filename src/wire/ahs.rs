//! Additional header segments (RFC 7143 11.2.2): the extended CDB and the bidirectional read length.

use crate::bytes::{Take, get_u32};

/// Longest CDB accepted, in bytes (SPC-4, 4.2.3): 16 in the header and the rest in an extended CDB segment.
pub const MAX_CDB: usize = 260;

const EXTENDED_CDB: u8 = 1;
const BIDIRECTIONAL_READ_LENGTH: u8 = 2;

/// What the segments said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdditionalHeaders {
    /// CDB bytes 16 and up.
    pub extended_cdb: Option<Vec<u8>>,
    /// Expected Bidirectional Read Data Transfer Length.
    pub bidirectional_read_length: Option<u32>,
}

/// The segments contradict their lengths or each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSegments;

/// Parses all segments of a PDU. Unknown types are passed over, as their length says how.
pub fn parse(bytes: &[u8]) -> Result<AdditionalHeaders, BadSegments> {
    let mut headers = AdditionalHeaders::default();
    let mut take = Take::new(bytes);
    while take.rest().len() >= 4 {
        let length = usize::from(take.u16().ok_or(BadSegments)?);
        let kind = take.u8().ok_or(BadSegments)? & 0x3f;
        // AHSLength counts what follows the type, its first byte included (11.2.2.1).
        let padded = (length + 3).next_multiple_of(4) - 3;
        if length == 0 {
            return Err(BadSegments);
        }
        let body = take.bytes(padded).ok_or(BadSegments)?;
        match kind {
            EXTENDED_CDB if headers.extended_cdb.is_none() => {
                let more = &body[1..length];
                if more.is_empty() || more.len() + 16 > MAX_CDB {
                    return Err(BadSegments);
                }
                headers.extended_cdb = Some(more.to_vec());
            }
            BIDIRECTIONAL_READ_LENGTH if headers.bidirectional_read_length.is_none() => {
                if length != 5 {
                    return Err(BadSegments);
                }
                headers.bidirectional_read_length = Some(get_u32(body, 1));
            }
            EXTENDED_CDB | BIDIRECTIONAL_READ_LENGTH => return Err(BadSegments),
            _ => {}
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7143_11_2_2_both_segments() {
        let bytes =
            [0, 17, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0, 5, 2, 0, 0, 0, 2, 0];
        let headers = parse(&bytes).unwrap();
        assert_eq!(headers.extended_cdb.map(|cdb| cdb.len()), Some(16));
        assert_eq!(headers.bidirectional_read_length, Some(512));
    }

    #[test]
    fn rfc7143_11_2_2_lengths_that_lie() {
        for bytes in [
            &[0u8, 0, 1, 0][..],
            &[0, 1, 1, 0],
            &[0xff, 0xff, 1, 0],
            &[0, 9, 1, 0, 1, 2, 3, 4],
            &[0, 4, 2, 0, 0, 0, 0, 0],
            &[0, 5, 2, 0, 0, 0, 2, 0, 0, 5, 2, 0, 0, 0, 2, 0],
        ] {
            assert_eq!(parse(bytes), Err(BadSegments), "{bytes:?}");
        }
    }

    #[test]
    fn unknown_segments_are_passed_over() {
        assert_eq!(
            parse(&[0, 1, 0x3f, 0, 0, 5, 2, 0, 0, 0, 2, 0]).unwrap().bidirectional_read_length,
            Some(512)
        );
    }
}

//! TransportIDs of iSCSI initiators in parameter data (SPC-4, 7.6.4.6).

use crate::bytes::Take;
use crate::scsi::nexus::TransportId;

/// Longest TransportID in bytes: a name of 223 bytes, `,i,0x`, 12 digits, NUL and padding behind the header.
pub const MAX_LENGTH: usize = 4 + 244;

/// Longest iSCSI name in bytes.
const MAX_NAME: usize = 223;

/// Shortest ADDITIONAL LENGTH.
const MIN_ADDITIONAL: usize = 20;

/// What a TransportID names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// Format 01b: one initiator port.
    Port(TransportId),
    /// Format 00b: an initiator device, all ports of it that are known.
    Device(String),
}

impl Named {
    /// The port, unless a device is named.
    pub fn port(self) -> Option<TransportId> {
        match self {
            Named::Port(port) => Some(port),
            Named::Device(_) => None,
        }
    }
}

/// Format 01b, protocol identifier 5: `name,i,0xISID`, ended by NUL, padded to four bytes.
pub fn encode(port: &TransportId) -> Vec<u8> {
    let isid: String = port.isid.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut name = format!("{},i,0x{isid}", port.name).into_bytes();
    name.push(0);
    name.resize(name.len().next_multiple_of(4).max(MIN_ADDITIONAL), 0);
    let [high, low] = u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut id = vec![0x45, 0, high, low];
    id.extend(name);
    id
}

/// Takes the TransportID at the front; `None` when it is none, or longer than what is there.
pub fn decode(take: &mut Take<'_>) -> Option<Named> {
    let head = take.bytes(4)?;
    let (format, protocol) = (head[0] & 0xf0, head[0] & 0x0f);
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    if protocol != 5 || length % 4 != 0 || length < MIN_ADDITIONAL {
        return None;
    }
    let bytes = take.bytes(length)?;
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    match format {
        0x00 => Some(Named::Device(name(text)?)),
        0x40 => {
            let (text, isid) = text.split_once(",i,0x")?;
            let digits = isid.len() == 12 && isid.bytes().all(|byte| byte.is_ascii_hexdigit());
            let isid = u64::from_str_radix(isid, 16).ok().filter(|_| digits)?.to_be_bytes();
            let [_, _, isid @ ..] = isid;
            Some(Named::Port(TransportId { name: name(text)?, isid }))
        }
        _ => None,
    }
}

/// An iSCSI name, in the small letters that names are compared in (RFC 7143, 4.2.7).
fn name(text: &str) -> Option<String> {
    let fits = !text.is_empty()
        && text.len() <= MAX_NAME
        && text.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != ',');
    fits.then(|| text.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(format: u8, text: &[u8]) -> Vec<u8> {
        let mut bytes = vec![format, 0, 0, u8::try_from(text.len()).unwrap()];
        bytes.extend_from_slice(text);
        bytes
    }

    fn decoded(bytes: &[u8]) -> Option<Named> {
        decode(&mut Take::new(bytes))
    }

    #[test]
    fn spc_7_6_4_6_a_port_survives_encoding() {
        let name = "n".repeat(MAX_NAME);
        for name in ["iqn.2026-01.test:a", &name] {
            let port = TransportId { name: name.to_owned(), isid: [0x80, 1, 2, 3, 4, 0xff] };
            let bytes = encode(&port);
            assert!(bytes.len() <= MAX_LENGTH && bytes.len() % 4 == 0);
            assert_eq!(decoded(&bytes), Some(Named::Port(port)));
        }
    }

    #[test]
    fn names_are_compared_in_small_letters() {
        let bytes = id(0x45, b"iqn.2026-01.test:UPPER,i,0x00023D000001\0");
        let port = decoded(&bytes).unwrap().port().unwrap();
        assert_eq!((port.name.as_str(), port.isid[2]), ("iqn.2026-01.test:upper", 0x3d));
        let device = decoded(&id(0x05, b"iqn.2026-01.Test:abc")).is_none();
        assert!(device, "no NUL");
        let device = decoded(&id(0x05, b"iqn.2026-01.Test:abc\0\0\0\0"));
        assert_eq!(device, Some(Named::Device("iqn.2026-01.test:abc".to_owned())));
    }

    #[test]
    fn transport_ids_that_lie_are_refused() {
        let good = id(0x45, b"iqn.2026-01.test:a,i,0x800000000001\0");
        assert!(decoded(&good).is_some());
        for cut in 0..good.len() {
            assert_eq!(decoded(&good[..cut]), None, "cut to {cut}");
        }
        for (format, text) in [
            (0x85, &b"iqn.2026-01.test:a,i,0x800000000001\0"[..]),
            (0x40, b"iqn.2026-01.test:a,i,0x800000000001\0"),
            (0x45, b"iqn.2026-01.test:a,i,0x80000000001\0\0"),
            (0x45, b"iqn.2026-01.test:a,i,0x+00000000001\0"),
            (0x45, b"iqn.2026-01.test:a,i,0x\0\0\0\0\0"),
            (0x45, b"iqn.2026-01.test:a\0\0"),
            (0x45, b",i,0x800000000001\0\0\0"),
            (0x45, b"iqn.2026-01 test:a,i,0x800000000001\0"),
            (0x45, b"iqn.2026-01.test:\xff,i,0x800000000001\0"),
            (0x45, b"iqn.2026-01.test:a,i,0x8000000000011"),
            (0x45, b"iqn.2026-01.test:a,i,0x800000000001\0\0"),
            (0x05, b"short\0\0\0"),
            (0x05, b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        ] {
            assert_eq!(decoded(&id(format, text)), None, "{format:02x} {text:?}");
        }
        let mut past_the_end = good;
        past_the_end[2] = 0xff;
        assert_eq!(decoded(&past_the_end), None);
    }
}

//! iSNS messages (RFC 4171, 5).
//!
//! A message longer than a PDU travels as several of them; [`Message::encode`] makes them, [`Assembler`] puts
//! them together again.

use std::net::{IpAddr, SocketAddr};

/// Length of the header of a PDU (5.1).
pub const HEADER_LENGTH: usize = 12;
/// Longest payload of a PDU that we send: a multiple of four that PDU LENGTH can express.
const PAYLOAD_LIMIT: usize = 65_532;
/// Longest message that we take, in bytes: some thousands of initiators.
pub const MESSAGE_LIMIT: usize = 4 << 20;
const VERSION: u16 = 1;

/// Flags (5.1.4).
mod flag {
    pub const CLIENT: u16 = 0x8000;
    pub const REPLACE: u16 = 0x1000;
    pub const LAST: u16 = 0x0800;
    pub const FIRST: u16 = 0x0400;
}

/// Functions (5.5.1).
#[allow(missing_docs)] // The names are the standard's own.
pub mod function {
    pub const DEV_ATTR_REG: u16 = 0x0001;
    pub const DEV_ATTR_QRY: u16 = 0x0002;
    pub const DEV_DEREG: u16 = 0x0004;
    pub const SCN_REG: u16 = 0x0005;
    pub const SCN: u16 = 0x0008;
    pub const ESI: u16 = 0x000d;
    /// Added to the function of a request.
    pub const RESPONSE: u16 = 0x8000;
}

/// Tags of attributes (6.1).
#[allow(missing_docs)] // The names are the standard's own.
pub mod tag {
    pub const DELIMITER: u32 = 0;
    pub const ENTITY_IDENTIFIER: u32 = 1;
    pub const ENTITY_PROTOCOL: u32 = 2;
    pub const REGISTRATION_PERIOD: u32 = 6;
    pub const PORTAL_IP_ADDRESS: u32 = 16;
    pub const PORTAL_PORT: u32 = 17;
    pub const ESI_INTERVAL: u32 = 19;
    pub const ESI_PORT: u32 = 20;
    pub const SCN_PORT: u32 = 23;
    pub const ISCSI_NAME: u32 = 32;
    pub const ISCSI_NODE_TYPE: u32 = 33;
    pub const ISCSI_ALIAS: u32 = 34;
    pub const ISCSI_SCN_BITMAP: u32 = 35;
}

/// Node types (6.4.2).
#[allow(missing_docs)] // The names are the standard's own.
pub mod node_type {
    pub const TARGET: u32 = 1;
    pub const INITIATOR: u32 = 2;
}

/// Tag, length, value (5.1.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// One of [`tag`].
    pub tag: u32,
    /// Value without padding.
    pub value: Vec<u8>,
}

impl Attribute {
    /// A number.
    pub fn number(tag: u32, value: u32) -> Self {
        Attribute { tag, value: value.to_be_bytes().to_vec() }
    }

    /// Text, which ends with NUL and is filled up to a multiple of four (5.1.6).
    pub fn text(tag: u32, text: &str) -> Self {
        let mut value = text.as_bytes().to_vec();
        value.resize((value.len() / 4 + 1) * 4, 0);
        Attribute { tag, value }
    }

    /// An address; IPv4 as IPv4-mapped IPv6 (6.3.1).
    pub fn address(tag: u32, address: IpAddr) -> Self {
        let address = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        Attribute { tag, value: address.octets().to_vec() }
    }

    /// Nothing: in a query it asks for the value.
    pub fn empty(tag: u32) -> Self {
        Attribute { tag, value: Vec::new() }
    }

    /// The text of a value, without its NULs.
    pub fn as_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.value).ok().map(|text| text.trim_end_matches('\0'))
    }

    /// Both attributes of a portal.
    pub fn portal(portal: SocketAddr) -> [Attribute; 2] {
        [
            Attribute::address(tag::PORTAL_IP_ADDRESS, portal.ip()),
            Attribute::number(tag::PORTAL_PORT, u32::from(portal.port())),
        ]
    }
}

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// One of [`function`].
    pub function: u16,
    /// TRANSACTION ID.
    pub transaction: u16,
    /// What is registered takes the place of what was (5.6.5.1).
    pub replaces: bool,
    /// Everything behind the header.
    pub body: Vec<u8>,
}

impl Message {
    /// A request with these attributes.
    pub fn request(function: u16, transaction: u16, attributes: &[Attribute]) -> Self {
        let mut body = Vec::new();
        for attribute in attributes {
            let padded = attribute.value.len().next_multiple_of(4);
            body.extend_from_slice(&attribute.tag.to_be_bytes());
            body.extend_from_slice(&u32::try_from(padded).unwrap_or(0).to_be_bytes());
            body.extend_from_slice(&attribute.value);
            body.resize(body.len() + padded - attribute.value.len(), 0);
        }
        Message { function, transaction, replaces: false, body }
    }

    /// The answer "successful" to a request of the server, with what it must repeat.
    pub fn success(&self, repeated: &[u8]) -> Self {
        let mut body = vec![0; 4];
        body.extend_from_slice(repeated);
        Message {
            function: self.function | function::RESPONSE,
            transaction: self.transaction,
            replaces: false,
            body,
        }
    }

    /// The PDUs of the message.
    pub fn encode(&self) -> Vec<u8> {
        let mut parts: Vec<&[u8]> = self.body.chunks(PAYLOAD_LIMIT).collect();
        if parts.is_empty() {
            parts.push(&[]);
        }
        let mut bytes = Vec::with_capacity(self.body.len() + parts.len() * HEADER_LENGTH);
        let last = parts.len() - 1;
        for (sequence, part) in parts.into_iter().enumerate() {
            let mut flags = flag::CLIENT;
            flags |= if self.replaces { flag::REPLACE } else { 0 };
            flags |= if sequence == 0 { flag::FIRST } else { 0 };
            flags |= if sequence == last { flag::LAST } else { 0 };
            let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
            let sequence = u16::try_from(sequence).unwrap_or(u16::MAX);
            for word in [VERSION, self.function, length, flags, self.transaction, sequence] {
                bytes.extend_from_slice(&word.to_be_bytes());
            }
            bytes.extend_from_slice(part);
        }
        bytes
    }

    /// The status of a response and the attributes behind it; `None` if it is none or broken.
    pub fn response(&self) -> Option<(u32, Vec<Attribute>)> {
        let (status, rest) = self.body.split_first_chunk::<4>()?;
        Some((u32::from_be_bytes(*status), attributes(rest)?))
    }
}

/// The attributes of a body; `None` when one goes beyond its end.
pub fn attributes(mut body: &[u8]) -> Option<Vec<Attribute>> {
    let mut found = Vec::new();
    while !body.is_empty() {
        let (tag, rest) = body.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (value, rest) = rest.split_at_checked(length)?;
        found.push(Attribute { tag: u32::from_be_bytes(*tag), value: value.to_vec() });
        body = rest;
    }
    Some(found)
}

/// What is wrong with a PDU of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PduError {
    /// Another version than 1.
    Version,
    /// PDUs of a message out of order, or of two messages mixed.
    Order,
    /// More than [`MESSAGE_LIMIT`].
    TooLong,
}

/// A header (5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    function: u16,
    length: u16,
    flags: u16,
    transaction: u16,
    sequence: u16,
}

impl Header {
    /// Reads a header.
    pub fn parse(bytes: &[u8; HEADER_LENGTH]) -> Result<Header, PduError> {
        let word = |at: usize| u16::from_be_bytes([bytes[2 * at], bytes[2 * at + 1]]);
        if word(0) != VERSION {
            return Err(PduError::Version);
        }
        Ok(Header {
            function: word(1),
            length: word(2),
            flags: word(3),
            transaction: word(4),
            sequence: word(5),
        })
    }

    /// Bytes behind the header.
    pub fn payload_length(&self) -> usize {
        usize::from(self.length)
    }
}

/// Makes messages of PDUs.
#[derive(Debug, Default)]
pub struct Assembler {
    begun: Option<(u16, Message)>,
}

impl Assembler {
    /// Takes a PDU; the message, if it was the last one.
    pub fn push(&mut self, header: Header, payload: &[u8]) -> Result<Option<Message>, PduError> {
        let (sequence, mut message) = match self.begun.take() {
            None if header.flags & flag::FIRST != 0 && header.sequence == 0 => {
                let (function, transaction) = (header.function, header.transaction);
                (0, Message { function, transaction, replaces: false, body: Vec::new() })
            }
            Some((sequence, message))
                if header.flags & flag::FIRST == 0
                    && header.sequence == sequence
                    && (header.function, header.transaction) == (message.function, message.transaction) =>
            {
                (sequence, message)
            }
            _ => return Err(PduError::Order),
        };
        if message.body.len() + payload.len() > MESSAGE_LIMIT {
            return Err(PduError::TooLong);
        }
        message.body.extend_from_slice(payload);
        if header.flags & flag::LAST != 0 {
            return Ok(Some(message));
        }
        self.begun = Some((sequence.checked_add(1).ok_or(PduError::TooLong)?, message));
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(mut bytes: &[u8]) -> Result<Vec<Message>, PduError> {
        let mut assembler = Assembler::default();
        let mut messages = Vec::new();
        while let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LENGTH>() {
            let header = Header::parse(header)?;
            let (payload, rest) = rest.split_at(header.payload_length());
            messages.extend(assembler.push(header, payload)?);
            bytes = rest;
        }
        Ok(messages)
    }

    #[test]
    fn rfc4171_5_1_the_header_is_laid_out_as_drawn() {
        let request =
            Message::request(function::ESI, 0x1234, &[Attribute::text(tag::ISCSI_NAME, "iqn.abcd")]);
        let bytes = request.encode();
        assert_eq!(bytes[..12], [0, 1, 0, 0x0d, 0, 20, 0x8c, 0, 0x12, 0x34, 0, 0]);
        assert_eq!(bytes[12..20], [0, 0, 0, 32, 0, 0, 0, 12]);
        assert_eq!(&bytes[20..], b"iqn.abcd\0\0\0\0");
    }

    #[test]
    fn long_messages_travel_in_several_pdus() {
        let attributes: Vec<_> =
            (0..5000).map(|n| Attribute::text(tag::ISCSI_NAME, &format!("iqn.2026-01.test:{n}"))).collect();
        let message = Message { replaces: false, ..Message::request(1, 7, &attributes) };
        let bytes = message.encode();
        assert!(bytes.len() > 2 * PAYLOAD_LIMIT);
        assert!(decode(&bytes).unwrap().contains(&message));
        assert_eq!(super::attributes(&message.body).unwrap(), attributes);
    }

    #[test]
    fn pdus_out_of_order_and_broken_attributes_are_refused() {
        let bytes = Message::request(1, 7, &[Attribute::number(2, 2)]).encode();
        for (at, value, error) in
            [(1, 2, PduError::Version), (11, 1, PduError::Order), (6, 0x88, PduError::Order)]
        {
            let mut bad = bytes.clone();
            bad[at] = value;
            assert_eq!(decode(&bad), Err(error));
        }
        for body in [&[0, 0, 0, 1][..], &[0, 0, 0, 1, 0, 0, 0, 8, 1, 2, 3, 4], &[0; 9], &[0xff; 16]] {
            assert_eq!(attributes(body), None, "{body:?}");
        }
        let mut assembler = Assembler::default();
        let mut header = Header { function: 1, length: 0, flags: flag::FIRST, transaction: 1, sequence: 0 };
        let mut outcome = Ok(None);
        for sequence in 0..u16::MAX {
            header.sequence = sequence;
            outcome = assembler.push(header, &[0; 60_000]);
            header.flags = 0;
            if outcome.is_err() {
                break;
            }
        }
        assert_eq!(outcome, Err(PduError::TooLong));
    }

    #[test]
    fn addresses_are_ipv6() {
        let attribute = Attribute::address(tag::PORTAL_IP_ADDRESS, "10.1.2.3".parse().unwrap());
        assert_eq!(attribute.value, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3]);
    }
}

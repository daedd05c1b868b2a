//! What a peer can do wrong, a variant per rule; each ends the connection (RFC 7143 7, ErrorRecoveryLevel 0).

use std::fmt;

/// The peer broke RFC 7143 in a way that ends the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProtocolError {
    /// 7.8: with a wrong header digest the lengths cannot be trusted.
    HeaderDigest,
    /// 13.12: a data segment longer than we declared.
    DataSegmentTooLong {
        /// Its DataSegmentLength.
        length: usize,
    },
    /// 11.2.2: additional header segments in a Login Request.
    AdditionalHeaders,
    /// 6.3: something else than a Login Request before full feature phase.
    NotALogin {
        /// Its operation code.
        opcode: u8,
    },
    /// 11.12: a Login Request in full feature phase.
    LoginAgain,
    /// 4.2.2.1: more held PDUs behind a gap in CmdSN than we keep.
    CommandGap,
    /// The login took longer than it may.
    LoginTimeout,
    /// No answer to our NOP-In.
    NopInTimeout,
    /// The initiator stopped sending the data of a command.
    DataTimeout,
    /// The initiator stopped reading.
    ResponseTimeout,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProtocolError::HeaderDigest => f.write_str("header digest error"),
            ProtocolError::DataSegmentTooLong { length } => {
                write!(f, "data segment of {length} bytes is longer than declared")
            }
            ProtocolError::AdditionalHeaders => f.write_str("additional header segments before login"),
            ProtocolError::NotALogin { opcode } => write!(f, "operation code {opcode:#04x} before login"),
            ProtocolError::LoginAgain => f.write_str("login request in full feature phase"),
            ProtocolError::CommandGap => f.write_str("a gap in CmdSN is not filled"),
            ProtocolError::LoginTimeout => f.write_str("login took too long"),
            ProtocolError::NopInTimeout => f.write_str("no answer to NOP-In"),
            ProtocolError::DataTimeout => f.write_str("the data of a command does not come"),
            ProtocolError::ResponseTimeout => f.write_str("the initiator does not read"),
        }
    }
}

/// Reason codes of a Reject PDU (RFC 7143 11.17.1).
#[allow(missing_docs)] // The names are the standard's own.
pub mod reason {
    pub const DATA_DIGEST_ERROR: u8 = 0x02;
    pub const SNACK_REJECT: u8 = 0x03;
    pub const PROTOCOL_ERROR: u8 = 0x04;
    pub const COMMAND_NOT_SUPPORTED: u8 = 0x05;
    pub const TOO_MANY_IMMEDIATE_COMMANDS: u8 = 0x06;
    pub const TASK_IN_PROGRESS: u8 = 0x07;
    pub const INVALID_DATA_ACK: u8 = 0x08;
    pub const INVALID_PDU_FIELD: u8 = 0x09;
    pub const LONG_OPERATION_REJECT: u8 = 0x0a;
}

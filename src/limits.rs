//! The limits on what peers can make this process keep, so that memory use can be computed on paper.

/// Login Requests that one login may take.
pub const MAX_LOGIN_REQUESTS: u32 = 1024;

/// Bytes of text that one login may take in all.
pub const MAX_LOGIN_TEXT: usize = 64 << 10;

/// Unknown keys that one login may send; each costs an answer.
pub const MAX_UNKNOWN_KEYS: usize = 64;

/// CHAP challenges that may be outstanding at once, over all connections.
pub const MAX_OUTSTANDING_CHALLENGES: usize = 4096;

/// Bytes of text that the initiator may send in one exchange.
pub const MAX_REQUEST_TEXT: usize = 16 << 10;

/// Requests with the initiator's own text or words in one exchange; fetching our answer does not count.
pub const MAX_TEXT_REQUESTS: u32 = 256;

/// Keys in one complete text.
pub const MAX_TEXT_KEYS: usize = 64;

/// Longest answer of one exchange in bytes: some ten thousand targets with eight portals each.
pub const MAX_ANSWER_TEXT: usize = 8 << 20;

/// Longest data segment of a Text Response, whatever the initiator can receive.
pub const MAX_TEXT_SEGMENT: usize = 256 << 10;

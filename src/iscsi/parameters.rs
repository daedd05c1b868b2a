//! What login agreed, as the full feature phase needs it (RFC 7143 section 13).

/// Agreed values; the defaults are the standard's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// HeaderDigest=CRC32C.
    pub header_digest: bool,
    /// DataDigest=CRC32C.
    pub data_digest: bool,
    /// Longest data segment that we accept, in bytes.
    pub max_recv_data_segment_length: u32,
    /// Longest data segment that we send, in bytes.
    pub max_send_data_segment_length: u32,
    /// MaxBurstLength in bytes.
    pub max_burst_length: u32,
    /// FirstBurstLength in bytes.
    pub first_burst_length: u32,
    /// InitialR2T.
    pub initial_r2t: bool,
    /// ImmediateData.
    pub immediate_data: bool,
    /// MaxOutstandingR2T.
    pub max_outstanding_r2t: u32,
    /// DefaultTime2Wait in seconds.
    pub default_time2wait: u16,
    /// DefaultTime2Retain in seconds.
    pub default_time2retain: u16,
    /// It is a discovery session.
    pub is_discovery: bool,
    /// Connection identifier.
    pub cid: u16,
    /// Seconds without input after which we ask; 0 never.
    pub nop_in_interval: u32,
    /// Seconds that the answer may take.
    pub nop_in_timeout: u32,
    /// Seconds for which the data of a command may stop.
    pub response_timeout: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Parameters {
            header_digest: false,
            data_digest: false,
            max_recv_data_segment_length: 8192,
            max_send_data_segment_length: 8192,
            max_burst_length: 262_144,
            first_burst_length: 65_536,
            initial_r2t: true,
            immediate_data: true,
            max_outstanding_r2t: 1,
            default_time2wait: 2,
            default_time2retain: 20,
            is_discovery: false,
            cid: 0,
            nop_in_interval: 0,
            nop_in_timeout: 30,
            response_timeout: 90,
        }
    }
}

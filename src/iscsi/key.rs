//! The text keys of RFC 7143, sections 12 and 13, one row each.
//!
//! Everything that depends on a key is a projection of its row: how an offer is answered, what this target
//! offers, which target attributes exist and what they accept, the table for people
//! ([`crate::iscsi::catalogue`]). A setting that is no key on the wire but belongs to the same attributes has
//! a row with [`Use::Local`].
//!
//! # How to add a key
//! Add a row to `KEYS` below and a line to the transcription of the standard in this file's tests.

use std::fmt;
use std::ops::{Index, IndexMut};

use crate::wire::text;

/// When a key may be sent (RFC 7143 13, "Use").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// IO: during the login phase of any connection.
    InitializeOnly,
    /// LO: during the login phase of the leading connection.
    LeadingOnly,
    /// ALL: during login and in the full feature phase.
    All,
    /// FFPO: in the full feature phase only.
    FullFeatureOnly,
    /// Only in the security negotiation stage (RFC 7143 12).
    Security,
    /// Not a key: a setting of this target.
    Local,
}

/// Who may send a key ("Senders").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Sender {
    Initiator,
    Target,
    Both,
}

/// What a key is about ("Scope").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// CO: this connection only.
    Connection,
    /// SW: the session.
    Session,
}

/// How an offer and our own value become a result ("Result function").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Boolean, Yes when both say Yes.
    And,
    /// Boolean, Yes when one says Yes.
    Or,
    /// The smaller number.
    Min,
    /// The larger number.
    Max,
    /// The first word of the offered list that we accept. A value is a set: bit *i* is word *i*.
    Choice(&'static [&'static str]),
    /// A number that one side tells the other; there is no answer.
    DeclareNumber,
    /// A text that one side tells the other; there is no answer.
    DeclareText,
    /// An obsolete key: every offer is answered `Reject` (RFC 7143 13.25).
    Obsolete,
    /// Has a procedure of its own: SendTargets, the CHAP keys.
    Procedure,
    /// A local number or, with range 0 to 1 and no unit, a local switch.
    LocalNumber,
    /// A local number, or this word, whose value is [`WORD`].
    LocalNumberOr(&'static str),
    /// One of these words; its value is its place.
    LocalWord(&'static [&'static str]),
}

/// One row.
#[derive(Debug)]
pub struct Key {
    /// Its identity, equal to its place in [`KEYS`].
    pub id: KeyId,
    /// The key as sent; also the name of the target attribute where there is one.
    pub name: &'static str,
    /// Section of RFC 7143 (or RFC 7145) that defines it.
    pub section: &'static str,
    /// When it may be sent.
    pub used: Use,
    /// Who may send it.
    pub sender: Sender,
    /// What it is about.
    pub scope: Scope,
    /// "Irrelevant when: SessionType=Discovery".
    pub irrelevant_in_discovery: bool,
    /// The result function.
    pub kind: Kind,
    /// Smallest and largest number allowed; 0 and 1 for booleans.
    pub range: (u32, u32),
    /// Value in force when the key is never negotiated.
    pub rfc_default: u32,
    /// What this target offers or accepts unless configured otherwise.
    pub offer: u32,
    /// Whether a target attribute of this name configures `offer`.
    pub is_attribute: bool,
    /// Whether we offer our value when the initiator is silent and the standard's default exceeds it.
    pub insist: bool,
    /// One line for help texts.
    pub help: &'static str,
}

/// The value of the word of a [`Kind::LocalNumberOr`].
pub const WORD: u32 = u32::MAX;

const DIGESTS: &[&str] = &["None", "CRC32C"];
const METHODS: &[&str] = &["None", "CHAP"];
/// How answers share segments.
pub const NAGLE: &[&str] = &["coalesce", "never", "adaptive", "always"];
const REPORTS: &[&str] = &["RFC3720", "ResponseFence", "FastAbort"];
/// Largest length in any 24-bit field.
const LENGTH_MAX: u32 = (1 << 24) - 1;

/// The set that holds only the first word of a list.
const FIRST: u32 = 1;
/// The set that holds only CRC32C, the second word of the digests.
pub const CRC32C: u32 = 2;

macro_rules! keys {
    ($($id:ident $name:literal $section:literal {$($field:ident: $value:expr),* $(,)?})*) => {
        /// The keys, as indices.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)] // The names are the keys' own.
        pub enum KeyId { $($id),* }

        /// All rows.
        pub static KEYS: [Key; KeyId::COUNT] = [
            $(Key { id: KeyId::$id, name: $name, section: $section, $($field: $value,)* ..BLANK }),*
        ];

        impl KeyId {
            /// Number of rows.
            pub const COUNT: usize = [$(KeyId::$id),*].len();
        }
    };
}

/// What rows are made from: a session-wide key of the leading login, for both sides.
const BLANK: Key = Key {
    id: KeyId::HeaderDigest,
    name: "",
    section: "",
    used: Use::LeadingOnly,
    sender: Sender::Both,
    scope: Scope::Session,
    irrelevant_in_discovery: false,
    kind: Kind::DeclareText,
    range: (0, 1),
    rfc_default: 0,
    offer: 0,
    is_attribute: false,
    insist: false,
    help: "",
};

keys! {
    HeaderDigest "HeaderDigest" "13.1" {
        used: Use::InitializeOnly, scope: Scope::Connection, kind: Kind::Choice(DIGESTS),
        rfc_default: FIRST, offer: FIRST, is_attribute: true,
        help: "digests accepted for headers: None, CRC32C or None,CRC32C",
    }
    DataDigest "DataDigest" "13.1" {
        used: Use::InitializeOnly, scope: Scope::Connection, kind: Kind::Choice(DIGESTS),
        rfc_default: FIRST, offer: FIRST, is_attribute: true,
        help: "digests accepted for data: None, CRC32C or None,CRC32C",
    }
    MaxConnections "MaxConnections" "13.2" {
        irrelevant_in_discovery: true, kind: Kind::Min, range: (1, 65535), rfc_default: 1, offer: 1,
        help: "connections in a session",
    }
    SendTargets "SendTargets" "13.3" {
        used: Use::FullFeatureOnly, sender: Sender::Initiator, kind: Kind::Procedure,
        help: "asks for target names and addresses",
    }
    TargetName "TargetName" "13.4" {
        used: Use::InitializeOnly, kind: Kind::DeclareText,
        help: "the target that the initiator wants",
    }
    InitiatorName "InitiatorName" "13.5" {
        used: Use::InitializeOnly, sender: Sender::Initiator, kind: Kind::DeclareText,
        help: "the initiator's name",
    }
    TargetAlias "TargetAlias" "13.6" {
        used: Use::All, sender: Sender::Target, kind: Kind::DeclareText,
        help: "text about the target for people",
    }
    InitiatorAlias "InitiatorAlias" "13.7" {
        used: Use::All, sender: Sender::Initiator, kind: Kind::DeclareText,
        help: "text about the initiator for people",
    }
    TargetAddress "TargetAddress" "13.8" {
        used: Use::All, sender: Sender::Target, kind: Kind::DeclareText,
        help: "where a target is, in redirections and SendTargets answers",
    }
    TargetPortalGroupTag "TargetPortalGroupTag" "13.9" {
        used: Use::InitializeOnly, sender: Sender::Target, kind: Kind::DeclareNumber, range: (0, 65535),
        help: "portal group that serves the login",
    }
    InitialR2T "InitialR2T" "13.10" {
        irrelevant_in_discovery: true, kind: Kind::Or, rfc_default: 1, offer: 0, is_attribute: true,
        help: "Yes forbids unsolicited Data-Out PDUs",
    }
    ImmediateData "ImmediateData" "13.11" {
        irrelevant_in_discovery: true, kind: Kind::And, rfc_default: 1, offer: 1, is_attribute: true,
        insist: true,
        help: "Yes lets commands carry data",
    }
    MaxRecvDataSegmentLength "MaxRecvDataSegmentLength" "13.12" {
        used: Use::All, scope: Scope::Connection, kind: Kind::DeclareNumber, range: (512, LENGTH_MAX),
        rfc_default: 8192, offer: 1 << 20, is_attribute: true,
        help: "longest data segment the target receives, in bytes",
    }
    MaxBurstLength "MaxBurstLength" "13.13" {
        irrelevant_in_discovery: true, kind: Kind::Min, range: (512, LENGTH_MAX),
        rfc_default: 262_144, offer: 1 << 20, is_attribute: true, insist: true,
        help: "longest Data-In or solicited Data-Out sequence, in bytes",
    }
    FirstBurstLength "FirstBurstLength" "13.14" {
        irrelevant_in_discovery: true, kind: Kind::Min, range: (512, LENGTH_MAX),
        rfc_default: 65536, offer: 1 << 20, is_attribute: true, insist: true,
        help: "most unsolicited data of a command, in bytes",
    }
    DefaultTime2Wait "DefaultTime2Wait" "13.15" {
        kind: Kind::Max, range: (0, 3600), rfc_default: 2, offer: 0,
        help: "seconds to wait before a lost connection is taken up again",
    }
    DefaultTime2Retain "DefaultTime2Retain" "13.16" {
        kind: Kind::Min, range: (0, 3600), rfc_default: 20, offer: 0,
        help: "seconds for which tasks of a lost connection are kept",
    }
    MaxOutstandingR2T "MaxOutstandingR2T" "13.17" {
        irrelevant_in_discovery: true, kind: Kind::Min, range: (1, 65535),
        rfc_default: 1, offer: 32, is_attribute: true,
        help: "R2Ts a task may have outstanding",
    }
    // Data-Out is taken in order only: nothing in a command's memory may be left unwritten.
    DataPDUInOrder "DataPDUInOrder" "13.18" {
        irrelevant_in_discovery: true, kind: Kind::Or, rfc_default: 1, offer: 1,
        help: "Yes keeps the PDUs of a sequence in order",
    }
    DataSequenceInOrder "DataSequenceInOrder" "13.19" {
        irrelevant_in_discovery: true, kind: Kind::Or, rfc_default: 1, offer: 0,
        help: "Yes keeps the sequences of a command in order",
    }
    ErrorRecoveryLevel "ErrorRecoveryLevel" "13.20" {
        kind: Kind::Min, range: (0, 2), rfc_default: 0, offer: 0,
        help: "level of error recovery",
    }
    SessionType "SessionType" "13.21" {
        sender: Sender::Initiator, kind: Kind::DeclareText,
        help: "Normal or Discovery",
    }
    TaskReporting "TaskReporting" "13.23" {
        irrelevant_in_discovery: true, kind: Kind::Choice(REPORTS), rfc_default: FIRST, offer: FIRST,
        help: "how the end of tasks is reported after multi-task aborts",
    }
    IscsiProtocolLevel "iSCSIProtocolLevel" "13.24" {
        irrelevant_in_discovery: true, kind: Kind::Min, range: (0, 31), rfc_default: 1, offer: 2,
        help: "protocol level; 2 adds RFC 7144",
    }
    IFMarker "IFMarker" "13.25" { kind: Kind::Obsolete, help: "obsolete" }
    OFMarker "OFMarker" "13.25" { kind: Kind::Obsolete, help: "obsolete" }
    IFMarkInt "IFMarkInt" "13.25" { kind: Kind::Obsolete, help: "obsolete" }
    OFMarkInt "OFMarkInt" "13.25" { kind: Kind::Obsolete, help: "obsolete" }
    NodeArchitecture "X#NodeArchitecture" "13.26" {
        kind: Kind::DeclareText,
        help: "the peer's software, for logs",
    }
    AuthMethod "AuthMethod" "12.1" {
        used: Use::Security, scope: Scope::Connection, kind: Kind::Choice(METHODS), offer: FIRST,
        help: "authentication method",
    }
    ChapA "CHAP_A" "12.1.3" {
        used: Use::Security, scope: Scope::Connection, kind: Kind::Procedure, help: "CHAP algorithm",
    }
    ChapI "CHAP_I" "12.1.3" {
        used: Use::Security, scope: Scope::Connection, kind: Kind::Procedure, help: "CHAP identifier",
    }
    ChapC "CHAP_C" "12.1.3" {
        used: Use::Security, scope: Scope::Connection, kind: Kind::Procedure, help: "CHAP challenge",
    }
    ChapN "CHAP_N" "12.1.3" {
        used: Use::Security, scope: Scope::Connection, kind: Kind::Procedure, help: "CHAP name",
    }
    ChapR "CHAP_R" "12.1.3" {
        used: Use::Security, scope: Scope::Connection, kind: Kind::Procedure, help: "CHAP response",
    }
    RDMAExtensions "RDMAExtensions" "RFC 7145 6.3" {
        irrelevant_in_discovery: true, kind: Kind::And, rfc_default: 0, offer: 0, is_attribute: true,
        help: "iSER; this target always answers No",
    }
    MaxXmitDataSegmentLength "MaxXmitDataSegmentLength" "" {
        used: Use::Local, kind: Kind::LocalNumber, range: (512, LENGTH_MAX),
        rfc_default: 8192, offer: 1 << 20, is_attribute: true,
        help: "longest data segment the target sends, in bytes",
    }
    QueuedCommands "QueuedCommands" "" {
        used: Use::Local, kind: Kind::LocalNumber, range: (1, 2048), rfc_default: 128, offer: 128,
        is_attribute: true,
        help: "command window of a session",
    }
    RspTimeout "RspTimeout" "" {
        used: Use::Local, kind: Kind::LocalNumber, range: (2, 65535), rfc_default: 90, offer: 90,
        is_attribute: true,
        help: "seconds for the initiator to take a response or send data",
    }
    NopInInterval "NopInInterval" "" {
        used: Use::Local, kind: Kind::LocalNumber, range: (0, 65535), rfc_default: 30, offer: 30,
        is_attribute: true,
        help: "seconds of silence before the target sends a NOP-In; 0 for never",
    }
    NopInTimeout "NopInTimeout" "" {
        used: Use::Local, kind: Kind::LocalNumber, range: (2, 65535), rfc_default: 30, offer: 30,
        is_attribute: true,
        help: "seconds for the initiator to answer a NOP-In",
    }
    MaxSessions "MaxSessions" "" {
        used: Use::Local, kind: Kind::LocalNumber, range: (0, 65535), rfc_default: 0, offer: 0,
        is_attribute: true,
        help: "sessions the target accepts; 0 for any number",
    }
    Nagle "nagle" "" {
        used: Use::Local, kind: Kind::LocalWord(NAGLE), is_attribute: true,
        help: "how answers share segments: gathered here, each by itself, or by TCP while the target is busy",
    }
    PollUs "poll_us" "" {
        used: Use::Local, kind: Kind::LocalNumberOr("auto"), range: (0, 1000), rfc_default: WORD, offer: WORD,
        is_attribute: true,
        help: "microseconds for which a busy session looks for requests before its thread sleeps, 0 for \
               none; auto while that takes about no more of its processor time",
    }
}

impl KeyId {
    /// The row.
    pub fn row(self) -> &'static Key {
        &KEYS[self as usize]
    }
}

/// Why a text is not a value of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueError {
    /// Not of the syntax: neither `Yes` nor `No`, not a number, not a list of known words.
    Syntax,
    /// A number outside the row's range.
    Range,
}

impl Key {
    /// The row of a key that a peer sent. Key names are case-sensitive.
    pub fn find(name: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.name == name && key.used != Use::Local)
    }

    /// The row that a target attribute of this name configures.
    pub fn attribute(name: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.is_attribute && key.name == name)
    }

    /// The rows that are target attributes.
    pub fn attributes() -> impl Iterator<Item = &'static Key> {
        KEYS.iter().filter(|key| key.is_attribute)
    }

    /// Reads a value as an administrator writes it. Words of lists are taken without regard to case.
    pub fn parse(&self, value: &str) -> Result<u32, ValueError> {
        match self.kind {
            Kind::And | Kind::Or => text::boolean(value).map(u32::from).ok_or(ValueError::Syntax),
            Kind::Choice(words) => parse_set(words, value),
            Kind::LocalWord(words) => {
                let place = words.iter().position(|word| *word == value).ok_or(ValueError::Syntax)?;
                u32::try_from(place).map_err(|_| ValueError::Range)
            }
            Kind::LocalNumberOr(word) if value == word => Ok(WORD),
            _ => {
                let number = text::number(value).ok_or(ValueError::Syntax)?;
                let number = u32::try_from(number).map_err(|_| ValueError::Range)?;
                if self.is_in_range(number) { Ok(number) } else { Err(ValueError::Range) }
            }
        }
    }

    /// Writes a value as [`Key::parse`] reads it.
    pub fn format(&self, value: u32) -> String {
        match self.kind {
            Kind::And | Kind::Or => String::from(if value == 0 { "No" } else { "Yes" }),
            Kind::Choice(words) => {
                let chosen: Vec<&str> =
                    words.iter().enumerate().filter(|&(i, _)| value >> i & 1 == 1).map(|(_, w)| *w).collect();
                chosen.join(",")
            }
            Kind::LocalWord(words) => (*words.get(value as usize).unwrap_or(&"")).to_owned(),
            Kind::LocalNumberOr(word) if value == WORD => word.to_owned(),
            _ => value.to_string(),
        }
    }

    /// Whether a number is within the row's range.
    pub fn is_in_range(&self, number: u32) -> bool {
        (self.range.0..=self.range.1).contains(&number)
    }
}

fn parse_set(words: &[&str], value: &str) -> Result<u32, ValueError> {
    value.split(',').try_fold(0, |set, word| {
        let place =
            words.iter().position(|w| w.eq_ignore_ascii_case(word.trim())).ok_or(ValueError::Syntax)?;
        Ok(set | 1 << place)
    })
}

/// One number per row: booleans 0 and 1, sets as bits, 0 for rows without a number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Values([u32; KeyId::COUNT]);

impl Values {
    /// What is in force when nothing is negotiated.
    pub fn standard() -> Self {
        Values(std::array::from_fn(|i| KEYS[i].rfc_default))
    }

    /// What this target offers unless configured otherwise.
    pub fn offered() -> Self {
        Values(std::array::from_fn(|i| KEYS[i].offer))
    }
}

impl Index<KeyId> for Values {
    type Output = u32;

    fn index(&self, key: KeyId) -> &u32 {
        &self.0[key as usize]
    }
}

impl IndexMut<KeyId> for Values {
    fn index_mut(&mut self, key: KeyId) -> &mut u32 {
        &mut self.0[key as usize]
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(KEYS.iter().map(|key| (key.name, key.format(self[key.id])))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7143 section 13, read again and written down in the standard's words, apart from the rows:
    /// section, key, Use, Senders, Scope, "d" when irrelevant in discovery, values, default, result.
    const STANDARD: &str = "\
        13.1  HeaderDigest             IO   I+T CO - list           None    list
        13.1  DataDigest               IO   I+T CO - list           None    list
        13.2  MaxConnections           LO   I+T SW d 1-65535        1       Minimum
        13.3  SendTargets              FFPO I   SW - text           -       special
        13.4  TargetName               IO   I+T SW - text           -       Declarative
        13.5  InitiatorName            IO   I   SW - text           -       Declarative
        13.6  TargetAlias              ALL  T   SW - text           -       Declarative
        13.7  InitiatorAlias           ALL  I   SW - text           -       Declarative
        13.8  TargetAddress            ALL  T   SW - text           -       Declarative
        13.9  TargetPortalGroupTag     IO   T   SW - 0-65535        -       Declarative
        13.10 InitialR2T               LO   I+T SW d boolean        Yes     OR
        13.11 ImmediateData            LO   I+T SW d boolean        Yes     AND
        13.12 MaxRecvDataSegmentLength ALL  I+T CO - 512-16777215   8192    Declarative
        13.13 MaxBurstLength           LO   I+T SW d 512-16777215   262144  Minimum
        13.14 FirstBurstLength         LO   I+T SW d 512-16777215   65536   Minimum
        13.15 DefaultTime2Wait         LO   I+T SW - 0-3600         2       Maximum
        13.16 DefaultTime2Retain       LO   I+T SW - 0-3600         20      Minimum
        13.17 MaxOutstandingR2T        LO   I+T SW d 1-65535        1       Minimum
        13.18 DataPDUInOrder           LO   I+T SW d boolean        Yes     OR
        13.19 DataSequenceInOrder      LO   I+T SW d boolean        Yes     OR
        13.20 ErrorRecoveryLevel       LO   I+T SW - 0-2            0       Minimum
        13.21 SessionType              LO   I   SW - text           -       Declarative
        13.23 TaskReporting            LO   I+T SW d list           RFC3720 list
        13.24 iSCSIProtocolLevel       LO   I+T SW d 0-31           1       Minimum
        13.25 IFMarker                 LO   I+T SW - -              -       Obsolete
        13.25 OFMarker                 LO   I+T SW - -              -       Obsolete
        13.25 IFMarkInt                LO   I+T SW - -              -       Obsolete
        13.25 OFMarkInt                LO   I+T SW - -              -       Obsolete
        13.26 X#NodeArchitecture       LO   I+T SW - text           -       Declarative";

    #[test]
    fn rfc7143_13_rows_agree_with_a_second_transcription() {
        let mut seen = 0;
        for line in STANDARD.lines() {
            let f: Vec<&str> = line.split_whitespace().collect();
            let key = Key::find(f[1]).unwrap();
            let used = match key.used {
                Use::InitializeOnly => "IO",
                Use::LeadingOnly => "LO",
                Use::All => "ALL",
                Use::FullFeatureOnly => "FFPO",
                Use::Security | Use::Local => "?",
            };
            let sender = match key.sender {
                Sender::Initiator => "I",
                Sender::Target => "T",
                Sender::Both => "I+T",
            };
            let scope = if key.scope == Scope::Connection { "CO" } else { "SW" };
            let discovery = if key.irrelevant_in_discovery { "d" } else { "-" };
            let numbers = format!("{}-{}", key.range.0, key.range.1);
            let (values, default, result) = match key.kind {
                Kind::And => ("boolean".into(), key.format(key.rfc_default), "AND"),
                Kind::Or => ("boolean".into(), key.format(key.rfc_default), "OR"),
                Kind::Min => (numbers, key.rfc_default.to_string(), "Minimum"),
                Kind::Max => (numbers, key.rfc_default.to_string(), "Maximum"),
                Kind::Choice(_) => ("list".into(), key.format(key.rfc_default), "list"),
                Kind::DeclareNumber if key.rfc_default == 0 => (numbers, "-".into(), "Declarative"),
                Kind::DeclareNumber => (numbers, key.rfc_default.to_string(), "Declarative"),
                Kind::DeclareText => ("text".into(), "-".into(), "Declarative"),
                Kind::Obsolete => ("-".into(), "-".into(), "Obsolete"),
                Kind::Procedure => ("text".into(), "-".into(), "special"),
                Kind::LocalNumber | Kind::LocalNumberOr(_) | Kind::LocalWord(_) => unreachable!(),
            };
            let ours = [key.section, key.name, used, sender, scope, discovery, &values, &default, result];
            assert_eq!(ours.as_slice(), f.as_slice());
            seen += 1;
        }
        let rows = KEYS.iter().filter(|key| key.section.starts_with("13.")).count();
        assert_eq!(seen, rows);
    }

    #[test]
    fn rows_are_well_formed() {
        for (place, key) in KEYS.iter().enumerate() {
            assert_eq!(key.id as usize, place);
            assert!(!key.name.is_empty() && key.name.len() <= text::MAX_KEY);
            assert!(!key.help.is_empty() && !key.help.ends_with('.'), "{}", key.name);
            assert_eq!(KEYS.iter().filter(|other| other.name == key.name).count(), 1);
            if key.is_attribute {
                assert_eq!(key.parse(&key.format(key.offer)), Ok(key.offer), "{}", key.name);
            }
        }
        assert!(Key::find("headerdigest").is_none());
        assert!(Key::find("QueuedCommands").is_none());
    }

    #[test]
    fn attributes_are_the_ones_of_scst_with_its_defaults() {
        let expected = "HeaderDigest=None DataDigest=None InitialR2T=No ImmediateData=Yes \
            MaxRecvDataSegmentLength=1048576 MaxBurstLength=1048576 FirstBurstLength=1048576 \
            MaxOutstandingR2T=32 RDMAExtensions=No MaxXmitDataSegmentLength=1048576 QueuedCommands=128 \
            RspTimeout=90 NopInInterval=30 NopInTimeout=30 MaxSessions=0 nagle=coalesce poll_us=auto";
        let ours: Vec<String> =
            Key::attributes().map(|key| format!("{}={}", key.name, key.format(key.offer))).collect();
        assert_eq!(ours.join(" "), expected.split_whitespace().collect::<Vec<_>>().join(" "));
    }

    #[test]
    fn attribute_values_are_checked() {
        let parse = |name: &str, value: &str| Key::attribute(name).unwrap().parse(value);
        assert_eq!(parse("InitialR2T", "Yes"), Ok(1));
        assert_eq!(parse("InitialR2T", "yes"), Err(ValueError::Syntax));
        assert_eq!(parse("MaxBurstLength", "16777215"), Ok(16_777_215));
        assert_eq!(parse("MaxBurstLength", "0x10000"), Ok(65536));
        assert_eq!(parse("MaxBurstLength", "16777216"), Err(ValueError::Range));
        assert_eq!(parse("MaxBurstLength", "511"), Err(ValueError::Range));
        assert_eq!(parse("MaxBurstLength", "64k"), Err(ValueError::Syntax));
        assert_eq!(parse("MaxSessions", "text"), Err(ValueError::Syntax));
        assert_eq!(parse("NopInInterval", "4294967296"), Err(ValueError::Range));
        assert_eq!(parse("poll_us", "auto"), Ok(WORD));
        assert_eq!(parse("poll_us", "1000"), Ok(1000));
        assert_eq!(parse("poll_us", "1001"), Err(ValueError::Range));
        assert_eq!(parse("poll_us", "4294967295"), Err(ValueError::Range), "the word's own number");
        assert_eq!(parse("MaxSessions", "auto"), Err(ValueError::Syntax));
        assert_eq!(parse("HeaderDigest", "crc32c,none"), Ok(3));
        assert_eq!(parse("HeaderDigest", "CRC32C"), Ok(2));
        assert_eq!(parse("HeaderDigest", "CRC32C,,None"), Err(ValueError::Syntax));
        assert_eq!(Key::attribute("HeaderDigest").unwrap().format(3), "None,CRC32C");
        assert!(Key::attribute("MaxConnections").is_none());
    }
}

//! How a login ends badly: the reason, and the status that the initiator is told (RFC 7143 11.13.5).

use std::fmt;

use crate::iscsi::chap::ChapError;
use crate::names::NameError;
use crate::wire::text::TextError;

/// Status-Class and Status-Detail of a Login Response as one number, 0xCCDD.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LoginStatus(pub u16);

#[allow(missing_docs)] // The names are the standard's own.
impl LoginStatus {
    pub const SUCCESS: Self = LoginStatus(0x0000);
    pub const MOVED_TEMPORARILY: Self = LoginStatus(0x0101);
    pub const MOVED_PERMANENTLY: Self = LoginStatus(0x0102);
    pub const INITIATOR_ERROR: Self = LoginStatus(0x0200);
    pub const AUTHENTICATION_FAILURE: Self = LoginStatus(0x0201);
    pub const AUTHORIZATION_FAILURE: Self = LoginStatus(0x0202);
    pub const NOT_FOUND: Self = LoginStatus(0x0203);
    pub const TARGET_REMOVED: Self = LoginStatus(0x0204);
    pub const UNSUPPORTED_VERSION: Self = LoginStatus(0x0205);
    pub const TOO_MANY_CONNECTIONS: Self = LoginStatus(0x0206);
    pub const MISSING_PARAMETER: Self = LoginStatus(0x0207);
    pub const CANNOT_INCLUDE_IN_SESSION: Self = LoginStatus(0x0208);
    pub const SESSION_TYPE_NOT_SUPPORTED: Self = LoginStatus(0x0209);
    pub const SESSION_DOES_NOT_EXIST: Self = LoginStatus(0x020a);
    pub const INVALID_DURING_LOGIN: Self = LoginStatus(0x020b);
    pub const TARGET_ERROR: Self = LoginStatus(0x0300);
    pub const SERVICE_UNAVAILABLE: Self = LoginStatus(0x0301);
    pub const OUT_OF_RESOURCES: Self = LoginStatus(0x0302);
}

impl LoginStatus {
    /// Every status that refuses a login, with its name.
    pub const REFUSALS: [(Self, &str); 17] = [
        (Self::MOVED_TEMPORARILY, "moved_temporarily"),
        (Self::MOVED_PERMANENTLY, "moved_permanently"),
        (Self::INITIATOR_ERROR, "initiator_error"),
        (Self::AUTHENTICATION_FAILURE, "authentication_failure"),
        (Self::AUTHORIZATION_FAILURE, "authorization_failure"),
        (Self::NOT_FOUND, "not_found"),
        (Self::TARGET_REMOVED, "target_removed"),
        (Self::UNSUPPORTED_VERSION, "unsupported_version"),
        (Self::TOO_MANY_CONNECTIONS, "too_many_connections"),
        (Self::MISSING_PARAMETER, "missing_parameter"),
        (Self::CANNOT_INCLUDE_IN_SESSION, "cannot_include_in_session"),
        (Self::SESSION_TYPE_NOT_SUPPORTED, "session_type_not_supported"),
        (Self::SESSION_DOES_NOT_EXIST, "session_does_not_exist"),
        (Self::INVALID_DURING_LOGIN, "invalid_during_login"),
        (Self::TARGET_ERROR, "target_error"),
        (Self::SERVICE_UNAVAILABLE, "service_unavailable"),
        (Self::OUT_OF_RESOURCES, "out_of_resources"),
    ];
}

impl fmt::Debug for LoginStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

impl fmt::Display for LoginStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::REFUSALS.iter().find(|(status, _)| status == self) {
            Some((_, name)) => write!(f, "{:04x} ({})", self.0, name.replace('_', " ")),
            None => write!(f, "{:04x}", self.0),
        }
    }
}

/// Why a login failed: a variant per rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginError {
    /// A Login Request without the I bit (11.12.1).
    NotImmediate,
    /// Version-min is above 0x00 (11.12.4).
    Version,
    /// ITT, CID, ISID, TSIH or CmdSN changed within the login (11.12.5 to 11.12.8).
    IdentifierChanged,
    /// C and T together (11.12.2).
    ContinueAndTransit,
    /// CSG is not the stage that the login is in, or is reserved (11.12.3).
    CurrentStage,
    /// NSG is not a later stage, or is reserved (11.12.3).
    NextStage,
    /// A request with text, or another C bit, while the rest of our answer was due (6.2).
    AnswerInterrupted,
    /// More requests than `MAX_LOGIN_REQUESTS`.
    TooManyRequests,
    /// More text than `MAX_LOGIN_TEXT`.
    TooMuchText,
    /// More unknown keys than `MAX_UNKNOWN_KEYS`.
    TooManyKeys,
    /// The text is not a sequence of pairs (6.1).
    Text(TextError),
    /// A value above the length that its key allows (6.1).
    ValueTooLong(&'static str),
    /// A key negotiated twice, or declared twice with different values (6.3).
    DuplicateKey(&'static str),
    /// An unknown key sent twice.
    DuplicateUnknownKey,
    /// A key that has no place in this stage.
    WrongStage(&'static str),
    /// An answer to our offer that is not a possible result (6.2).
    BadAnswer(&'static str),
    /// Our offers were not answered (6.2).
    Unanswered,
    /// No InitiatorName, or no TargetName in a normal session, in the first request (6.3).
    Missing(&'static str),
    /// InitiatorName is not an iSCSI name.
    InitiatorName(NameError),
    /// TargetName or InitiatorName first declared after the first request.
    LateName(&'static str),
    /// SessionType is neither Normal nor Discovery.
    SessionType,
    /// The login would leave or skip the security stage without authentication.
    AuthenticationRequired,
    /// No method of AuthMethod is acceptable.
    AuthMethod,
    /// CHAP failed.
    Chap(ChapError),
    /// The directory or the session table said no.
    Refused(LoginStatus),
    /// The directory wants the connection closed without an answer.
    Silent,
    /// The target is at another address.
    Redirected(LoginStatus, String),
    /// A request after the login ended.
    Ended,
}

impl LoginError {
    /// What the initiator is told; `None` closes the connection without an answer.
    pub fn status(&self) -> Option<LoginStatus> {
        Some(match self {
            LoginError::Version => LoginStatus::UNSUPPORTED_VERSION,
            LoginError::Missing(_) => LoginStatus::MISSING_PARAMETER,
            LoginError::SessionType => LoginStatus::SESSION_TYPE_NOT_SUPPORTED,
            LoginError::Ended => LoginStatus::INVALID_DURING_LOGIN,
            LoginError::Chap(ChapError::NoRandomness) => LoginStatus::TARGET_ERROR,
            LoginError::Chap(ChapError::TooMany) => LoginStatus::OUT_OF_RESOURCES,
            LoginError::AuthenticationRequired | LoginError::AuthMethod | LoginError::Chap(_) => {
                LoginStatus::AUTHENTICATION_FAILURE
            }
            LoginError::Refused(status) | LoginError::Redirected(status, _) => *status,
            LoginError::Silent => return None,
            _ => LoginStatus::INITIATOR_ERROR,
        })
    }
}

impl From<TextError> for LoginError {
    fn from(error: TextError) -> Self {
        LoginError::Text(error)
    }
}

impl From<ChapError> for LoginError {
    fn from(error: ChapError) -> Self {
        LoginError::Chap(error)
    }
}

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoginError::NotImmediate => f.write_str("a login request that is not immediate"),
            LoginError::Version => f.write_str("a version of the protocol beyond 0"),
            LoginError::IdentifierChanged => f.write_str("an identifier that changed within the login"),
            LoginError::ContinueAndTransit => f.write_str("C and T bit together"),
            LoginError::CurrentStage => f.write_str("a stage that the login is not in"),
            LoginError::NextStage => f.write_str("a next stage that does not come next"),
            LoginError::AnswerInterrupted => f.write_str("a request while the rest of an answer was due"),
            LoginError::TooManyRequests => f.write_str("too many login requests"),
            LoginError::TooMuchText => f.write_str("too much text"),
            LoginError::TooManyKeys => f.write_str("too many unknown keys"),
            LoginError::Text(error) => write!(f, "{error}"),
            LoginError::ValueTooLong(key) => write!(f, "{key}: too long a value"),
            LoginError::DuplicateKey(key) => write!(f, "{key}: given twice"),
            LoginError::DuplicateUnknownKey => f.write_str("an unknown key given twice"),
            LoginError::WrongStage(key) => write!(f, "{key}: has no place in this stage"),
            LoginError::BadAnswer(key) => write!(f, "{key}: not a possible answer to our offer"),
            LoginError::Unanswered => f.write_str("our offers were not answered"),
            LoginError::Missing(key) => write!(f, "{key} is missing"),
            LoginError::InitiatorName(error) => write!(f, "InitiatorName: {error}"),
            LoginError::LateName(key) => write!(f, "{key}: not in the first request"),
            LoginError::SessionType => f.write_str("SessionType is neither Normal nor Discovery"),
            LoginError::AuthenticationRequired => f.write_str("authentication is required"),
            LoginError::AuthMethod => f.write_str("AuthMethod: none that can be accepted"),
            LoginError::Chap(error) => write!(f, "CHAP: {error}"),
            LoginError::Silent => f.write_str("the target is not enabled"),
            LoginError::Ended => f.write_str("a login request after the login had ended"),
            LoginError::Refused(status) => write!(f, "refused with status {status}"),
            LoginError::Redirected(status, address) => {
                write!(f, "redirected to {address} with status {status}")
            }
        }
    }
}

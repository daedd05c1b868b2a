//! The texts an initiator declares about itself and what it wants (RFC 7143 13.4, 13.5, 13.7, 13.21).

use crate::iscsi::key::KeyId;
use crate::iscsi::login_error::LoginError;
use crate::names::IscsiName;
use crate::wire::text;

/// Normal or discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionType {
    /// For SCSI.
    Normal,
    /// Only for SendTargets.
    Discovery,
}

/// The declared texts of one login.
///
/// A text may be declared again with the same value: initiators repeat their first keys in the operational
/// stage. A different value is an error.
#[derive(Debug, Default)]
pub struct Declarations {
    initiator_name: Option<String>,
    target_name: Option<String>,
    session_type: Option<String>,
    initiator_alias: Option<String>,
    node_architecture: Option<String>,
    is_closed: bool,
}

impl Declarations {
    /// Whether `key` is one of the declared texts.
    pub fn includes(key: KeyId) -> bool {
        matches!(
            key,
            KeyId::InitiatorName
                | KeyId::TargetName
                | KeyId::SessionType
                | KeyId::InitiatorAlias
                | KeyId::NodeArchitecture
        )
    }

    /// Notes a declared text.
    pub fn declare(&mut self, key: KeyId, value: &str) -> Result<(), LoginError> {
        let (place, may_be_late) = match key {
            KeyId::InitiatorName => (&mut self.initiator_name, false),
            KeyId::TargetName => (&mut self.target_name, false),
            KeyId::SessionType => (&mut self.session_type, false),
            KeyId::InitiatorAlias => (&mut self.initiator_alias, true),
            _ => (&mut self.node_architecture, true),
        };
        let name = key.row().name;
        if value.len() > text::MAX_VALUE {
            return Err(LoginError::ValueTooLong(name));
        }
        match place {
            Some(earlier) if earlier == value => Ok(()),
            Some(_) => Err(LoginError::DuplicateKey(name)),
            // The default, said late, changes nothing.
            None if key == KeyId::SessionType && value == "Normal" => Ok(()),
            None if self.is_closed && !may_be_late => Err(LoginError::LateName(name)),
            None => {
                *place = Some(value.to_owned());
                Ok(())
            }
        }
    }

    /// Ends the first request: who the initiator is and what it wants can no longer change.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    /// InitiatorName, which every login must give.
    pub fn initiator(&self) -> Result<IscsiName, LoginError> {
        let name = self.initiator_name.as_ref().ok_or(LoginError::Missing("InitiatorName"))?;
        IscsiName::parse(name.as_bytes()).map_err(LoginError::InitiatorName)
    }

    /// TargetName as written.
    pub fn target(&self) -> Option<&str> {
        self.target_name.as_deref()
    }

    /// SessionType; Normal when absent.
    pub fn session_type(&self) -> Result<SessionType, LoginError> {
        match self.session_type.as_deref() {
            None | Some("Normal") => Ok(SessionType::Normal),
            Some("Discovery") => Ok(SessionType::Discovery),
            Some(_) => Err(LoginError::SessionType),
        }
    }

    /// InitiatorAlias, empty when absent.
    pub fn initiator_alias(&self) -> &str {
        self.initiator_alias.as_deref().unwrap_or_default()
    }
}

//! Names and secrets for CHAP (attributes IncomingUser and OutgoingUser).

use std::fmt;

use subtle::ConstantTimeEq;

/// A password. It is never printed and is overwritten when dropped.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Keeps `text`.
    pub fn new(text: &str) -> Self {
        Secret(text.as_bytes().into())
    }

    /// The bytes, for hashing and for saving the configuration.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        // Keeps the compiler from dropping the writes as dead.
        std::hint::black_box(&self.0);
    }
}

/// A name and its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// CHAP_N.
    pub name: String,
    /// The shared secret.
    pub secret: Secret,
}

/// Who may log in, and how the target proves itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// What initiators must present (attribute IncomingUser). Empty: no authentication.
    pub incoming: Vec<Account>,
    /// What the target presents when the initiator asks for it (attribute OutgoingUser).
    pub outgoing: Option<Account>,
}

impl Accounts {
    /// Whether an initiator must authenticate itself.
    pub fn are_required(&self) -> bool {
        !self.incoming.is_empty()
    }

    /// Who logs in with the secret with which the target proves itself: who knows that of one direction could
    /// play the other (RFC 7143 9.2.1).
    pub fn of_both_directions(&self) -> Option<&Account> {
        let outgoing = self.outgoing.as_ref()?;
        self.incoming.iter().find(|account| account.secret == outgoing.secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str, secret: &str) -> Account {
        Account { name: name.to_owned(), secret: Secret::new(secret) }
    }

    #[test]
    fn secrets_are_never_printed_and_compared_as_a_whole() {
        assert_eq!(format!("{:?}", account("joe", "secret")), "Account { name: \"joe\", secret: *** }");
        assert_ne!(Secret::new("abc"), Secret::new("abcd"));
        assert_eq!(account("joe", "a").secret, account("target", "a").secret);
    }

    #[test]
    fn rfc7143_9_2_1_a_secret_of_both_directions_is_found() {
        let mut accounts =
            Accounts { incoming: vec![account("joe", "a"), account("ann", "b")], outgoing: None };
        assert_eq!(accounts.of_both_directions(), None);
        accounts.outgoing = Some(account("target", "c"));
        assert_eq!(accounts.of_both_directions(), None);
        accounts.outgoing = Some(account("target", "b"));
        assert_eq!(accounts.of_both_directions().map(|account| account.name.as_str()), Some("ann"));
    }
}

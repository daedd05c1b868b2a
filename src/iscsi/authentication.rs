//! The security negotiation stage: AuthMethod, then the method's own keys (RFC 7143 6.3.2, 12).

use std::sync::Arc;

use crate::iscsi::account::Accounts;
use crate::iscsi::chap::{Challenges, Chap, ChapError, ChapKeys, Random};
use crate::iscsi::key::KeyId;
use crate::iscsi::login_error::LoginError;
use crate::wire::text;

/// The security keys of one complete request.
#[derive(Clone, Copy, Debug, Default)]
pub struct SecurityKeys<'a> {
    auth_method: Option<&'a str>,
    chap: ChapKeys<'a>,
}

impl<'a> SecurityKeys<'a> {
    /// Notes one key of [`crate::iscsi::key::Use::Security`].
    pub fn add(&mut self, key: KeyId, value: &'a str) -> Result<(), LoginError> {
        let place = match key {
            KeyId::AuthMethod => &mut self.auth_method,
            KeyId::ChapA => &mut self.chap.a,
            KeyId::ChapI => &mut self.chap.i,
            KeyId::ChapC => &mut self.chap.c,
            KeyId::ChapN => &mut self.chap.n,
            KeyId::ChapR => &mut self.chap.r,
            other => return Err(LoginError::WrongStage(other.row().name)),
        };
        match place.replace(value) {
            None => Ok(()),
            Some(_) => Err(LoginError::DuplicateKey(key.row().name)),
        }
    }
}

/// How far authentication has come.
#[derive(Debug)]
pub enum Authentication {
    /// AuthMethod is not negotiated.
    Open,
    /// AuthMethod=None.
    Without,
    /// AuthMethod=CHAP.
    Chap(Chap),
}

impl Authentication {
    /// Takes the security keys of one request and writes the answer.
    pub fn step(
        &mut self,
        keys: &SecurityKeys<'_>,
        accounts: &Accounts,
        challenges: &Arc<Challenges>,
        random: &mut Random<'_>,
        answer: &mut Vec<u8>,
    ) -> Result<(), LoginError> {
        if let Some(methods) = keys.auth_method {
            self.choose(methods, accounts, answer)?;
        }
        match self {
            Authentication::Chap(chap) => chap.step(keys.chap, accounts, challenges, random, answer)?,
            _ if keys.chap.is_empty() => {}
            _ => return Err(LoginError::Chap(ChapError::Order)),
        }
        Ok(())
    }

    /// The first method of the list that we accept: CHAP when there are accounts, else None.
    fn choose(&mut self, methods: &str, accounts: &Accounts, answer: &mut Vec<u8>) -> Result<(), LoginError> {
        if !matches!(self, Authentication::Open) {
            return Err(LoginError::DuplicateKey("AuthMethod"));
        }
        let wanted = if accounts.are_required() { "CHAP" } else { "None" };
        if methods.len() > text::MAX_VALUE || !methods.split(',').any(|method| method == wanted) {
            return Err(LoginError::AuthMethod);
        }
        text::push_pair(answer, "AuthMethod", wanted);
        *self =
            if accounts.are_required() { Authentication::Chap(Chap::new()) } else { Authentication::Without };
        Ok(())
    }

    /// The user that was authenticated.
    pub fn user(&self) -> Option<&str> {
        match self {
            Authentication::Chap(chap) => chap.user(),
            _ => None,
        }
    }

    /// Whether AuthMethod has been negotiated.
    pub fn has_begun(&self) -> bool {
        !matches!(self, Authentication::Open)
    }
}

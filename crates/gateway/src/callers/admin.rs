//! Who may use the admin listener.

use http::HeaderMap;
use subtle::ConstantTimeEq as _;

use super::credential::{Credential, TokenHash};
use super::identify::Callers;
use super::refusal::Refusal;

/// What a token of the admin listener allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Everything.
    Admin,
    /// Only reading `/metrics`.
    Metrics,
}

impl Role {
    /// Returns the setting of the tokens.
    pub(super) fn setting(self) -> &'static str {
        match self {
            Self::Admin => "gateway.admin.token",
            Self::Metrics => "gateway.admin.metrics_token",
        }
    }
}

impl Callers {
    /// Returns what the token of a request to the admin listener allows. The token of a caller
    /// allows nothing.
    ///
    /// Takes the same time for each token of the same length, known or not.
    ///
    /// # Errors
    /// [`Refusal::Unauthorized`] unless there is exactly one `Authorization` header with the scheme
    /// `Bearer` and a known token. Browsers send neither by themselves.
    pub(crate) fn role(&self, headers: &HeaderMap) -> Result<Role, Refusal> {
        let hash = self.hasher.hash_token(Credential::bearer(headers)?);
        self.role_of(&hash).ok_or(Refusal::Unauthorized)
    }

    /// Compares a hash with those of all tokens.
    pub(super) fn role_of(&self, hash: &TokenHash) -> Option<Role> {
        let mut found = None;
        for (known, role) in &self.admin {
            if bool::from(known.ct_eq(hash)) {
                found = Some(*role);
            }
        }
        found
    }
}

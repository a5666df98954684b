//! Who may use the admin listener.

use super::credential::TokenHash;

/// What a token of the admin listener allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
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

/// Keyed hashes of the tokens of the admin listener.
#[derive(Default, PartialEq)]
pub(super) struct AdminTokens(Vec<(TokenHash, Role)>);

impl AdminTokens {
    pub(super) fn add(&mut self, hash: TokenHash, role: Role) {
        self.0.push((hash, role));
    }

    /// Compares a hash with those of all tokens. Takes the same time for each.
    pub(super) fn role(&self, hash: &TokenHash) -> Option<Role> {
        let mut found = None;
        for (known, role) in &self.0 {
            if known == hash {
                found = Some(*role);
            }
        }
        found
    }
}

//! Finds the caller of a request.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use http::HeaderMap;

use super::admin::{AdminTokens, Role};
use super::caller::Caller;
use super::counts::{CallerSnapshot, Counts};
use super::credential::{BuildFirstHalf, Credential, TokenHash, TokenHasher};
use super::refusal::Refusal;

/// All callers of one configuration. Immutable; a reload replaces it. `Debug` shows their number.
pub struct Callers {
    pub(super) hasher: TokenHasher,
    /// Places in `all`, by the hash of a token. Small, because a look-up reads one entry that is in
    /// no cache.
    pub(super) by_hash: HashMap<TokenHash, u32, BuildFirstHalf>,
    /// Tokens of the admin listener.
    pub(super) admin: AdminTokens,
    /// Whether the gateway is open. Then every request is of the last caller, and there is no other.
    pub(super) is_open: bool,
    /// Ordered by name.
    pub(super) all: Box<[Caller]>,
    /// Requests without a caller.
    pub(super) unidentified: Arc<Counts>,
    pub(super) warnings: Vec<String>,
}

impl Callers {
    /// Returns the caller of a request. Counts a refusal in
    /// [`unidentified`](Self::unidentified).
    ///
    /// The time depends on neither the caller nor on how much of a wrong token is right. In an open
    /// gateway, ignores credentials.
    ///
    /// # Errors
    /// [`Refusal::Unauthorized`] for a credential that is missing, malformed, unknown or revoked,
    /// [`Refusal::SeveralCredentials`] for more than one.
    pub fn identify(&self, headers: &HeaderMap) -> Result<&Caller, Refusal> {
        if self.is_open {
            return self.all.last().ok_or(Refusal::Unauthorized);
        }
        let caller = Credential::of(headers).and_then(|credential| self.find(&credential));
        caller.inspect_err(|refusal| self.unidentified.refuse(refusal.reason()))
    }

    fn find(&self, credential: &Credential<'_>) -> Result<&Caller, Refusal> {
        let mut found: Option<&Caller> = None;
        for (part, token) in credential.candidates().into_iter().flatten() {
            let caller = self.caller_of(&self.hasher.hash_token(token));
            let caller = caller.filter(|caller| part.is_none_or(|part| part == caller.basic()));
            // The user of one caller and the password of another are two credentials.
            if caller.is_some() && found.is_some() {
                return Err(Refusal::SeveralCredentials);
            }
            found = found.or(caller);
        }
        found.ok_or(Refusal::Unauthorized)
    }

    pub(super) fn caller_of(&self, hash: &TokenHash) -> Option<&Caller> {
        self.by_hash.get(hash).map(|at| &self.all[*at as usize])
    }

    /// Returns the counts of requests without a caller.
    pub fn unidentified(&self) -> &Arc<Counts> {
        &self.unidentified
    }

    /// Returns a warning for each token that is short enough to be guessed, with its key path.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns all callers, ordered by name.
    pub fn all(&self) -> &[Caller] {
        &self.all
    }

    /// Returns the counts of all callers, ordered by name.
    pub fn snapshot(&self) -> Vec<CallerSnapshot> {
        self.all.iter().map(Caller::snapshot).collect()
    }

    /// Returns what changed since `previous`, from which these callers were read.
    pub(crate) fn changes_since(&self, previous: &Self) -> CallerChanges {
        let names = |of: &Self, not_in: &Self| {
            let names = of.all.iter().map(Caller::name);
            names.filter(|name| not_in.get(name).is_none()).count()
        };
        let tokens = |of: &Self, not_in: &Self| {
            let hashes = of.by_hash.keys();
            hashes.filter(|hash| !not_in.by_hash.contains_key(*hash)).count()
        };
        CallerChanges {
            callers: [names(self, previous), names(previous, self)],
            tokens: [tokens(self, previous), tokens(previous, self)],
        }
    }

    /// Returns what the token of a request to the admin listener allows. The token of a caller
    /// allows nothing.
    ///
    /// Takes the same time for each token of the same length, known or not.
    ///
    /// # Errors
    /// [`Refusal::Unauthorized`] unless there is exactly one `Authorization` header with the scheme
    /// `Bearer` and a known token. A browser never sends one by itself.
    pub fn role(&self, headers: &HeaderMap) -> Result<Role, Refusal> {
        let hash = self.hasher.hash_token(Credential::bearer(headers)?);
        self.admin.role(&hash).ok_or(Refusal::Unauthorized)
    }

    /// Returns whether the tokens of the admin listener differ from those of `previous`.
    pub(crate) fn has_other_admins(&self, previous: &Self) -> bool {
        self.admin != previous.admin
    }

    /// Returns the caller of a name.
    pub fn get(&self, name: &str) -> Option<&Caller> {
        self.place_of(name).map(|at| &self.all[at])
    }

    pub(super) fn place_of(&self, name: &str) -> Option<usize> {
        let found = self.all.binary_search_by(|caller| caller.name().as_str().cmp(name));
        found.ok()
    }
}

/// Numbers of callers and tokens that a reload adds and removes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallerChanges {
    callers: [usize; 2],
    tokens: [usize; 2],
}

impl CallerChanges {
    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Returns how many callers were added and removed, and how many tokens.
    pub(crate) fn counts(self) -> [[usize; 2]; 2] {
        [self.callers, self.tokens]
    }
}

impl fmt::Display for CallerChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { callers, tokens } = self;
        write!(f, "{} callers added, {} removed; ", callers[0], callers[1])?;
        write!(f, "{} tokens added, {} removed", tokens[0], tokens[1])
    }
}

impl fmt::Debug for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Callers").field(&self.all.len()).finish()
    }
}

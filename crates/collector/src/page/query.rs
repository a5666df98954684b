//! Parameters of lists.

use http::{StatusCode, Uri};

/// Largest number of entries of a list.
const MAX_LIMIT: usize = 500;
const DEFAULT_LIMIT: usize = 100;
const MAX_TEXT_BYTES: usize = 256;

/// Parameters of a list.
pub(super) struct Query {
    pub(super) project: Option<String>,
    pub(super) search: String,
    pub(super) session: Option<String>,
    pub(super) only_errors: bool,
    pub(super) only_foreign: bool,
    pub(super) limit: usize,
    /// Only entries that changed last before this sequence.
    pub(super) before: u64,
}

impl Query {
    /// Reads the parameters; `allowed` names those that the page knows.
    pub(super) fn of(uri: &Uri, allowed: &[&str]) -> Result<Self, (StatusCode, String)> {
        let mut query = Self {
            project: None,
            search: String::new(),
            session: None,
            only_errors: false,
            only_foreign: false,
            limit: DEFAULT_LIMIT,
            before: u64::MAX,
        };
        let bad = |message: String| (StatusCode::BAD_REQUEST, message);
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            if !allowed.contains(&&*name) {
                return Err(bad(format!("unknown parameter {name:?}: use {}", allowed.join(", "))));
            }
            if value.len() > MAX_TEXT_BYTES {
                return Err(bad(format!("{name} is longer than {MAX_TEXT_BYTES} bytes")));
            }
            let number = || {
                value
                    .parse::<u64>()
                    .map_err(|_| bad(format!("{name} must be a number, not {value:?}")))
            };
            match &*name {
                "project" => query.project = Some(value.into_owned()),
                "search" => query.search = value.into_owned(),
                "session" => query.session = Some(value.into_owned()),
                "errors" => query.only_errors = true,
                "foreign" => query.only_foreign = true,
                "limit" => query.limit = usize::try_from(number()?).unwrap_or(MAX_LIMIT).clamp(1, MAX_LIMIT),
                _ => query.before = number()?,
            }
        }
        Ok(query)
    }
}

//! `[..tls]`: certificate authorities and client certificates.

use std::path::{Path, PathBuf};

use crate::config::read::table::Table;
use crate::config::rules::template::{self, TemplateError};
use crate::config::settings::declare::table;
use crate::config::settings::setting::{Fields, path};
use crate::selector::Selector;

table! {
    /// Certificates for an `https` endpoint, as PEM files. Read when the tracer is created, and
    /// again when they change.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
    #[schema(extend("dependentRequired" = { "cert": ["key"], "key": ["cert"] }))]
    #[overlay(Tls::overlay)]
    pub struct Tls {
        /// Trusted certificate authorities for the server's certificate. Default: the platform's.
        #[take(pem)]
        pub ca: Option<PathBuf>,
        /// Client certificate, followed by its intermediate certificates. Requires `key`.
        #[take(pem)]
        pub cert: Option<PathBuf>,
        /// Unencrypted private key of the client certificate. Requires `cert`.
        #[take(pem)]
        pub key: Option<PathBuf>,
    }
}

fn pem(table: &mut Table<'_>, name: &'static str) -> Option<PathBuf> {
    path(table, name, "the path of a PEM file")
}

impl Tls {
    /// Replaces certificate and key together, because those of two tables would not match.
    fn overlay(&mut self, over: &Self) {
        if over.cert.is_some() || over.key.is_some() {
            (self.cert, self.key) = (None, None);
        }
        self.overlay_fields(over);
    }

    /// Returns the configured files with their settings.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let all = [("ca", &self.ca), ("cert", &self.cert), ("key", &self.key)];
        all.into_iter()
            .filter_map(|(setting, file)| Some((setting, file.as_deref()?)))
    }

    pub(crate) fn fill(&self, selector: &Selector) -> Result<Self, TemplateError> {
        let fill = |file: &Option<PathBuf>| {
            file.as_ref()
                .map(|file| template::fill_path(file, selector))
                .transpose()
        };
        Ok(Self {
            ca: fill(&self.ca)?,
            cert: fill(&self.cert)?,
            key: fill(&self.key)?,
        })
    }

    /// Returns the problems by setting. They do not include values, which may be a misplaced key.
    pub(crate) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        for (setting, file) in self.files() {
            let text = file.to_str().unwrap_or_default();
            if text.contains("-----BEGIN") || text.contains('\n') {
                let message = "expected the path of a PEM file, not its content";
                problems.push((setting, message.to_owned()));
            } else if file.as_os_str().is_empty() {
                problems.push((setting, "expected the path of a PEM file".to_owned()));
            }
            problems.extend(template::ambiguous(text, false).map(|message| (setting, message)));
        }
        match (&self.cert, &self.key) {
            (Some(_), None) => problems.push(("key", "missing; cert and key must be set together".to_owned())),
            (None, Some(_)) => problems.push(("cert", "missing; cert and key must be set together".to_owned())),
            _ => {}
        }
        problems
    }
}

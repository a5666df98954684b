//! `[..tls]`: which servers are believed, and who we say we are.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;

use crate::config::rules::template::{self, TemplateError};
use crate::config::settings::units::replace;
use crate::selector::Selector;

/// Certificates for an `https` endpoint, as PEM files. Read when the tracer is made, and again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, JsonSchema)]
#[schemars(deny_unknown_fields, extend("dependentRequired" = { "cert": ["key"], "key": ["cert"] }))]
pub struct Tls {
    /// The certificate authorities that the server's certificate may be of, in place of the platform's. Default: the platform's.
    pub ca: Option<PathBuf>,
    /// The client certificate, with the certificates between it and its authority behind it. Needs `key`.
    pub cert: Option<PathBuf>,
    /// The private key of the client certificate, not encrypted. Needs `cert`.
    pub key: Option<PathBuf>,
}

impl Tls {
    /// The files that are named, each by its setting.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let all = [("ca", &self.ca), ("cert", &self.cert), ("key", &self.key)];
        all.into_iter()
            .filter_map(|(setting, file)| Some((setting, file.as_deref()?)))
    }

    /// The certificate and its key are replaced together: those of two tables would not fit each other.
    pub(crate) fn overlay(&mut self, over: &Self) {
        replace(&mut self.ca, over.ca.as_ref());
        if over.cert.is_some() || over.key.is_some() {
            self.cert.clone_from(&over.cert);
            self.key.clone_from(&over.key);
        }
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

    /// What is wrong with it, by setting. What is written there is not repeated: it may be the key itself.
    pub(crate) fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        for (setting, file) in self.files() {
            let text = file.to_str().unwrap_or_default();
            if text.contains("-----BEGIN") || text.contains('\n') {
                let message = "the path of a PEM file is expected; what is in it is never written in the configuration";
                faults.push((setting, message.to_owned()));
            } else if file.as_os_str().is_empty() {
                faults.push((setting, "the path of a PEM file is expected".to_owned()));
            }
            faults.extend(template::ambiguous(text, false).map(|message| (setting, message)));
        }
        match (&self.cert, &self.key) {
            (Some(_), None) => faults.push(("key", "missing; cert and key belong together".to_owned())),
            (None, Some(_)) => faults.push(("cert", "missing; cert and key belong together".to_owned())),
            _ => {}
        }
        faults
    }
}

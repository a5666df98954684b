//! `[..tls]`: which authorities a server's certificate may be of, and the client certificate.

use std::path::{Path, PathBuf};

use crate::config::read::table::Table;
use crate::config::rules::template::{self, TemplateError};
use crate::config::settings::declare::table;
use crate::config::settings::setting::{Fields, path};
use crate::selector::Selector;

table! {
    /// Certificates for an `https` endpoint, as PEM files. Read when the tracer is made, and again when they change.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
    #[schema(extend("dependentRequired" = { "cert": ["key"], "key": ["cert"] }))]
    #[overlay(Tls::overlay)]
    pub struct Tls {
        /// The certificate authorities that the server's certificate may be of, in place of the platform's. Default: the platform's.
        #[take(pem)]
        pub ca: Option<PathBuf>,
        /// The client certificate, with the certificates between it and its authority behind it. Needs `key`.
        #[take(pem)]
        pub cert: Option<PathBuf>,
        /// The private key of the client certificate, not encrypted. Needs `cert`.
        #[take(pem)]
        pub key: Option<PathBuf>,
    }
}

fn pem(table: &mut Table<'_>, name: &'static str) -> Option<PathBuf> {
    path(table, name, "the path of a PEM file")
}

impl Tls {
    /// The certificate and its key are replaced together: those of two tables would not fit each other.
    fn overlay(&mut self, over: &Self) {
        if over.cert.is_some() || over.key.is_some() {
            (self.cert, self.key) = (None, None);
        }
        self.overlay_fields(over);
    }

    /// The files that are named, each by its setting.
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

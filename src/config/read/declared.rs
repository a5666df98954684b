//! Maps names in environment variables to the names that files declare.
//!
//! Most shells and orchestrators allow only letters, digits and `_` in variable names, usually in
//! upper case. A variable therefore matches a declared name regardless of case, with `_` for any of
//! `-`, `_` and `.`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::config::problem::quoted;
use crate::config::settings::binding::Binding;
use crate::config::settings::document::Document;

/// Declared names per table, indexed by their normalized form.
pub(crate) struct DeclaredNames<'a> {
    tables: [(&'static str, HashMap<String, Vec<&'a str>>); 3],
    /// Whether a file could not be read. Names that seem to be missing may be in it.
    has_unread_file: bool,
}

impl<'a> DeclaredNames<'a> {
    pub(crate) fn new(document: &'a Document, has_unread_file: bool) -> Self {
        Self {
            tables: document
                .tables()
                .map(|(_, table, bindings)| (table, by_normalized(bindings))),
            has_unread_file,
        }
    }

    /// Returns the declared name that matches `written`, in lower case, in a table such as
    /// `tenants`. Returns `None` if the table declares no names, or if the name may be in a file
    /// that could not be read.
    ///
    /// # Errors
    /// Returns a message if no name or several names match.
    pub(crate) fn resolve(&self, table: &str, written: &str) -> Result<Option<&'a str>, String> {
        let Some((table, names)) = self.tables.iter().find(|(known, _)| *known == table) else {
            return Ok(None);
        };
        let names = names.get(&normalized(written)).map_or(&[][..], Vec::as_slice);
        let matching: Vec<&str> = names.iter().copied().filter(|name| matches(written, name)).collect();
        match *matching.as_slice() {
            [name] => Ok(Some(name)),
            [] if self.has_unread_file => Ok(None),
            [] => Err(format!(
                "no file declares it; a variable can only change a table [{table}.*] of a file, with `_` for `-` and `.`"
            )),
            ref several => {
                let listed: Vec<String> = several.iter().map(|name| format!("{table}.{}", quoted(name))).collect();
                Err(format!("ambiguous: it matches {}", listed.join(" and ")))
            }
        }
    }
}

fn by_normalized(bindings: &BTreeMap<String, Arc<Binding>>) -> HashMap<String, Vec<&str>> {
    let mut names: HashMap<String, Vec<&str>> = HashMap::with_capacity(bindings.len());
    for name in bindings.keys() {
        names.entry(normalized(name)).or_default().push(name);
    }
    names
}

fn normalized(name: &str) -> String {
    name.to_lowercase().replace(['-', '.'], "_")
}

/// Returns whether a variable's name matches. Only `_` stands for other characters; a variable that
/// contains `-` means it literally.
fn matches(written: &str, name: &str) -> bool {
    let name = name.to_lowercase();
    let same = |(written, name): (char, char)| written == name || written == '_';
    written.chars().count() == name.chars().count() && written.chars().zip(name.chars()).all(same)
}

//! The names that files declare, as a variable of the process can write them.
//!
//! Most shells and orchestrators allow only letters, digits and `_` in the name of a variable, and most variables are in upper case.
//! So a variable means the declared name that is the same but for case, with `_` for any of `-`, `_` and `.`.

use std::collections::{BTreeMap, HashMap};

use crate::config::fault::quoted;
use crate::config::settings::binding::Binding;
use crate::config::settings::document::Document;

/// The names of the tables, by how a variable writes them.
pub(crate) struct DeclaredNames<'a> {
    tables: [(&'static str, HashMap<String, Vec<&'a str>>); 3],
    /// A file could not be read: a name that seems to be missing may be in it.
    some_file_is_unread: bool,
}

impl<'a> DeclaredNames<'a> {
    pub(crate) fn new(document: &'a Document, some_file_is_unread: bool) -> Self {
        Self {
            tables: document
                .tables()
                .map(|(_, table, bindings)| (table, by_folded(bindings))),
            some_file_is_unread,
        }
    }

    /// The declared name that a variable means by `written`, which is in lower case, in a table such as `tenants`. `None` if names in the
    /// table are not declared, or may be in a file that could not be read.
    ///
    /// # Errors
    /// What is wrong if it means none or several of them.
    pub(crate) fn meant(&self, table: &str, written: &str) -> Result<Option<&'a str>, String> {
        let Some((table, names)) = self.tables.iter().find(|(known, _)| *known == table) else {
            return Ok(None);
        };
        let names = names.get(&folded(written)).map_or(&[][..], Vec::as_slice);
        let meant: Vec<&str> = names.iter().copied().filter(|name| means(written, name)).collect();
        match *meant.as_slice() {
            [name] => Ok(Some(name)),
            [] if self.some_file_is_unread => Ok(None),
            [] => Err(format!(
                "no file declares it: a variable changes a table [{table}.*] of the configuration's files, of which it may write `-` and `.` as `_`"
            )),
            ref several => {
                let listed: Vec<String> = several.iter().map(|name| format!("{table}.{}", quoted(name))).collect();
                Err(format!("it means {}; a variable means one table", listed.join(" and ")))
            }
        }
    }
}

fn by_folded(bindings: &BTreeMap<String, Binding>) -> HashMap<String, Vec<&str>> {
    let mut names: HashMap<String, Vec<&str>> = HashMap::with_capacity(bindings.len());
    for name in bindings.keys() {
        names.entry(folded(name)).or_default().push(name);
    }
    names
}

fn folded(name: &str) -> String {
    name.to_lowercase().replace(['-', '.'], "_")
}

/// Whether `_` alone stands for another character: a variable that can have `-` in its name means it.
fn means(written: &str, name: &str) -> bool {
    let name = name.to_lowercase();
    let same = |(written, name): (char, char)| written == name || written == '_';
    written.chars().count() == name.chars().count() && written.chars().zip(name.chars()).all(same)
}

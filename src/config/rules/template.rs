//! `{tenant}`, `{environment}` and `{feature}` in a binding's texts.

use std::path::{Path, PathBuf};

use crate::secret::{KeyCommand, KeySource};
use crate::selector::{Selector, SelectorKind, Slug};

/// Why a template cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The text has a placeholder for a part that the selector lacks.
    #[error("{text:?} has {{{part}}} in it, and the selector names no {part}")]
    NoPart {
        /// The text.
        text: String,
        /// The part.
        part: SelectorKind,
    },
    /// A name with `_` or `.` in a variable's name.
    #[error(
        "{name:?} cannot be part of a variable's name: `-` becomes `_` there, so names with `_` or `.` could meet others; use a file"
    )]
    Variable {
        /// The name.
        name: Slug,
    },
}

/// A text with its placeholders filled in.
pub(crate) fn fill(text: &str, selector: &Selector) -> Result<String, TemplateError> {
    fill_with(text, selector, |name| Ok(name.to_string()))
}

/// A path with its placeholders filled in.
pub(crate) fn fill_path(path: &Path, selector: &Selector) -> Result<PathBuf, TemplateError> {
    match path.to_str() {
        Some(text) => Ok(PathBuf::from(fill(text, selector)?)),
        None => Ok(path.to_owned()),
    }
}

/// A key's source with its placeholders filled in.
pub(crate) fn fill_source(source: &KeySource, selector: &Selector) -> Result<KeySource, TemplateError> {
    Ok(match source {
        KeySource::Env(name) => KeySource::Env(fill_with(name, selector, as_variable)?),
        KeySource::File(path) => KeySource::File(fill_path(path, selector)?),
        // Filled in when it was allowed.
        KeySource::Confined(file) => KeySource::Confined(file.clone()),
        KeySource::Credential(name) => KeySource::Credential(fill(name, selector)?),
        KeySource::Exec(command) => {
            let words = command.words.iter().map(|word| fill(word, selector));
            KeySource::Exec(KeyCommand {
                words: words.collect::<Result<_, _>>()?,
                ..command.clone()
            })
        }
        KeySource::Provider { provider, name } => KeySource::Provider {
            provider: provider.clone(),
            name: fill(name, selector)?,
        },
    })
}

fn fill_with(
    text: &str,
    selector: &Selector,
    spell: impl Fn(&Slug) -> Result<String, TemplateError>,
) -> Result<String, TemplateError> {
    let mut filled = text.to_owned();
    for part in SelectorKind::ALL {
        let placeholder = format!("{{{part}}}");
        if !filled.contains(&placeholder) {
            continue;
        }
        let name = selector.get(part).ok_or_else(|| TemplateError::NoPart {
            text: text.to_owned(),
            part,
        })?;
        filled = filled.replace(&placeholder, &spell(name)?);
    }
    Ok(filled)
}

/// The text with its placeholders taken out.
pub(crate) fn without_placeholders(text: &str) -> String {
    let placeholders = SelectorKind::ALL.map(|part| format!("{{{part}}}"));
    placeholders
        .iter()
        .fold(text.to_owned(), |text, placeholder| text.replace(placeholder, ""))
}

/// Whether two selectors could meet in one text: `{tenant}_{feature}` is the same for `a` and `b_c` as for `a_b` and `c`.
///
/// Between two placeholders there must be a character that no name can bring in.
pub(crate) fn ambiguous(text: &str, as_variable: bool) -> Option<String> {
    let from_a_name = |c: char| from_a_name(c, as_variable);
    let mut placed: Vec<(usize, usize, SelectorKind)> = Vec::new();
    for part in SelectorKind::ALL {
        let placeholder = format!("{{{part}}}");
        let found = text.match_indices(&placeholder);
        placed.extend(found.map(|(start, found)| (start, start + found.len(), part)));
    }
    placed.sort_unstable();
    let pairs = placed.iter().zip(placed.iter().skip(1));
    let mut met =
        pairs.filter(|((_, end, one), (start, _, other))| one != other && text[*end..*start].chars().all(from_a_name));
    met.next().map(|((_, _, one), (_, _, other))| {
        let between = if as_variable { "a lower-case letter" } else { "`/`" };
        format!("different names could meet in one text: put {between} between {{{one}}} and {{{other}}}")
    })
}

/// Whether a name can bring a character in.
pub(crate) fn from_a_name(c: char, as_variable: bool) -> bool {
    if as_variable {
        c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'
    } else {
        c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.')
    }
}

/// `acme-eu` as `ACME_EU`. One to one, because names with `_` or `.` are refused.
pub(crate) fn as_variable(name: &Slug) -> Result<String, TemplateError> {
    if name.contains(['_', '.']) {
        return Err(TemplateError::Variable { name: name.clone() });
    }
    Ok(name.to_ascii_uppercase().replace('-', "_"))
}

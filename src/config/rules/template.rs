//! Placeholders `{tenant}`, `{environment}` and `{feature}` in a binding's values.

use std::path::{Path, PathBuf};

use crate::secret::{KeyCommand, KeySource};
use crate::selector::{Selector, SelectorKind, Slug};

/// A template cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The text has a placeholder for a part that the selector lacks.
    #[error("{text:?} contains {{{part}}}, but the selector has no {part}")]
    NoPart {
        /// Template text.
        text: String,
        /// Missing part.
        part: SelectorKind,
    },
    /// A name with `_` or `.` would become part of a variable's name.
    #[error(
        "{name:?} cannot be part of a variable's name: `-` becomes `_`, so names with `_` or `.` could collide; use a file"
    )]
    Variable {
        /// The name.
        name: Slug,
    },
}

/// Fills in the placeholders of a text.
pub(crate) fn fill(text: &str, selector: &Selector) -> Result<String, TemplateError> {
    fill_with(text, selector, |name| Ok(name.to_string()))
}

/// Fills in the placeholders of a path.
pub(crate) fn fill_path(path: &Path, selector: &Selector) -> Result<PathBuf, TemplateError> {
    match path.to_str() {
        Some(text) => Ok(PathBuf::from(fill(text, selector)?)),
        None => Ok(path.to_owned()),
    }
}

/// Fills in the placeholders of a key source.
pub(crate) fn fill_source(source: &KeySource, selector: &Selector) -> Result<KeySource, TemplateError> {
    Ok(match source {
        KeySource::Env(name) => KeySource::Env(fill_with(name, selector, variable_form)?),
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
    convert: impl Fn(&Slug) -> Result<String, TemplateError>,
) -> Result<String, TemplateError> {
    let mut filled = text.to_owned();
    if !filled.contains('{') {
        return Ok(filled);
    }
    for part in SelectorKind::ALL {
        let placeholder = format!("{{{part}}}");
        if !filled.contains(&placeholder) {
            continue;
        }
        let name = selector.get(part).ok_or_else(|| TemplateError::NoPart {
            text: text.to_owned(),
            part,
        })?;
        filled = filled.replace(&placeholder, &convert(name)?);
    }
    Ok(filled)
}

/// Removes the placeholders of a text.
pub(crate) fn without_placeholders(text: &str) -> String {
    let placeholders = SelectorKind::ALL.map(|part| format!("{{{part}}}"));
    placeholders
        .iter()
        .fold(text.to_owned(), |text, placeholder| text.replace(placeholder, ""))
}

/// Returns a message if two selectors could produce the same text: `{tenant}_{feature}` is equal
/// for `a` and `b_c` and for `a_b` and `c`.
///
/// Between two placeholders there must be a character that cannot occur in a name.
pub(crate) fn ambiguous(text: &str, as_variable: bool) -> Option<String> {
    let in_names = |c: char| can_occur_in_name(c, as_variable);
    let mut placeholders: Vec<(usize, usize, SelectorKind)> = Vec::new();
    for part in SelectorKind::ALL {
        let placeholder = format!("{{{part}}}");
        let found = text.match_indices(&placeholder);
        placeholders.extend(found.map(|(start, found)| (start, start + found.len(), part)));
    }
    placeholders.sort_unstable();
    let pairs = placeholders.iter().zip(placeholders.iter().skip(1));
    let mut colliding =
        pairs.filter(|((_, end, one), (start, _, other))| one != other && text[*end..*start].chars().all(in_names));
    colliding.next().map(|((_, _, one), (_, _, other))| {
        let between = if as_variable { "a lower-case letter" } else { "`/`" };
        format!("different names could produce the same text; put {between} between {{{one}}} and {{{other}}}")
    })
}

/// Returns whether a character can occur in a name, or in its variable form.
pub(crate) fn can_occur_in_name(c: char, as_variable: bool) -> bool {
    if as_variable {
        c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'
    } else {
        c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.')
    }
}

/// Converts `acme-eu` to `ACME_EU`. One-to-one, because names with `_` or `.` are refused.
pub(crate) fn variable_form(name: &Slug) -> Result<String, TemplateError> {
    if name.contains(['_', '.']) {
        return Err(TemplateError::Variable { name: name.clone() });
    }
    Ok(name.to_ascii_uppercase().replace('-', "_"))
}

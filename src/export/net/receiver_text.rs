//! Sanitizing of receivers' messages: the only path from their text to status, reports, logs and
//! `check`.

use crate::secret::SentSecrets;
use crate::util::printable::is_invisible;

/// Most characters of a receiver's message to show.
pub(crate) const MAX_SHOWN_CHARS: usize = 200;
/// Most characters of a span's name to show.
const MAX_NAME_CHARS: usize = 100;
/// Most characters to read. More than is shown, so that a key cut off at the shown length is still
/// detected.
const MAX_READ_CHARS: usize = 4 * 1024;

/// Returns a receiver's message on one line, at most [`MAX_SHOWN_CHARS`] characters. `None` if it
/// is blank.
///
/// A text that may contain a secret of the request, in any encoding, is replaced by its length.
pub(crate) fn sanitize(text: &str, secrets: &SentSecrets<'_>) -> Option<String> {
    sanitize_up_to(MAX_SHOWN_CHARS, text, secrets)
}

/// Like [`sanitize`], for this crate's own text that may include a receiver's text.
pub(crate) fn sanitize_reason(reason: &str, secrets: &SentSecrets<'_>) -> String {
    sanitize_up_to(MAX_READ_CHARS, reason, secrets).unwrap_or_default()
}

/// Returns a span's name on one line, at most [`MAX_NAME_CHARS`] characters. Withheld if it may
/// contain the key.
pub(crate) fn sanitize_name(name: &str, secrets: &SentSecrets<'_>) -> String {
    shown_up_to(MAX_NAME_CHARS, name, secrets)
        .unwrap_or_else(|Withheld| format!("name withheld: {} bytes that may contain the key", name.len()))
}

fn sanitize_up_to(max_chars: usize, text: &str, secrets: &SentSecrets<'_>) -> Option<String> {
    let shown = shown_up_to(max_chars, text, secrets).unwrap_or_else(|Withheld| {
        let length = text.len();
        format!("receiver message withheld: {length} bytes that may contain the key")
    });
    (!shown.is_empty()).then_some(shown)
}

/// The text may contain a secret of the request.
struct Withheld;

fn shown_up_to(max_chars: usize, text: &str, secrets: &SentSecrets<'_>) -> Result<String, Withheld> {
    let text = text.trim_start_matches(is_blank);
    let end = text
        .char_indices()
        .nth(MAX_READ_CHARS)
        .map_or(text.len(), |(end, _)| end);
    let read = &text[..end];
    if secrets.may_appear_in(read) {
        return Err(Withheld);
    }
    let line: String = read.chars().map(|c| if is_blank(c) { ' ' } else { c }).collect();
    Ok(line.trim().chars().take(max_chars).collect())
}

/// Returns whether a character is shown as a blank: it may change how its neighbours are displayed,
/// or is not visible.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control() || is_invisible(c) || c == char::REPLACEMENT_CHARACTER
}

/// Returns the text of an HTML page, without tags, scripts and styles.
pub(crate) fn text_of_page(page: &str) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        text.push(' ');
        rest = after_tag(tag);
    }
    text.push_str(rest);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns what follows the tag at the start, or the comment, script or style element.
fn after_tag(tag: &str) -> &str {
    for (start, end) in [("!--", "-->"), ("script", "</script>"), ("style", "</style>")] {
        let is_it = tag
            .get(..start.len())
            .is_some_and(|name| name.eq_ignore_ascii_case(start));
        if is_it {
            let mut windows = tag.as_bytes().windows(end.len());
            let found = windows.position(|window| window.eq_ignore_ascii_case(end.as_bytes()));
            return found.map_or("", |at| &tag[at + end.len()..]);
        }
    }
    tag.split_once('>').map_or("", |(_, rest)| rest)
}

//! What a receiver says, made harmless: the one way from its text to status, reports, logs and `check`.

use crate::secret::SentSecrets;
use crate::util::printable::is_invisible;

/// How much of a receiver's text is shown, in characters.
pub(crate) const MAX_SHOWN_CHARS: usize = 200;
/// How much of a span's name is shown, in characters.
const MAX_NAME_CHARS: usize = 100;
/// How much of it is read, in characters. More than is shown: also of a key that is cut there, enough is seen.
const MAX_READ_CHARS: usize = 4 * 1024;

/// A receiver's text on one line, at most [`MAX_SHOWN_CHARS`] characters; nothing if there is none.
///
/// A text that may repeat a secret of the request, in whatever spelling, is withheld, and its length given.
pub(crate) fn harmless(text: &str, secrets: &SentSecrets<'_>) -> Option<String> {
    harmless_up_to(MAX_SHOWN_CHARS, text, secrets)
}

/// As [`harmless`], for a reason of ours that may have a text of the receiver's in it.
pub(crate) fn harmless_reason(reason: &str, secrets: &SentSecrets<'_>) -> String {
    harmless_up_to(MAX_READ_CHARS, reason, secrets).unwrap_or_default()
}

/// The name of a span that the receiver refused: one line, at most [`MAX_NAME_CHARS`] characters. Withheld if it may have the key in it.
pub(crate) fn harmless_name(name: &str, secrets: &SentSecrets<'_>) -> String {
    shown_up_to(MAX_NAME_CHARS, name, secrets)
        .unwrap_or_else(|Withheld| format!("name withheld: {} bytes that may repeat the key", name.len()))
}

fn harmless_up_to(max_chars: usize, text: &str, secrets: &SentSecrets<'_>) -> Option<String> {
    let shown = shown_up_to(max_chars, text, secrets).unwrap_or_else(|Withheld| {
        let length = text.len();
        format!("receiver's text withheld: {length} bytes that may repeat the key")
    });
    (!shown.is_empty()).then_some(shown)
}

/// The text may have a secret of the request in it.
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

/// Whether a character is shown as a blank: it could move what is before and after it, or says nothing.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control() || is_invisible(c) || c == char::REPLACEMENT_CHARACTER
}

/// The text of an HTML page, without its tags, scripts and styles.
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

/// What follows a tag that begins here, or the element that is no text.
fn after_tag(tag: &str) -> &str {
    for (start, end) in [("!--", "-->"), ("script", "</script>"), ("style", "</style>")] {
        let is_it = tag
            .get(..start.len())
            .is_some_and(|name| name.eq_ignore_ascii_case(start));
        if is_it {
            let mut places = tag.as_bytes().windows(end.len());
            let found = places.position(|place| place.eq_ignore_ascii_case(end.as_bytes()));
            return found.map_or("", |at| &tag[at + end.len()..]);
        }
    }
    tag.split_once('>').map_or("", |(_, rest)| rest)
}

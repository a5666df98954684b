//! Attributes and their values.

use std::fmt::Write as _;

use super::numbers::{
    BOOL, BYTES, DOUBLE, INT, KEY, LAST_OF_KEY_VALUE, LIST, MAP, STRING, STRING_INDEX, VALUE, VALUES,
};
use super::shown;
use super::{Walk, put_text};
use crate::config::RedactAction;
use crate::export::payload::parts::fields_of;
use crate::export::payload::rewrite::Rewrite;
use crate::export::payload::wire::{Field, fields, put_header};
use crate::policy::redaction::{REDACTED, Spot, Verdict};

/// Most work of comparing paths with rules: bytes of the paths of all values in lists and maps, each
/// times its levels. Usual requests of 4 MiB need a fifth of it.
pub(super) const MAX_PATH_WORK: usize = 64 << 20;

/// Bytes that are no text, for a value that no pattern can read.
const UNREADABLE: &[u8] = &[0xff];

/// An attribute, or an entry of a map.
struct KeyValue<'a> {
    field: &'a Field,
    value: Option<Field>,
    /// Whether it has fields that OTLP does not define.
    has_unknown: bool,
}

impl<'a> Walk<'a> {
    /// An attribute. Removes it if a rule drops its value.
    pub(super) fn attribute(&mut self, rewrite: &mut Rewrite<'_>, field: &Field) {
        let (key, attribute) = self.read(field);
        self.key = key;
        rewrite.message(field, |rewrite| self.key_value(rewrite, &attribute));
    }

    /// Applies the rules to an attribute or an entry. Returns whether to keep it.
    fn key_value(&mut self, rewrite: &mut Rewrite<'_>, attribute: &KeyValue<'_>) -> bool {
        let value = attribute.value.as_ref();
        if !attribute.has_unknown && value.is_some_and(|value| self.is_scalar(value)) {
            return value.is_none_or(|value| self.content(rewrite, value));
        }
        match self.redaction.whole(self.spot()) {
            Some(action) => self.replace(rewrite, attribute, action),
            None => value.is_none_or(|value| self.content(rewrite, value)),
        }
    }

    fn read<'f>(&self, field: &'f Field) -> (&'a str, KeyValue<'f>) {
        let mut key = "";
        let mut attribute = KeyValue {
            field,
            value: None,
            has_unknown: false,
        };
        for field in fields(self.source, field.value.clone()) {
            match field.number {
                // Checked to be UTF-8.
                KEY => key = std::str::from_utf8(&self.source[field.value]).unwrap_or_default(),
                VALUE => attribute.value = Some(field),
                number => attribute.has_unknown |= number > LAST_OF_KEY_VALUE,
            }
        }
        (key, attribute)
    }

    /// Returns where the current value is.
    fn spot(&self) -> Spot<'_> {
        if self.level == 0 {
            self.key.into()
        } else {
            (&self.path).into()
        }
    }

    /// Replaces the value of an attribute or an entry, whatever its type. Fields that OTLP does not
    /// define are removed with it, because they may belong to the value. Returns whether to keep the
    /// attribute.
    fn replace(&self, rewrite: &mut Rewrite<'_>, attribute: &KeyValue<'_>, action: RedactAction) -> bool {
        let Some(text) = self.replacement(attribute.value.as_ref(), action) else {
            return false;
        };
        for field in fields(self.source, attribute.field.value.clone()) {
            if field.number == VALUE || field.number > LAST_OF_KEY_VALUE {
                rewrite.cut(&field.whole);
            }
        }
        if attribute.value.is_none() {
            return true;
        }
        rewrite.insert(attribute.field.value.end, |out| {
            let mut value = Vec::with_capacity(text.len() + 4);
            put_string(&mut value, &text);
            put_header(out, VALUE, value.len());
            out.append(&mut value);
        });
        true
    }

    /// Returns the text in place of a value. `None` if its owner is dropped.
    fn replacement(&self, value: Option<&Field>, action: RedactAction) -> Option<String> {
        match action {
            RedactAction::Drop => None,
            RedactAction::Replace => Some(REDACTED.to_owned()),
            RedactAction::Hash => {
                let shown = value.map(|value| shown::of(self.source, value));
                Some(self.redaction.hash(&shown.unwrap_or_default()))
            }
        }
    }

    /// Returns whether an `AnyValue` is one scalar and nothing else. The verdict on such a value
    /// includes the rules for whole values.
    fn is_scalar(&self, value: &Field) -> bool {
        let mut members = fields(self.source, value.value.clone());
        let is_scalar = |member: Field| matches!(member.number, STRING | BOOL | INT | DOUBLE | BYTES);
        members.next().is_some_and(is_scalar) && members.next().is_none()
    }

    /// An `AnyValue` that no rule takes as a whole. Returns whether to keep its owner.
    fn content(&mut self, rewrite: &mut Rewrite<'_>, value: &Field) -> bool {
        rewrite.message(value, |rewrite| {
            // Checked: at most one known member.
            fields(self.source, value.value.clone()).all(|member| self.member(rewrite, &member))
        })
    }

    /// The member of an `AnyValue`. Returns whether to keep the owner of the value.
    fn member(&mut self, rewrite: &mut Rewrite<'_>, member: &Field) -> bool {
        let content = &self.source[member.value.clone()];
        let redaction = self.redaction;
        let verdict = match member.number {
            STRING => {
                let text = std::str::from_utf8(content);
                text.map_or(Verdict::Drop, |text| redaction.text(self.spot(), text))
            }
            BOOL | INT | DOUBLE | STRING_INDEX => self.number(member.number, content),
            BYTES => redaction.bytes(self.spot(), content),
            LIST | MAP => {
                self.members(rewrite, member);
                Verdict::Keep
            }
            // A kind of a later version, which patterns cannot be applied to.
            _ => redaction.bytes(self.spot(), UNREADABLE),
        };
        match verdict {
            Verdict::Keep => true,
            Verdict::Replace(text) => {
                put_text(rewrite, member, STRING, &text);
                true
            }
            Verdict::Drop => false,
        }
    }

    fn number(&mut self, kind: u32, content: &[u8]) -> Verdict {
        let Some(number) = shown::number(kind, content) else {
            return Verdict::Drop;
        };
        let mut shown = std::mem::take(&mut self.shown);
        shown.clear();
        write!(shown, "{number}").expect("written to memory");
        let verdict = self.redaction.scalar(self.spot(), &shown);
        self.shown = shown;
        verdict
    }

    /// The members of a list or map.
    fn members(&mut self, rewrite: &mut Rewrite<'_>, container: &Field) {
        if self.level == 0 {
            self.path.start(self.key);
        }
        self.level += 1;
        rewrite.message(container, |rewrite| {
            for (index, member) in fields_of(self.source, container.value.clone(), VALUES).enumerate() {
                if self.is_over(rewrite) {
                    break;
                }
                if container.number == LIST {
                    self.path.push_index(index);
                    rewrite.message(&member, |rewrite| self.may_compare() && self.element(rewrite, &member));
                } else {
                    let (key, entry) = self.read(&member);
                    self.path.push(key);
                    rewrite.message(&member, |rewrite| self.may_compare() && self.key_value(rewrite, &entry));
                }
                self.path.pop();
            }
            true
        });
        self.level -= 1;
    }

    /// Returns whether rules may be compared with the current path. Otherwise its value is removed.
    fn may_compare(&mut self) -> bool {
        self.path_work += self.path.text().len() * self.level;
        let may_compare = self.path_work <= MAX_PATH_WORK;
        if !may_compare {
            self.redaction.note_unreadable();
        }
        may_compare
    }

    /// An element of a list. Returns whether to keep it.
    fn element(&mut self, rewrite: &mut Rewrite<'_>, element: &Field) -> bool {
        let whole = if self.is_scalar(element) {
            None
        } else {
            self.redaction.whole(self.spot())
        };
        let Some(action) = whole else {
            return fields(self.source, element.value.clone()).all(|member| self.member(rewrite, &member));
        };
        let Some(text) = self.replacement(Some(element), action) else {
            return false;
        };
        rewrite.cut(&element.value);
        rewrite.insert(element.value.end, |out| put_string(out, &text));
        true
    }
}

/// Appends the content of an `AnyValue` that is a text.
fn put_string(out: &mut Vec<u8>, text: &str) {
    put_header(out, STRING, text.len());
    out.extend_from_slice(text.as_bytes());
}

//! Applies rules to one text.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::decoded;
use super::hash::Hashes;
use super::json::{self, Malformed, Reader, Start, Token};
use super::matches::{MAX_EDITS, Matches, splice};
use super::path::Path;
use super::patterns::{self, Survey};
use super::rules::{Active, KeyRules, MAX_PATH, Rules};
use super::verdict::{REDACTED, Verdict};
use crate::config::RedactAction;

/// Most JSON texts in JSON texts.
const MAX_LEVELS: usize = 4;

/// Most work of comparing paths with globs for one value, in bytes of paths.
const MAX_GLOB_WORK: usize = 1 << 28;

/// Bytes that regular expressions may read in one text, if each match reads all of it.
const MAX_REGEX_WORK: usize = 1 << 29;

/// Applies rules to one value, and notes which of them matched.
pub(super) struct Evaluation<'r> {
    rules: &'r Rules,
    hashes: &'r Hashes,
    /// Indices of rules that matched.
    pub(super) hits: Vec<usize>,
    /// A part of the value was dropped because no rule could be applied to it.
    pub(super) is_unreadable: bool,
    glob_work: usize,
}

/// An object or list that is being read.
struct Container {
    is_object: bool,
    active: Arc<Active>,
    /// Index of the next element of a list.
    index: usize,
    /// What applies to the member that is being read.
    member: Option<KeyRules>,
    /// A pattern that drops matched its name.
    drops_member: bool,
    /// Its start.
    member_start: usize,
    /// Number of edits before it.
    edits: usize,
    /// Start of the members in front of it that are dropped.
    dropped: Option<usize>,
    /// End of the last member that stays.
    kept_end: Option<usize>,
}

/// Replacements of parts of a text, in order.
type Edits = Vec<(Range<usize>, String)>;

impl<'r> Evaluation<'r> {
    pub(super) fn new(rules: &'r Rules, hashes: &'r Hashes) -> Self {
        Self {
            rules,
            hashes,
            hits: Vec::new(),
            is_unreadable: false,
            glob_work: 0,
        }
    }

    /// Decides about a text, also about the JSON in it. `path` returns where it is.
    pub(super) fn text(&mut self, active: &Arc<Active>, path: impl FnOnce() -> Path, text: &str) -> Verdict {
        if json::start(text) == Start::Text && json::in_string(text).is_none() {
            return self.plain(active, text);
        }
        let mut path = if self.rules.has_globs { path() } else { Path::default() };
        self.text_at_level(active, &mut path, text, 0)
    }

    /// `level`: number of JSON texts that the text is in.
    fn text_at_level(&mut self, active: &Arc<Active>, path: &mut Path, text: &str, level: usize) -> Verdict {
        if let Some((string, content)) = json::in_string(text) {
            if level == MAX_LEVELS {
                self.is_unreadable = true;
                return Verdict::Drop;
            }
            return match self.text_at_level(active, path, &content, level + 1) {
                Verdict::Replace(by) => Verdict::Replace(splice(text, &[(string, json::quoted(&by))])),
                verdict => verdict,
            };
        }
        let mut edits = Edits::new();
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            let start = json::start(rest);
            if start != Start::Text {
                match self.json(active, path, rest, level) {
                    Ok((end, changes)) => {
                        edits.extend(
                            changes
                                .into_iter()
                                .map(|(range, by)| (at + range.start..at + range.end, by)),
                        );
                        at += end;
                        continue;
                    }
                    Err(is_sure) if is_sure || start == Start::Json => {
                        self.is_unreadable = true;
                        return Verdict::Drop;
                    }
                    Err(_) => {}
                }
            }
            match self.plain(active, rest) {
                Verdict::Keep => {}
                Verdict::Replace(by) => edits.push((at..text.len(), by)),
                Verdict::Drop => return Verdict::Drop,
            }
            break;
        }
        if edits.is_empty() {
            Verdict::Keep
        } else {
            Verdict::Replace(splice(text, &edits))
        }
    }

    /// Decides about a number or boolean.
    pub(super) fn scalar(&mut self, active: &Active, shown: &str) -> Verdict {
        self.plain(active, &whole_number(shown))
    }

    /// Decides about a text without reading JSON in it.
    fn plain(&mut self, active: &Active, text: &str) -> Verdict {
        if active.is_empty() {
            return Verdict::Keep;
        }
        let mut matches = Matches::default();
        let survey = Survey::of(text.as_bytes());
        let mut is_whole = self.search(active, text, survey, &mut |range, action| {
            matches.add(text, range, action);
        });
        if survey.may_decode {
            let layers = decoded::layers(text);
            for count in 1..=layers.len() {
                let layers = &layers[..count];
                let decoded = &layers[count - 1].text;
                let mut add = |range, action| matches.add(text, decoded::original(layers, range), action);
                is_whole &= self.search(active, decoded, Survey::of(decoded.as_bytes()), &mut add);
            }
        }
        if !is_whole || matches.are_too_many() {
            self.is_unreadable = true;
            return Verdict::Drop;
        }
        if matches.drops() {
            return Verdict::Drop;
        }
        let edits: Edits = matches
            .merged()
            .map(|(range, action)| {
                let by = match action {
                    RedactAction::Hash => self.hashes.text(text[range.clone()].as_bytes()),
                    _ => REDACTED.to_owned(),
                };
                (range, by)
            })
            .collect();
        if edits.is_empty() {
            Verdict::Keep
        } else {
            Verdict::Replace(splice(text, &edits))
        }
    }

    /// Reports each match in a text. Returns false if there are too many matches of a regular
    /// expression to find them in linear time.
    fn search(
        &mut self,
        active: &Active,
        text: &str,
        survey: Survey,
        found: &mut dyn FnMut(Range<usize>, RedactAction),
    ) -> bool {
        let (rules, hits) = (self.rules, &mut self.hits);
        let mut hit = |index: usize| {
            if !hits.contains(&index) {
                hits.push(index);
            }
        };
        patterns::find(text.as_bytes(), survey, active.patterns, &mut |pattern, range| {
            for index in &active.rules {
                if rules.all[*index].has(pattern) {
                    hit(*index);
                    found(range.clone(), rules.all[*index].action);
                }
            }
        });
        if !active.has_regex || !rules.may_match(text) {
            return true;
        }
        let mut work = 0;
        for index in &active.rules {
            let rule = &rules.all[*index];
            for regex in &rule.regexes {
                for matched in regex.find_iter(text) {
                    work += text.len();
                    if work > MAX_REGEX_WORK {
                        return false;
                    }
                    if !matched.is_empty() {
                        hit(*index);
                        found(matched.range(), rule.action);
                    }
                }
            }
        }
        true
    }

    /// Reads the object or list at the start of a text. Returns its end and what to replace.
    ///
    /// # Errors
    /// The text is not JSON, or is too deep: whether it is meant as JSON.
    fn json(
        &mut self,
        active: &Arc<Active>,
        path: &mut Path,
        text: &str,
        level: usize,
    ) -> Result<(usize, Edits), bool> {
        if level == MAX_LEVELS {
            return Err(true);
        }
        let mut reader = Reader::new(text);
        let depth = path.depth();
        let edits = self.members(active, path, text, &mut reader, level);
        path.truncate(depth);
        match edits {
            Ok(edits) => Ok((reader.end(), edits)),
            Err(Malformed) => Err(reader.is_sure || self.is_unreadable),
        }
    }

    fn members(
        &mut self,
        active: &Arc<Active>,
        path: &mut Path,
        text: &str,
        reader: &mut Reader<'_>,
        level: usize,
    ) -> Result<Edits, Malformed> {
        let mut edits = Edits::new();
        let mut open: Vec<Container> = Vec::new();
        while let Some((token, range)) = reader.next()? {
            if edits.len() > MAX_EDITS {
                self.is_unreadable = true;
                return Err(Malformed);
            }
            let mut container = open.last_mut();
            if token == Token::Name {
                let container = container.as_mut().expect("a name is in an object");
                self.name(container, path, text, range, &mut edits)?;
                continue;
            }
            if token == Token::Close {
                let mut closed = open.pop().expect("an end has a start");
                closed.remove_dropped(&mut edits);
                let Some(parent) = open.last_mut() else { break };
                self.leave(path);
                parent.keep(range.end);
                continue;
            }
            if let Some(container) = container.as_mut().filter(|container| !container.is_object) {
                self.element(container, path, range.start, &mut edits)?;
            }
            // What applies to this value.
            let (whole, value_active) = match container.as_mut() {
                None => (None, Arc::clone(active)),
                Some(container) if container.drops_member => {
                    (Some((RedactAction::Drop, Vec::new())), Arc::clone(&container.active))
                }
                Some(container) => match container.member.take() {
                    Some(member) => (member.whole, member.active),
                    None => (None, Arc::clone(&container.active)),
                },
            };
            let is_open = matches!(token, Token::OpenObject | Token::OpenList);
            if is_open && whole.is_none() {
                open.push(Container::new(token == Token::OpenObject, value_active));
                continue;
            }
            let start = range.start;
            let end = if is_open { skip(reader)? } else { range.end };
            let value = &text[start..end];
            let verdict = match whole {
                Some((action, rules)) => self.whole(action, &rules, token, value)?,
                None if token == Token::Text => {
                    let value = json::decode(&value[1..value.len() - 1])?;
                    self.text_at_level(&value_active, path, &value, level + 1)
                }
                None => self.scalar(&value_active, value),
            };
            self.leave(path);
            open.last_mut()
                .expect("a text starts with an object or list")
                .apply(verdict, start..end, &mut edits);
        }
        Ok(edits)
    }

    /// Decides about a value that rules match as a whole.
    fn whole(
        &mut self,
        action: RedactAction,
        rules: &[usize],
        token: Token,
        value: &str,
    ) -> Result<Verdict, Malformed> {
        self.hits.extend(
            rules
                .iter()
                .filter(|index| !self.hits.contains(index))
                .copied()
                .collect::<Vec<_>>(),
        );
        Ok(match action {
            RedactAction::Drop => Verdict::Drop,
            RedactAction::Replace => Verdict::Replace(REDACTED.to_owned()),
            RedactAction::Hash => {
                let decoded = match token {
                    Token::Text => json::decode(&value[1..value.len() - 1])?,
                    _ => Cow::Borrowed(value),
                };
                Verdict::Replace(self.hashes.text(decoded.as_bytes()))
            }
        })
    }

    /// Reads the name of a member, in which patterns also match.
    fn name(
        &mut self,
        container: &mut Container,
        path: &mut Path,
        text: &str,
        range: Range<usize>,
        edits: &mut Edits,
    ) -> Result<(), Malformed> {
        container.start_member(range.start, edits);
        let name = json::decode(&text[range.start + 1..range.end - 1])?;
        match self.plain(&container.active, &name) {
            Verdict::Keep => {}
            Verdict::Replace(by) => edits.push((range, json::quoted(&by))),
            Verdict::Drop => container.drops_member = true,
        }
        if self.rules.has_globs {
            path.push(&name);
            container.member = self.member(&container.active, path)?;
        }
        Ok(())
    }

    /// Starts the next element of a list.
    fn element(
        &mut self,
        list: &mut Container,
        path: &mut Path,
        start: usize,
        edits: &mut Edits,
    ) -> Result<(), Malformed> {
        list.start_member(start, edits);
        if self.rules.has_globs {
            path.push_index(list.index);
            list.member = self.member(&list.active, path)?;
        }
        list.index += 1;
        Ok(())
    }

    fn leave(&self, path: &mut Path) {
        if self.rules.has_globs {
            path.pop();
        }
    }

    /// Returns what applies to the innermost member of a path, if it differs from its parent.
    fn member(&mut self, parent: &Arc<Active>, path: &Path) -> Result<Option<KeyRules>, Malformed> {
        let Some(member) = path.last() else { return Ok(None) };
        let (constant, of_byte) = self.rules.glob_cost;
        self.glob_work += constant + member.path.len() * of_byte;
        if member.path.len() > MAX_PATH || self.glob_work > MAX_GLOB_WORK {
            self.is_unreadable = true;
            return Err(Malformed);
        }
        Ok(self.rules.of_member(parent, member))
    }
}

/// Reads to the end of an object or list that was opened. Returns its end.
fn skip(reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    let mut open = 1;
    while open > 0 {
        match reader.next()? {
            Some((Token::OpenObject | Token::OpenList, _)) => open += 1,
            Some((Token::Close, _)) => open -= 1,
            Some(_) => {}
            None => return Err(Malformed),
        }
    }
    Ok(reader.end())
}

/// Writes a whole number without its fraction and exponent, so that patterns match its digits.
fn whole_number(shown: &str) -> Cow<'_, str> {
    /// Above it, numbers have more digits than patterns match.
    const MAX: f64 = 1e19;
    if shown.len() > 40 || !shown.contains(['.', 'e', 'E']) {
        return Cow::Borrowed(shown);
    }
    match shown.parse::<f64>() {
        Ok(number) if number.abs() < MAX && number.fract() == 0.0 => Cow::Owned(format!("{number:.0}")),
        _ => Cow::Borrowed(shown),
    }
}

impl Container {
    fn new(is_object: bool, active: Arc<Active>) -> Self {
        Self {
            is_object,
            active,
            index: 0,
            member: None,
            drops_member: false,
            member_start: 0,
            edits: 0,
            dropped: None,
            kept_end: None,
        }
    }

    /// Starts a member. Removes the dropped ones in front of it, unless it is dropped too.
    fn start_member(&mut self, start: usize, edits: &mut Edits) {
        self.member_start = start;
        self.drops_member = false;
        self.edits = edits.len();
        if let Some(dropped) = self.dropped {
            edits.push((dropped..start, String::new()));
        }
    }

    /// Applies the verdict on the value of the member or element.
    fn apply(&mut self, verdict: Verdict, value: Range<usize>, edits: &mut Edits) {
        match verdict {
            Verdict::Keep => self.keep(value.end),
            Verdict::Replace(by) => {
                self.keep(value.end);
                edits.push((value, json::quoted(&by)));
            }
            Verdict::Drop => {
                edits.truncate(self.edits);
                self.dropped.get_or_insert(self.member_start);
                self.member_start = value.end;
            }
        }
    }

    fn keep(&mut self, end: usize) {
        self.dropped = None;
        self.kept_end = Some(end);
    }

    /// Removes dropped members at the end, with the comma in front of them.
    fn remove_dropped(&mut self, edits: &mut Edits) {
        if let Some(dropped) = self.dropped {
            // `member_start` is the end of the last one.
            edits.push((self.kept_end.unwrap_or(dropped)..self.member_start, String::new()));
        }
    }
}

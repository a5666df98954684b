//! Measures a YAML text from the parser's events, before it is built.
//!
//! An alias expands to everything that its anchor marks, so a few lines can expand to gigabytes, or
//! to more levels than a stack holds. The loader copies anchored values and aliases, and recurses
//! for each level.

use std::collections::HashMap;

use yaml_rust2::parser::{Event, Parser, Tag};

/// Maximum length of a tag, with its prefix expanded. The parser copies it for each node with that
/// tag.
const MAX_TAG_BYTES: usize = 256;

/// Limit that a text exceeds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    Depth,
    Bytes,
    Tag,
}

/// An open table or list, or an anchored value.
#[derive(Clone, Copy)]
struct Node {
    /// Lower bound of the expanded size.
    bytes: u64,
    /// Nesting depth of tables and lists, including this one.
    levels: usize,
}

/// Checks that a text has at most `max_depth` levels and `max_bytes` bytes after its aliases are
/// expanded. Anchored values count twice.
///
/// Stops at a syntax error, because the loader gets no further.
pub(crate) fn check(text: &str, max_depth: usize, max_bytes: u64) -> Result<(), Excess> {
    let mut parser = Parser::new_from_str(text);
    let mut whole = text.len() as u64;
    let mut anchors: HashMap<usize, Node> = HashMap::new();
    let mut open: Vec<(usize, Node)> = Vec::new();
    while let Ok((event, _)) = parser.next_token() {
        let (anchor, node) = match event {
            Event::StreamEnd => break,
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => {
                check_tag(tag.as_ref())?;
                open.push((anchor, Node { bytes: 1, levels: 1 }));
                if open.len() > max_depth {
                    return Err(Excess::Depth);
                }
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(ended) => ended,
                None => break,
            },
            Event::Scalar(value, _, anchor, tag) => {
                check_tag(tag.as_ref())?;
                let bytes = value.len() as u64 + 1;
                (anchor, Node { bytes, levels: 0 })
            }
            // An alias within its own anchor expands to nothing.
            Event::Alias(anchor) => {
                let node = anchors.get(&anchor).copied().unwrap_or(Node { bytes: 1, levels: 0 });
                whole = whole.saturating_add(node.bytes);
                (0, node)
            }
            Event::Nothing | Event::StreamStart | Event::DocumentStart | Event::DocumentEnd => continue,
        };
        if anchor > 0 {
            whole = whole.saturating_add(node.bytes);
            anchors.insert(anchor, node);
        }
        if whole > max_bytes {
            return Err(Excess::Bytes);
        }
        if open.len() + node.levels > max_depth {
            return Err(Excess::Depth);
        }
        if let Some((_, around)) = open.last_mut() {
            around.bytes = around.bytes.saturating_add(node.bytes);
            around.levels = around.levels.max(node.levels + 1);
        }
    }
    Ok(())
}

fn check_tag(tag: Option<&Tag>) -> Result<(), Excess> {
    match tag {
        Some(tag) if tag.handle.len() + tag.suffix.len() > MAX_TAG_BYTES => Err(Excess::Tag),
        _ => Ok(()),
    }
}

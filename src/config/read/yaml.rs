//! What a YAML text comes to, counted over the parser's events before any of it is built.
//!
//! An alias stands for all that its anchor marks, so that a few lines can stand for gigabytes, or for more levels than a stack has. The
//! loader copies what an anchor marks and what an alias stands for, and calls itself for each level.

use std::collections::HashMap;

use yaml_rust2::parser::{Event, Parser, Tag};

/// The longest tag, with its prefix written out. The parser copies it for each node that has it.
const MAX_TAG_BYTES: usize = 256;

/// Why a text is not built.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    Depth,
    Bytes,
    Tag,
}

/// A table or list whose end has not come yet, or what an anchor marks.
#[derive(Clone, Copy)]
struct Node {
    /// As long as it would be written out, or shorter.
    bytes: u64,
    /// How many tables and lists are one in the other in it, itself among them.
    levels: usize,
}

/// Whether a text has, with its aliases written out, at most `max_depth` levels and `most` bytes. What an anchor marks counts once more.
///
/// Ends at a fault of the text: the loader gets no further.
pub(crate) fn check(text: &str, max_depth: usize, most: u64) -> Result<(), Excess> {
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
            // An alias within what it stands for is nothing.
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
        if whole > most {
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

//! What happened to the spans of a trace, for one selector.

use std::fmt;
use std::time::{Duration, SystemTime};

use super::explanation::{AnswerCount, TraceFate};
use crate::export::error::ExportError;
use crate::export::net::exchange::Reply;
use crate::ledger::DropReason;
use crate::selector::{Selector, Slug};
use crate::util::wall_time;

/// Distinct answers to keep. The last one stands for all further ones.
const MAX_ANSWERS: usize = 4;

/// Something that happened to spans. The caller of the gateway that sent them, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note<'a> {
    Accepted(Option<&'a Slug>),
    SampledOut(Option<&'a Slug>),
    /// Larger than `limits.span_bytes`.
    #[cfg(feature = "encoded")]
    TooLarge(Option<&'a Slug>),
    /// The request was refused.
    #[cfg(feature = "encoded")]
    Refused(Option<&'a Slug>),
    /// A batch was taken from the queue.
    Batch,
    /// An attempt at a request ended.
    Attempt(AnswerCode),
    Delivered,
    /// Part of a request that the receiver accepted in part.
    Unclear,
    Dropped(DropReason),
}

/// A receiver's answer to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerCode {
    Http(u16),
    #[cfg(feature = "grpc")]
    Grpc(i32),
    /// The connection broke, or the time ended.
    None,
    /// One of several further answers.
    Other,
}

/// What happened to the spans of a trace, for one selector.
///
/// No more spans are delivered, unclear or dropped than were accepted: an outcome of spans from
/// before the trace was forgotten is ignored.
#[derive(Clone, Debug)]
pub(super) struct Fate {
    pub(super) selector: Selector,
    caller: Option<Slug>,
    /// Seconds since the start of the table.
    pub(super) first: u32,
    pub(super) last: u32,
    accepted: u32,
    sampled_out: u32,
    too_large: u32,
    refused: u32,
    delivered: u32,
    unclear: u32,
    dropped: Vec<(DropReason, u32)>,
    batches: u32,
    attempts: u32,
    answers: [Option<(AnswerCode, u16)>; MAX_ANSWERS],
}

impl Note<'_> {
    /// Returns whether it may be the first thing that happens to a trace.
    pub(super) fn may_begin(self) -> bool {
        match self {
            Self::Accepted(_) | Self::SampledOut(_) => true,
            #[cfg(feature = "encoded")]
            Self::TooLarge(_) | Self::Refused(_) => true,
            Self::Batch | Self::Attempt(_) | Self::Delivered | Self::Unclear | Self::Dropped(_) => false,
        }
    }
}

impl AnswerCode {
    pub(crate) fn of(reply: &Result<Reply, ExportError>) -> Self {
        match reply {
            Ok(Reply::Http(answer)) => Self::Http(answer.status.as_u16()),
            #[cfg(feature = "grpc")]
            Ok(Reply::Grpc(Ok(_))) => Self::Grpc(0),
            #[cfg(feature = "grpc")]
            Ok(Reply::Grpc(Err(status))) => Self::Grpc(status.code().into()),
            #[cfg(feature = "grpc")]
            Ok(Reply::NotGrpc(answer)) => Self::Http(answer.status.as_u16()),
            Err(_) => Self::None,
        }
    }
}

impl fmt::Display for AnswerCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(status) => write!(f, "{status}"),
            #[cfg(feature = "grpc")]
            Self::Grpc(code) => write!(f, "grpc {code}"),
            Self::None => f.write_str("none"),
            Self::Other => f.write_str("other"),
        }
    }
}

impl Fate {
    pub(super) fn new(selector: Selector, now: u32) -> Self {
        Self {
            selector,
            caller: None,
            first: now,
            last: now,
            accepted: 0,
            sampled_out: 0,
            too_large: 0,
            refused: 0,
            delivered: 0,
            unclear: 0,
            dropped: Vec::new(),
            batches: 0,
            attempts: 0,
            answers: [None; MAX_ANSWERS],
        }
    }

    /// Records what happened to this number of its spans.
    pub(super) fn note(&mut self, note: Note<'_>, spans: u32, now: u32) {
        self.last = self.last.max(now);
        let pending = spans.min(self.pending());
        let (count, by) = match note {
            Note::Accepted(caller) => {
                self.set_caller(caller);
                (&mut self.accepted, spans)
            }
            Note::SampledOut(caller) => {
                self.set_caller(caller);
                (&mut self.sampled_out, spans)
            }
            #[cfg(feature = "encoded")]
            Note::TooLarge(caller) => {
                self.set_caller(caller);
                (&mut self.too_large, spans)
            }
            #[cfg(feature = "encoded")]
            Note::Refused(caller) => {
                self.set_caller(caller);
                (&mut self.refused, spans)
            }
            Note::Batch => (&mut self.batches, 1),
            Note::Attempt(answer) => {
                self.note_answer(answer);
                (&mut self.attempts, 1)
            }
            Note::Delivered => (&mut self.delivered, pending),
            Note::Unclear => (&mut self.unclear, pending),
            Note::Dropped(reason) => (self.dropped_for(reason), pending),
        };
        *count = count.saturating_add(by);
    }

    fn set_caller(&mut self, caller: Option<&Slug>) {
        if self.caller.as_ref() != caller {
            self.caller = caller.cloned();
        }
    }

    fn note_answer(&mut self, answer: AnswerCode) {
        let is_it = |slot: &Option<(AnswerCode, u16)>| slot.is_none_or(|(code, _)| code == answer);
        let at = self.answers.iter().position(is_it).unwrap_or(MAX_ANSWERS - 1);
        let slot = &mut self.answers[at];
        let before = slot.map_or(0, |(_, count)| count);
        let code = match slot {
            Some((code, _)) if *code != answer => AnswerCode::Other,
            _ => answer,
        };
        *slot = Some((code, before.saturating_add(1)));
    }

    fn dropped_for(&mut self, reason: DropReason) -> &mut u32 {
        let known = self.dropped.iter().position(|(known, _)| *known == reason);
        let at = known.unwrap_or_else(|| {
            self.dropped.push((reason, 0));
            self.dropped.len() - 1
        });
        &mut self.dropped[at].1
    }

    /// Returns the number of accepted spans without an outcome.
    fn pending(&self) -> u32 {
        let dropped = self.dropped.iter().map(|(_, count)| *count);
        let settled = dropped.fold(self.delivered.saturating_add(self.unclear), u32::saturating_add);
        self.accepted.saturating_sub(settled)
    }

    /// Returns it as the public type; the table started at `start`.
    pub(super) fn explain(&self, start: SystemTime) -> TraceFate {
        let at = |seconds: u32| wall_time::to_millis(start) + Duration::from_secs(seconds.into());
        let dropped = self.dropped.iter().filter(|(_, count)| *count > 0);
        TraceFate {
            selector: self.selector.clone(),
            caller: self.caller.as_ref().map(Slug::to_string),
            first: at(self.first),
            last: at(self.last),
            accepted: self.accepted.into(),
            sampled_out: self.sampled_out.into(),
            too_large: self.too_large.into(),
            refused: self.refused.into(),
            batches: self.batches.into(),
            attempts: self.attempts.into(),
            answers: self
                .answers
                .iter()
                .flatten()
                .map(|(code, count)| AnswerCount {
                    answer: code.to_string(),
                    count: (*count).into(),
                })
                .collect(),
            delivered: self.delivered.into(),
            unclear: self.unclear.into(),
            pending: self.pending().into(),
            dropped: dropped.map(|(reason, count)| (*reason, u64::from(*count))).collect(),
        }
    }
}

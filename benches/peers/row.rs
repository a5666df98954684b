//! A row of the table.

use serde::Serialize;

/// A row: this crate's value, the peer's value, and the target.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    #[serde(rename = "row")]
    pub(crate) what: &'static str,
    pub(crate) at: String,
    pub(crate) unit: &'static str,
    /// `None` means "not measured".
    pub(crate) ours: Option<f64>,
    pub(crate) peer: Option<f64>,
    pub(crate) peer_name: &'static str,
    pub(crate) ratio: Option<f64>,
    pub(crate) target: String,
    pub(crate) reached: bool,
    /// Additional results.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) note: String,
}

/// Target of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// Maximum value.
    AtMost(f64),
    /// Maximum ratio to the peer's value.
    RatioAtMost(f64),
    /// Minimum ratio to the peer's value.
    RatioAtLeast(f64),
}

impl Row {
    pub(crate) fn of(what: &'static str, at: impl Into<String>, unit: &'static str, target: Target) -> RowBuilder {
        RowBuilder {
            target,
            row: Self {
                what,
                at: at.into(),
                unit,
                ours: None,
                peer: None,
                peer_name: "",
                ratio: None,
                target: String::new(),
                reached: false,
                note: String::new(),
            },
        }
    }
}

/// A row without values.
pub(crate) struct RowBuilder {
    row: Row,
    target: Target,
}

impl RowBuilder {
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.row.note = note.into();
        self
    }

    /// Completes the row. An unmeasured value does not reach its target.
    pub(crate) fn measured(mut self, ours: Option<f64>, peer_name: &'static str, peer: Option<f64>) -> Row {
        let row = &mut self.row;
        row.ours = ours;
        row.peer = peer;
        row.peer_name = peer_name;
        row.ratio = ours
            .zip(peer)
            .filter(|(_, peer)| *peer > 0.0)
            .map(|(ours, peer)| ours / peer);
        (row.target, row.reached) = match self.target {
            Target::AtMost(most) => (format!("<= {most}"), ours.is_some_and(|ours| ours <= most)),
            Target::RatioAtMost(most) => (format!("<= {most} times"), row.ratio.is_some_and(|ratio| ratio <= most)),
            Target::RatioAtLeast(least) => (
                format!(">= {least} times"),
                row.ratio.is_some_and(|ratio| ratio >= least),
            ),
        };
        self.row
    }
}

/// Returns the median. `None` if a value was not measured.
pub(crate) fn median(values: impl IntoIterator<Item = Option<f64>>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect::<Option<_>>()?;
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        return values.get(middle).copied();
    }
    Some(f64::midpoint(
        *values.get(middle.checked_sub(1)?)?,
        *values.get(middle)?,
    ))
}

/// Converts a count to a floating-point number.
#[expect(clippy::cast_precision_loss, reason = "counts of this program are far below 2^52")]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

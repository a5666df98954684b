//! Changes that a binding makes to the data of clients.

use opentelemetry::KeyValue;

use super::attributes::AttributeNames;

/// Changes to encoded spans of a client. The client's attributes win, except for forced keys.
/// Each key occurs at most once in `resource` and in `span_attributes`.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    /// Attributes for each resource that does not have their key.
    pub(crate) resource: Vec<KeyValue>,
    /// Attributes for each span that does not have their key.
    pub(crate) span_attributes: Vec<KeyValue>,
    /// Keys that choose a project at the backend. The client's attributes with these keys are
    /// removed from resources, scopes and spans, so that only the binding's values remain.
    pub(crate) forced_keys: Vec<&'static str>,
    /// Keys that choose a project only on a resource.
    pub(crate) forced_on_resource: Vec<&'static str>,
    /// Names of a backend that needs an event type on each span.
    pub(crate) event_type: Option<&'static AttributeNames>,
    /// Attribute that gets the session id of the trace, if each trace is a session.
    pub(crate) session_id: Option<&'static str>,
}

#[cfg(feature = "spool")]
impl Edits {
    /// Returns the changes that concern forced keys alone. They are made again to spans that were
    /// finished before.
    pub(crate) fn forced(&self) -> Self {
        let of_resource = |attribute: &&KeyValue| {
            let keys = self.forced_keys.iter().chain(&self.forced_on_resource);
            keys.into_iter().any(|key| *key == attribute.key.as_str())
        };
        let of_span = |attribute: &&KeyValue| self.forced_keys.contains(&attribute.key.as_str());
        Self {
            resource: self.resource.iter().filter(of_resource).cloned().collect(),
            span_attributes: self.span_attributes.iter().filter(of_span).cloned().collect(),
            forced_keys: self.forced_keys.clone(),
            forced_on_resource: self.forced_on_resource.clone(),
            event_type: None,
            session_id: None,
        }
    }
}

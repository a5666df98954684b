//! OTLP traces as bytes.

use std::fmt;

use bytes::Bytes;

use super::error::InvalidTraces;
use crate::export::Payload;

/// OTLP traces of one tenant, checked. Clones share the bytes.
#[derive(Clone)]
pub struct Traces(pub(super) Payload);

impl Traces {
    /// Checks a protobuf body: an `ExportTraceServiceRequest`, not compressed. Unknown fields are
    /// allowed.
    ///
    /// # Errors
    /// Returns [`InvalidTraces`] with the first rule that the body breaks, and where.
    pub fn from_protobuf(body: Bytes) -> Result<Self, InvalidTraces> {
        Ok(Self(Payload::check(body)?))
    }

    /// Adds the gzip body that the traces arrived in, which is sent on if nothing has to change.
    /// The caller guarantees that it inflates to exactly the checked body.
    pub fn with_gzip(self, body: Bytes) -> Self {
        Self(self.0.with_gzip(body))
    }

    /// Returns the body: an `ExportTraceServiceRequest` in protobuf.
    pub fn into_protobuf(self) -> Bytes {
        self.0.bytes().clone()
    }

    /// Returns the number of spans.
    pub fn spans(&self) -> usize {
        self.0.spans()
    }

    /// Returns the number of bytes of the body, as quotas count it.
    pub fn byte_size(&self) -> usize {
        self.0.bytes().len()
    }

    /// Splits the traces by the value of a resource attribute: `None` if it is absent or not a
    /// string. Parts are in the order of first occurrence. An empty body has none.
    ///
    /// # Errors
    /// Returns [`InvalidTraces`] if a resource has the attribute several times, if there are too
    /// many values, or if unknown fields belong to no resource.
    pub fn split_by_resource(self, key: &str) -> Result<Vec<(Option<String>, Self)>, InvalidTraces> {
        let parts = self.0.split_by_resource(key)?;
        Ok(parts.into_iter().map(|(value, part)| (value, Self(part))).collect())
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Traces({} spans)", self.spans())
    }
}

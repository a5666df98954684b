//! Status of a tracer's API key.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::secret::{Fingerprint, KeyRefusalStatus, SecretError};
use crate::util::{serde_display, wall_time};

/// Status of a tracer's API key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeyStatus {
    /// Fingerprint of the current key. Changes when the key rotates.
    pub fingerprint: Fingerprint,
    /// When it was first read.
    #[serde(with = "wall_time")]
    pub since: SystemTime,
    /// How often the key changed.
    pub rotations: u64,
    /// Why the key needs attention, or `None` if it does not. Either the last read of its source
    /// failed and the last good key stays in use, or the receiver refuses the current key (see
    /// [`refused`](Self::refused)). If both apply, this is the source's error.
    #[serde(with = "serde_display")]
    pub error: Option<SecretError>,
    /// Set while the receiver refuses this tracer's key: from the first refusal of the current key
    /// when its source has no other, until the receiver accepts that key or a later one. A new key
    /// alone does not end it.
    ///
    /// Tracers with the same key source share the key but not this field: another receiver or
    /// project may accept the key.
    pub refused: Option<KeyRefusal>,
}

/// Refusals of a tracer's current key by its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeyRefusal {
    /// Status of the last refusal.
    pub status: KeyRefusalStatus,
    /// Time of the first refusal.
    #[serde(with = "wall_time")]
    pub since: SystemTime,
    /// Number of refused requests since then, for spans and session events.
    pub count: u64,
}

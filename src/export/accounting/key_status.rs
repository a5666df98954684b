//! A tracer's key as `status()` shows it.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::secret::{Fingerprint, KeyRefusalStatus, SecretError};
use crate::util::{serde_display, wall_time};

/// The key of a tracer at one moment.
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
    /// Why the key needs attention; `None` if it is fine. Either its source gave no usable key when it was last asked, and the last good one stays
    /// in use, or the receiver refuses the current key (see [`refused`](Self::refused)). If both are the case, this is the source's error.
    #[serde(with = "serde_display")]
    pub error: Option<SecretError>,
    /// Set while the receiver refuses this tracer's key: from the first refusal of a key that is current and whose source has no other, until the
    /// receiver takes that key or a later one. A new key alone does not end it.
    ///
    /// Tracers whose keys come from the same source share the key, not this: another receiver, or another project at the same one, may take what
    /// this one refuses.
    pub refused: Option<KeyRefusal>,
}

/// How a receiver refuses a tracer's key: one that was current, while its source had no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeyRefusal {
    /// What the receiver answered last.
    pub status: KeyRefusalStatus,
    /// When it refused the key first.
    #[serde(with = "wall_time")]
    pub since: SystemTime,
    /// How many requests were refused since then, those for spans and for session events together.
    pub count: u64,
}

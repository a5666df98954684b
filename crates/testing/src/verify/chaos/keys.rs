//! Keys of members that are rotated while programs run.

use std::sync::PoisonError;

use opentelemetry::trace::Span as _;

use super::super::stage::FLUSH;
use super::super::subject::Found;
use super::{Chaos, Disturbed, Now, Registries};
use crate::lock::lock;
use tracer_registry::TracerHandle;
use tracer_registry::integrations::RegistrySpan;

impl Chaos {
    /// What is made from now on has the new key, and the receiver refuses the old one: what was on
    /// its way is sent again with the new one.
    pub(super) fn rotate(&self, registries: Registries<'_>, now: &Now, member: usize) -> Disturbed {
        if now.gone.contains(&member) {
            return Ok(());
        }
        let of = &self.cast[member];
        let written = self.rotation.rotate(member, of, |key| self.files.write_key(of, key));
        let key = written.map_err(|error| (member, format!("the key cannot be written: {error}")))?;
        if of.has_key_in_vault {
            // Making a tracer reads the key: that is left to requests that are refused.
            return Ok(());
        }
        let made = registries
            .dedicated(member)
            .map_err(|error| (member, error.to_string()))?;
        if made.fingerprint() != self.rotation.fingerprint(&key) {
            return Err((member, "a new tracer with a key that was rotated away".to_owned()));
        }
        Ok(())
    }

    /// Rotates a key so that only a request that is refused can bring the new one: no tracer of the
    /// member is made meanwhile, and its key is in no file that is watched.
    pub(in super::super) fn refuse(
        &self,
        registries: Registries<'_>,
        member: usize,
        start: impl FnOnce(&TracerHandle) -> RegistrySpan,
    ) -> Found<TracerHandle> {
        let _now = lock(&self.now);
        let _alone = self.gates[member].write().unwrap_or_else(PoisonError::into_inner);
        let mut found = self.look_up_in_gate(registries, member, || registries.get(member));
        let mut span = start(&found.tracer);
        let of = &self.cast[member];
        let before = self.rotation.refused_of(member);
        let written = self.rotation.rotate(member, of, |key| self.files.write_key(of, key));
        span.end();
        let report = found.tracer.force_flush(FLUSH);
        let wrong = if let Err(error) = written {
            format!("the key cannot be written: {error}")
        } else if !report.is_complete() {
            // What is made now reads the key, so the rest of the program does not wait for it as well.
            drop(registries.dedicated(member));
            format!("a key that was refused, and no request with the new one for {FLUSH:?}: {report}")
        } else if self.rotation.refused_of(member) == before {
            "no request with the old key".to_owned()
        } else {
            return found;
        };
        found.wrong.get_or_insert(wrong);
        found
    }
}

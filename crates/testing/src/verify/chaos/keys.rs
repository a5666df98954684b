//! Rotation of keys while programs run.

use std::sync::PoisonError;

use opentelemetry::trace::Span as _;

use super::super::stage::FLUSH;
use super::super::subject::Found;
use super::{Chaos, ConfigState, Disturbed, Registries};
use crate::lock::lock;
use tracer_registry::TracerHandle;
use tracer_registry::integrations::RegistrySpan;

impl Chaos {
    /// Rotates a key. New tracers must have the new key, and the receiver refuses the old one, so
    /// requests with it are repeated with the new one.
    pub(super) fn rotate(&self, registries: Registries<'_>, state: &ConfigState, member: usize) -> Disturbed {
        if state.removed.contains(&member) {
            return Ok(());
        }
        let of = &self.cast[member];
        let written = self.rotation.rotate(member, of, |key| self.files.write_key(of, key));
        let key = written.map_err(|error| (member, format!("cannot write the key: {error}")))?;
        if of.has_key_in_vault {
            // Creating a tracer would read the key. Only a refused request may do so.
            return Ok(());
        }
        let created = registries
            .dedicated(member)
            .map_err(|error| (member, error.to_string()))?;
        if created.fingerprint() != self.fingerprinter.fingerprint(key.as_bytes()) {
            return Err((member, "a new tracer with an old key".to_owned()));
        }
        Ok(())
    }

    /// Rotates a key so that only a refused request can cause the new one to be read: no tracer of
    /// the member is created meanwhile, and no watched file contains the key.
    pub(in super::super) fn refuse(
        &self,
        registries: Registries<'_>,
        member: usize,
        start: impl FnOnce(&TracerHandle) -> RegistrySpan,
    ) -> Found<TracerHandle> {
        let _state = lock(&self.state);
        let _exclusive = self.gates[member].write().unwrap_or_else(PoisonError::into_inner);
        let mut found = self.look_up_in_gate(registries, member, || registries.get(member));
        let mut span = start(&found.tracer);
        let of = &self.cast[member];
        let before = self.rotation.refused_of(member);
        let written = self.rotation.rotate(member, of, |key| self.files.write_key(of, key));
        span.end();
        let report = found.tracer.force_flush(FLUSH);
        let wrong = if let Err(error) = written {
            format!("cannot write the key: {error}")
        } else if !report.is_complete() {
            // A new tracer reads the key, so the rest of the program does not wait for it too.
            drop(registries.dedicated(member));
            format!("a refused key, and no request with the new one within {FLUSH:?}: {report}")
        } else if self.rotation.refused_of(member) == before {
            "no request with the old key".to_owned()
        } else {
            return found;
        };
        found.wrong.get_or_insert(wrong);
        found
    }
}

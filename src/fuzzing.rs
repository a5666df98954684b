//! Fuzz targets of this crate. Each takes any bytes, panics if an invariant is broken, and returns
//! whether it accepts the input.

pub use crate::config::fuzzing::{config, tenant, variables};
pub use crate::export::fuzz_answer as answer;
#[cfg(feature = "gateway")]
pub use crate::export::fuzz_payload as payload;
#[cfg(all(feature = "gateway", feature = "redact"))]
pub use crate::export::fuzz_redact_payload as redact_payload;
#[cfg(feature = "gateway")]
pub use crate::ingest::fuzzing::session;
#[cfg(feature = "tower")]
pub use crate::integrations::tower::fuzzing::tower;
#[cfg(feature = "redact")]
pub use crate::policy::redaction::fuzzing::redact;
pub use crate::propagation::fuzzing::propagation;
pub use crate::selector::fuzzing::selector;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Runs a target on its seeds. `ok-` and `bad-` at the start of a name tell whether the seed is
    /// accepted. A package has no seeds.
    fn replay(target: &str, run: fn(&[u8]) -> bool) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        if !root.join("fuzz").exists() && root.join(".cargo_vcs_info.json").exists() {
            return;
        }
        let (mut accepted, mut refused) = (0, 0);
        for seed in fs::read_dir(root.join("fuzz/seeds").join(target)).expect("the seeds of the target") {
            let seed = seed.expect("a readable folder");
            let is_yaml = seed.path().extension().is_some_and(|extension| extension == "yaml");
            let (name, data) = (seed.file_name(), fs::read(seed.path()).expect("a readable file"));
            println!("{target}/{}", name.display());
            let (name, is_accepted) = (name.to_string_lossy(), run(&data));
            accepted += usize::from(is_accepted);
            refused += usize::from(!is_accepted);
            let must_be_accepted = name.starts_with("ok-") && (cfg!(feature = "yaml") || !is_yaml);
            assert!(!must_be_accepted || is_accepted, "{target}/{name} is refused");
            assert!(!name.starts_with("bad-") || !is_accepted, "{target}/{name} is accepted");
        }
        assert!(accepted > 2 && refused > 2, "{accepted} accepted, {refused} refused");
    }

    #[test]
    fn seeds_of_configurations_keep_their_invariants() {
        replay("config", config);
        replay("tenant", tenant);
        replay("variables", variables);
    }

    #[test]
    fn seeds_of_selectors_and_headers_keep_their_invariants() {
        replay("selector", selector);
        replay("propagation", propagation);
        #[cfg(feature = "tower")]
        replay("tower", tower);
    }

    #[test]
    fn seeds_of_answers_keep_their_invariants() {
        replay("answer", answer);
    }

    #[cfg(feature = "redact")]
    #[test]
    fn seeds_of_redaction_keep_their_invariants() {
        replay("redact", redact);
    }

    #[cfg(feature = "gateway")]
    #[test]
    fn seeds_of_requests_keep_their_invariants() {
        replay("payload", payload);
        #[cfg(feature = "redact")]
        replay("redact_payload", redact_payload);
        replay("session", session);
    }
}

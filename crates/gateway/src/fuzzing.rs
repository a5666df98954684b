//! Fuzz targets of this crate. Each takes any bytes, panics if an invariant is broken, and returns
//! whether it accepts the input.

pub use crate::config::fuzzing::callers;
pub use crate::ingest::fuzzing::{body, headers};
pub use crate::otlp_json::fuzzing::json;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Runs a target on its seeds. `ok-` and `bad-` at the start of a name tell whether the seed is
    /// accepted. A package has no seeds.
    fn replay(target: &str, run: fn(&[u8]) -> bool) {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = package.join("../..");
        if !root.join("fuzz").exists() && package.join(".cargo_vcs_info.json").exists() {
            return;
        }
        let (mut accepted, mut refused) = (0, 0);
        for seed in fs::read_dir(root.join("fuzz/seeds").join(target)).expect("the seeds of the target") {
            let seed = seed.expect("a readable folder");
            let (name, data) = (seed.file_name(), fs::read(seed.path()).expect("a readable file"));
            println!("{target}/{}", name.display());
            let (name, is_accepted) = (name.to_string_lossy(), run(&data));
            accepted += usize::from(is_accepted);
            refused += usize::from(!is_accepted);
            assert!(!name.starts_with("ok-") || is_accepted, "{target}/{name} is refused");
            assert!(!name.starts_with("bad-") || !is_accepted, "{target}/{name} is accepted");
        }
        assert!(accepted > 2 && refused > 2, "{accepted} accepted, {refused} refused");
    }

    #[test]
    fn seeds_of_callers_keep_their_invariants() {
        replay("callers", callers);
    }

    #[test]
    fn seeds_of_heads_keep_their_invariants() {
        replay("headers", headers);
    }

    #[test]
    fn seeds_of_bodies_keep_their_invariants() {
        replay("body", body);
        replay("json", json);
    }
}

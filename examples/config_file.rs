//! Configures a registry from files: layers, tenants without their own table, keys from a folder.
#![expect(clippy::print_stdout, reason = "an example shows what it did")]

mod support;

use std::error::Error;
use std::fs;
use std::time::Duration;

use support::Backend;
use tracer_registry::{Selector, TracerRegistry};

const DEFAULT: &str = r#"
active_environment = "production"

[defaults]
endpoint = "{endpoint}"

[environments.production]
api_key = { file = "keys/production" }      # relative to the folder of this file

[tenants.acme]
api_key = { file = "keys/acme" }
metadata = { plan = "enterprise" }

[tenants."*"]                               # any tenant without its own table
api_key = { file = "keys/{tenant}" }
metadata = { plan = "free" }
"#;

/// Merged over the default file because it is named after the active environment.
const PRODUCTION: &str = r#"
[defaults]
source = "production"

[tenants.acme.metadata]
region = "eu"
"#;

fn main() -> Result<(), Box<dyn Error>> {
    // The keys of these projects are files in the folder `keys`.
    let backend = Backend::start(&["production", "acme", "globex"])?;
    let folder = backend.folder();
    fs::write(
        folder.join("default.toml"),
        DEFAULT.replace("{endpoint}", &backend.url()),
    )?;
    fs::write(folder.join("production.toml"), PRODUCTION)?;

    let registry = TracerRegistry::from_config(folder)?;
    registry.active()?.in_span("start up", |_| ());
    for tenant in ["acme", "globex"] {
        let tracer = registry.tenant(tenant)?;
        tracer.in_span(format!("request of {tenant}"), |_| ());
    }
    // The wildcard matches every tenant, but a tenant without a key file gets an error, never
    // another key.
    let error = registry.tenant("hooli").expect_err("no key file").to_string();
    println!(
        "refused: {}\n",
        error.replace(&folder.display().to_string(), "<folder>")
    );

    let plan = |tenant: &str| -> Result<String, Box<dyn Error>> {
        let binding = registry.config().resolve(&Selector::tenant(tenant).try_into()?)?;
        Ok(serde_json::to_string(&*binding.metadata)?)
    };
    println!("acme has {}, globex has {}\n", plan("acme")?, plan("globex")?);
    let report = registry.shutdown(Duration::from_secs(5));
    assert!(report.is_complete(), "{report}");
    for (name, expected) in [
        ("production", "start up\n"),
        ("acme", "request of acme\n"),
        ("globex", "request of globex\n"),
    ] {
        let project = backend.show(name);
        assert_eq!(project.tree(), expected);
        assert!(
            project
                .spans()
                .iter()
                .all(|span| span.source.as_deref() == Some("production"))
        );
    }
    Ok(())
}

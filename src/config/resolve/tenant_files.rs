//! Tenants' bindings from files of `tenants_dir` and from the program.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::config::problem::{ConfigError, Layer, Problems, quoted};
use crate::config::read::defined_paths::DefinedPaths;
use crate::config::read::layers;
use crate::config::read::parse::MAX_DEPTH;
use crate::config::read::variables::Variables;
use crate::config::resolve::config::Config;
use crate::config::resolve::proxy::{self, ProxyUrls};
use crate::config::resolve::tenant::TenantBinding;
use crate::config::rules::check;
use crate::config::settings::binding::Binding;
use crate::config::settings::setting::read_whole;
use crate::selector::Slug;
use crate::util::json_depth::{drop_iteratively, is_within};

/// Maximum size of a tenant's file. It is read at each look-up that creates the tenant's tracer.
const MAX_FILE_BYTES: u64 = 256 << 10;

/// A file name in `tenants_dir`.
pub(crate) struct TenantFile {
    /// The name without its extension, escaped for messages.
    pub(crate) shown: String,
    /// The tenant, or the reason why the file cannot belong to one.
    pub(crate) tenant: Result<Slug, ConfigError>,
}

impl Binding {
    /// Reads a binding from JSON with the rules of a table `[tenants.<slug>]`, for programs that
    /// keep tenants in a database. Relative paths are resolved against the working directory.
    ///
    /// The binding is untrusted, because the JSON may not come from the operator: `[untrusted]`
    /// ([`Untrusted`](crate::config::Untrusted)) defines which keys and endpoints it may choose, by
    /// default none. Call [`trusted`](Self::trusted) for JSON that only the operator can write.
    ///
    /// ```
    /// # use tracer_registry::config::Binding;
    /// let row = serde_json::json!({ "api_key": { "file": "/run/secrets/acme" }, "source": "eu" });
    /// assert!(Binding::from_json(row).is_ok());
    /// let row = serde_json::json!({ "api_key": "hh_a_key_itself" });
    /// assert!(Binding::from_json(row).unwrap_err().to_string().contains("a key is never written"));
    /// ```
    ///
    /// # Errors
    /// Returns a [`ConfigError`] with every problem, limited to the first 50, and without values.
    /// JSON nested deeper than 64 levels is a problem. The caller must limit the length of the JSON
    /// text.
    pub fn from_json(value: Value) -> Result<Self, ConfigError> {
        let mut problems = Problems::for_tenant();
        problems.enter(Layer::Whole, "a binding");
        if !is_within(&value, MAX_DEPTH) {
            drop_iteratively(value);
            problems.add("binding", format!("nested deeper than {MAX_DEPTH} levels"));
            return Err(problems.into_result().expect_err("at least one problem"));
        }
        let mut binding: Self = read_whole(value, "binding".to_owned(), Path::new(""), &mut problems);
        binding.untrusted = true;
        check::binding(&binding, "binding", &mut problems);
        problems.into_result()?;
        Ok(binding)
    }
}

impl Config {
    /// Reads the tenant's file. Returns `None` if there is no folder for tenant files, or no file
    /// of this tenant.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] with every problem of the file, also if the file or folder cannot
    /// be read: a tenant with a file is never treated as a tenant without one.
    pub(crate) fn tenant_file(&self, tenant: &Slug) -> Result<Option<TenantBinding>, ConfigError> {
        let Some(folder) = self.tenants_dir() else {
            return Ok(None);
        };
        let mut problems = Problems::for_tenant();
        problems.enter(Layer::Default, folder.display().to_string());
        let Some(file) = layers::layer_file(folder, tenant, &mut problems) else {
            layers::check_folder(Some(folder), &mut problems);
            return problems.into_result().map(|()| None);
        };
        problems.enter(Layer::Default, file.display().to_string());
        let path = path_of(tenant);
        let (mut binding, defined_paths) = match layers::parsed(&file, MAX_FILE_BYTES) {
            Ok(value) => {
                let defined_paths = DefinedPaths::of(&value);
                (
                    read_whole::<Binding>(value, path.clone(), folder, &mut problems),
                    defined_paths,
                )
            }
            Err(message) => {
                problems.add_unread(message);
                (Binding::default(), DefinedPaths::default())
            }
        };
        binding.untrusted = true;
        let checked = self.checked(binding, &path, file.display().to_string(), problems)?;
        Ok(Some(TenantBinding {
            defined_paths,
            ..checked
        }))
    }

    /// Checks a tenant's binding that the program provided.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] with every problem.
    pub(crate) fn tenant_from_program(&self, tenant: &Slug, binding: Binding) -> Result<TenantBinding, ConfigError> {
        let mut problems = Problems::default();
        let file = "the source of bindings";
        problems.enter(Layer::Whole, file);
        self.checked(binding, &path_of(tenant), file.to_owned(), problems)
    }

    /// Lists the files of `tenants_dir` that could belong to a tenant, ordered by name, without
    /// reading them.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] if the folder cannot be read.
    pub(crate) fn tenant_files(&self) -> Result<Vec<TenantFile>, ConfigError> {
        let Some(folder) = self.tenants_dir() else {
            return Ok(Vec::new());
        };
        let mut problems = Problems::default();
        problems.enter(Layer::Default, folder.display().to_string());
        let entries = fs::read_dir(folder).and_then(|entries| {
            let entries = entries.map(|entry| entry.map(|entry| entry.file_name()));
            entries.collect::<Result<Vec<_>, _>>()
        });
        let Ok(mut entries) = entries else {
            problems.add("tenants_dir", "the folder cannot be read");
            return problems.into_result().map(|()| Vec::new());
        };
        entries.sort_unstable();
        let mut stems: Vec<&OsStr> = entries.iter().filter_map(|entry| stem(Path::new(entry))).collect();
        stems.dedup();
        Ok(stems.into_iter().map(|stem| self.file_of(stem)).collect())
    }

    fn file_of(&self, stem: &OsStr) -> TenantFile {
        let text = stem.to_string_lossy();
        let mut problems = Problems::default();
        let folder = self.tenants_dir().unwrap_or(Path::new(""));
        problems.enter(Layer::Default, folder.display().to_string());
        let tenant = match Slug::new(&text) {
            Ok(name) if self.has_table(&name) => {
                let message = format!(
                    "the tenant also has a table [{}] in the configuration, which takes precedence; remove one of them",
                    path_of(&name)
                );
                problems.add(quoted(&text), message);
                Some(name)
            }
            Ok(name) => Some(name),
            Err(error) => {
                problems.add(quoted(&text), error.to_string());
                None
            }
        };
        TenantFile {
            shown: quoted(&text),
            tenant: problems
                .into_result()
                .map(|()| tenant.expect("a name without problems")),
        }
    }

    fn checked(
        &self,
        binding: Binding,
        path: &str,
        file: String,
        mut problems: Problems,
    ) -> Result<TenantBinding, ConfigError> {
        check::binding(&binding, path, &mut problems);
        let mut proxies = ProxyUrls::new();
        // An untrusted binding has no proxy, so no variable is read for it.
        if !binding.untrusted {
            let variable = |name: &str| {
                let variables = self.has_variables().then(Variables::from_process)?;
                variables.get(name).map(OsStr::to_owned)
            };
            proxies.extend(proxy::read_url(&binding, path, variable, &mut problems));
        }
        problems.into_result()?;
        Ok(TenantBinding {
            binding,
            proxies,
            file,
            defined_paths: DefinedPaths::default(),
        })
    }
}

#[cfg(feature = "watch")]
/// Returns the tenant that a file of `tenants_dir` belongs to, or `None` if the name is not that of
/// a tenant file.
pub(crate) fn tenant_of(file: &Path) -> Option<Slug> {
    stem(file)?.to_str().and_then(|stem| Slug::new(stem).ok())
}

/// Returns a tenant file's name without the extension, or `None` for hidden files and other file
/// types.
fn stem(file: &Path) -> Option<&OsStr> {
    let extension = file.extension()?;
    let stem = file.file_stem()?;
    let known = layers::EXTENSIONS.iter().any(|(known, _)| extension == *known);
    (known && !stem.to_string_lossy().starts_with('.')).then_some(stem)
}

fn path_of(tenant: &Slug) -> String {
    format!("tenants.{}", quoted(tenant))
}

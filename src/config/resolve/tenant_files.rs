//! A tenant's binding that is no table of the configuration: from a file of `tenants_dir`, or from the program.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::config::fault::{ConfigError, Faults, Layer, quoted};
use crate::config::read::layers;
use crate::config::read::parse::MAX_DEPTH;
use crate::config::read::shape::Shape;
use crate::config::read::variables::Variables;
use crate::config::resolve::config::Config;
use crate::config::resolve::proxy::{self, OfVariables};
use crate::config::resolve::tenant::TenantBinding;
use crate::config::rules::check;
use crate::config::settings::binding::Binding;
use crate::config::settings::setting::read_whole;
use crate::selector::Slug;
use crate::util::json_depth::{drop_iteratively, is_within};

/// The largest file of a tenant. It is read at each look-up that makes the tenant's tracer.
const MAX_FILE_BYTES: u64 = 256 << 10;

/// A file of `tenants_dir`, by what it is called.
pub(crate) struct FileOfTenant {
    /// What is in front of the extension, as a message may show it.
    pub(crate) shown: String,
    /// The tenant; else why there can be none.
    pub(crate) tenant: Result<Slug, ConfigError>,
}

impl Binding {
    /// Reads a binding from JSON, as a table `[tenants.<slug>]` of the configuration is read: for programs that keep tenants in a database.
    /// A relative path begins at the folder of the process.
    ///
    /// The binding is not trusted, for the JSON may not be the operator's: `[untrusted]` ([`Untrusted`](crate::config::Untrusted)) says which keys and
    /// endpoints it may choose, none by default. [`trusted`](Self::trusted) is for JSON that only the operator can write.
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
    /// [`ConfigError`] with every fault, the first 50 of them if there are more; no value is repeated. JSON that is nested deeper than 64
    /// levels is a fault. How long the text may be that it was parsed from is the program's to say.
    pub fn from_json(value: Value) -> Result<Self, ConfigError> {
        let mut faults = Faults::of_a_tenant();
        faults.enter(Layer::Whole, "a binding");
        if !is_within(&value, MAX_DEPTH) {
            drop_iteratively(value);
            faults.add("binding", format!("nested deeper than {MAX_DEPTH} levels"));
            return Err(faults.into_result().expect_err("there is a fault"));
        }
        let mut binding: Self = read_whole(value, "binding".to_owned(), Path::new(""), &mut faults);
        binding.untrusted = true;
        check::binding(&binding, "binding", &mut faults);
        faults.into_result()?;
        Ok(binding)
    }
}

impl Config {
    /// What the tenant's file says, if there is a folder for files and one of this tenant.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault of the file, also if it, or the whole folder, cannot be read: a tenant
    /// with a file is never taken for a tenant without one.
    pub(crate) fn tenant_file(&self, tenant: &Slug) -> Result<Option<TenantBinding>, ConfigError> {
        let Some(folder) = self.tenants_dir() else {
            return Ok(None);
        };
        let mut faults = Faults::of_a_tenant();
        faults.enter(Layer::Default, folder.display().to_string());
        let Some(file) = layers::layer_file(folder, tenant, &mut faults) else {
            layers::check_folder(Some(folder), &mut faults);
            return faults.into_result().map(|()| None);
        };
        faults.enter(Layer::Default, file.display().to_string());
        let path = path_of(tenant);
        let (mut binding, shape) = match layers::parsed(&file, MAX_FILE_BYTES) {
            Ok(value) => {
                let shape = Shape::of(&value);
                (read_whole::<Binding>(value, path.clone(), folder, &mut faults), shape)
            }
            Err(message) => {
                faults.add_unread(message);
                (Binding::default(), Shape::default())
            }
        };
        binding.untrusted = true;
        let checked = self.checked(binding, &path, file.display().to_string(), faults)?;
        Ok(Some(TenantBinding { shape, ..checked }))
    }

    /// A binding that the program gave for a tenant.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault.
    pub(crate) fn tenant_given(&self, tenant: &Slug, binding: Binding) -> Result<TenantBinding, ConfigError> {
        let mut faults = Faults::default();
        let file = "the source of bindings";
        faults.enter(Layer::Whole, file);
        self.checked(binding, &path_of(tenant), file.to_owned(), faults)
    }

    /// Every file of `tenants_dir` that could be meant for a tenant, in the order of names. None is read.
    ///
    /// # Errors
    /// [`ConfigError`] if the folder cannot be read.
    pub(crate) fn tenant_files(&self) -> Result<Vec<FileOfTenant>, ConfigError> {
        let Some(folder) = self.tenants_dir() else {
            return Ok(Vec::new());
        };
        let mut faults = Faults::default();
        faults.enter(Layer::Default, folder.display().to_string());
        let entries = fs::read_dir(folder).and_then(|entries| {
            let entries = entries.map(|entry| entry.map(|entry| entry.file_name()));
            entries.collect::<Result<Vec<_>, _>>()
        });
        let Ok(mut entries) = entries else {
            faults.add("tenants_dir", "the folder cannot be read");
            return faults.into_result().map(|()| Vec::new());
        };
        entries.sort_unstable();
        let mut stems: Vec<&OsStr> = entries.iter().filter_map(|entry| stem(Path::new(entry))).collect();
        stems.dedup();
        Ok(stems.into_iter().map(|stem| self.file_of(stem)).collect())
    }

    fn file_of(&self, stem: &OsStr) -> FileOfTenant {
        let text = stem.to_string_lossy();
        let mut faults = Faults::default();
        let folder = self.tenants_dir().unwrap_or(Path::new(""));
        faults.enter(Layer::Default, folder.display().to_string());
        let tenant = match Slug::new(&text) {
            Ok(name) if self.has_table(&name) => {
                let message = format!(
                    "the tenant has a table [{}] in the configuration, and that one holds; remove one of the two",
                    path_of(&name)
                );
                faults.add(quoted(&text), message);
                Some(name)
            }
            Ok(name) => Some(name),
            Err(error) => {
                faults.add(quoted(&text), error.to_string());
                None
            }
        };
        FileOfTenant {
            shown: quoted(&text),
            tenant: faults
                .into_result()
                .map(|()| tenant.expect("without a fault there is a name")),
        }
    }

    fn checked(
        &self,
        binding: Binding,
        path: &str,
        file: String,
        mut faults: Faults,
    ) -> Result<TenantBinding, ConfigError> {
        check::binding(&binding, path, &mut faults);
        let mut proxies = OfVariables::new();
        // One that is not trusted has no proxy: no variable is read for it.
        if !binding.untrusted {
            let variable = |name: &str| {
                let variables = self.has_variables().then(Variables::of_the_process)?;
                variables.get(name).map(OsStr::to_owned)
            };
            proxies.extend(proxy::of_variable(&binding, path, variable, &mut faults));
        }
        faults.into_result()?;
        Ok(TenantBinding {
            binding,
            proxies,
            file,
            shape: Shape::default(),
        })
    }
}

#[cfg(feature = "watch")]
/// The tenant that a file of `tenants_dir` is for, by its path; none if it is not called as a tenant's file.
pub(crate) fn tenant_of(file: &Path) -> Option<Slug> {
    stem(file)?.to_str().and_then(|stem| Slug::new(stem).ok())
}

/// What a tenant's file is called, without the extension; none for hidden files and those of other kinds.
fn stem(file: &Path) -> Option<&OsStr> {
    let extension = file.extension()?;
    let stem = file.file_stem()?;
    let known = layers::EXTENSIONS.iter().any(|(known, _)| extension == *known);
    (known && !stem.to_string_lossy().starts_with('.')).then_some(stem)
}

fn path_of(tenant: &Slug) -> String {
    format!("tenants.{}", quoted(tenant))
}

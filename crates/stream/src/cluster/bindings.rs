//! The bucket of shared bindings: follows it, and changes it.

use async_nats::jetstream::kv;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tracer_registry_spool::Failing;

use super::context::{Cluster, again, failing};
use crate::bindings::{BindingsError, MAX_BINDING};
use crate::connection;
use crate::error::OpenError;
use crate::layout::names::{Names, escape, unescape};
use crate::options::StreamOptions;

impl Cluster {
    /// Follows the bucket of bindings.
    pub(super) async fn watch_bindings(&self) {
        again(async || {
            let bucket = self.bucket("bindings").await?;
            let failed = |error: &dyn std::error::Error| failing("the shared bindings", error);
            let status = bucket.status().await.map_err(|error| failed(&error))?;
            let mut watch = bucket.watch_with_history(">").await.map_err(|error| failed(&error))?;
            if status.info.state.messages == 0 {
                self.shared.bindings.note_empty();
            }
            while let Some(entry) = watch.next().await {
                self.shared.bindings.note(entry.map_err(|error| failed(&error))?);
            }
            Ok::<(), Failing>(())
        })
        .await;
    }
}

/// Writes a tenant's shared binding. Every replica uses it within a second.
///
/// # Errors
/// [`OpenError`] if the servers cannot be reached, refuse it, or it is larger than 256 KiB. Nothing
/// changes then.
pub async fn put_binding(options: &StreamOptions, tenant: &str, json: Bytes) -> Result<(), OpenError> {
    if json.len() > MAX_BINDING {
        return Err(refused(tenant, BindingsError::TooLarge));
    }
    let bucket = bucket(options).await?;
    let put = bucket.put(escape(tenant), json).await;
    put.map(drop).map_err(|error| refused(tenant, error))
}

/// Removes a tenant's shared binding. Returns whether there was one.
///
/// # Errors
/// [`OpenError`] if the servers cannot be reached or refuse it.
pub async fn remove_binding(options: &StreamOptions, tenant: &str) -> Result<bool, OpenError> {
    let bucket = bucket(options).await?;
    let key = escape(tenant);
    let was_there = bucket
        .get(&key)
        .await
        .map_err(|error| refused(tenant, error))?
        .is_some();
    if was_there {
        bucket.delete(&key).await.map_err(|error| refused(tenant, error))?;
    }
    Ok(was_there)
}

/// Returns the tenants with a shared binding, sorted.
///
/// # Errors
/// [`OpenError`] if the servers cannot be reached or refuse it.
pub async fn list_bindings(options: &StreamOptions) -> Result<Vec<String>, OpenError> {
    let bucket = bucket(options).await?;
    let mut keys = bucket.keys().await.map_err(|error| refused("the keys", error))?;
    let mut tenants = Vec::new();
    while let Some(key) = keys.next().await {
        tenants.extend(unescape(&key.map_err(|error| refused("the keys", error))?));
    }
    tenants.sort_unstable();
    Ok(tenants)
}

async fn bucket(options: &StreamOptions) -> Result<kv::Store, OpenError> {
    let connection = connection::connect(options).await?;
    connection.wait().await?;
    let name = Names::new(&options.prefix).bucket("bindings");
    let bucket = connection.context.get_key_value(&name).await;
    bucket.map_err(|error| refused(&name, error))
}

fn refused(name: &str, error: impl std::fmt::Display) -> OpenError {
    OpenError::Request {
        name: name.to_owned(),
        error: error.to_string(),
    }
}

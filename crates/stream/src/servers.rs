//! What the servers promise: their version, and whether they sync each write.

use async_nats::ServerInfo;
use serde::Deserialize;

use crate::error::OpenError;
use crate::http;
use crate::options::StreamOptions;

/// The oldest version that has what the stream needs: pinned clients, and batches that are
/// published as a whole.
const OLDEST: (u64, u64) = (2, 12);

/// A server, as its monitoring answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Server {
    /// The address of its monitoring.
    pub url: String,
    /// What it answers, or why it does not.
    pub state: Result<ServerState, String>,
}

/// The settings of a server that matter.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerState {
    /// The identity of its process.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether it syncs each write to disk: `sync_interval: always`.
    pub sync_always: bool,
    /// The largest message, in bytes.
    pub max_payload: u64,
    /// Servers in its cluster. 1 without a cluster.
    pub cluster_size: usize,
}

/// The part of `/varz` that is read.
#[derive(Deserialize)]
struct Varz {
    server_id: String,
    #[serde(default)]
    server_name: String,
    version: String,
    max_payload: u64,
    #[serde(default)]
    jetstream: JetStream,
}

#[derive(Default, Deserialize)]
struct JetStream {
    config: Option<JetStreamConfig>,
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct JetStreamConfig {
    // Left out if it is false.
    #[serde(default)]
    sync_always: bool,
}

#[derive(Deserialize)]
struct Meta {
    cluster_size: usize,
}

/// Asks all servers of the options at the same time.
pub(crate) async fn ask_all(options: &StreamOptions) -> Vec<Server> {
    let servers = options.monitor.iter().map(|url| async move {
        Server {
            url: url.clone(),
            state: ask(url).await,
        }
    });
    futures_util::future::join_all(servers).await
}

async fn ask(url: &str) -> Result<ServerState, String> {
    let answer = http::get(url, "/varz").await.map_err(|error| error.to_string())?;
    read(&answer)
}

fn read(answer: &[u8]) -> Result<ServerState, String> {
    let varz: Varz = serde_json::from_slice(answer).map_err(|error| format!("the answer is not of NATS: {error}"))?;
    let config = varz.jetstream.config.ok_or("JetStream is off")?;
    Ok(ServerState {
        id: varz.server_id,
        name: varz.server_name,
        version: varz.version,
        sync_always: config.sync_always,
        max_payload: varz.max_payload,
        cluster_size: varz.jetstream.meta.map_or(1, |meta| meta.cluster_size),
    })
}

/// Checks the version of the server that this process is connected to.
pub(crate) fn check_version(server: &ServerInfo) -> Result<(), OpenError> {
    if is_new_enough(&server.version) {
        return Ok(());
    }
    Err(OpenError::Version {
        server: server.server_name.clone(),
        version: server.version.clone(),
    })
}

fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map(|number| number.parse().ok());
    let version = numbers.next().flatten().zip(numbers.next().flatten());
    version.is_some_and(|version| version >= OLDEST)
}

/// Checks that servers keep what they acknowledge.
///
/// Some may be away if the majority of their cluster answers. Returns whether all answered.
///
/// # Errors
/// [`OpenError::WeakerDurability`] or [`OpenError::Version`].
pub(crate) fn durability(options: &StreamOptions, servers: &[Server]) -> Result<bool, OpenError> {
    let weaker = |why: String| Err(OpenError::WeakerDurability(why));
    let mut seen: Vec<&ServerState> = Vec::new();
    let mut away = Vec::new();
    for Server { url, state } in servers {
        match state {
            Ok(state) if !is_new_enough(&state.version) => {
                return Err(OpenError::Version {
                    server: state.name.clone(),
                    version: state.version.clone(),
                });
            }
            Ok(state) if !state.sync_always && !options.accept_weaker_durability => {
                let name = &state.name;
                return weaker(format!("sync_interval of the server {name} ({url}) is not always"));
            }
            Ok(state) if seen.iter().all(|other| other.id != state.id) => seen.push(state),
            Ok(_) => {}
            Err(error) => away.push(format!("{url}: {error}")),
        }
    }
    if options.accept_weaker_durability {
        return Ok(true);
    }
    if servers.is_empty() {
        return weaker("monitor is empty, so that sync_interval of the servers cannot be seen".to_owned());
    }
    let size = seen.iter().map(|server| server.cluster_size).max().unwrap_or(1);
    if seen.len() * 2 <= size {
        let away = away.join("; ");
        let rule = format!("only {} of {size} servers answer at monitor", seen.len());
        return weaker(if away.is_empty() {
            rule
        } else {
            format!("{rule}: {away}")
        });
    }
    if servers.len() < size {
        return weaker(format!(
            "monitor has {} addresses, and the cluster {size} servers",
            servers.len()
        ));
    }
    Ok(seen.len() >= size)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn options() -> StreamOptions {
        StreamOptions::new(Vec::new(), |_, _| false, Arc::new(|_| ()))
    }

    fn server(id: &str, sync_always: bool) -> Server {
        let state = ServerState {
            id: id.to_owned(),
            name: id.to_owned(),
            version: "2.12.0".to_owned(),
            sync_always,
            max_payload: 1 << 20,
            cluster_size: 3,
        };
        Server {
            url: format!("http://{id}:8222"),
            state: Ok(state),
        }
    }

    fn away(id: &str) -> Server {
        Server {
            state: Err("no answer".to_owned()),
            ..server(id, true)
        }
    }

    #[test]
    fn a_majority_must_sync_each_write_and_no_server_may_not() {
        let [a, b, c] = ["a", "b", "c"].map(|id| server(id, true));
        let check = |servers: &[&Server]| {
            let servers: Vec<Server> = servers.iter().map(|server| (*server).clone()).collect();
            durability(&options(), &servers).map_err(|error| error.to_string())
        };
        assert_eq!(check(&[&a, &b, &c]), Ok(true));
        assert_eq!(check(&[&a, &b, &away("c")]), Ok(false), "one may be away for a time");
        let refused = |servers: &[&Server], rule: &str| {
            let error = check(servers).expect_err(rule);
            assert!(error.contains(rule), "{error}");
        };
        refused(&[], "monitor is empty");
        refused(
            &[&a, &b, &server("c", false)],
            "sync_interval of the server c (http://c:8222) is not always",
        );
        refused(
            &[&a, &away("b"), &away("c")],
            "only 1 of 3 servers answer at monitor: http://b:8222: no answer",
        );
        refused(&[&a, &a, &a], "only 1 of 3 servers");
        refused(&[&a, &b], "monitor has 2 addresses, and the cluster 3 servers");
    }

    #[test]
    fn accepted_durability_needs_no_monitoring_but_the_version() {
        let options = StreamOptions {
            accept_weaker_durability: true,
            ..options()
        };
        let accepted = durability(&options, &[server("a", false), away("b")]);
        assert!(accepted.expect("accepted"));
        let mut old = server("a", true);
        if let Ok(state) = &mut old.state {
            state.version = "2.11.9".to_owned();
        }
        let error = durability(&options, &[old]).expect_err("too old");
        assert_eq!(
            error.to_string(),
            "the server a is version 2.11.9; the stream needs 2.12 or newer"
        );
    }

    #[test]
    fn versions() {
        for version in ["2.12.0", "2.12.0-RC.1", "2.15.1", "3.0.0", "10.0"] {
            assert!(is_new_enough(version), "{version}");
        }
        for version in ["2.11.9", "1.99.0", "", "2", "next", "2.x.1"] {
            assert!(!is_new_enough(version), "{version}");
        }
    }

    #[test]
    fn an_answer_of_another_program_is_an_error() {
        for answer in [
            "",
            "{}",
            "[]",
            "<html>",
            r#"{"server_id":"a","version":"2.12.0","max_payload":1}"#,
        ] {
            assert!(read(answer.as_bytes()).is_err(), "{answer}");
        }
    }
}

//! The connection to the servers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream;
use async_nats::{Client, ConnectOptions, Event};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time;

use crate::error::OpenError;
use crate::options::{Credentials, StreamOptions};

/// How long a request to the servers' API may take.
const API_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a start waits for the servers.
const START_TIMEOUT: Duration = Duration::from_secs(5);

/// What the client reports if the servers refuse its credentials.
const REFUSALS: [&str; 2] = ["authorization violation", "failed signing nonce"];

/// A connection, which reconnects by itself.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) context: jetstream::Context,
    /// Why the last attempt to connect failed.
    last_error: Arc<Mutex<Option<String>>>,
}

/// Connects. Returns at once if the servers cannot be reached: the client goes on to try.
pub(crate) async fn connect(options: &StreamOptions) -> Result<Connection, OpenError> {
    let last_error = Arc::<Mutex<Option<String>>>::default();
    let of_events = Arc::clone(&last_error);
    let mut connect = ConnectOptions::new()
        .name("tracer-registry")
        .retry_on_initial_connect()
        .max_reconnects(None)
        .connection_timeout(Duration::from_secs(5))
        .ping_interval(Duration::from_secs(5))
        .request_timeout(Some(API_TIMEOUT))
        .event_callback(move |event| {
            let error = match event {
                Event::ClientError(error) => Some(error.to_string()),
                Event::ServerError(error) => Some(error.to_string()),
                _ => None,
            };
            if error.is_some() {
                *of_events.lock().unwrap_or_else(PoisonError::into_inner) = error;
            }
            std::future::ready(())
        })
        .require_tls(options.tls.is_required(&options.servers));
    if let Some(ca) = &options.tls.ca {
        connect = connect.add_root_certificates(ca.clone());
    }
    if let (Some(certificate), Some(key)) = (&options.tls.certificate, &options.tls.key) {
        connect = connect.add_client_certificate(certificate.clone(), key.clone());
    }
    let connect = match &options.credentials {
        Credentials::None => connect,
        Credentials::Token(token) => connect.token(text(token).to_owned()),
        Credentials::Password(user, password) => connect.user_and_password(user.clone(), text(password).to_owned()),
        Credentials::File(file) => connect
            .credentials(text(file))
            .map_err(|_| OpenError::Credentials("no credentials file"))?,
        Credentials::Nkey(seed) => {
            // Else the client tries to log in without an end.
            if !is_seed(text(seed)) {
                return Err(OpenError::Credentials("no seed of an nkey"));
            }
            connect.nkey(text(seed).to_owned())
        }
    };
    let client = connect
        .connect(&options.servers[..])
        .await
        .map_err(|error| OpenError::Connect(error.to_string()))?;
    let mut context = jetstream::new(client.clone());
    context.set_timeout(API_TIMEOUT);
    Ok(Connection {
        client,
        context,
        last_error,
    })
}

#[expect(clippy::disallowed_methods, reason = "the client needs the text of a credential")]
fn text(secret: &SecretString) -> &str {
    secret.expose_secret()
}

/// Whether a text looks like the seed of a user's nkey: `SU` and 56 more letters in base 32.
fn is_seed(text: &str) -> bool {
    let is_base32 = |byte: u8| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte);
    text.len() == 58 && text.starts_with("SU") && text.bytes().all(is_base32)
}

impl Connection {
    pub(crate) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Returns why the last attempt to connect failed.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a server for five seconds.
    pub(crate) async fn wait(&self) -> Result<(), OpenError> {
        let connected = async {
            while !self.is_connected() {
                time::sleep(Duration::from_millis(20)).await;
            }
        };
        time::timeout(START_TIMEOUT, connected)
            .await
            .map_err(|_| match self.last_error() {
                Some(error) if REFUSALS.iter().any(|refusal| error.contains(refusal)) => OpenError::Connect(error),
                Some(error) => OpenError::Away(error),
                None => OpenError::Away(format!("no answer within {} s", START_TIMEOUT.as_secs())),
            })
    }
}

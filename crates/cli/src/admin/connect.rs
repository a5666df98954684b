//! The way to a running gateway: its address, and a token for it.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tracer_registry::KeySource;
use tracer_registry::config::Config;
use tracer_registry::gateway::read_key;
use tracer_registry::secret::{ApiKey, SecretErrorKind, SecretSources};
use tracer_registry::text::printable;
use tracer_registry_gateway::config::{AdminSettings, Settings};
use tracer_registry_gateway::{AdminClient, ClientAnswer};

use super::arguments::TOKEN_VARIABLE;
use crate::error::CliError;
use crate::json;

/// Configuration without the option.
pub(crate) const CONFIG: &str = "config";
/// Longest line of a page that does not end.
const MAX_LINE_BYTES: usize = 1 << 20;

// There is no option for the token itself: other users of the machine can read arguments.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// Configuration of the gateway. Its table [gateway.admin] has the address and the token.
    /// Default: config
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Address of the gateway, such as https://gateway.example:4320, instead of the configuration's
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) url: Option<String>,
    /// File with the token. Without this option: the configuration that --config names; else the
    /// variable TRACER_REGISTRY_ADMIN_TOKEN, then the configuration
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// Variable with the token
    #[arg(long, value_name = "NAME", conflicts_with = "token_file", global = true)]
    token_env: Option<String>,
    /// PEM file with the authority of the gateway's certificate. Default: those of this machine
    #[arg(long, value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
    /// PEM file with a certificate for this client, if the gateway asks for one
    #[arg(long, value_name = "FILE", requires = "key", global = true)]
    cert: Option<PathBuf>,
    /// PEM file with the private key of --cert
    #[arg(long, value_name = "FILE", requires = "cert", global = true)]
    key: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// A running gateway.
pub(crate) struct Gateway {
    client: AdminClient,
    runtime: Runtime,
    url: String,
    /// Where the token comes from.
    token_source: String,
}

impl Gateway {
    /// Finds the address and the token. Connects with the first request.
    pub(crate) fn connect(connection: &Connection) -> Result<Self, CliError> {
        let (url, (token, token_source)) = if let Some(url) = &connection.url {
            (url.clone(), connection.token(None)?)
        } else {
            let file = connection.config.as_deref().unwrap_or(Path::new(CONFIG));
            let config = Config::load_for_gateway(file).map_err(CliError::GatewayConfig)?;
            let settings = Settings::read(&config).map_err(CliError::GatewayConfig)?;
            let Some(admin) = &settings.admin else {
                return Err(CliError::NoAdmin(file.display().to_string()));
            };
            let url = url_of(admin.listen, settings.tls.is_some())?;
            (url, connection.token(Some((file, &config, admin)))?)
        };
        let identity = connection.cert.as_deref().zip(connection.key.as_deref());
        Ok(Self {
            client: AdminClient::new(&url, token.bearer(), connection.ca.as_deref(), identity)?,
            runtime: Builder::new_current_thread().enable_all().build()?,
            url,
            token_source,
        })
    }

    /// Gets a page.
    pub(crate) fn get(&self, path: &str) -> Result<Value, CliError> {
        json(&self.get_text(path)?)
    }

    /// Gets a page that is not JSON.
    pub(super) fn get_text(&self, path: &str) -> Result<String, CliError> {
        self.text(&self.runtime.block_on(self.client.get(path))?)
    }

    /// Asks for an action.
    pub(super) fn post(&self, path: &str) -> Result<Value, CliError> {
        json(&self.text(&self.runtime.block_on(self.client.post(path))?)?)
    }

    /// Gets a page of lines that does not end, and calls `each` with each line.
    pub(super) fn follow(
        &self,
        path: &str,
        mut each: impl FnMut(&str) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        self.runtime.block_on(async {
            let mut stream = self.client.stream(path).await?;
            let mut begun = Vec::new();
            while let Some(bytes) = stream.next().await? {
                begun.extend_from_slice(&bytes);
                while stream.status().is_success()
                    && let Some(end) = begun.iter().position(|byte| *byte == b'\n')
                {
                    let line: Vec<u8> = begun.drain(..=end).collect();
                    each(String::from_utf8_lossy(&line).trim_end())?;
                }
                if begun.len() > MAX_LINE_BYTES {
                    return Err(CliError::LongLine);
                }
            }
            if stream.status().is_success() {
                Ok(())
            } else {
                Err(self.refusal(stream.status(), &String::from_utf8_lossy(&begun)))
            }
        })
    }

    /// Returns the text of an answer, or the error of a refusal.
    fn text(&self, answer: &ClientAnswer) -> Result<String, CliError> {
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        if answer.status.is_success() {
            Ok(text)
        } else {
            Err(self.refusal(answer.status, &text))
        }
    }

    /// Returns the error of a refusal.
    fn refusal(&self, status: StatusCode, text: &str) -> CliError {
        let answer: Value = serde_json::from_str(text).unwrap_or_default();
        let (url, error) = (self.url.clone(), &answer["error"]);
        match error["message"].as_str() {
            None => CliError::NoAdminListener { url, status },
            Some(_) if status == StatusCode::UNAUTHORIZED => CliError::Unauthorized {
                url,
                token_source: self.token_source.clone(),
            },
            Some(message) => refused(message, error),
        }
    }
}

/// Returns the error of a refusal with its faults.
fn refused(message: &str, error: &Value) -> CliError {
    let mut lines = vec![message.to_owned()];
    for fault in error["faults"].as_array().into_iter().flatten() {
        let parts = ["file", "key", "message"].map(|part| fault[part].as_str());
        let parts = parts.into_iter().flatten().filter(|part| !part.is_empty());
        lines.push(parts.collect::<Vec<_>>().join(": "));
    }
    let lines = lines.iter().map(|line| printable(line).to_string());
    CliError::Refused(lines.collect::<Vec<_>>().join("\n  "))
}

fn json(text: &str) -> Result<Value, CliError> {
    serde_json::from_str(text).map_err(CliError::Answer)
}

/// Writes an answer as JSON or with `text`.
pub(super) fn write<T: DeserializeOwned, W: Write>(
    answer: &Value,
    json: bool,
    out: &mut W,
    text: impl FnOnce(&T, &mut W) -> Result<(), CliError>,
) -> Result<(), CliError> {
    if json {
        return json::write(out, answer);
    }
    text(&T::deserialize(answer).map_err(CliError::Answer)?, out)
}

impl Connection {
    /// Reads the token, and returns it with its source: of an option, of the configuration that an
    /// option names, of the variable, or of the configuration without an option.
    fn token(&self, configured: Option<(&Path, &Config, &AdminSettings)>) -> Result<(ApiKey, String), CliError> {
        if let Some(file) = &self.token_file {
            let token = read_key(&KeySource::file(file)).map_err(CliError::Token)?;
            return Ok((token, file.display().to_string()));
        }
        let variable = self.token_env.as_deref().unwrap_or(TOKEN_VARIABLE);
        let token = read_key(&KeySource::env(variable));
        let is_unset = || matches!(&token, Err(error) if *error.kind() == SecretErrorKind::Unset);
        let counts = self.token_env.is_none() && (self.config.is_some() || is_unset());
        let Some((file, config, admin)) = configured.filter(|_| counts) else {
            return Ok((token.map_err(CliError::Token)?, format!("variable {variable}")));
        };
        // Each of them is valid. Some may not be readable for this user.
        let sources = SecretSources::default();
        let mut tokens = admin.tokens.iter().map(|source| config.read_key(source, &sources));
        let first = tokens.next().unwrap_or(token);
        let token = first.or_else(|error| tokens.find_map(Result::ok).ok_or(CliError::Token(error)))?;
        Ok((token, file.display().to_string()))
    }
}

/// Returns the URL of a listener, as seen from this machine.
fn url_of(mut listen: SocketAddr, has_tls: bool) -> Result<String, CliError> {
    if listen.port() == 0 {
        return Err(CliError::NoPort);
    }
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listen.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listen.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let scheme = if has_tls { "https" } else { "http" };
    Ok(format!("{scheme}://{listen}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_listener_is_one_of_this_machine() {
        let url = |listen: &str, has_tls| url_of(listen.parse().unwrap(), has_tls).unwrap();
        assert_eq!(url("127.0.0.1:4320", false), "http://127.0.0.1:4320");
        assert_eq!(url("0.0.0.0:4320", true), "https://127.0.0.1:4320");
        assert_eq!(url("[::]:4320", true), "https://[::1]:4320");
        assert!(url_of("127.0.0.1:0".parse().unwrap(), false).is_err());
    }
}

//! Creates streams, consumers and buckets, and compares them with the options.

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{IntoConsumerConfig as _, pull};
use async_nats::jetstream::context::{
    ConsumerInfoErrorKind, CreateStreamError, CreateStreamErrorKind, GetStreamErrorKind,
};
use async_nats::jetstream::stream;
use async_nats::jetstream::{Context, ErrorCode};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::time::sleep;

use super::differences::{self, Difference};
use super::names::{CONSUMER, Names};
use super::wanted::{self, PARTITIONS, Wanted};
use crate::connection::{self, Connection};
use crate::error::OpenError;
use crate::options::StreamOptions;
use crate::servers::{self, Server};

/// Requests to the servers at the same time.
const CONCURRENT: usize = 8;

/// How long one request of [`init`] may take: servers create several streams at the same time.
const INIT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long servers that have just started may not see each other, and how often to ask.
const PEERS: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(200);

/// Differences in the message of one error.
const MAX_NAMED: usize = 5;

/// What [`init`] may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Check,
    /// Creates what is missing.
    Create,
    /// Creates what is missing, and changes settings of what differs, if the servers allow it.
    Update,
}

/// What [`init`] found and did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InitReport {
    /// The servers, by the addresses of their monitoring.
    pub servers: Vec<Server>,
    /// Why a store would not start with these servers.
    pub refused: Option<String>,
    /// Streams, consumers and buckets.
    pub things: Vec<Thing>,
}

/// A stream, consumer or bucket.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Thing {
    /// What it is.
    pub kind: ThingKind,
    /// Its name.
    pub name: String,
    /// Whether it is as configured.
    pub found: Found,
}

/// The kind of a [`Thing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThingKind {
    /// A stream.
    Stream,
    /// The consumer of a stream.
    Consumer,
    /// A bucket of the key-value store.
    Bucket,
}

/// Whether a [`Thing`] is as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It does not exist.
    Missing,
    /// It did not exist.
    Created,
    /// It is as configured.
    AsConfigured,
    /// It differed in this.
    Updated(Vec<Difference>),
    /// It differs.
    Differs {
        /// In what.
        differences: Vec<Difference>,
        /// Why the servers refused an update.
        refused: Option<String>,
    },
}

impl InitReport {
    /// Whether all is as configured now, and a store would start.
    pub fn is_as_configured(&self) -> bool {
        let differs = |thing: &Thing| matches!(thing.found, Found::Missing | Found::Differs { .. });
        self.refused.is_none() && !self.things.iter().any(differs)
    }
}

/// Creates the streams, consumers and buckets that are missing, and compares the others with the
/// options. Changes nothing that exists, unless the mode is [`Mode::Update`].
///
/// # Errors
/// [`OpenError`] if the servers cannot be reached within five seconds, refuse a request, or the
/// streams have another number of partitions. What was created stays.
///
/// # Cancel safety
/// What was created before stays. A second call creates the rest.
pub async fn init(options: &StreamOptions, mode: Mode) -> Result<InitReport, OpenError> {
    let mut connection = connection::connect(options).await?;
    connection.context.set_timeout(INIT_TIMEOUT);
    connection.wait().await?;
    servers::check_version(&connection.client.server_info())?;
    let names = Names::new(&options.prefix);
    let all = wanted::all(options, &names);
    let existing = existing(&connection.context, &all).await?;
    check_partitions(options, &existing)?;
    let things = set_up_all(&connection.context, &all, existing, mode).await?;
    let servers = servers::ask_all(options).await;
    let refused = servers::durability(options, &servers).err();
    Ok(InitReport {
        servers,
        refused: refused.map(|refused| refused.to_string()),
        things,
    })
}

/// Checks the streams before a start.
///
/// # Errors
/// [`OpenError::Streams`] if one is missing, or differs in what keeps data safe.
pub(crate) async fn check(connection: &Connection, options: &StreamOptions, names: &Names) -> Result<(), OpenError> {
    let all = wanted::all(options, names);
    let existing = existing(&connection.context, &all).await?;
    check_partitions(options, &existing)?;
    let mut problems = Vec::new();
    for thing in set_up_all(&connection.context, &all, existing, Mode::Check).await? {
        match thing.found {
            Found::Missing => problems.push(format!("{} is missing", thing.name)),
            Found::Differs { differences, .. } => {
                let stops = |difference: &&Difference| {
                    difference.stops && !(options.accept_weaker_durability && difference.field == "num_replicas")
                };
                problems.extend(differences.iter().filter(stops).map(|difference| {
                    let Difference { field, is, should, .. } = difference;
                    format!("{field} of {} is {is}, not {should}", thing.name)
                }));
            }
            Found::AsConfigured | Found::Created | Found::Updated(_) => {}
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    let more = problems.len().saturating_sub(MAX_NAMED);
    problems.truncate(MAX_NAMED);
    let mut text = problems.join("; ");
    if more > 0 {
        text = format!("{text}; and {more} more");
    }
    Err(OpenError::Streams(text))
}

async fn existing(context: &Context, all: &[Wanted]) -> Result<Vec<Option<stream::Stream>>, OpenError> {
    let existing = futures_util::stream::iter(all).map(|wanted| async {
        match context.get_stream(&wanted.stream.name).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
                _ => Err(refused(&wanted.stream.name, error)),
            },
        }
    });
    existing.buffered(CONCURRENT).try_collect().await
}

/// Refuses another number of partitions: the data of a tenant would be in two.
fn check_partitions(options: &StreamOptions, existing: &[Option<stream::Stream>]) -> Result<(), OpenError> {
    let wanted = options.partitions.to_string();
    for stream in existing.iter().flatten() {
        let config = &stream.cached_info().config;
        match config.metadata.get(PARTITIONS) {
            Some(partitions) if *partitions == wanted => {}
            Some(partitions) => {
                return Err(OpenError::Streams(format!(
                    "{} was created for {partitions} partitions, not {wanted}; their number cannot change",
                    config.name
                )));
            }
            None => {
                return Err(OpenError::Streams(format!(
                    "{} belongs to another program; choose another prefix",
                    config.name
                )));
            }
        }
    }
    Ok(())
}

async fn set_up_all(
    context: &Context,
    all: &[Wanted],
    existing: Vec<Option<stream::Stream>>,
    mode: Mode,
) -> Result<Vec<Thing>, OpenError> {
    let things = futures_util::stream::iter(all.iter().zip(existing))
        .map(|(wanted, existing)| set_up(context, wanted, existing, mode))
        .buffered(CONCURRENT);
    let things: Vec<Vec<Thing>> = things.try_collect().await?;
    Ok(things.into_iter().flatten().collect())
}

/// Handles one stream or bucket, and its consumer.
async fn set_up(
    context: &Context,
    wanted: &Wanted,
    existing: Option<stream::Stream>,
    mode: Mode,
) -> Result<Vec<Thing>, OpenError> {
    let name = &wanted.stream.name;
    let (kind, shown) = match wanted::bucket_name(name) {
        Some(bucket) => (ThingKind::Bucket, bucket),
        None => (ThingKind::Stream, name.as_str()),
    };
    let (stream, found) = match existing {
        Some(stream) => {
            let found = compare_stream(context, &stream.cached_info().config, &wanted.stream, mode).await;
            (Some(stream), found)
        }
        None if mode == Mode::Check => (None, Found::Missing),
        None => {
            let stream = create(context, &wanted.stream).await;
            (Some(stream.map_err(|error| refused(name, error))?), Found::Created)
        }
    };
    let thing = |kind, name: &str, found| Thing {
        kind,
        name: name.to_owned(),
        found,
    };
    let mut things = vec![thing(kind, shown, found)];
    if let Some(consumer) = &wanted.consumer {
        let found = match stream {
            Some(stream) => set_up_consumer(&stream, consumer, mode)
                .await
                .map_err(|error| refused(&format!("{name}/{CONSUMER}"), error))?,
            None => Found::Missing,
        };
        things.push(thing(ThingKind::Consumer, &format!("{name}/{CONSUMER}"), found));
    }
    Ok(things)
}

/// Creates a stream. Servers that have just started may not see each other yet: tries again for ten
/// seconds.
async fn create(context: &Context, config: &stream::Config) -> Result<stream::Stream, CreateStreamError> {
    let until = Instant::now() + PEERS;
    loop {
        let created = context.create_stream(config.clone()).await;
        let is_early = created.as_ref().is_err_and(|error| {
            matches!(error.kind(), CreateStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::CLUSTER_NO_PEERS)
        });
        if !is_early || Instant::now() >= until {
            return created;
        }
        sleep(AGAIN).await;
    }
}

async fn compare_stream(context: &Context, is: &stream::Config, should: &stream::Config, mode: Mode) -> Found {
    let differences = differences::of_streams(is, should);
    if differences.is_empty() {
        return Found::AsConfigured;
    }
    if mode != Mode::Update {
        return Found::differs(differences, None);
    }
    let Some(config) = differences::updated(is, should) else {
        return Found::differs(differences, None);
    };
    match context.update_stream(&config).await {
        Ok(info) => Found::after(differences, &differences::of_streams(&info.config, should)),
        Err(error) => Found::differs(differences, Some(error.to_string())),
    }
}

async fn set_up_consumer(
    stream: &stream::Stream,
    should: &pull::Config,
    mode: Mode,
) -> Result<Found, Box<dyn std::error::Error + Send + Sync>> {
    let is = match stream.consumer_info(CONSUMER).await {
        Ok(info) => info.config,
        Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => {
            if mode == Mode::Check {
                return Ok(Found::Missing);
            }
            stream.create_consumer_strict(should.clone()).await?;
            return Ok(Found::Created);
        }
        Err(error) => return Err(error.into()),
    };
    let wanted = should.clone().into_consumer_config();
    let differences = differences::of_consumers(&is, &wanted);
    if differences.is_empty() {
        return Ok(Found::AsConfigured);
    }
    if mode != Mode::Update {
        return Ok(Found::differs(differences, None));
    }
    if let Err(error) = stream.update_consumer(should.clone()).await {
        return Ok(Found::differs(differences, Some(error.to_string())));
    }
    let is = stream.consumer_info(CONSUMER).await?.config;
    Ok(Found::after(differences, &differences::of_consumers(&is, &wanted)))
}

impl Found {
    fn differs(differences: Vec<Difference>, refused: Option<String>) -> Self {
        Self::Differs { differences, refused }
    }

    /// After an update, of which the servers may ignore parts.
    fn after(before: Vec<Difference>, left: &[Difference]) -> Self {
        if left.is_empty() {
            return Self::Updated(before);
        }
        let refused = "the servers ignore a change of this setting".to_owned();
        Self::differs(left.to_vec(), Some(refused))
    }
}

fn refused(name: &str, error: impl std::fmt::Display) -> OpenError {
    OpenError::Request {
        name: name.to_owned(),
        error: error.to_string(),
    }
}

//! How a registry comes about: the engine, and the threads that some have.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use super::binding_cache::{Ageing, Answers, BindingCacheOptions, Flights, Source};
use super::bindings::Bindings;
use super::error::BuildError;
use super::handle::{Inner, TracerRegistry};
use super::lookup::SharedProjects;
use super::pool::{Pool, maintain};
use super::reload::Reloads;
#[cfg(feature = "watch")]
use super::reload::Watching;
use super::state::Live;
use super::weak::{DefaultRoute, Unrouted};
use crate::backend::Destinations;
use crate::config::Config;
use crate::export::{Accounting, Engine};
use crate::secret::{Fingerprinter, KeyReader, SecretSources};
use crate::util::fork::ForkGuard;

impl TracerRegistry {
    pub(crate) fn new(
        config: Config,
        source: Option<(Source, BindingCacheOptions)>,
        sources: SecretSources,
        fingerprinter: Fingerprinter,
    ) -> Result<Self, BuildError> {
        let reader = KeyReader::new(sources, config.has_strict_permissions());
        let engine = Engine::start(config.export().clone(), reader.clone(), fingerprinter.clone())?;
        let bell = Arc::new(Notify::new());
        let lines = Arc::clone(engine.lines());
        let pool = Arc::new(Pool::new(config.pool(), config.export().mode, Arc::clone(&bell), lines));
        let books = Arc::new(Accounting::new(Arc::clone(&bell)));
        engine.spawn(maintain(
            Arc::downgrade(&pool),
            Arc::downgrade(&books),
            bell,
            pool.period(),
        ));
        let answers = source.map(|(source, keep)| (Answers::new(source, keep), keep));
        let live = Arc::new(Live {
            reloads: Reloads::new(config.is_watched()),
            projects: SharedProjects::default(),
            bindings: Bindings::new(config, answers.as_ref().map(|(answers, _)| Arc::clone(answers))),
            pool,
            closed: AtomicBool::new(false),
            home: ForkGuard::default(),
            #[cfg(feature = "watch")]
            watch: Watching::default(),
        });
        let registry = Self(Arc::new(Inner {
            live: Arc::clone(&live),
            reader,
            fingerprinter,
            destinations: Destinations::new(engine.settings().protocol),
            unrouted: Unrouted::new(engine.boundary()),
            engine,
            books,
            default_route: DefaultRoute::default(),
            flights: Flights::default(),
            ageing: OnceLock::new(),
        }));
        let no_thread = |error: io::Error| BuildError::Thread(error.into());
        if let Some((answers, keep)) = answers {
            let ageing = Ageing::start(Arc::downgrade(&live.pool), &answers, &keep).map_err(no_thread)?;
            registry.0.ageing.get_or_init(|| ageing);
        }
        #[cfg(feature = "watch")]
        live.watch
            .start(&live.bindings.config(), Arc::downgrade(&live))
            .map_err(no_thread)?;
        Ok(registry)
    }
}

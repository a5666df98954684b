use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use secrecy::SecretString;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use super::*;
use crate::config::{Config, Document};
use crate::secret::{SecretError, SecretSources};

/// Says for each line of the log whether another thread could have the key meanwhile.
struct Asks {
    key: Arc<RotatingKey>,
    could: Sender<bool>,
}

impl<S: tracing::Subscriber> Layer<S> for Asks {
    fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
        let key = Arc::clone(&self.key);
        let (has, had) = channel();
        thread::spawn(move || has.send(key.key()));
        let could = had.recv_timeout(Duration::from_secs(10)).is_ok();
        self.could.send(could).expect("the test is there");
    }
}

#[test]
fn nothing_is_written_to_the_log_while_a_keyring_is_locked() {
    let mut sources = SecretSources::default();
    let count = AtomicU64::new(0);
    sources.insert("test", move |_: &str| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        Ok(SecretString::from(format!("key {number}")))
    });
    let config = Config::from_document(Document::default()).expect("valid");
    let store = KeyStore::new(
        KeyReader::new(sources.clone(), false),
        Fingerprinter::new(),
        config.export(),
        None,
    );
    let source = KeySource::provider("test", "key");
    let key = store.open(&source, KeyScheme::Bearer).expect("it gives one");
    let (could, heard) = channel();
    let log = tracing_subscriber::registry().with(Asks {
        key: Arc::clone(&key),
        could,
    });
    tracing::subscriber::with_default(log, || {
        for _ in 0..2 {
            key.take(store.services.begin_reading(), Err(SecretError::refused("sealed")));
        }
        key.take(store.services.begin_reading(), source.read(&sources));
    });
    assert_eq!(heard.iter().collect::<Vec<_>>(), [true, true], "the fault, and its end");
}

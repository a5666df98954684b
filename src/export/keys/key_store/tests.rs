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

/// Reports for each log line whether another thread can lock the key meanwhile.
struct LockProbe {
    key: Arc<RotatingKey>,
    is_unlocked: Sender<bool>,
}

impl<S: tracing::Subscriber> Layer<S> for LockProbe {
    fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
        let key = Arc::clone(&self.key);
        let (key_tx, key_rx) = channel();
        thread::spawn(move || key_tx.send(key.key()));
        let is_unlocked = key_rx.recv_timeout(Duration::from_secs(10)).is_ok();
        self.is_unlocked.send(is_unlocked).expect("the test holds the receiver");
    }
}

#[test]
fn log_lines_are_written_without_holding_the_key_lock() {
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
    let key = store
        .open(&source, KeyScheme::Bearer)
        .expect("the source returns a key");
    let (is_unlocked, results) = channel();
    let log = tracing_subscriber::registry().with(LockProbe {
        key: Arc::clone(&key),
        is_unlocked,
    });
    tracing::subscriber::with_default(log, || {
        for _ in 0..2 {
            key.apply_read(store.services.begin_read(), Err(SecretError::refused("sealed")));
        }
        key.apply_read(store.services.begin_read(), source.read(&sources));
    });
    assert_eq!(
        results.iter().collect::<Vec<_>>(),
        [true, true],
        "the error and its end"
    );
}

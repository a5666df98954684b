//! Who owns a partition: the books in the bucket, which only the owner can change.
//!
//! Each write names the revision that it replaces. So a process that lost the partition fails to
//! write, and acknowledges nothing that its books do not have.

use std::time::Duration;

use async_nats::jetstream::kv::{Store, UpdateErrorKind};
use async_nats::jetstream::stream::RawMessageErrorKind;
use tokio::time::timeout;
use uuid::Uuid;

use crate::books::Books;

/// How long the servers may take to answer. So short that there is another attempt before the owner
/// hands nothing out any more.
const ANSWER: Duration = Duration::from_secs(2);

/// Read and write access to the books of one partition.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    bucket: Store,
    key: String,
    process: Uuid,
    epoch: u64,
    revision: u64,
}

/// Books that were not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LeaseError {
    #[error("another process owns the partition")]
    Lost,
    #[error("the books of the partition cannot be read or written: {0}")]
    Failed(String),
}

impl Lease {
    /// Reads the books of a partition, and their revision.
    pub(crate) async fn look(bucket: &Store, partition: u16) -> Result<(Books, u64), LeaseError> {
        // The leader answers, not a copy that may lag behind.
        let subject = format!("{}{partition}", bucket.prefix);
        let read = bucket.stream.get_last_raw_message_by_subject(&subject);
        let Ok(read) = timeout(ANSWER, read).await else {
            return Err(LeaseError::Failed(format!("no answer within {ANSWER:?}")));
        };
        match read {
            Ok(message) if message.headers.get("KV-Operation").is_some() => Ok((Books::default(), message.sequence)),
            Ok(message) => match serde_json::from_slice(&message.payload) {
                Ok(books) => Ok((books, message.sequence)),
                Err(error) => Err(LeaseError::Failed(error.to_string())),
            },
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok((Books::default(), 0)),
            Err(error) => Err(LeaseError::Failed(error.to_string())),
        }
    }

    /// Takes a partition over: writes its books with a new epoch.
    pub(crate) async fn claim(
        bucket: &Store,
        partition: u16,
        process: Uuid,
        (mut books, revision): (Books, u64),
    ) -> Result<(Self, Books), LeaseError> {
        books.epoch += 1;
        books.owner = Some(process);
        let lease = Self {
            bucket: bucket.clone(),
            key: partition.to_string(),
            process,
            epoch: books.epoch,
            revision,
        };
        let lease = lease.write(&books).await?;
        Ok((lease, books))
    }

    /// Writes the books.
    pub(crate) async fn write(mut self, books: &Books) -> Result<Self, LeaseError> {
        let value = serde_json::to_vec(books).map_err(|error| LeaseError::Failed(error.to_string()))?;
        for is_first in [true, false] {
            let update = self.bucket.update(&self.key, value.clone().into(), self.revision);
            // It may succeed later.
            let Ok(update) = timeout(ANSWER, update).await else {
                return Err(LeaseError::Failed(format!("no answer within {ANSWER:?}")));
            };
            match update {
                Ok(revision) => {
                    self.revision = revision;
                    return Ok(self);
                }
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision && is_first => {
                    // An earlier write may have succeeded without an answer.
                    let partition = self.key.parse().unwrap_or_default();
                    let (found, revision) = Self::look(&self.bucket, partition).await?;
                    if (found.owner, found.epoch) != (Some(self.process), self.epoch) {
                        return Err(LeaseError::Lost);
                    }
                    self.revision = revision;
                }
                Err(error) => return Err(LeaseError::Failed(error.to_string())),
            }
        }
        Err(LeaseError::Lost)
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }
}

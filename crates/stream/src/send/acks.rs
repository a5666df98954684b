//! Acknowledgements of messages of a hot stream, by their numbers there.

use std::collections::HashMap;

use async_nats::jetstream::AckKind;
use async_nats::{Client, Subject};
use bytes::Bytes;

/// Where to acknowledge each message that is held.
pub(crate) struct Acks {
    client: Client,
    replies: HashMap<u64, Subject>,
    /// Settled since the last checkpoint.
    settled: Vec<Subject>,
}

impl Acks {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            replies: HashMap::new(),
            settled: Vec::new(),
        }
    }

    /// Notes a delivery of a message that the window holds. The last delivery counts.
    pub(crate) fn hold(&mut self, hot: u64, reply: Subject) {
        self.replies.insert(hot, reply);
    }

    /// The message is settled: it is acknowledged after the next checkpoint.
    pub(crate) fn settle(&mut self, hot: u64) {
        self.settled.extend(self.replies.remove(&hot));
    }

    /// A delivery of a message that is settled already.
    pub(crate) fn settle_again(&mut self, reply: Subject) {
        self.settled.push(reply);
    }

    /// Takes what the next checkpoint covers.
    pub(crate) fn take_settled(&mut self) -> Vec<Subject> {
        std::mem::take(&mut self.settled)
    }

    /// A checkpoint failed. What it covered waits for the next one.
    pub(crate) fn put_back(&mut self, replies: Vec<Subject>) {
        self.settled.extend(replies);
    }

    /// Acknowledges settled messages. One that is lost is delivered again, and acknowledged then.
    pub(crate) async fn acknowledge(&self, replies: Vec<Subject>) {
        for reply in replies {
            self.send(reply, AckKind::Ack).await;
        }
    }

    /// Extends the time of messages that are in work.
    pub(crate) async fn renew(&self, numbers: impl Iterator<Item = u64>) {
        for number in numbers {
            if let Some(reply) = self.replies.get(&number) {
                self.send(reply.clone(), AckKind::Progress).await;
            }
        }
    }

    /// Gives messages back, in order, and waits until the servers have all of it.
    pub(crate) async fn give_back(&mut self, numbers: impl Iterator<Item = u64>) {
        for number in numbers {
            if let Some(reply) = self.replies.remove(&number) {
                self.send(reply, AckKind::Nak(None)).await;
            }
        }
        let _ = self.client.flush().await;
    }

    /// Deletes a message that cannot be read.
    pub(crate) async fn terminate(&self, reply: Subject) {
        self.send(reply, AckKind::Term).await;
    }

    async fn send(&self, reply: Subject, kind: AckKind) {
        // Fails only if the client is closed.
        let _ = self.client.publish(reply, Bytes::from(kind)).await;
    }
}

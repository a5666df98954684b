//! Messages to lanes: partitions that this replica owns, their windows, parked tenants, and
//! acknowledgements.
//!
//! | module | owns |
//! |---|---|
//! | `balance`, `rounds` | which partitions this process claims and gives up |
//! | `lease` | the books in their bucket, which only the owner of a partition writes |
//! | `partition` | the task of one partition |
//! | `window` | the messages that it holds: pure data |
//! | `consumer`, `acks` | the hot stream |
//! | `parking`, `direct` | the parking stream |
//!
//! A partition is owned by the process that its books name. The owner of a dead process's partition is
//! the one that replaces the books first; the other writes of them fail from then on. At a take-over,
//! the new owner resets the consumer, so that the servers deliver all that is not acknowledged again,
//! in order and at once. The pinned client of the consumer's priority group keeps a process that does
//! not know yet that it lost a partition from messages.
//!
//! `Limit::before` is ignored: the numbers of the stream are not those of lanes.

use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracer_registry_spool::{Event, Lost, RowId};

use crate::commands::{ErasedQueue, SendCommand};
use crate::connection::Connection;
use crate::shared::Shared;
use count::Count;
use partition::state::{self, Claimed, Command, Ended};
use rounds::{Round, Rounds};
use sending::Sending;
use window::Orphan;

mod acks;
mod balance;
mod consumer;
mod count;
mod direct;
mod lease;
mod parking;
mod partition;
mod rounds;
mod sending;
mod timers;
mod window;

/// How often a sender looks at the others.
const ROUND: Duration = Duration::from_secs(1);
/// How long a partition that is given up waits for taken rows.
const GIVE_UP: Duration = Duration::from_secs(2);

struct Running {
    commands: mpsc::UnboundedSender<Command>,
    file: u32,
    is_given_up: bool,
}

struct Sender {
    sending: Arc<Sending>,
    partitions: BTreeMap<u16, Running>,
    tasks: JoinSet<Ended>,
    /// Rows of lost partitions that lanes still have.
    orphans: HashMap<RowId, Orphan>,
}

/// Runs until the store is closed. Ends at once if the store is dropped instead.
pub(crate) async fn run(
    connection: Connection,
    shared: Arc<Shared>,
    mut commands_rx: mpsc::UnboundedReceiver<SendCommand>,
) {
    // Without rounds, it never owns a partition.
    let mut rounds = shared.options.role.sends().then(|| Rounds::new(&connection, &shared));
    let sending = Arc::new(Sending {
        connection,
        shared,
        routes: Mutex::default(),
        owned: AtomicUsize::new(0),
    });
    let mut sender = Sender {
        sending,
        partitions: BTreeMap::new(),
        tasks: JoinSet::new(),
        orphans: HashMap::new(),
    };
    let mut round: Option<BoxFuture<'static, Round>> = None;
    let mut tick = tokio::time::interval(ROUND);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            command = commands_rx.recv() => match command {
                Some(SendCommand::Close(deadline, ended)) => {
                    sender.close(deadline).await;
                    // A partition that was claimed meanwhile is not sent from: others claim it.
                    let rounds = match round.take() {
                        Some(round) => Some(round.await.rounds),
                        None => rounds.take(),
                    };
                    if let Some(rounds) = rounds {
                        rounds.leave(deadline).await;
                    }
                    let _ = ended.send(());
                    return;
                }
                Some(command) => sender.command(command),
                None => return,
            },
            Some(ended) = sender.tasks.join_next(), if !sender.tasks.is_empty() => {
                // A task ends with an error only if it panicked or the runtime ends.
                if let Ok(ended) = ended {
                    sender.ended(ended);
                }
            }
            ended = finished(&mut round) => {
                round = None;
                let Round { rounds: again, claimed, give_up } = ended;
                rounds = Some(again);
                sender.give_up(&give_up);
                for claimed in claimed {
                    sender.start(claimed);
                }
            }
            _ = tick.tick() => {
                if let Some(rounds) = rounds.take() {
                    let own = sender.partitions.iter().filter(|(_, running)| !running.is_given_up);
                    round = Some(Box::pin(rounds.next(own.map(|(partition, _)| *partition).collect(), sender.busy())));
                }
            }
        }
    }
}

async fn finished(round: &mut Option<BoxFuture<'static, Round>>) -> Round {
    match round {
        Some(round) => round.await,
        None => pending().await,
    }
}

impl Sender {
    /// Partitions that are being given up.
    fn busy(&self) -> Vec<u16> {
        let given_up = self.partitions.iter().filter(|(_, running)| running.is_given_up);
        given_up.map(|(partition, _)| *partition).collect()
    }

    fn start(&mut self, claimed: Claimed) {
        let partition = claimed.partition;
        let (commands, commands_rx) = mpsc::unbounded_channel();
        let running = Running {
            commands,
            file: state::file_of(partition, claimed.lease.epoch()),
            is_given_up: false,
        };
        self.partitions.insert(partition, running);
        self.note_owned();
        self.tasks
            .spawn(partition::run(Arc::clone(&self.sending), claimed, commands_rx));
    }

    fn note_owned(&self) {
        let (owned, counts) = (self.partitions.len(), &self.sending.shared.counts);
        self.sending.owned.store(owned, Ordering::Relaxed);
        counts.owned.store(owned as u64, Ordering::Relaxed);
    }

    fn give_up(&mut self, partitions: &[u16]) {
        for partition in partitions {
            if let Some(running) = self.partitions.get_mut(partition) {
                running.is_given_up = true;
                let _ = running.commands.send(Command::GiveUp(Instant::now() + GIVE_UP));
            }
        }
    }

    fn command(&mut self, command: SendCommand) {
        match command {
            SendCommand::Take {
                queue,
                kind,
                limit,
                done,
            } => {
                let routes = self.sending.routes.lock().unwrap_or_else(PoisonError::into_inner);
                let partition = routes.get(&queue).copied();
                drop(routes);
                let key = (queue, kind);
                let take = Command::Take { key, limit, done };
                let running = partition.and_then(|partition| self.partitions.get(&partition));
                let refused = match running {
                    Some(running) => running.commands.send(take).err().map(|refused| refused.0),
                    None => Some(take),
                };
                if let Some(Command::Take { done, .. }) = refused {
                    done(Ok(Vec::new()));
                }
            }
            SendCommand::Release(rows) => {
                for (id, rest) in rows {
                    self.forward(id, Command::Release(vec![(id.number().cast_unsigned(), rest)]));
                }
            }
            SendCommand::Complete(rows) => {
                for id in rows {
                    self.forward(id, Command::Complete(vec![id.number().cast_unsigned()]));
                }
            }
            SendCommand::Erase(what, done) => self.erase(&what, done),
            SendCommand::Close(..) => {}
        }
    }

    fn erase(&self, what: &str, done: oneshot::Sender<(Vec<u16>, Vec<ErasedQueue>)>) {
        let mut answers = Vec::new();
        for (partition, running) in &self.partitions {
            let (erased, erased_rx) = oneshot::channel();
            if running.commands.send(Command::Erase(what.to_owned(), erased)).is_ok() {
                answers.push((*partition, erased_rx));
            }
        }
        tokio::spawn(async move {
            let (mut partitions, mut queues) = (Vec::new(), Vec::new());
            for (partition, erased) in answers {
                if let Ok(erased) = erased.await {
                    partitions.push(partition);
                    queues.extend(erased.into_iter().map(ErasedQueue::from));
                }
            }
            let _ = done.send((partitions, queues));
        });
    }

    fn forward(&mut self, id: RowId, command: Command) {
        let partition = u16::try_from(id.file() & 0xffff).unwrap_or_default();
        let running = self
            .partitions
            .get(&partition)
            .filter(|running| running.file == id.file());
        let refused = match running {
            Some(running) => running.commands.send(command).err().map(|refused| refused.0),
            None => Some(command),
        };
        if let Some(command) = refused {
            self.orphaned(id.file(), command);
        }
    }

    /// Handles a command about rows of a partition that this process does not own any more.
    fn orphaned(&mut self, file: u32, command: Command) {
        let id = |hot: u64| RowId::new(file, hot.cast_signed());
        match command {
            // The new owner sends them again.
            Command::Complete(rows) => {
                for hot in rows {
                    self.orphans.remove(&id(hot));
                }
            }
            Command::Release(rows) => {
                for (hot, rest) in rows {
                    let Some(orphan) = self.orphans.remove(&id(hot)) else {
                        continue;
                    };
                    let left = rest.map_or((orphan.items, orphan.bytes), |rest| {
                        (rest.items, rest.body.len() as u64)
                    });
                    let count = Count::of(orphan.kind, left.0, left.1);
                    let depth = count::depth(orphan.queue, &count);
                    (self.sending.shared.options.report)(Event::Lost {
                        why: Lost::Moved,
                        depth,
                    });
                }
            }
            Command::Take { done, .. } => done(Ok(Vec::new())),
            Command::GiveUp(_) | Command::Erase(..) => {}
        }
    }

    fn ended(&mut self, ended: Ended) {
        let Some(running) = self.partitions.remove(&ended.partition) else {
            return;
        };
        self.note_owned();
        let mut routes = self.sending.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.retain(|_, partition| *partition != ended.partition);
        drop(routes);
        self.orphans.extend(ended.orphans);
        for command in ended.left {
            self.orphaned(running.file, command);
        }
    }

    /// Hands all partitions over.
    async fn close(&mut self, deadline: Instant) {
        for running in self.partitions.values() {
            let _ = running.commands.send(Command::GiveUp(Instant::now()));
        }
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                if let Ok(ended) = ended {
                    self.ended(ended);
                }
            }
        };
        let _ = tokio::time::timeout_at(deadline.into(), all).await;
    }
}

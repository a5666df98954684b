//! Test receiver: an HTTP/1.1 server with scripted answers and a journal of requests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A test receiver. Its threads end with their connections.
pub(crate) struct Receiver {
    pub(crate) url: String,
    journal: Journal,
}

/// A received request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    /// Value of the `authorization` header.
    pub(crate) key: String,
    pub(crate) body: Vec<u8>,
    pub(crate) answer: u16,
}

/// Status and further headers of an answer.
pub(crate) type Answer = (u16, &'static str);

type Journal = Arc<Mutex<Vec<Seen>>>;

impl Seen {
    /// Returns whether the uncompressed body contains this text.
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.body.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

impl Receiver {
    /// Starts a receiver. `answer` is called for one request at a time, in order of arrival.
    pub(crate) fn new(answer: impl FnMut(&Seen) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let journal = Journal::default();
        let answer = Arc::new(Mutex::new(answer));
        let of_all = Arc::clone(&journal);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (answer, journal) = (Arc::clone(&answer), Arc::clone(&of_all));
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream);
                    while let Some(mut seen) = read(&mut reader) {
                        let (status, headers) = {
                            // Continue even if `answer` panicked before.
                            let mut answer = answer.lock().unwrap_or_else(PoisonError::into_inner);
                            let answered = answer(&seen);
                            seen.answer = answered.0;
                            journal.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
                            answered
                        };
                        let text = format!("HTTP/1.1 {status} x\r\n{headers}content-length: 0\r\n\r\n");
                        if reader.get_mut().write_all(text.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { url, journal }
    }

    pub(crate) fn journal(&self) -> Vec<Seen> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut seen = Seen {
        path: String::new(),
        key: String::new(),
        body: Vec::new(),
        answer: 0,
    };
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        match line.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().ok()?,
            Some(("authorization", value)) => value.clone_into(&mut seen.key),
            Some(_) => {}
            None => seen.path = line.split(' ').nth(1)?.to_owned(),
        }
    }
    reader.take(length).read_to_end(&mut seen.body).ok()?;
    Some(seen)
}

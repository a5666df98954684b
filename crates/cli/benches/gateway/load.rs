//! Clients that send requests over a few connections, each after the answer to the one before.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Result;
use crate::body::Body;
use crate::control::{Received, Receiver};
use crate::delays::Delays;
use crate::row::number;
use crate::server::Server;

/// Pause after a 503, which asks for a later attempt.
const REFUSED_PAUSE: Duration = Duration::from_millis(5);

/// Time for the process to read the receiver's last answer.
const LAST_ANSWER: Duration = Duration::from_millis(50);

/// What clients send, and how fast.
pub(crate) struct Load<'a> {
    pub(crate) port: u16,
    pub(crate) body: &'a Body,
    /// Header lines that identify the sender, used in turns.
    pub(crate) identities: &'a [String],
    pub(crate) connections: usize,
    /// Requests a second, or as many as are answered.
    pub(crate) rate: Option<f64>,
    pub(crate) time: Duration,
}

/// What became of it.
pub(crate) struct Sent {
    /// Spans of requests with the answer 200.
    pub(crate) spans: u64,
    /// Answers with another status.
    pub(crate) refused: u64,
    pub(crate) elapsed: Duration,
    /// Delay from the start of a request to its answer.
    pub(crate) answers: Delays,
}

/// A load that arrived whole.
pub(crate) struct Relayed {
    /// Processor time of the process per delivered span, in microseconds.
    pub(crate) micros: Option<f64>,
    pub(crate) sent: Sent,
    pub(crate) received: Received,
}

impl Relayed {
    /// Sends a load through a process.
    pub(crate) fn measure(load: &Load<'_>, server: &Server, receiver: &Receiver) -> Result<Self> {
        receiver.reset()?;
        let before = server.cpu();
        let sent = load.run()?;
        let arrived = receiver.wait_for(sent.spans)?;
        if arrived.spans != sent.spans {
            return Err(format!("{} spans were accepted and {} arrived", sent.spans, arrived.spans).into());
        }
        if sent.refused > 0 && load.rate.is_some() {
            eprintln!("{} requests were refused", sent.refused);
        }
        thread::sleep(LAST_ANSWER);
        let cpu = server.cpu().zip(before).map(|(after, before)| after.since(&before));
        Ok(Self {
            micros: cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / number(arrived.spans)),
            sent,
            received: arrived,
        })
    }

    pub(crate) fn is_compressed(&self) -> bool {
        self.received.compressed == self.received.requests
    }
}

impl Load<'_> {
    /// Sends as much as is answered. Returns the spans a second until all have arrived.
    pub(crate) fn highest(&self, receiver: &Receiver) -> Result<f64> {
        receiver.reset()?;
        let begun = Instant::now();
        let sent = self.run()?;
        let mut arrived = 0;
        while arrived < sent.spans {
            let more = receiver.wait_for(sent.spans)?.spans;
            if more == arrived {
                return Err(format!("{} spans were accepted and {arrived} arrived", sent.spans).into());
            }
            arrived = more;
        }
        Ok(number(arrived) / begun.elapsed().as_secs_f64())
    }

    /// Sends until the time is over.
    pub(crate) fn run(&self) -> Result<Sent> {
        let (begin, turn) = (Instant::now(), AtomicU64::new(0));
        let all = thread::scope(|scope| {
            let clients: Vec<_> = (0..self.connections)
                .map(|_| scope.spawn(|| self.client(begin, &turn)))
                .collect();
            let join = |client: thread::ScopedJoinHandle<'_, _>| client.join().map_err(|_| "a client panicked")?;
            clients.into_iter().map(join).collect::<Result<Vec<Sent>>>()
        })?;
        let mut sent = Sent::nothing();
        for client in all {
            sent.spans += client.spans;
            sent.refused += client.refused;
            sent.answers.add(&client.answers);
        }
        sent.elapsed = begin.elapsed();
        Ok(sent)
    }

    fn client(&self, begin: Instant, turn: &AtomicU64) -> Result<Sent> {
        let mut body = self.body.clone();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_nodelay(true)?;
        let mut answers = BufReader::new(stream.try_clone()?);
        let (mut sent, mut request) = (Sent::nothing(), Vec::new());
        loop {
            let turn = turn.fetch_add(1, Ordering::Relaxed);
            let due = self
                .rate
                .map_or_else(|| begin.elapsed(), |rate| Duration::from_secs_f64(number(turn) / rate));
            if due >= self.time {
                return Ok(sent);
            }
            thread::sleep(due.saturating_sub(begin.elapsed()));
            let identity = &self.identities[usize::try_from(turn)? % self.identities.len()];
            body.stamp(SystemTime::now().duration_since(UNIX_EPOCH)?);
            request.clear();
            write!(
                request,
                "POST /v1/traces HTTP/1.1\r\nhost: bench\r\n{}{identity}content-length: {}\r\n\r\n",
                body.headers,
                body.bytes.len()
            )?;
            request.extend_from_slice(&body.bytes);
            let started = Instant::now();
            stream.write_all(&request)?;
            let status = read_answer(&mut answers)?;
            sent.answers.note(started.elapsed());
            match status {
                200 => sent.spans += body.spans,
                // Beyond a quota. A client with a rate does not send it again.
                429 => sent.refused += 1,
                503 => {
                    sent.refused += 1;
                    thread::sleep(REFUSED_PAUSE);
                }
                other => return Err(format!("the answer to a request is {other}").into()),
            }
        }
    }
}

impl Sent {
    fn nothing() -> Self {
        Self {
            spans: 0,
            refused: 0,
            elapsed: Duration::ZERO,
            answers: Delays::new(),
        }
    }
}

/// Reads an answer and returns its status.
fn read_answer(answers: &mut BufReader<TcpStream>) -> Result<u16> {
    let (mut line, mut length) = (String::new(), 0);
    answers.read_line(&mut line)?;
    let status = line.split(' ').nth(1).ok_or("the answer is cut")?.parse()?;
    loop {
        line.clear();
        answers.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse()?;
        }
    }
    let read = std::io::copy(&mut answers.take(length), &mut std::io::sink())?;
    if read < length {
        return Err("the answer is cut".into());
    }
    Ok(status)
}

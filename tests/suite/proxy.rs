//! A proxy that records what passes through it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What a proxy does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ProxyRule {
    /// Forwards every request.
    Open,
    /// Forwards requests whose `Proxy-Authorization` is one of these.
    RequireCredentials(&'static [&'static str]),
    /// Answers every request with this text.
    Respond(&'static str),
}

pub(crate) struct Proxy {
    pub(crate) url: String,
    recorded: Arc<Recorded>,
}

#[derive(Default)]
struct Recorded {
    heads: Mutex<Vec<String>>,
    /// All bytes that clients sent, including heads.
    bytes: Mutex<Vec<u8>>,
}

impl Proxy {
    pub(crate) fn start(rule: ProxyRule) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let recorded = Arc::new(Recorded::default());
        let for_thread = Arc::clone(&recorded);
        // Ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let recorded = Arc::clone(&for_thread);
                // The client reports a broken connection.
                std::thread::spawn(move || drop(serve(stream, rule, &recorded)));
            }
        });
        Self { url, recorded }
    }

    /// Returns the head of each connection, with header names in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.recorded.heads.lock().expect("not poisoned").clone()
    }

    pub(crate) fn saw(&self, text: &str) -> bool {
        let bytes = self.recorded.bytes.lock().expect("not poisoned");
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

fn serve(mut client: TcpStream, rule: ProxyRule, recorded: &Arc<Recorded>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let early = reader.buffer().to_vec();
    recorded.heads.lock().expect("not poisoned").push(head.clone());
    let mut bytes = recorded.bytes.lock().expect("not poisoned");
    bytes.extend_from_slice(head.as_bytes());
    bytes.extend_from_slice(&early);
    drop(bytes);
    let refusal = match rule {
        ProxyRule::Open => None,
        ProxyRule::RequireCredentials(accepted) => {
            let given = head.lines().find_map(|line| line.strip_prefix("proxy-authorization: "));
            let is_accepted = given.is_some_and(|given| accepted.contains(&given));
            (!is_accepted).then_some("HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
        }
        ProxyRule::Respond(text) => Some(text),
    };
    if let Some(refusal) = refusal {
        return client.write_all(refusal.as_bytes());
    }
    let target = head.split(' ').nth(1).expect("a request line");
    let is_connect = head.starts_with("CONNECT ");
    let authority = target.trim_start_matches("http://").split('/').next().expect("a host");
    let mut server = TcpStream::connect(authority)?;
    if is_connect {
        client.write_all(b"HTTP/1.1 200 Connection established\r\nvia: a test\r\n\r\n")?;
    } else {
        server.write_all(head.as_bytes())?;
    }
    server.write_all(&early)?;
    let (mut back, mut to_client) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut back, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let mut buffer = [0; 4096];
    loop {
        let read = client.read(&mut buffer)?;
        if read == 0 {
            return server.shutdown(Shutdown::Both);
        }
        let sent = &buffer[..read];
        recorded.bytes.lock().expect("not poisoned").extend_from_slice(sent);
        server.write_all(sent)?;
    }
}

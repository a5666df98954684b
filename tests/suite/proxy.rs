//! A proxy that remembers what went through it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What a proxy does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    /// Lets everything through.
    Open,
    /// Lets those through whose `Proxy-Authorization` is one of these.
    For(&'static [&'static str]),
    /// Answers CONNECT with this.
    Answers(&'static str),
}

pub(crate) struct Proxy {
    pub(crate) url: String,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    heads: Mutex<Vec<String>>,
    /// Everything that clients sent, heads included.
    bytes: Mutex<Vec<u8>>,
}

impl Proxy {
    pub(crate) fn start(rule: Rule) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let seen = Arc::new(Seen::default());
        let for_thread = Arc::clone(&seen);
        // Ends with the process: it does nothing that a test waits for.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&for_thread);
                // A connection that breaks is the client's to tell.
                std::thread::spawn(move || drop(serve(stream, rule, &seen)));
            }
        });
        Self { url, seen }
    }

    /// The heads that began a connection, in lower case but for the first line and values.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.seen.heads.lock().expect("not poisoned").clone()
    }

    pub(crate) fn saw(&self, text: &str) -> bool {
        let bytes = self.seen.bytes.lock().expect("not poisoned");
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

fn serve(mut client: TcpStream, rule: Rule, seen: &Arc<Seen>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let early = reader.buffer().to_vec();
    seen.heads.lock().expect("not poisoned").push(head.clone());
    let mut bytes = seen.bytes.lock().expect("not poisoned");
    bytes.extend_from_slice(head.as_bytes());
    bytes.extend_from_slice(&early);
    drop(bytes);
    let refusal = match rule {
        Rule::Open => None,
        Rule::For(known) => {
            let given = head.lines().find_map(|line| line.strip_prefix("proxy-authorization: "));
            let is_known = given.is_some_and(|given| known.contains(&given));
            (!is_known).then_some("HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
        }
        Rule::Answers(text) => Some(text),
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
        seen.bytes.lock().expect("not poisoned").extend_from_slice(sent);
        server.write_all(sent)?;
    }
}

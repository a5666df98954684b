//! A client's connection to a gateway.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use crate::support::LONG;

/// The token of the caller that sends for all tenants.
pub(crate) const TOKEN: &str = "a-long-token-of-all";

/// A connection that stays open for the next request, unless there was no answer with 200.
#[derive(Default)]
pub(crate) struct Connection {
    open: Option<(String, BufReader<TcpStream>)>,
}

impl Connection {
    /// Posts spans, and returns the status of the answer.
    pub(crate) fn post(&mut self, address: &str, tenant: u64, spans: &[u64]) -> io::Result<u16> {
        let open = self.open.take().filter(|(of, _)| of == address);
        let mut stream = if let Some((_, stream)) = open {
            stream
        } else {
            let stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(LONG))?;
            stream.set_nodelay(true)?;
            BufReader::new(stream)
        };
        stream.get_mut().write_all(request(tenant, spans).as_bytes())?;
        let status = read_answer(&mut stream)?;
        if status == 200 {
            self.open = Some((address.to_owned(), stream));
        }
        Ok(status)
    }
}

fn request(tenant: u64, spans: &[u64]) -> String {
    let mut list = String::new();
    for span in spans {
        let comma = if list.is_empty() { "" } else { "," };
        let _ = write!(
            list,
            r#"{comma}{{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"{:016x}","name":"t{tenant}"}}"#,
            span + 1
        );
    }
    let body = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{list}]}}]}}]}}"#);
    format!(
        "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\nx-tenant: t{tenant}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Reads a whole answer, and returns its status.
fn read_answer(stream: &mut BufReader<TcpStream>) -> io::Result<u16> {
    let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(|_| cut())?;
        }
    }
    let read = io::copy(&mut stream.by_ref().take(length), &mut io::sink())?;
    if read < length {
        return Err(cut());
    }
    status.ok_or_else(cut)
}

//! One GET of a server's monitoring, bounded in time and bytes.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The largest answer, head included.
const MAX_BYTES: u64 = 1 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GetError {
    /// The address is not one of a server's monitoring.
    #[error("the address is not http://host:port")]
    Address,
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// There was no answer in time.
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    /// The answer is longer than the bound.
    #[error("the answer is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// What answers is no HTTP server.
    #[error("the answer is not HTTP")]
    NotHttp,
    /// The status is not 200.
    #[error("status {0}")]
    Status(u16),
}

/// Returns the host and port of `http://host:port`, without a path.
pub(crate) fn authority(url: &str) -> Option<&str> {
    let authority = url.strip_prefix("http://")?;
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let (host, port) = authority.rsplit_once(':')?;
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let valid = !host.is_empty() && host.bytes().all(is_host) && port.parse().is_ok_and(|port: u16| port != 0);
    valid.then_some(authority)
}

/// Returns the body of `path` at `url`, which is `http://host:port`.
pub(crate) async fn get(url: &str, path: &str) -> Result<Vec<u8>, GetError> {
    let authority = authority(url).ok_or(GetError::Address)?;
    let answer = time::timeout(TIMEOUT, answer(authority, path));
    let answer = answer.await.map_err(|_| GetError::TimedOut)??;
    if answer.len() as u64 > MAX_BYTES {
        return Err(GetError::TooLong);
    }
    body(answer)
}

async fn answer(authority: &str, path: &str) -> Result<Vec<u8>, std::io::Error> {
    let mut connection = TcpStream::connect(authority).await?;
    // A server ends the connection after an answer of HTTP/1.0, which has no chunks.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {authority}\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.take(MAX_BYTES + 1).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn body(mut answer: Vec<u8>) -> Result<Vec<u8>, GetError> {
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let head = head.ok_or(GetError::NotHttp)?;
    let line = std::str::from_utf8(&answer[..head])
        .ok()
        .and_then(|head| head.lines().next());
    let status = line.filter(|line| line.starts_with("HTTP/1."));
    let status = status.and_then(|line| line.split(' ').nth(1)?.parse().ok());
    match status.ok_or(GetError::NotHttp)? {
        200 => Ok(answer.split_off(head + 4)),
        status => Err(GetError::Status(status)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Returns the address of a server that sends `answer` to one client.
    async fn server(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.expect("a client");
            let mut request = [0; 1024];
            let length = client.read(&mut request).await.expect("a request");
            assert!(request[..length].starts_with(b"GET /varz HTTP/1.0\r\n"));
            let _ = client.write_all(answer).await;
        });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn an_answer_has_a_status_and_a_body() {
        let url = server(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n{}").await;
        assert_eq!(get(&url, "/varz").await.expect("an answer"), b"{}");
        let url = server(b"HTTP/1.1 503 Service Unavailable\r\n\r\n{}").await;
        assert!(matches!(get(&url, "/varz").await, Err(GetError::Status(503))));
        let url = server(b"220 mail.example ESMTP\r\n\r\n").await;
        assert!(matches!(get(&url, "/varz").await, Err(GetError::NotHttp)));
        let url = server(b"HTTP/1.0 200 OK\r\n").await;
        assert!(matches!(get(&url, "/varz").await, Err(GetError::NotHttp)));
    }

    #[tokio::test]
    async fn a_long_answer_is_refused() {
        let url = server(vec![b'a'; 3 << 20].leak()).await;
        assert!(matches!(get(&url, "/varz").await, Err(GetError::TooLong)));
    }

    #[test]
    fn addresses_of_monitoring() {
        for url in ["http://127.0.0.1:8222", "http://nats-0.nats:8222/", "http://[::1]:8222"] {
            assert!(authority(url).is_some(), "{url}");
        }
        for url in [
            "https://a:1",
            "http://a",
            "http://:1",
            "http://a:0",
            "http://u@a:1",
            "http://a:1/x",
            "http://a b:1",
        ] {
            assert_eq!(authority(url), None, "{url}");
        }
    }
}

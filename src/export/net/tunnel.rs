//! CONNECT tunnels through a proxy, which sees only host and port (RFC 9110, 9.3.6).

use http::Uri;
use secrecy::zeroize::Zeroizing;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::proxy::Proxy;

/// Most bytes of the proxy's answer to read.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// Opens a tunnel to a server.
pub(crate) async fn tunnel(mut stream: TcpStream, to: &Uri, proxy: &Proxy) -> Result<TcpStream, String> {
    let failed = |message: &str| format!("the proxy {}: {message}", proxy.origin());
    let broken = |error: std::io::Error| failed(&error.to_string());
    let host = to.host().ok_or_else(|| failed("the endpoint has no host"))?;
    let default_port = if to.scheme_str() == Some("https") { 443 } else { 80 };
    let port = to.port_u16().unwrap_or(default_port);
    // Wiped, because it contains the credentials. Allocated once, because a growing buffer leaves
    // copies behind.
    let mut request = Zeroizing::new(Vec::with_capacity(MAX_HEAD_BYTES * 2));
    request.extend_from_slice(format!("CONNECT {host}:{port} HTTP/1.1\r\nhost: {host}:{port}\r\n").as_bytes());
    let authorization = proxy.authorization();
    if let Some(value) = &authorization {
        request.extend_from_slice(b"proxy-authorization: ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await.map_err(broken)?;
    let head = head(&mut stream).await.map_err(broken)?;
    let status = status(&head).ok_or_else(|| failed("answer to CONNECT is not HTTP"))?;
    match status {
        200..=299 => Ok(stream),
        407 if authorization.is_none() => Err(failed("requires credentials (407), but none are configured")),
        407 => Err(failed("refused the credentials (407)")),
        other => Err(failed(&format!("answered CONNECT with {other}"))),
    }
}

/// Reads the head of the answer byte by byte, because the bytes after it belong to the tunnel.
async fn head(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(256);
    while head.len() < MAX_HEAD_BYTES && !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

/// Returns the status of a complete head.
fn status(head: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(head.strip_suffix(b"\r\n\r\n")?).ok()?;
    let rest = text.strip_prefix("HTTP/1.")?;
    let digits = rest.get(2..5)?;
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

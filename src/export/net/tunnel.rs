//! CONNECT: a way through a proxy on which the proxy sees nothing but where it leads (RFC 9110, 9.3.6).

use http::Uri;
use secrecy::zeroize::Zeroizing;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::proxy::Proxy;

/// How much of the proxy's answer is read.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// Asks a proxy for the way to a server.
pub(crate) async fn tunnel(mut stream: TcpStream, to: &Uri, proxy: &Proxy) -> Result<TcpStream, String> {
    let said = |what: &str| format!("the proxy {}: {what}", proxy.origin());
    let broken = |error: std::io::Error| said(&error.to_string());
    let host = to.host().ok_or_else(|| said("the endpoint has no host"))?;
    let of_scheme = if to.scheme_str() == Some("https") { 443 } else { 80 };
    let port = to.port_u16().unwrap_or(of_scheme);
    // Wiped, for the credentials are in it; made in one piece, so that none are left behind.
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
    let status = status(&head).ok_or_else(|| said("answered CONNECT with something else than HTTP"))?;
    match status {
        200..=299 => Ok(stream),
        407 if authorization.is_none() => Err(said(
            "wants credentials (407); say where they come from with credentials",
        )),
        407 => Err(said("refused the credentials (407)")),
        other => Err(said(&format!("answered CONNECT with {other}"))),
    }
}

/// The head of the answer. Byte for byte: what is behind it is the server's.
async fn head(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(256);
    while head.len() < MAX_HEAD_BYTES && !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

/// The status of a head that is whole.
fn status(head: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(head.strip_suffix(b"\r\n\r\n")?).ok()?;
    let rest = text.strip_prefix("HTTP/1.")?;
    let digits = rest.get(2..5)?;
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

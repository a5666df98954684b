use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const TOKEN: &str = "Bearer a-token-of-the-client";

fn client(url: &str) -> Result<AdminClient, ClientError> {
    AdminClient::new(url, HeaderValue::from_static(TOKEN), None, None)
}

/// Starts a server that answers one request. Returns its URL and a task with the request.
async fn server(answer: &'static [u8]) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let served = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(connection.read_u8().await.expect("a head"));
        }
        connection.write_all(answer).await.expect("an open connection");
        String::from_utf8(head).expect("text")
    });
    (url, served)
}

#[tokio::test]
async fn a_request_carries_the_token_and_any_status_is_an_answer() {
    let (url, served) = server(b"HTTP/1.1 409 Conflict\r\ncontent-length: 2\r\n\r\n{}").await;
    let answer = client(&url)
        .expect("valid")
        .post("/api/reload?a=b")
        .await
        .expect("an answer");
    assert_eq!(
        (answer.status, answer.body.as_ref()),
        (StatusCode::CONFLICT, b"{}".as_slice())
    );
    let request = served.await.expect("no panic");
    assert!(request.starts_with("POST /api/reload?a=b HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("authorization: {TOKEN}\r\n")), "{request}");
}

#[tokio::test]
async fn a_stream_returns_what_arrives_until_it_ends() {
    let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n";
    let (url, _served) = server(answer).await;
    let mut stream = client(&url)
        .expect("valid")
        .stream("/api/events")
        .await
        .expect("an answer");
    assert_eq!(stream.status(), StatusCode::OK);
    let mut read = Vec::new();
    while let Some(bytes) = stream.next().await.expect("unbroken") {
        read.extend_from_slice(&bytes);
    }
    assert_eq!(read, b"onetwo");
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_an_error_with_its_cause_and_no_token() {
    let (url, _served) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort").await;
    let error = client(&url)
        .expect("valid")
        .get("/api/config")
        .await
        .expect_err("cut off");
    let text = error.to_string();
    assert!(text.starts_with(&format!("{url} cannot be reached: ")), "{text}");
    assert!(!format!("{error:?}").contains("a-token"), "{error:?}");
    let closed = client("http://127.0.0.1:9").expect("valid").get("/").await;
    let text = closed.expect_err("no listener").to_string();
    assert!(text.contains("refused"), "{text}");
}

#[tokio::test]
async fn an_answer_beyond_the_limits_is_an_error() {
    let request = |url: &str| {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = url.parse().expect("a URL");
        request
    };
    let http = HttpClient::new(false, None, None).expect("no certificates");
    let (url, _served) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n123456789").await;
    let large = http.send(request(&url), TIMEOUT, 8).await;
    assert!(matches!(large, Err(ClientError::Connection { .. })), "{large:?}");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let silent = http.send(request(&url), Duration::from_millis(50), 8).await;
    assert!(matches!(silent, Err(ClientError::Timeout { .. })), "{silent:?}");
}

#[test]
fn a_url_that_would_show_the_token_or_means_something_else_is_refused() {
    for url in [
        "http://127.0.0.1:4320",
        "http://[::1]:4320/",
        "http://localhost",
        "http://LOCALHOST:1",
    ] {
        assert!(client(url).is_ok(), "{url}");
    }
    for url in [
        "http://gateway.internal:4320",
        "http://10.0.0.1",
        "http://localhost.evil.example",
        "ftp://127.0.0.1",
        "127.0.0.1:4320",
        "http://user:password@127.0.0.1",
        "http://127.0.0.1/api",
        "http://127.0.0.1/?a=b",
        "",
    ] {
        assert!(matches!(client(url), Err(ClientError::Url { .. })), "{url}");
    }
}

#[test]
fn a_file_without_a_certificate_is_refused() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("ca.pem");
    let read = || {
        AdminClient::new(
            "https://gateway.internal",
            HeaderValue::from_static(TOKEN),
            Some(&file),
            None,
        )
    };
    assert!(matches!(read(), Err(ClientError::Certificates(_))), "there is no file");
    std::fs::write(&file, "no certificate").expect("written");
    assert!(
        matches!(read(), Err(ClientError::Certificates(_))),
        "there is no certificate"
    );
}

#[tokio::test]
async fn only_a_certificate_of_the_given_authority_is_trusted() {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .expect("a usable certificate");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("https://localhost:{}", listener.local_addr().expect("bound").port());
    tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.expect("a connection");
            // Fails for the client that does not trust the certificate.
            if let Ok(mut connection) = acceptor.accept(connection).await {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                drop(connection.write_all(answer).await);
                drop(connection.shutdown().await);
            }
        }
    });
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, cert.pem()).expect("written");
    let trusting = AdminClient::new(&url, HeaderValue::from_static(TOKEN), Some(&file), None).expect("valid");
    assert_eq!(trusting.get("/").await.expect("trusted").status, StatusCode::OK);
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(&file, other.cert.pem()).expect("written");
    let wary = AdminClient::new(&url, HeaderValue::from_static(TOKEN), Some(&file), None).expect("valid");
    assert!(matches!(wary.get("/").await, Err(ClientError::Connection { .. })));
}

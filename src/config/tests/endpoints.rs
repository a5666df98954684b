//! Valid and invalid endpoint URLs.

use crate::config::Endpoint;

#[test]
fn absolute_http_urls_are_valid_endpoints() {
    for (text, shown) in [
        ("http://localhost", "http://localhost"),
        ("http://localhost:4318/", "http://localhost:4318"),
        ("HTTPS://Collector.Example/Path//", "https://collector.example/Path"),
        ("https://collector.example:443/otlp", "https://collector.example/otlp"),
        ("http://[::1]:4318", "http://[::1]:4318"),
        ("http://127.0.0.1:65535/a/b", "http://127.0.0.1:65535/a/b"),
        ("http://host//a", "http://host//a"),
        ("http://xn--bcher-kva.example", "http://xn--bcher-kva.example"),
    ] {
        assert_eq!(
            Endpoint::new(text).map(|endpoint| endpoint.to_string()),
            Ok(shown.to_owned()),
            "{text}"
        );
    }
}

#[test]
fn invalid_endpoints_are_refused_and_never_repeated() {
    for text in [
        "",
        "/",
        "//",
        "localhost",
        "localhost:4318",
        "http",
        "http:",
        "http://",
        "http:///path",
        "http:/host",
        "http://:80",
        "http://:",
        "http://host:99999",
        "http://host:0",
        "http://host:-1",
        "http://host:port",
        "http://[::1",
        "http://[zz]",
        "http://1.2.3.4.5",
        "http://1.2.3.256",
        "http://host/a/../b",
        "http://bücher.example",
        "http://host/ü",
        " http://host",
        "http://host ",
        "http://ho st",
        "http://host/\tpath",
        "http://host\n",
        "http://host\0",
        "http:\\\\host",
        "http://host\\path",
        "ftp://host",
        "file:///etc/passwd",
        "unix:///run/otel.sock",
        "hh_canary_key",
        "http://user:hh_canary_key@host",
        "http://hh_canary_key@host",
        "https://host/?key=hh_canary_key",
        "https://host/#hh_canary_key",
        "hh_canary_key://host",
    ] {
        let error = Endpoint::new(text).expect_err(text);
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    }
}

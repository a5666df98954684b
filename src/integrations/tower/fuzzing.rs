//! Fuzz target: the tenant that a request to a server names.

use http::header::HOST;
use http::{HeaderName, HeaderValue, Request, Uri};

use super::source::{RequestedTenant, TenantSource};
use crate::selector::Slug;

/// Reads a URL and headers, one a line. Returns whether any source finds a valid tenant.
///
/// # Panics
/// Panics if a tenant is not what the request names, or if a source chooses among several.
pub fn tower(data: &[u8]) -> bool {
    let mut lines = data.split(|byte| *byte == b'\n');
    let Ok(uri) = Uri::try_from(lines.next().unwrap_or_default()) else {
        return false;
    };
    let (mut request, ()) = Request::new(()).into_parts();
    request.uri = uri;
    for line in lines {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().and_then(|name| HeaderName::from_bytes(name).ok());
        let value = parts
            .next()
            .and_then(|value| HeaderValue::from_bytes(value.trim_ascii()).ok());
        if let (Some(name), Some(value)) = (name, value) {
            request.headers.append(name, value);
        }
    }
    let read = |source: TenantSource| match source.read(&request) {
        Ok(RequestedTenant::Slug(slug)) => Some(slug.into_owned()),
        Ok(RequestedTenant::Selector(_)) => unreachable!("only functions return selectors"),
        Err(error) => {
            let error = error.to_string();
            assert!(!error.contains(char::is_control), "{error}");
            None
        }
    };
    let all = |name: HeaderName| -> Vec<&[u8]> {
        let values = request.headers.get_all(name).iter();
        values.map(HeaderValue::as_bytes).collect()
    };
    let tenant = HeaderName::from_static("x-tenant");
    let in_header = read(TenantSource::header(tenant.clone()));
    if let Some(in_header) = &in_header {
        assert_eq!(all(tenant), [in_header.as_bytes()]);
    }
    let host = read(TenantSource::host());
    let label = read(TenantSource::first_host_label());
    if let Some(host) = &host {
        let in_url = request.uri.authority().map(|authority| authority.as_str().to_owned());
        let in_headers = all(HOST)
            .into_iter()
            .map(|value| String::from_utf8_lossy(value).into_owned());
        let hosts: Vec<String> = in_url.into_iter().chain(in_headers).collect();
        assert!((1..=2).contains(&hosts.len()));
        for written in hosts {
            let written = written.trim_start_matches('[').to_ascii_lowercase();
            assert!(written.starts_with(host.as_str()), "{host} of {written}");
        }
        assert!(label.is_none_or(|label| host.starts_with(&format!("{label}."))));
    } else {
        assert_eq!(label, None);
    }
    let segments: Vec<Option<String>> = (0..3).map(|index| read(TenantSource::path_segment(index))).collect();
    let expected: Vec<Option<String>> = (1..4)
        .map(|index| request.uri.path().split('/').nth(index).map(str::to_owned))
        .collect();
    assert!(segments == expected || !request.uri.path().starts_with('/'));
    let mut found = segments.into_iter().chain([in_header, host]).flatten();
    found.any(|name| Slug::new(&name).is_ok())
}

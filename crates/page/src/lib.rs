//! Files that the web pages of the local collector and of the gateway share.
//!
//! The pages have no build step: the files in `assets` are what a browser gets. They load nothing
//! from elsewhere. The script writes text with `textContent` alone, and [`HEADERS`] make the
//! browser refuse markup from text, inline scripts, inline styles and other hosts.

/// A file of a page.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Path of its URL.
    pub path: &'static str,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Content.
    pub body: &'static str,
}

/// `Content-Type` of a page.
pub const HTML: &str = "text/html; charset=utf-8";
/// `Content-Type` of a style sheet.
pub const CSS: &str = "text/css; charset=utf-8";
/// `Content-Type` of a script.
pub const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// The shared files. The page's own files use them by these paths.
pub const SHARED: [Asset; 3] = [
    Asset {
        path: "/page/shared.css",
        content_type: CSS,
        body: include_str!("../assets/shared.css"),
    },
    Asset {
        path: "/page/shared.js",
        content_type: JAVASCRIPT,
        body: include_str!("../assets/shared.js"),
    },
    Asset {
        path: "/page/icon.svg",
        content_type: "image/svg+xml",
        body: include_str!("../assets/icon.svg"),
    },
];

/// Headers of each response with a file of a page.
///
/// `require-trusted-types-for` without a policy: assigning text as markup is an error.
pub const HEADERS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_allows_nothing_inline_and_no_other_host() {
        let (_, policy) = HEADERS[0];
        assert!(policy.starts_with("default-src 'none';"));
        for source in ["unsafe", "http", "data:", "*"] {
            assert!(!policy.contains(source), "{source}");
        }
    }

    #[test]
    fn shared_files_load_nothing_from_elsewhere_and_make_no_markup_from_text() {
        for asset in SHARED {
            let body = asset.body.replace("http://www.w3.org/2000/svg", "");
            for word in [
                "http://",
                "https://",
                "innerHTML",
                "outerHTML",
                "insertAdjacent",
                "eval(",
                "@import",
            ] {
                assert!(!body.contains(word), "{}: {word}", asset.path);
            }
        }
    }
}

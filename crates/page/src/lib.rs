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

impl Asset {
    /// A page.
    pub const fn html(path: &'static str, body: &'static str) -> Self {
        Self::new(path, "text/html; charset=utf-8", body)
    }

    /// A style sheet.
    pub const fn css(path: &'static str, body: &'static str) -> Self {
        Self::new(path, "text/css; charset=utf-8", body)
    }

    /// A script.
    pub const fn javascript(path: &'static str, body: &'static str) -> Self {
        Self::new(path, "text/javascript; charset=utf-8", body)
    }

    const fn new(path: &'static str, content_type: &'static str, body: &'static str) -> Self {
        Self {
            path,
            content_type,
            body,
        }
    }

    /// Returns what no file of a page may have, if this one has it: an address of another host, or
    /// a way to make markup from text, to run text, or to style inline. For the tests of pages.
    pub fn forbidden(&self) -> Option<&'static str> {
        const WORDS: [&str; 8] = [
            "://",
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "eval(",
            "@import",
            " style=",
            "<style",
        ];
        // The name of a format, which no browser loads.
        let body = self.body.replace("http://www.w3.org/2000/svg", "");
        WORDS.into_iter().find(|word| body.contains(word))
    }
}

/// The shared files. The page's own files use them by these paths.
pub const SHARED: [Asset; 3] = [
    Asset::css("/page/shared.css", include_str!("../assets/shared.css")),
    Asset::javascript("/page/shared.js", include_str!("../assets/shared.js")),
    Asset::new("/page/icon.svg", "image/svg+xml", include_str!("../assets/icon.svg")),
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
            assert_eq!(asset.forbidden(), None, "{}", asset.path);
        }
        let asset = Asset::html("/", "<p style='color: red'>");
        assert_eq!(asset.forbidden(), Some(" style="));
    }
}

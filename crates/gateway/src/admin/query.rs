//! Parameters of a request: each is known, occurs once, and is bounded.

use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::refusal::{Refusal, quoted};

/// Longest value of a parameter in bytes.
const MAX_VALUE_BYTES: usize = 512;

/// The parameters of a request, decoded.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(&'static str, String)>);

impl Query {
    /// Reads the part of a URI after the question mark.
    ///
    /// # Errors
    /// If a parameter is unknown, repeated, too long or not UTF-8.
    pub(super) fn parse(text: Option<&str>, known: &[&'static str]) -> Result<Self, Refusal> {
        let mut query = Self::default();
        let pairs = text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        for pair in pairs {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(name) = known.iter().find(|known| **known == name) else {
                return Err(Refusal::parameter(unknown(name, known)));
            };
            if query.text(name).is_some() {
                return Err(Refusal::parameter(format!("parameter {name} is repeated")));
            }
            let value = percent_decode_str(value).decode_utf8();
            match value {
                Ok(value) if value.len() <= MAX_VALUE_BYTES => query.0.push((name, value.into_owned())),
                Ok(_) => {
                    let rule = format!("parameter {name} is longer than {MAX_VALUE_BYTES} bytes");
                    return Err(Refusal::parameter(rule));
                }
                Err(_) => return Err(Refusal::parameter(format!("parameter {name} is not UTF-8"))),
            }
        }
        Ok(query)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let value = self.0.iter().find(|(known, _)| *known == name);
        value.map(|(_, value)| value.as_str())
    }

    /// Returns a parsed parameter.
    ///
    /// # Errors
    /// If it is not what is expected.
    pub(super) fn parsed<T>(
        &self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let refusal = || {
            let found = quoted(text);
            Refusal::parameter(format!("parameter {name}: expected {expected}, found {found}"))
        };
        parse(text).map(Some).ok_or_else(refusal)
    }

    /// Returns a number in a range.
    pub(super) fn number(&self, name: &str, from: usize, to: usize) -> Result<Option<usize>, Refusal> {
        let expected = format!("a number from {from} to {to}");
        self.parsed(name, &expected, |text| {
            let number = usize::from_str(text).ok();
            number.filter(|number| (from..=to).contains(number) && !text.starts_with('+'))
        })
    }

    /// Returns `true`, `false`, or `default` without the parameter. The name alone means `true`.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, Refusal> {
        let flag = self.parsed(name, "true or false", |text| match text {
            "" | "true" => Some(true),
            "false" => Some(false),
            _ => None,
        })?;
        Ok(flag.unwrap_or(default))
    }
}

fn unknown(name: &str, known: &[&str]) -> String {
    let name = quoted(name);
    if known.is_empty() {
        format!("unknown parameter {name}; the path has none")
    } else {
        format!("unknown parameter {name}; the path has {}", known.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 2] = ["limit", "after"];

    fn refused(text: &str) -> String {
        let refusal = Query::parse(Some(text), &KNOWN).expect_err(text);
        assert_eq!(refusal.status, 400);
        // The text may be a misplaced token.
        assert_eq!(refusal.logged, "a parameter is unknown, repeated or not valid");
        refusal.message
    }

    #[test]
    fn values_are_decoded_once() {
        let query = Query::parse(Some("after=7:tenant%3Aacme%2520&&limit=1000&"), &KNOWN).expect("valid");
        assert_eq!(query.text("after"), Some("7:tenant:acme%20"));
        assert_eq!(query.number("limit", 1, 1000).expect("a number"), Some(1000));
        let none = Query::parse(None, &KNOWN).expect("valid");
        assert_eq!(none.text("after"), None);
        assert_eq!(none.number("limit", 1, 1000).expect("no number"), None);
    }

    #[test]
    fn what_is_not_known_or_not_bounded_is_refused() {
        assert_eq!(
            refused("token=x"),
            "unknown parameter \"token\"; the path has limit, after"
        );
        assert_eq!(
            refused("Limit=1"),
            "unknown parameter \"Limit\"; the path has limit, after"
        );
        assert_eq!(
            refused("%6cimit=1"),
            "unknown parameter \"%6cimit\"; the path has limit, after"
        );
        assert_eq!(refused("limit=1&limit=1"), "parameter limit is repeated");
        assert_eq!(refused("after=%ff"), "parameter after is not UTF-8");
        assert_eq!(
            refused(&format!("after={}", "x".repeat(513))),
            "parameter after is longer than 512 bytes"
        );
        let long = refused(&"n".repeat(1000));
        assert!(long.len() < 150, "{long}");
        let none = Query::parse(Some("a=1"), &[]).expect_err("unknown");
        assert_eq!(none.message, "unknown parameter \"a\"; the path has none");
    }

    #[test]
    fn numbers_and_flags_are_exact() {
        for text in ["0", "1001", "-1", "+5", "5 ", "0x5", "", "99999999999999999999"] {
            let query = Query::parse(Some(&format!("limit={text}")), &KNOWN).expect("valid");
            let refusal = query.number("limit", 1, 1000).expect_err(text);
            assert!(
                refusal
                    .message
                    .starts_with("parameter limit: expected a number from 1 to 1000, found")
            );
        }
        for (text, expected) in [
            ("limit", Some(true)),
            ("limit=true", Some(true)),
            ("limit=false", Some(false)),
            ("limit=1", None),
        ] {
            let query = Query::parse(Some(text), &KNOWN).expect("valid");
            assert_eq!(query.flag("limit", false).ok(), expected, "{text}");
        }
    }
}

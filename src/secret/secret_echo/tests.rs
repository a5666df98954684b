use proptest::prelude::*;
use secrecy::SecretString;

use super::super::{KeySource, SecretError, SecretSources};
use super::*;

fn key(text: &str) -> ApiKey {
    let mut sources = SecretSources::default();
    let text = text.to_owned();
    sources.insert("test", move |_: &str| {
        Ok::<_, SecretError>(SecretString::from(text.clone()))
    });
    let source = KeySource::Provider {
        provider: "test".into(),
        name: "key".into(),
    };
    source.read(&sources).expect("a key")
}

fn is_echoed(secret: &str, text: &str) -> bool {
    SentSecrets::new(&key(secret), None).may_appear_in(text)
}

#[test]
fn a_key_is_found_in_each_encoding() {
    let secret = "hh_Key/4f9+a:b-canary";
    for text in [
        "hh_Key/4f9+a:b-canary",
        "HH_KEY/4F9+A:B-CANARY",
        r#"{"key":"hh_Key\/4f9+a:b-canary"}"#,
        r"\u0068\u0068\u005f\u004bey\u002f4f9\u002ba:b-canary",
        r"\\u0068\\u0068\\u005f\\u004b\\u0065\\u0079\\u002f\\u0034\\u0066\\u0039",
        r"\u{68}\u{68}\u{5f}\u{4B}\u{65}\u{79}\u{2f}\u{34}\u{66}\u{39}",
        "hh%5FKey%2F4f9%2Ba%3Ab-canary",
        "hh%25255FKey%25252F4f9%25252Ba",
        "%68%68%5f%4b%65%79%2f%34%66%39",
        "%u0068%u0068%u005f%u004b%u0065%u0079%u002f%u0034%u0066%u0039",
        "hh&lowbar;Key&sol;4f9&plus;a&colon;b",
        "&#104;&#104;&#95;&#75;&#101;&#121;&#47;&#52;&#102;&#x39;",
        "&amp;#104;&amp;#104;&amp;#95;&amp;#x4B;&amp;#x65;&amp;#x79;&amp;#x2f;&amp;#x34;&amp;#x66;&amp;#x39;",
        r"\x68\x68\x5f\x4b\x65\x79\x2f\x34\x66\x39",
        "68685f4b65792f3466392b613a622d63616e617279",
        "68 68 5F 4B 65 79 2F 34 66 39",
        "0x68, 0x68, 0x5f, 0x4b, 0x65, 0x79",
        "[104, 104, 95, 75, 101, 121, 47, 52]",
        "aGhfS2V5LzRmOSthOmItY2FuYXJ5",
        // After `x`, and after `xy`.
        "eGhoX0tleS80ZjkrYTpiLWNhbmFyeQ==",
        "eHloaF9LZXkvNGY5K2E6Yi1jYW5hcnk=",
        "aGhfS2V5LzRmOSthOmIt\r\nY2FuYXJ5",
        "h h _ K e y / 4 f 9",
        "h-h-_-K-e-y-/-4-f-9",
        "h\u{200b}h\u{ad}_\u{feff}K\u{2060}ey/\u{202e}4f9a",
        "hh_Key/\n    4f9+a:b",
        "<b>hh</b>_<i class='x'>Key</i>/<wbr>4f9",
        "the key hh_Key/4f9*** is unknown",
        "***4f9+a:b-can***",
        "hh%5FKey%2F4\u{200b}f9",
        r"hh%5F\u004bey&sol;4f9",
    ] {
        assert!(is_echoed(secret, text), "{text}");
        assert!(is_echoed(secret, &format!("no such key: <{text}>, sorry")), "{text}");
    }
}

#[test]
fn a_basic_header_that_is_encoded_again_is_found() {
    // The header is `Basic dXNlcjpzZWNyZXQtY2FuYXJ5`.
    for text in [
        "QmFzaWMgZFhObGNqcHpaV055WlhRdFkyRnVZWEo1",
        "ZFhObGNqcHpaV055WlhRdFkyRnVZWEo1",
        "4261736963206458 4e6c636a707a5a574e795a5851745932467559584a35",
    ] {
        assert!(is_echoed("user:secret-canary", text), "{text}");
    }
}

#[test]
fn short_keys_and_keys_beyond_ascii_are_found() {
    for (secret, texts) in [
        ("k3y", &["bad k3y", "K3Y", "k 3 y", "%6b3y", "6b3379", "azN5"][..]),
        ("a-b-c-d-e", &["a-b-c-d-e", "a%2db%2dc%2dd%2de", "ABCDE"]),
        ("!!??##$$%%", &["!!??##$$%%", "!!??##$$", "!%21%3f?#&#35;$$"]),
        (
            "schl\u{fc}ssel:p\u{e4}ss",
            &["SCHL\u{dc}SSEL", "schl%C3%BCssel", "p&#228;ss"],
        ),
        (
            "\u{1f511}\u{1f511}\u{1f511}",
            &[r"\ud83d\udd11\uD83D\uDD11\ud83d\udd11"],
        ),
        (
            "user:hunter2",
            &["wrong password hunter2", "Hunter&#50;", "68756e74657232"],
        ),
    ] {
        for text in texts {
            assert!(is_echoed(secret, text), "{secret}: {text}");
        }
    }
}

#[test]
fn proxy_credentials_are_found() {
    let (own, proxys) = (key("hh_key_canary"), key("user:of-the-proxy"));
    let secrets = SentSecrets::new(&own, Some(&proxys));
    assert!(secrets.may_appear_in("407 dXNlcjpvZi10aGUtcHJveHk="));
    assert!(secrets.may_appear_in("401 hh%5fkey%5fcanary"));
    assert!(!SentSecrets::new(&own, None).may_appear_in("407 dXNlcjpvZi10aGUtcHJveHk="));
}

#[test]
fn ordinary_receiver_messages_do_not_match() {
    for secret in [
        "hh_4f9c2e71b0d84a6f9e3c5d7a1b2c3d4e",
        "user:secret-canary",
        "sk-lf-1d2e3f40-5a6b-7c8d-9e0f-a1b2c3d4e5f6",
        "pk-lf-0a1b2c3d-0000-1111-2222-333344445555:sk-lf-1d2e3f40-5a6b-7c8d-9e0f-a1b2c3d4e5f6",
    ] {
        for text in [
            "invalid API key",
            "no such user",
            "project \"acme\" not found",
            r#"{"code":3,"message":"span 00f067aa0ba902b7 of trace 4bf92f3577b34da6a3ce929d0e0e4736 is too old"}"#,
            "grpc: received message larger than max (5242880 vs. 4194304)",
            "<html><head><title>502 Bad Gateway</title></head><body><center>nginx/1.25.3</center></body></html>",
            "quota of 100000 spans a minute is used up; retry after 2026-11-29T03:17:24.123456Z",
            "request id 01890a5d-ac96-774b-bcce-b302099a8057",
        ] {
            assert!(!is_echoed(secret, text), "{text}");
        }
    }
}

#[test]
fn time_is_bounded_for_nested_escapes_and_text_that_is_not_fully_decoded_matches() {
    let deep = |depth: usize| format!("%{}5f", "25".repeat(depth));
    assert!(!is_echoed("hh_key_canary", &deep(10)));
    // Quadratic work on these would take minutes.
    for text in [
        deep(20_000),
        "%3".repeat(20_000) + &"5".repeat(20_000),
        "\\".repeat(40_000),
        "&amp;".repeat(20) + &"amp;".repeat(10_000),
    ] {
        assert!(is_echoed("hh_key_canary", &text));
    }
    for text in ["&".repeat(20_000) + &";".repeat(20_000), "<".repeat(40_000)] {
        assert!(!is_echoed("hh_key_canary", &text));
    }
}

/// Escapes or transformations of single characters.
#[derive(Clone, Copy, Debug)]
enum Spelling {
    Capitals,
    JsonSlash,
    JsonCodes,
    Url,
    HtmlDecimal,
    HtmlHex,
    HtmlNames,
    Blanks,
    Invisible,
}

/// Encodings of the whole key, applied first. Their output is letters and digits.
#[derive(Clone, Copy, Debug)]
enum Encoding {
    None,
    Hex,
    Base64,
    Base64Url,
    Decimal,
}

fn spell(text: &str, spelling: Spelling, mut coin: impl FnMut() -> bool) -> String {
    let entities = [
        ('&', "&amp;"),
        ('<', "&lt;"),
        ('>', "&gt;"),
        ('"', "&quot;"),
        ('_', "&lowbar;"),
        ('-', "&hyphen;"),
        ('/', "&sol;"),
        ('%', "&percnt;"),
        ('\\', "&bsol;"),
        ('#', "&num;"),
        (';', "&semi;"),
    ];
    let mut out = String::new();
    for c in text.chars() {
        // A character that starts an escape is always escaped itself.
        let starts_escape = match spelling {
            Spelling::JsonCodes => c == '\\',
            Spelling::Url => c == '%',
            Spelling::HtmlDecimal | Spelling::HtmlHex | Spelling::HtmlNames => c == '&',
            _ => false,
        };
        let mut whole = |spelled: String| {
            if starts_escape || coin() {
                spelled
            } else {
                c.to_string()
            }
        };
        let spelled = match spelling {
            Spelling::Capitals if c.is_ascii_alphabetic() => whole(c.to_ascii_uppercase().to_string()),
            Spelling::JsonSlash if matches!(c, '/' | '"' | '\\') => format!("\\{c}"),
            Spelling::JsonCodes => whole(joined(
                c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")),
            )),
            Spelling::Url => whole(joined(c.to_string().bytes().map(|byte| format!("%{byte:02X}")))),
            Spelling::HtmlDecimal => whole(format!("&#{};", u32::from(c))),
            Spelling::HtmlHex => whole(format!("&#x{:x};", u32::from(c))),
            Spelling::HtmlNames => entities
                .iter()
                .find(|entity| entity.0 == c)
                .map_or(c.to_string(), |entity| whole(entity.1.to_owned())),
            Spelling::Blanks => whole(format!("{c} ")),
            Spelling::Invisible => whole(format!("{c}\u{200b}")),
            Spelling::Capitals | Spelling::JsonSlash => c.to_string(),
        };
        out.push_str(&spelled);
    }
    out
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().concat()
}

fn encode(key: &str, encoding: Encoding) -> String {
    match encoding {
        Encoding::None => key.to_owned(),
        Encoding::Hex => joined(key.bytes().map(|byte| format!("{byte:02x}"))),
        Encoding::Base64 => base64::engine::general_purpose::STANDARD.encode(key),
        Encoding::Base64Url => base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(key),
        Encoding::Decimal => joined(key.bytes().map(|byte| format!("{byte} "))),
    }
}

fn spellings() -> impl Strategy<Value = Vec<Spelling>> {
    let one = prop::sample::select(vec![
        Spelling::Capitals,
        Spelling::JsonSlash,
        Spelling::JsonCodes,
        Spelling::Url,
        Spelling::HtmlDecimal,
        Spelling::HtmlHex,
        Spelling::HtmlNames,
        Spelling::Blanks,
        Spelling::Invisible,
    ]);
    prop::collection::vec(one, 0..5)
}

fn any_encoding() -> impl Strategy<Value = Encoding> {
    prop::sample::select(vec![
        Encoding::None,
        Encoding::Hex,
        Encoding::Base64,
        Encoding::Base64Url,
        Encoding::Decimal,
    ])
}

proptest! {
    #[test]
    fn a_key_is_found_in_any_encoding_at_any_position(
        secret in "[A-Za-z0-9_./+-]{8,40}[a-z0-9]{8}|[a-z0-9]{3,10}:[ -~&&[^ ]]{8,30}",
        encoding in any_encoding(),
        spellings in spellings(),
        seed in any::<u64>(),
        before in "[ -~]{0,30}[ .,:=]",
        after in "[ .,:=][ -~]{0,30}",
    ) {
        let mut state = seed | 1;
        let mut coin = || {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state & 1 == 1
        };
        let mut text = encode(&secret, encoding);
        for spelling in &spellings {
            text = spell(&text, *spelling, &mut coin);
        }
        let text = format!("{before}{text}{after}");
        prop_assert!(is_echoed(&secret, &text), "{}", text);
    }

    #[test]
    fn any_eight_consecutive_characters_of_a_key_are_found(
        secret in "[A-Za-z0-9]{9,40}",
        spelling in spellings(),
        at in any::<prop::sample::Index>(),
    ) {
        let start = at.index(secret.len() - MIN_MATCH + 1);
        let part = &secret[start..start + MIN_MATCH];
        let text = spelling.iter().fold(part.to_owned(), |text, one| spell(&text, *one, || true));
        let text = format!("key {text} refused");
        prop_assert!(is_echoed(&secret, &text), "{}", text);
    }

    #[test]
    fn a_key_is_found_verbatim_in_any_text(
        // Without white space or quotes around it, which a key must not have.
        secret in "[a-zß\\d]|[a-zß\\d]\\PC{0,38}[a-zß\\d]",
        text in "\\PC{0,300}",
    ) {
        is_echoed(&secret, &text);
        let text = format!("{text}{secret}{text}");
        prop_assert!(is_echoed(&secret, &text));
    }
}

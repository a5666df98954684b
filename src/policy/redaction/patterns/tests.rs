//! Positives and negatives of each pattern.

use proptest::prelude::*;

use super::*;

/// Returns the matches of one pattern, in order.
fn matches(pattern: Pattern, text: &str) -> Vec<&str> {
    let mut wanted = PatternSet::default();
    wanted.insert(pattern);
    let mut ranges = Vec::new();
    let survey = Survey::of(text.as_bytes());
    find(text.as_bytes(), survey, wanted, &mut |found, range| {
        assert_eq!(found, pattern);
        ranges.push(range);
    });
    ranges
        .into_iter()
        .map(|range| text.get(range).expect("whole characters"))
        .collect()
}

/// Each row has a text, and the matches that are in it.
fn check(pattern: Pattern, rows: &[(&str, &[&str])]) {
    for (text, expected) in rows {
        assert_eq!(matches(pattern, text), *expected, "{text}");
    }
}

#[test]
fn email_addresses_are_found() {
    check(
        Pattern::Email,
        &[
            ("alice@example.com", &["alice@example.com"]),
            (
                "Write to Alice.B+tag@Mail.Example.co.uk.",
                &["Alice.B+tag@Mail.Example.co.uk"],
            ),
            (
                "<alice@example.com>, bob@example.org;",
                &["alice@example.com", "bob@example.org"],
            ),
            ("https://x.test/?user=alice@example.com&a=1", &["alice@example.com"]),
            ("mailto:o'neil_1@example.com", &["o'neil_1@example.com"]),
            ("jürgen@bücher.example", &["jürgen@bücher.example"]),
            ("a@xn--bcher-kva.xn--p1ai", &["a@xn--bcher-kva.xn--p1ai"]),
            ("'alice@example.com'", &["alice@example.com"]),
            ("...alice@example.com...", &["alice@example.com"]),
            ("alice@example.com-", &["alice@example.com"]),
            ("alice@example.com/path", &["alice@example.com"]),
            ("alice@example.com.1", &["alice@example.com"]),
            ("a@b.com@c.org", &["a@b.com"]),
            ("alice@localhost", &[]),
            ("alice@example", &[]),
            ("@example.com", &[]),
            ("react@18.2.0", &[]),
            ("a@b.c", &[]),
            ("a@.com", &[]),
            ("a@@b", &[]),
            ("@", &[]),
        ],
    );
}

#[test]
fn telephone_numbers_are_found() {
    check(
        Pattern::Phone,
        &[
            ("+4915112345678", &["+4915112345678"]),
            ("call +49 151 1234 5678 now", &["+49 151 1234 5678"]),
            ("+1 (555) 123-4567", &["+1 (555) 123-4567"]),
            ("+1-555-123-4567", &["+1-555-123-4567"]),
            ("+1.555.123.4567", &["+1.555.123.4567"]),
            ("+44 (0)20 7946 0958", &["+44 (0)20 7946 0958"]),
            ("tel:+493012345678", &["+493012345678"]),
            ("(+49) 30 1234567", &["+49) 30 1234567"]),
            ("0049 30 1234567", &["0049 30 1234567"]),
            ("00493012345678", &["00493012345678"]),
            ("(555) 123-4567", &["(555) 123-4567"]),
            ("(555)123-4567,", &["(555)123-4567"]),
            ("555-123-4567", &["555-123-4567"]),
            ("555.123.4567.", &["555.123.4567"]),
            ("1-555-123-4567", &["1-555-123-4567"]),
            ("phone=555 123 4567&", &["555 123 4567"]),
            ("123-456-7890", &["123-456-7890"]),
            ("030 1234567", &["030 1234567"]),
            ("030/1234567", &["030/1234567"]),
            ("(030) 123 45 67", &["(030) 123 45 67"]),
            ("0171-1234567", &["0171-1234567"]),
            ("020 7946 0958", &["020 7946 0958"]),
            ("01 23 45 67 89", &["01 23 45 67 89"]),
            ("01.23.45.67.89", &["01.23.45.67.89"]),
            ("电话+8613800138000", &["+8613800138000"]),
            ("17,+493012345678,42", &["+493012345678"]),
            ("17,0049 30 1234567,42", &["0049 30 1234567"]),
            ("bob,555-123-4567,42", &["555-123-4567"]),
            ("17,030 1234567,42", &["030 1234567"]),
            ("17,01 23 45 67 89,42", &["01 23 45 67 89"]),
            ("5551234567", &[]),
            ("a+4915112345678", &[]),
            ("+1234567", &[]),
            ("+12345678.90", &[]),
            ("0.5551234567", &[]),
            ("2026-01-01 12:00:00", &[]),
            ("2026-01-01T12:00:00.123456+02:00", &[]),
            ("20260101120000", &[]),
            ("1700000000123", &[]),
            ("01-02-2026 10:30", &[]),
            ("SKU-555-123-4567", &[]),
            ("555-123-4567-89", &[]),
            ("555-123-45678", &[]),
            ("192.168.100.200", &[]),
            ("100 200 3000", &[]),
            ("010 020 030 040", &[]),
            ("00000012345678", &[]),
            ("00-12345678901234567890123456789012-1234567890123456-01", &[]),
            ("12345678-1234-1234-1234-123456789012", &[]),
            ("05551234-5678-0901-2345-678901234567", &[]),
            ("id=a0301234567", &[]),
            ("1 000 000 000", &[]),
            ("3.14159265358979", &[]),
        ],
    );
}

#[test]
fn card_numbers_are_found() {
    check(
        Pattern::Card,
        &[
            ("4111111111111111", &["4111111111111111"]),
            ("4111 1111 1111 1111", &["4111 1111 1111 1111"]),
            ("4111-1111-1111-1111", &["4111-1111-1111-1111"]),
            ("card:4111111111111111.", &["4111111111111111"]),
            ("3782 822463 10005", &["3782 822463 10005"]),
            ("3056 930902 5904", &["3056 930902 5904"]),
            ("4222222222222", &["4222222222222"]),
            ("6304000000000000", &["6304000000000000"]),
            ("4111111111111111 123", &["4111111111111111"]),
            ("4111 1111 1111 1111 12/26", &["4111 1111 1111 1111"]),
            ("no 12 4111 1111 1111 1111", &["4111 1111 1111 1111"]),
            ("order-4111111111111111-x", &["4111111111111111"]),
            ("卡4111111111111111号", &["4111111111111111"]),
            (
                "17,4111111111111111,99,4111-1111-1111-1111,3",
                &["4111111111111111", "4111-1111-1111-1111"],
            ),
            ("4111111111111112", &[]),
            ("41111111111111111111", &[]),
            ("a4111111111111111", &[]),
            ("4111111111111111e", &[]),
            ("0.4111111111111111", &[]),
            ("4111111111111111.5", &[]),
            ("0000000000000000", &[]),
            ("4111  1111 1111 1111", &[]),
            ("41 11 11 11 11 11 11 11", &[]),
            ("1700000000000", &[]),
            ("1699999999999999995", &[]),
            ("41111111-1111-1111-1111-111111111111", &[]),
            ("a0111111-4111-1111-1111-111111111111", &[]),
            ("2026-01-01 12:00:00", &[]),
        ],
    );
}

#[test]
fn account_numbers_are_found() {
    check(
        Pattern::Iban,
        &[
            ("DE89370400440532013000", &["DE89370400440532013000"]),
            ("DE89 3704 0044 0532 0130 00", &["DE89 3704 0044 0532 0130 00"]),
            ("de89-3704-0044-0532-0130-00", &["de89-3704-0044-0532-0130-00"]),
            ("IBAN: gb29nwbk60161331926819.", &["gb29nwbk60161331926819"]),
            ("GB29 NWBK 6016 1331 9268 19 and", &["GB29 NWBK 6016 1331 9268 19"]),
            ("MT84MALT011000012345MTLCAST001S", &["MT84MALT011000012345MTLCAST001S"]),
            ("NO9386011117947", &["NO9386011117947"]),
            (
                "LB62 0999 0000 0001 0019 0122 9114",
                &["LB62 0999 0000 0001 0019 0122 9114"],
            ),
            ("DE88370400440532013000", &[]),
            ("DE893704004405320130001", &[]),
            ("DE8937040044053201300", &[]),
            ("XDE89370400440532013000", &[]),
            ("ZZ89370400440532013000", &[]),
            ("DE89", &[]),
        ],
    );
}

#[test]
fn ip_addresses_are_found() {
    check(
        Pattern::Ip,
        &[
            ("1.2.3.4", &["1.2.3.4"]),
            ("from 192.168.0.1:8080, 10.0.0.255/8.", &["192.168.0.1", "10.0.0.255"]),
            ("ip=010.001.002.003;", &["010.001.002.003"]),
            ("10.0.0.1-10.0.0.9", &["10.0.0.1", "10.0.0.9"]),
            ("http://[2001:db8::1]:80/", &["2001:db8::1"]),
            ("fe80::1%eth0", &["fe80::1"]),
            ("addr:fe80::1.", &["fe80::1"]),
            ("::1", &["::1"]),
            ("::ffff:192.0.2.1", &["::ffff:192.0.2.1"]),
            (
                "2001:0DB8:0000:0000:0000:ff00:0042:8329",
                &["2001:0DB8:0000:0000:0000:ff00:0042:8329"],
            ),
            ("2001:db8:0:0:0:0:0:1:8080", &["2001:db8:0:0:0:0:0:1:8080"]),
            ("1.2.3", &[]),
            ("v1.2.3.4", &[]),
            ("1.2.3.4.5", &[]),
            ("1.2.3.256", &[]),
            ("1.2.3.4a", &[]),
            ("12:30:45", &[]),
            ("2026-01-01T12:30:45.123Z", &[]),
            ("00:11:22:33:44:55", &[]),
            ("std::net::Ipv6Addr", &[]),
            ("a::b", &[]),
            ("::", &[]),
            ("....", &[]),
            (":::::", &[]),
            (": :: 1:", &[]),
        ],
    );
}

#[test]
fn json_web_tokens_are_found() {
    const TOKEN: &str =
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";
    let sentence = format!("token={TOKEN}.");
    check(
        Pattern::Jwt,
        &[
            (TOKEN, &[TOKEN]),
            (&sentence, &[&format!("{TOKEN}.")]),
            (&format!("Bearer {TOKEN}\n"), &[TOKEN]),
            (&format!("x{TOKEN}"), &[]),
            ("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0", &[]),
            ("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", &[]),
            ("eyJ.eyJ.x", &[]),
        ],
    );
}

#[test]
fn api_keys_are_found() {
    let key = |prefix: &str| format!("{prefix}a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8");
    for prefix in [
        "sk-",
        "sk-proj-",
        "sk-ant-api03-",
        "sk_live_",
        "pk_live_",
        "ghp_",
        "gho_",
        "ghs_",
        "github_pat_",
        "glpat-",
        "xoxb-",
        "xoxp-",
        "AIza",
        "hf_",
        "npm_",
        "pypi-",
        "SG.",
        "shpat_",
        "dop_v1_",
        "sq0atp-",
    ] {
        let key = key(prefix);
        check(
            Pattern::ApiKey,
            &[
                (&key, &[&key]),
                (&format!("key={key}, next"), &[&key]),
                (&format!("\"{key}\"."), &[&key]),
                (&format!("x{key}"), &[]),
                (prefix, &[]),
            ],
        );
    }
    check(
        Pattern::ApiKey,
        &[
            ("AKIAIOSFODNN7EXAMPLE", &["AKIAIOSFODNN7EXAMPLE"]),
            ("ASIAIOSFODNN7EXAMPLE,", &["ASIAIOSFODNN7EXAMPLE"]),
            ("AKIAIOSFODNN7EXAMPLEX", &[]),
            ("AKIAiosfodnn7example", &[]),
            ("Authorization: Bearer abcdef1234567890", &["Bearer abcdef1234567890"]),
            (
                "authorization: bearer  abc.def-1234~5+6/7==",
                &["bearer  abc.def-1234~5+6/7=="],
            ),
            ("Basic dXNlcjpwYXNzd29yZA==", &["Basic dXNlcjpwYXNzd29yZA=="]),
            ("Basic dXNlcjpwYXNz", &["Basic dXNlcjpwYXNz"]),
            ("Basic authentication failed", &[]),
            ("Bearer token expired", &[]),
            ("The bearer certificates are new", &[]),
            ("task-force-of-many-people-2026", &[]),
            ("sk-learn-with-many-words-in-it", &[]),
            ("disk-1234567890123456789012", &[]),
        ],
    );
}

#[test]
fn a_survey_counts_across_chunks() {
    let text = format!("{}1.:@{}", "9".repeat(300), "\u{e9}");
    let survey = Survey::of(text.as_bytes());
    let expected = Survey {
        digits: 301,
        dots: 1,
        colons: 1,
        has_at: true,
        may_decode: true,
    };
    assert_eq!(survey, expected);
    assert_eq!(Survey::of(b"abc"), Survey::default());
}

const ALL: [Pattern; 7] = [
    Pattern::Email,
    Pattern::Phone,
    Pattern::Card,
    Pattern::Iban,
    Pattern::Ip,
    Pattern::Jwt,
    Pattern::ApiKey,
];

/// Adds the digit that makes the Luhn checksum valid.
fn with_luhn(mut digits: String) -> String {
    let doubled = |digit: u32| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let digit = |character: char| character.to_digit(10).expect("a digit");
    let numbers = digits.chars().rev().map(digit).enumerate();
    let sum: u32 = numbers
        .map(|(index, digit)| if index % 2 == 0 { doubled(digit) } else { digit })
        .sum();
    digits.push_str(&((10 - sum % 10) % 10).to_string());
    digits
}

/// Returns the account with the check digits of its country.
fn with_check_digits(country: &str, account: &str) -> String {
    let digits = |text: &str| -> String {
        let value = |character: char| character.to_digit(36).expect("a letter or digit").to_string();
        text.chars().map(value).collect()
    };
    let number = digits(&format!("{account}{country}00"));
    let remainder = number
        .bytes()
        .fold(0, |remainder, digit| (remainder * 10 + u32::from(digit - b'0')) % 97);
    format!("{country}{:02}{account}", 98 - remainder)
}

/// Writes groups of a length with a separator between.
fn grouped(text: &str, length: usize, separator: &str) -> String {
    let groups: Vec<_> = text
        .as_bytes()
        .chunks(length)
        .map(|group| std::str::from_utf8(group).expect("ASCII"))
        .collect();
    groups.join(separator)
}

/// A country, and an account of its length.
fn account() -> impl Strategy<Value = (&'static str, String)> {
    let rows: Vec<_> = super::iban::lengths().collect();
    (proptest::sample::select(rows), "[0-9]{8}[0-9A-Z]{25}")
        .prop_map(|((country, length), account)| (country, account[..length - 4].to_owned()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_card_number_is_found(
        digits in "[2-9][0-9]{10,17}",
        group in 4_usize..20,
        separator in "[ -]",
        around in ("[a-z]{0,3}[ ,:=(]", "[ ,;)]?"),
    ) {
        let number = with_luhn(digits);
        // 12, 14 or 17 digits from 2020 on may be a time.
        prop_assume!(!number.starts_with("20") && !number.starts_with("21"));
        let number = grouped(&number, group, &separator);
        let text = format!("{}{number}{}", around.0, around.1);
        prop_assert_eq!(matches(Pattern::Card, &text), [number]);
    }

    #[test]
    fn any_account_number_is_found(
        (country, account) in account(),
        group in 4_usize..35,
        separator in "[ -]",
        is_lower in any::<bool>(),
    ) {
        let number = grouped(&with_check_digits(country, &account), group, &separator);
        let number = if is_lower { number.to_lowercase() } else { number };
        let text = format!("to {number}, please");
        prop_assert_eq!(matches(Pattern::Iban, &text), [number]);
    }

    #[test]
    fn no_identifier_matches(
        id in prop_oneof![
            "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "[0-9]{8}-[0-9]{4}-[0-9]{4}-[0-9]{4}-[0-9]{12}",
            "[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}",
            "[0-9a-f]{32}",
            "00-[0-9a-f]{31}a-[0-9a-f]{15}b-01",
            "[0-9a-f]{7}[a-f][0-9a-f]{8}",
            "[0-9a-f]{40}",
            "[0-9a-f]{64}",
        ],
        around in prop_oneof![Just(("", "")), Just(("id=", "&")), Just(("session-", "-0")), Just((" ", "."))],
    ) {
        let text = format!("{}{id}{}", around.0, around.1);
        for pattern in ALL {
            prop_assert_eq!(matches(pattern, &text), Vec::<&str>::new(), "{:?} in {}", pattern, text);
        }
    }

    #[test]
    fn no_time_matches(
        seconds in 1_000_000_000_u64..1_999_999_999,
        nanoseconds in 0_u64..1_000_000_000,
        month in 1..13,
        day in 1..32,
        hour in 0..24,
        minute in 0..60,
    ) {
        let (year, second) = (1990 + seconds % 100, seconds % 60);
        for text in [
            format!("{seconds}"),
            format!("{seconds}.{nanoseconds:09}"),
            format!("{}", seconds * 1_000 + nanoseconds / 1_000_000),
            format!("{}", seconds * 1_000_000 + nanoseconds / 1_000),
            format!("{}", seconds * 1_000_000_000 + nanoseconds),
            format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z"),
            format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}+02:00"),
            format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02},{:03}", nanoseconds / 1_000_000),
            format!("{day:02}/{month:02}/{year}:{hour:02}:{minute:02}:{second:02} +0000"),
            format!("{day:02}.{month:02}.{year} {hour:02}:{minute:02}"),
            format!("{day:02}-{month:02}-{year} {hour:02}{minute:02}"),
            format!("{year}{month:02}{day:02}{hour:02}{minute:02}{second:02}"),
            format!("{year}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z"),
        ] {
            for pattern in ALL {
                prop_assert_eq!(matches(pattern, &text), Vec::<&str>::new(), "{:?} in {}", pattern, &text);
            }
        }
    }

    #[test]
    fn any_text_is_searched_in_whole_characters(text in "[0-9a-f+@.:() éｅ-]{0,60}|\\PC{0,40}") {
        for pattern in ALL {
            matches(pattern, &text);
        }
    }
}

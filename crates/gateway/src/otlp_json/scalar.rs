//! Values of JSON as values of protobuf.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

const BASE64_CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, BASE64_CONFIG);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, BASE64_CONFIG);

/// The value of each hexadecimal digit, and `NO_DIGIT` for all other bytes.
const HEX: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value as usize] as usize] = value;
        values[b"0123456789ABCDEF"[value as usize] as usize] = value;
        value += 1;
    }
    values
};
const NO_DIGIT: u8 = 0x10;

/// Appends the bytes that `text` has in hexadecimal. Returns `None` if it is not hexadecimal.
pub(super) fn append_hex(text: &str, bytes: &mut Vec<u8>) -> Option<()> {
    let (pairs, []) = text.as_bytes().as_chunks() else {
        return None;
    };
    let mut digits = 0;
    bytes.extend(pairs.iter().map(|&[high, low]| {
        let (high, low) = (HEX[usize::from(high)], HEX[usize::from(low)]);
        digits |= high | low;
        high << 4 | low
    }));
    (digits < NO_DIGIT).then_some(())
}

/// Appends the bytes that `text` has in base64. Returns `None` if it is not base64.
pub(super) fn append_base64(text: &str, bytes: &mut Vec<u8>) -> Option<()> {
    let engine = if text.contains(['-', '_']) { BASE64_URL } else { BASE64 };
    engine.decode_vec(text, bytes).ok()
}

/// Returns the integer that `text` is, or `None` if it is none of 64 bits.
pub(super) fn integer(text: &str) -> Option<i128> {
    if let Ok(value) = text.parse::<u64>() {
        return Some(value.into());
    }
    if text.contains(['.', 'e', 'E']) || text == "-0" {
        return integral(text.parse().ok()?);
    }
    text.parse::<i64>().ok().map(Into::into)
}

/// Returns `value` as an integer, or `None` if it is not integral or not of 64 bits.
///
/// Refuses -2^63 too: the JSON reader passes smaller integers as that value.
#[expect(clippy::cast_possible_truncation, reason = "the value is integral and in range")]
pub(super) fn integral(value: f64) -> Option<i128> {
    const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
    (value.fract() == 0.0 && value > -TWO_TO_63 && value < 2.0 * TWO_TO_63).then_some(value as i128)
}

/// Returns the double that `text` is, or `None`.
pub(super) fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok().filter(|value: &f64| value.is_finite()),
    }
}

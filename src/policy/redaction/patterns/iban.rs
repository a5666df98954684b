//! International bank account numbers: the length of the country and a valid checksum.

use super::bytes::{byte, is_alphanumeric, overlaps_uuid};

/// Lengths by country, as in the registry of IBANs, and those of countries outside of it.
const LENGTHS: &str = "AD24 AE23 AL28 AO25 AT20 AZ28 BA20 BE16 BF28 BG22 BH22 BI27 BJ28 BR29 BY28 \
    CF27 CG27 CH21 CI28 CM27 CR22 CV25 CY28 CZ24 DE22 DJ27 DK18 DO28 DZ26 EE20 EG29 ES24 FI18 FK18 \
    FO18 FR27 GA27 GB22 GE22 GI23 GL18 GQ27 GR27 GT28 GW25 HN28 HR21 HU28 IE22 IL23 IQ23 IR26 IS26 \
    IT27 JO30 KM27 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MA28 MC27 MD24 ME22 MG27 MK19 ML28 \
    MN20 MR27 MT31 MU30 MZ25 NE28 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 \
    SC31 SD18 SE24 SI19 SK24 SM27 SN28 SO23 ST25 SV28 TD27 TG28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 \
    YE30";

/// Fewest digits.
pub(super) const MIN_DIGITS: usize = 4;

/// Returns the end of the number that starts at a letter after no letter or digit.
pub(super) fn at(text: &[u8], start: usize) -> Option<usize> {
    let head = text.get(start..start + 4)?;
    let has_form = head[1].is_ascii_alphabetic() && head[2].is_ascii_digit() && head[3].is_ascii_digit();
    let end = if has_form { end_of(text, start) } else { None };
    end.filter(|end| !overlaps_uuid(text, &(start..*end)))
}

/// Returns the countries and the lengths of their IBANs.
pub(super) fn lengths() -> impl Iterator<Item = (&'static str, usize)> {
    LENGTHS
        .split(' ')
        .filter_map(|row| row.split_at_checked(2))
        .filter_map(|(country, length)| Some((country, length.parse().ok()?)))
}

fn end_of(text: &[u8], start: usize) -> Option<usize> {
    let country = [text[start], text[start + 1]].map(|letter| letter.to_ascii_uppercase());
    let (_, wanted) = lengths().find(|(known, _)| known.as_bytes() == country)?;
    // The checksum is the remainder of the number with its first four characters at the end.
    let (mut head, mut tail, mut end, mut count) = (0_u32, 0_u32, start, 0);
    while count < wanted {
        if count > 0 && matches!(byte(text, end), b' ' | b'-') {
            end += 1;
        }
        let value = char::from(byte(text, end)).to_digit(36)?;
        let remainder = if count < 4 { &mut head } else { &mut tail };
        *remainder = (*remainder * if value < 10 { 10 } else { 100 } + value) % 97;
        count += 1;
        end += 1;
    }
    // Two letters and two digits have six digits.
    let is_valid = (tail * (1_000_000 % 97) + head) % 97 == 1;
    (is_valid && !is_alphanumeric(byte(text, end))).then_some(end)
}

//! Recognises attributes that choose a project.

use super::preset::PROJECT_ATTRIBUTES;

/// By a number from the first and the last byte, the lengths of project keys with these bytes, as
/// bits.
static LENGTHS: [u64; 256] = lengths();

const fn lengths() -> [u64; 256] {
    let mut lengths = [0; 256];
    let mut row = 0;
    while row < PROJECT_ATTRIBUTES.len() {
        let keys = [PROJECT_ATTRIBUTES[row].anywhere, PROJECT_ATTRIBUTES[row].on_resource];
        let mut list = 0;
        while list < keys.len() {
            let mut index = 0;
            while index < keys[list].len() {
                let key = keys[list][index].as_bytes();
                lengths[ends(key[0], key[key.len() - 1])] |= 1 << (key.len() % 64);
                index += 1;
            }
            list += 1;
        }
        row += 1;
    }
    lengths
}

const fn ends(first: u8, last: u8) -> usize {
    (first ^ last.rotate_left(3)) as usize
}

/// Returns whether receivers of some backend choose a project by this attribute. A request has
/// thousands of keys, so almost all of them are recognised without a comparison.
#[inline]
pub(crate) fn is_project_attribute(key: &[u8]) -> bool {
    let &[first, .., last] = key else { return false };
    LENGTHS[ends(first, last)] & (1 << (key.len() % 64)) != 0 && is_listed(key)
}

#[inline(never)]
fn is_listed(key: &[u8]) -> bool {
    let lists = PROJECT_ATTRIBUTES
        .iter()
        .flat_map(|row| [row.anywhere, row.on_resource]);
    lists.flatten().any(|listed| listed.as_bytes() == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_listed_keys_choose_a_project() {
        let lists = PROJECT_ATTRIBUTES
            .iter()
            .flat_map(|row| [row.anywhere, row.on_resource]);
        for key in lists.flatten() {
            assert!(is_project_attribute(key.as_bytes()), "{key}");
            for at in 0..key.len() {
                let mut other = key.as_bytes().to_vec();
                other[at] ^= 1;
                assert!(!is_project_attribute(&other), "{other:?}");
            }
            assert!(!is_project_attribute(&key.as_bytes()[1..]));
            assert!(!is_project_attribute(format!("{key}s").as_bytes()));
            // The same length modulo 64.
            let (start, end) = key.split_at(1);
            assert!(!is_project_attribute(
                format!("{start}{}{end}", "x".repeat(64)).as_bytes()
            ));
        }
        assert!(!is_project_attribute(b"") && !is_project_attribute(b"o"));
    }
}

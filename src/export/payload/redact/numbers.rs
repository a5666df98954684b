//! Numbers of fields of attributes and their values.

/// `key` and `value` of an attribute.
pub(super) const KEY: u32 = 1;
pub(super) const VALUE: u32 = 2;
/// `key_strindex` of an attribute, the last known field.
pub(super) const LAST_OF_KEY_VALUE: u32 = 3;
/// Elements of a list, and entries of a map.
pub(super) const VALUES: u32 = 1;

/// Fields of an `AnyValue`.
pub(super) const STRING: u32 = 1;
pub(super) const BOOL: u32 = 2;
pub(super) const INT: u32 = 3;
pub(super) const DOUBLE: u32 = 4;
pub(super) const LIST: u32 = 5;
pub(super) const MAP: u32 = 6;
pub(super) const BYTES: u32 = 7;
pub(super) const STRING_INDEX: u32 = 8;

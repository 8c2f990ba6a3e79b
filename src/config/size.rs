//! Sizes in config files: a number of bytes, or a string such as `"10 GiB"`.

use std::fmt;

#[cfg(feature = "nats")]
use serde::Deserialize;
use serde::Deserializer;
use serde::de::{Error, Unexpected, Visitor};

const UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    deserializer.deserialize_any(SizeVisitor)
}

/// For an optional setting.
#[cfg(feature = "nats")]
pub(super) fn optional<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    struct Bytes(#[serde(deserialize_with = "deserialize")] u64);
    let bytes = Option::<Bytes>::deserialize(deserializer)?;
    Ok(bytes.map(|Bytes(bytes)| bytes))
}

/// `None` if it is not a size, or too large.
fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|it: char| !it.is_ascii_digit());
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let mut units = UNITS.iter();
    let (_, bytes) = units.find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()))?;
    number.parse::<u64>().ok()?.checked_mul(*bytes)
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size: a number of bytes, or a whole number and a unit such as \"10 GiB\"")
    }

    fn visit_u64<E: Error>(self, bytes: u64) -> Result<u64, E> {
        Ok(bytes)
    }

    fn visit_i64<E: Error>(self, bytes: i64) -> Result<u64, E> {
        u64::try_from(bytes).map_err(|_| E::invalid_value(Unexpected::Signed(bytes), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes_have_the_units_that_people_write() {
        for (text, bytes) in [
            ("0", 0),
            ("10 GiB", 10 << 30),
            ("10GiB", 10 << 30),
            (" 4 kib ", 4096),
            ("3 MB", 3_000_000),
            ("7 B", 7),
        ] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "GiB",
            "1.5 GiB",
            "-1",
            "10 GiBi",
            "1 G",
            "99999999999 TiB",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

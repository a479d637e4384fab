//! The wire form of numbers that are identifiers: hexadecimal text, as `stat -f` prints them. Many parsers of JSON keep only
//! 53 bits of a number.

use std::borrow::Cow;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
pub(super) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{number:x}"))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    u64::from_str_radix(&text, 16).map_err(D::Error::custom)
}

/// The wire form of optional identifiers.
pub(super) mod optional {
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct Hex(#[serde(with = "super")] u64);

    pub(in super::super) fn serialize<S: Serializer>(number: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        number.map(Hex).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        Ok(Option::<Hex>::deserialize(deserializer)?.map(|Hex(number)| number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Names {
        #[serde(with = "super")]
        one: u64,
        #[serde(with = "super::optional")]
        some: Option<u64>,
        #[serde(with = "super::optional")]
        none: Option<u64>,
    }

    #[test]
    fn all_64_bits_count() {
        let names = Names { one: u64::MAX - 1, some: Some(0x1f), none: None };
        let text = serde_json::to_string(&names).unwrap();
        assert_eq!(text, r#"{"one":"fffffffffffffffe","some":"1f","none":null}"#);
        assert_eq!(serde_json::from_str::<Names>(&text).unwrap(), names);
        assert!(serde_json::from_str::<Names>(&text.replace("1f", "1g")).is_err());
    }
}

//! The form of all settings: tables whose unknown keys are refused, with the nearest known one.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};

use crate::fault::printable;
use crate::spelling::nearest;

/// Defines a table of settings: a struct whose keys are its fields, in the order of their writing.
///
/// A missing key of `optional` has the default of its type, and a value equal to that is not written.
macro_rules! settings {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            required { $($(#[doc = $need_doc:literal])* $need:ident: $need_type:ty,)* }
            optional { $($(#[doc = $doc:literal])* $(#[cfg($($cfg:tt)*)])? $key:ident: $type:ty,)* }
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
        #[non_exhaustive]
        pub struct $name {
            $($(#[doc = $need_doc])* pub $need: $need_type,)*
            $(
                $(#[doc = $doc])*
                $(#[cfg($($cfg)*)])?
                #[cfg_attr(
                    feature = "schema",
                    schemars(default, skip_serializing_if = "crate::config::keys::is_default")
                )]
                pub $key: $type,
            )*
        }

        impl $name {
            /// Returns it with the default of each optional key.
            fn of($($need: $need_type),*) -> Self {
                Self { $($need,)* $($(#[cfg($($cfg)*)])? $key: Default::default(),)* }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap as _;
                let mut table = serializer.serialize_map(None)?;
                $(table.serialize_entry(stringify!($need), &self.$need)?;)*
                $(
                    $(#[cfg($($cfg)*)])?
                    if !crate::config::keys::is_default(&self.$key) {
                        table.serialize_entry(stringify!($key), &self.$key)?;
                    }
                )*
                table.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Table;

                const KEYS: &[&str] =
                    &[$(stringify!($need),)* $($(#[cfg($($cfg)*)])? stringify!($key),)*];

                impl<'de> serde::de::Visitor<'de> for Table {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("a table of settings (", stringify!($name), ")"))
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut table: A) -> Result<$name, A::Error> {
                        use serde::de::Error as _;
                        $(let mut $need: Option<$need_type> = None;)*
                        $($(#[cfg($($cfg)*)])? let mut $key: Option<$type> = None;)*
                        while let Some(key) = table.next_key_seed(crate::config::keys::Known(KEYS))? {
                            match key {
                                $(stringify!($need) if $need.is_none() => $need = Some(table.next_value()?),)*
                                $(
                                    $(#[cfg($($cfg)*)])?
                                    stringify!($key) if $key.is_none() => $key = Some(table.next_value()?),
                                )*
                                key => return Err(A::Error::duplicate_field(key)),
                            }
                        }
                        #[allow(unused_mut, reason = "a table may have no optional key")]
                        let mut table =
                            $name::of($($need.ok_or_else(|| A::Error::missing_field(stringify!($need)))?),*);
                        $(
                            $(#[cfg($($cfg)*)])?
                            if let Some(value) = $key {
                                table.$key = value;
                            }
                        )*
                        Ok(table)
                    }
                }

                deserializer.deserialize_struct(stringify!($name), KEYS, Table)
            }
        }
    };
}
pub(super) use settings;

/// Whether a value is the one of a missing key.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads one of these keys. The fault is in the key, so that formats that show places show that one.
pub(super) struct Known(pub(super) &'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Known {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static str, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Known {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a setting")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<&'static str, E> {
        self.0.iter().find(|known| **known == key).copied().ok_or_else(|| E::custom(unknown("key", key, self.0)))
    }
}

/// An error about a key.
#[cfg(feature = "forward")]
pub(super) fn wrong(key: &str, why: impl fmt::Display) -> crate::Error {
    crate::Error::config(format!("{key}: {why}"))
}

/// The text of an error about a word that is none of the known ones.
pub(super) fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    let shown: Cow<'_, str> = word.chars().map(printable).take(80).collect();
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("there is no {what} `{shown}`; did you mean `{near}`?"),
        None => format!("there is no {what} `{shown}`; there are {}", known.join(", ")),
    }
}

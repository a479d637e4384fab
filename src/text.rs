//! Text as the kernel has it: almost always UTF-8, kept byte for byte when it is not.

mod escaped;
mod path;
#[cfg(feature = "forward")]
mod percent;

use std::borrow::Borrow;
use std::convert::Infallible;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) use escaped::{Escaped, Lines, is_plain};
pub use path::WirePath;
#[cfg(feature = "forward")]
pub(crate) use percent::percent_encoded;

/// Bytes that are meant to be read: a process name, a user's name, an argument.
///
/// The kernel promises no encoding for these, and any user can give a process any name. A `Text` keeps every byte.
/// [`Display`](fmt::Display) is for people: it escapes bytes that are not UTF-8 and characters that a terminal would act on or not show
/// (control characters and escape sequences, line breaks, marks that turn the direction of writing), as in a Rust string: `\n`, `\u{1b}`,
/// `\xff`. All else is shown as it is, backslashes too. For the exact text there are [`as_bytes`](Self::as_bytes), [`to_str`](Self::to_str)
/// and [`to_string_lossy`](Self::to_string_lossy). Cloning shares the bytes.
///
/// In the wire form it is a string, or `{"bytes": [..]}` where it is not UTF-8, so that nothing is lost.
///
/// ```
/// use appmon::Text;
///
/// let name = Text::from("postgres");
/// assert_eq!(name, "postgres");
/// assert_eq!(format!("{name:<10}|"), "postgres  |");
/// assert_eq!(Text::from("\u{1b}[2Jcaf\u{e9}\n").to_string(), r"\u{1b}[2Jcafé\n");
///
/// let odd = Text::from(&b"a\xff"[..]);
/// let json = serde_json::to_string(&odd).unwrap();
/// assert_eq!(json, r#"{"bytes":[97,255]}"#);
/// assert_eq!(serde_json::from_str::<Text>(&json).unwrap(), odd);
/// ```
// The default of an `Arc` of a slice allocates nothing, unlike a conversion from an empty slice.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Arc<[u8]>);

impl Text {
    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether both share their bytes: cheaper than to compare them, and true for clones.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the text, where it is UTF-8.
    #[must_use]
    pub fn to_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Returns the text, with `U+FFFD` in place of bytes that are not UTF-8. Not for terminals: [`Display`](fmt::Display) is.
    #[must_use]
    pub fn to_string_lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        Self(Arc::from(bytes))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Arc::from(text.as_bytes()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Arc::from(text.into_bytes()))
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::from(bytes))
    }
}

impl From<&OsStr> for Text {
    fn from(text: &OsStr) -> Self {
        Self(Arc::from(text.as_bytes()))
    }
}

/// The text as it is: nothing is unescaped.
impl FromStr for Text {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::from(text))
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Text {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.0).fmt(f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_str() {
            Some(text) => text.fmt(f),
            None => write!(f, "b\"{}\"", self.0.escape_ascii()),
        }
    }
}

/// The wire form of bytes that are usually UTF-8.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) enum Wire {
    /// The text.
    Text(String),
    /// The bytes that are not UTF-8.
    Bytes { bytes: Vec<u8> },
}

impl Wire {
    fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Bytes { bytes } => bytes,
        }
    }
}

fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serializer.serialize_str(text),
        Err(_) => Wire::Bytes { bytes: bytes.to_vec() }.serialize(serializer),
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Wire::deserialize(deserializer).map(|wire| Self::from(wire.into_bytes()))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Text {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Wire::json_schema(generator)
    }
}

//! Text as the kernel has it: almost always UTF-8, kept byte for byte when it is not.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes that are meant to be read: a process name, a user's name, an argument.
///
/// The kernel promises no encoding for these. A `Text` keeps every byte; [`Display`](fmt::Display) shows
/// what is not UTF-8 as `U+FFFD`. Cloning shares the bytes.
///
/// In the wire form it is a string, or `{"bytes": [..]}` where it is not UTF-8, so that nothing is lost.
///
/// ```
/// use appmon::Text;
///
/// let name = Text::from("postgres");
/// assert_eq!(name, "postgres");
/// assert_eq!(format!("{name:<10}|"), "postgres  |");
///
/// let odd = Text::from(&b"a\xff"[..]);
/// let json = serde_json::to_string(&odd).unwrap();
/// assert_eq!(json, r#"{"bytes":[97,255]}"#);
/// assert_eq!(serde_json::from_str::<Text>(&json).unwrap(), odd);
/// ```
// The default of an `Arc` of a slice allocates nothing, unlike what is made from an empty slice.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Arc<[u8]>);

impl Text {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether both share their bytes: cheaper than to compare them, and true for clones.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The text, where it is UTF-8.
    #[must_use]
    pub fn to_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The text, with `U+FFFD` in place of what is not UTF-8.
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
        f.pad(&self.to_string_lossy())
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
    /// The bytes of what is not UTF-8.
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

/// A path whose wire form is that of [`Text`]: serde's own refuses what is not UTF-8.
///
/// It compares as a [`Path`] does, by components. Cloning shares the bytes.
#[derive(Clone, Default)]
pub struct WirePath(Text);

impl WirePath {
    /// Whether both share their bytes.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0.is_same(&other.0)
    }
}

impl std::ops::Deref for WirePath {
    type Target = Path;

    fn deref(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.0.as_bytes()))
    }
}

impl AsRef<Path> for WirePath {
    fn as_ref(&self) -> &Path {
        self
    }
}

impl From<PathBuf> for WirePath {
    fn from(path: PathBuf) -> Self {
        Self::from(path.as_path())
    }
}

impl From<&Path> for WirePath {
    fn from(path: &Path) -> Self {
        Self(Text::from(path.as_os_str()))
    }
}

impl From<&str> for WirePath {
    fn from(path: &str) -> Self {
        Self(Text::from(path))
    }
}

impl From<&[u8]> for WirePath {
    fn from(path: &[u8]) -> Self {
        Self(Text::from(path))
    }
}

impl From<Vec<u8>> for WirePath {
    fn from(path: Vec<u8>) -> Self {
        Self(Text::from(path))
    }
}

impl From<WirePath> for PathBuf {
    fn from(path: WirePath) -> Self {
        path.to_path_buf()
    }
}

impl PartialEq for WirePath {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || **self == **other
    }
}

impl Eq for WirePath {}

impl PartialEq<Path> for WirePath {
    fn eq(&self, other: &Path) -> bool {
        **self == *other
    }
}

impl PartialOrd for WirePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for WirePath {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl Hash for WirePath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for WirePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WirePath").field(&&**self).finish()
    }
}

impl Serialize for WirePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for WirePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Text::deserialize(deserializer).map(Self)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for WirePath {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Path".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Wire::json_schema(generator)
    }
}

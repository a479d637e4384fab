//! Paths as the kernel has them.

use std::cmp::Ordering;
use std::convert::Infallible;
use std::ffi::OsStr;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text::Text;
#[cfg(feature = "schema")]
use crate::text::Wire;

/// A path whose wire form is that of [`Text`]: serde's own refuses paths that are not UTF-8.
///
/// It compares as a [`Path`] does, by components. Its [`Display`](fmt::Display) is that of [`Text`], for people: unlike [`Path::display`],
/// it escapes characters that a terminal would act on. Cloning shares the bytes.
///
/// ```
/// use appmon::text::WirePath;
///
/// let path = WirePath::from("/srv/a\nb");
/// assert_eq!(path.to_string(), r"/srv/a\nb");
/// assert_eq!(path.display().to_string(), r"/srv/a\nb");
/// assert_eq!(path.file_name().unwrap(), "a\nb");
/// ```
#[derive(Clone, Default)]
pub struct WirePath(Text);

impl WirePath {
    /// Returns the path for people, as its [`Display`](fmt::Display) shows it. It hides [`Path::display`], which passes escape sequences on
    /// to the terminal.
    #[must_use]
    pub fn display(&self) -> impl fmt::Display {
        &self.0
    }

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

impl From<String> for WirePath {
    fn from(path: String) -> Self {
        Self(Text::from(path))
    }
}

/// The path as it is: nothing is unescaped.
impl FromStr for WirePath {
    type Err = Infallible;

    fn from_str(path: &str) -> Result<Self, Infallible> {
        Ok(Self::from(path))
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

impl fmt::Display for WirePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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

//! The patterns of the text fields.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use regex::bytes::Regex;

use crate::glob::{Glob, looks_like_glob, reason};
use crate::{Error, Result, Text};

/// A pattern for a name, a path or a command line in a [`Select`](crate::Select).
///
/// Anything that is text or a path makes an exact pattern, so `Select::name("postgres")` needs no `Pattern` in sight. All patterns compare
/// bytes: the text need not be UTF-8.
///
/// As text it is an operator and a value, as in a selection: `=nginx` (exactly this, or a glob), `==a[1]`, `*=part`,
/// `~^regular expression$`.
///
/// ```
/// use appmon::Select;
/// use appmon::process::Pattern;
///
/// let workers = Select::name(Pattern::glob("kworker*")?);
/// let beat = Select::cmdline(Pattern::contains("celery beat"));
/// let python = Select::exe(Pattern::regex(r"/python3?(\.\d+)?$")?);
/// assert_eq!("=kworker*".parse::<Pattern>()?, Pattern::glob("kworker*")?);
/// # Ok::<(), appmon::Error>(())
/// ```
#[derive(Clone)]
pub struct Pattern(pub(super) Kind);

#[derive(Clone)]
pub(super) enum Kind {
    Exact(Text),
    Contains(Text),
    Glob(Arc<Glob>),
    Regex(Regex),
}

impl Pattern {
    /// Matches the whole text, byte for byte.
    #[must_use]
    pub fn exact(text: impl Into<Text>) -> Self {
        Self(Kind::Exact(text.into()))
    }

    /// Matches a part of the text, byte for byte.
    #[must_use]
    pub fn contains(part: impl Into<Text>) -> Self {
        Self(Kind::Contains(part.into()))
    }

    /// Matches the whole text by a glob: `?` and `*`, `[a-z]` and `[!a-z]`, `{this,that}`.
    ///
    /// In the fields that are paths (`exe`, `cwd`, `cgroup`) `*` and `?` stop at a `/`, and `**` as a whole component
    /// crosses them: `/srv/app{,/**}` is the directory and all that is below it. A backslash is an ordinary character, as
    /// the names of systemd's units are full of them; `[*]` is a literal `*`.
    ///
    /// # Errors
    ///
    /// When it is not a glob ([`is_config`](Error::is_config)).
    pub fn glob(glob: &str) -> Result<Self> {
        Self::try_glob(glob).map_err(|why| Error::config(format!("not a glob: {glob:?}: {why}")))
    }

    /// Matches by a [regular expression](https://docs.rs/regex/latest/regex/#syntax), anywhere in the text.
    ///
    /// # Errors
    ///
    /// When it is not a regular expression, or one too large to compile ([`is_config`](Error::is_config)).
    pub fn regex(regex: &str) -> Result<Self> {
        Self::try_regex(regex).map_err(|why| Error::config(format!("not a regular expression: {regex:?}: {why}")))
    }

    pub(super) fn try_glob(glob: &str) -> Result<Self, String> {
        if !looks_like_glob(glob.as_bytes()) {
            return Ok(Self::exact(glob));
        }
        Glob::new(glob).map(|glob| Self(Kind::Glob(Arc::new(glob))))
    }

    pub(super) fn try_regex(regex: &str) -> Result<Self, String> {
        Regex::new(regex).map(|regex| Self(Kind::Regex(regex))).map_err(|error| reason(&error))
    }

    /// The text of it, without the operator.
    #[cfg(feature = "config")]
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(self.0.as_bytes()).into_owned()
    }

    /// Whether a text that is not a path matches.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        match &self.0 {
            Kind::Glob(glob) => glob.matches(text),
            _ => self.matches_path(text),
        }
    }

    /// Whether a path matches.
    pub(crate) fn matches_path(&self, text: &[u8]) -> bool {
        match &self.0 {
            Kind::Exact(exact) => exact.as_bytes() == text,
            Kind::Contains(part) => memchr::memmem::find(text, part.as_bytes()).is_some(),
            Kind::Glob(glob) => glob.matches_path(text),
            Kind::Regex(regex) => regex.is_match(text),
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Exact(text) => f.debug_tuple("Exact").field(text).finish(),
            Kind::Contains(part) => f.debug_tuple("Contains").field(part).finish(),
            Kind::Glob(glob) => f.debug_tuple("Glob").field(&glob.as_str()).finish(),
            Kind::Regex(regex) => f.debug_tuple("Regex").field(&regex.as_str()).finish(),
        }
    }
}

/// Two patterns with the same text are equal.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(&self.0) == std::mem::discriminant(&other.0) && self.0.as_bytes() == other.0.as_bytes()
    }
}

impl Eq for Pattern {}

impl Kind {
    /// The text it was made of.
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Exact(text) | Self::Contains(text) => text.as_bytes(),
            Self::Glob(glob) => glob.as_str().as_bytes(),
            Self::Regex(regex) => regex.as_str().as_bytes(),
        }
    }
}

impl From<Text> for Pattern {
    fn from(text: Text) -> Self {
        Self::exact(text)
    }
}

impl From<&Text> for Pattern {
    fn from(text: &Text) -> Self {
        Self::exact(text.clone())
    }
}

impl From<&str> for Pattern {
    fn from(text: &str) -> Self {
        Self::exact(text)
    }
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self::exact(text)
    }
}

impl From<&String> for Pattern {
    fn from(text: &String) -> Self {
        Self::exact(text.as_str())
    }
}

impl From<Cow<'_, str>> for Pattern {
    fn from(text: Cow<'_, str>) -> Self {
        Self::exact(text.as_ref())
    }
}

impl From<&[u8]> for Pattern {
    fn from(bytes: &[u8]) -> Self {
        Self::exact(bytes)
    }
}

impl From<Vec<u8>> for Pattern {
    fn from(bytes: Vec<u8>) -> Self {
        Self::exact(bytes)
    }
}

impl From<&OsStr> for Pattern {
    fn from(text: &OsStr) -> Self {
        Self::exact(text)
    }
}

impl From<OsString> for Pattern {
    fn from(text: OsString) -> Self {
        Self::exact(text.as_os_str())
    }
}

impl From<&Path> for Pattern {
    fn from(path: &Path) -> Self {
        Self::exact(path.as_os_str())
    }
}

impl From<PathBuf> for Pattern {
    fn from(path: PathBuf) -> Self {
        Self::exact(path.as_os_str())
    }
}

impl From<&PathBuf> for Pattern {
    fn from(path: &PathBuf) -> Self {
        Self::exact(path.as_os_str().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_are_none() {
        assert!(Pattern::glob("[a").unwrap_err().is_config());
        assert!(Pattern::glob(&"{".repeat(100_000)).unwrap_err().is_config());
        assert!(Pattern::glob(&"{a,".repeat(200)).unwrap_err().is_config());
        assert!(Pattern::glob(&format!("{}{}", "{a,".repeat(100), "}".repeat(100))).is_ok());
        assert_eq!(Pattern::regex("a(b").unwrap_err().to_string(), "not a regular expression: \"a(b\": unclosed group");
        assert!(Pattern::regex(r"(\w{100}){100}{100}").unwrap_err().to_string().contains("bytes of memory"));
    }

    #[test]
    fn parts() {
        assert!(Pattern::contains("").matches(b""));
        assert!(Pattern::contains("b c").matches(b"a b c"));
        assert!(!Pattern::contains("abc").matches(b"ab"));
    }
}

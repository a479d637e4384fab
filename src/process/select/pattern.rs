//! What a text is compared with.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::GlobBuilder;
use regex::bytes::{Regex, RegexBuilder};

use crate::{Error, Result, Text};

/// What a name, a path or a command line is compared with in a [`Select`](crate::Select).
///
/// Anything that is text or a path makes an exact pattern, so `Select::name("postgres")` needs no `Pattern` in sight. All
/// patterns compare bytes: what they are compared with need not be UTF-8.
///
/// ```
/// use appmon::Select;
/// use appmon::process::Pattern;
///
/// let workers = Select::name(Pattern::glob("kworker*")?);
/// let beat = Select::cmdline(Pattern::contains("celery beat"));
/// let python = Select::exe(Pattern::regex(r"/python3?(\.\d+)?$")?);
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

/// A glob, compiled for both kinds of text.
pub(super) struct Glob {
    pub(super) glob: String,
    /// `*` and `?` stop at a `/`.
    path: Regex,
    /// They do not.
    plain: Regex,
}

impl Pattern {
    /// The whole text, byte for byte.
    #[must_use]
    pub fn exact(text: impl Into<Text>) -> Self {
        Self(Kind::Exact(text.into()))
    }

    /// A part of the text, byte for byte.
    #[must_use]
    pub fn contains(part: impl Into<Text>) -> Self {
        Self(Kind::Contains(part.into()))
    }

    /// A glob that matches the whole text: `?` and `*`, `[a-z]` and `[!a-z]`, `{this,that}`.
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

    /// A [regular expression](https://docs.rs/regex/latest/regex/#syntax) that matches anywhere in the text.
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
        let compile = |stop_at_slash| {
            let parsed = GlobBuilder::new(glob)
                .literal_separator(stop_at_slash)
                .backslash_escape(false)
                .empty_alternates(true)
                .build()
                .map_err(|error| error.kind().to_string())?;
            // `compile_matcher` panics where the regular expression grows too large.
            RegexBuilder::new(parsed.regex()).dot_matches_new_line(true).build().map_err(|error| why(&error))
        };
        Ok(Self(Kind::Glob(Arc::new(Glob { glob: glob.to_owned(), path: compile(true)?, plain: compile(false)? }))))
    }

    pub(super) fn try_regex(regex: &str) -> Result<Self, String> {
        Regex::new(regex).map(|regex| Self(Kind::Regex(regex))).map_err(|error| why(&error))
    }

    /// Whether a text that is not a path matches.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        match &self.0 {
            Kind::Glob(glob) => glob.plain.is_match(text),
            _ => self.matches_path(text),
        }
    }

    /// Whether a path matches.
    pub(crate) fn matches_path(&self, text: &[u8]) -> bool {
        match &self.0 {
            Kind::Exact(exact) => exact.as_bytes() == text,
            Kind::Contains(part) => contains(text, part.as_bytes()),
            Kind::Glob(glob) => glob.path.is_match(text),
            Kind::Regex(regex) => regex.is_match(text),
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Exact(text) => f.debug_tuple("Exact").field(text).finish(),
            Kind::Contains(part) => f.debug_tuple("Contains").field(part).finish(),
            Kind::Glob(glob) => f.debug_tuple("Glob").field(&glob.glob).finish(),
            Kind::Regex(regex) => f.debug_tuple("Regex").field(&regex.as_str()).finish(),
        }
    }
}

/// Whether `=` in the text form takes it for a glob.
pub(super) fn looks_like_glob(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'{'))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    // `windows` refuses a width of 0, and an empty part is in every text.
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

/// What is wrong with a regular expression, in one line: the crate draws several.
fn why(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => format!("it needs more than {limit} bytes of memory"),
        error => {
            let text = error.to_string();
            text.rsplit_once("error: ").map_or(text.as_str(), |(_, why)| why).trim().to_owned()
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

    fn glob(pattern: &str) -> Pattern {
        Pattern::glob(pattern).unwrap()
    }

    #[test]
    fn a_glob_stops_at_a_slash_only_in_paths() {
        assert!(glob("kworker*").matches(b"kworker/0:1-events"));
        assert!(!glob("/usr/*").matches_path(b"/usr/bin/true"));
        assert!(glob("/usr/*/tr?e").matches_path(b"/usr/bin/true"));
        assert!(glob("/usr/**").matches_path(b"/usr/bin/true"));
        assert!(!glob("/usr/**").matches_path(b"/usr"));
        let below = glob("/srv/app{,/**}");
        assert!(below.matches_path(b"/srv/app") && below.matches_path(b"/srv/app/a/b"));
        assert!(!below.matches_path(b"/srv/apple"));
    }

    #[test]
    fn a_glob_matches_whole_bytes() {
        assert!(!glob("post?").matches(b"xpostg"));
        assert!(!glob("post?").matches(b"postgr"));
        assert!(glob("a*b").matches(b"a\xff\nb"));
        assert!(glob("*-a\\x2db*").matches(b"system-a\\x2db.slice"));
        assert!(glob("[[]x[*]").matches(b"[x*"));
    }

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

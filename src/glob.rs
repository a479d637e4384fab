//! Globs: the one place where they are compiled.

use std::ffi::OsStr;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::os::unix::ffi::OsStrExt;

use globset::GlobBuilder;
use regex::bytes::{Regex, RegexBuilder};

/// Whether a text has any of the characters that make a glob of it.
pub(crate) fn looks_like_glob(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'{'))
}

/// A glob that matches a whole text, of any bytes: `?` and `*`, `[a-z]` and `[!a-z]`, `{this,that}`, where an alternative may be
/// empty. In a path `?` and `*` stop at a `/`, and `**` as a whole component crosses them.
///
/// A backslash is an ordinary character, as the names of systemd's units are full of them; `[*]` is a literal `*`.
pub(crate) struct Glob {
    text: String,
    path: Regex,
    plain: Regex,
}

impl Glob {
    /// Compiles a glob; the error is the reason alone.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let compile = |parsed: globset::Glob| {
            // `compile_matcher` panics where the regular expression grows too large.
            let regex = RegexBuilder::new(parsed.regex()).dot_matches_new_line(true).build();
            regex.map_err(|error| reason(&error))
        };
        Ok(Self { text: text.to_owned(), path: compile(parse(text, true)?)?, plain: compile(parse(text, false)?)? })
    }

    /// The glob as it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it matches a text that is not a path.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        self.plain.is_match(text)
    }

    /// Whether it matches a path.
    pub(crate) fn matches_path(&self, path: &[u8]) -> bool {
        self.path.is_match(path)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Glob").field(&self.text).finish()
    }
}

/// Globs of paths, matched together: one pass over a text, however many they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct GlobSet {
    globs: Vec<globset::Glob>,
    compiled: globset::GlobSet,
}

impl GlobSet {
    /// One more glob; the error is the reason alone.
    pub(crate) fn add(&mut self, text: &str) -> Result<(), String> {
        let glob = parse(text, true)?;
        let mut builder = globset::GlobSetBuilder::new();
        for glob in self.globs.iter().chain([&glob]) {
            builder.add(glob.clone());
        }
        self.compiled = builder.build().map_err(|error| error.kind().to_string())?;
        self.globs.push(glob);
        Ok(())
    }

    /// The globs as they were written.
    #[cfg(feature = "config")]
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.globs.iter().map(globset::Glob::glob)
    }

    /// Whether it has no globs.
    pub(crate) fn is_empty(&self) -> bool {
        self.globs.is_empty()
    }

    /// Whether the other one has all globs of this one.
    pub(crate) fn is_subset(&self, other: &Self) -> bool {
        self.globs.iter().all(|glob| other.globs.contains(glob))
    }

    /// Whether any of the globs matches a path.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        !self.is_empty() && self.compiled.is_match(OsStr::from_bytes(path))
    }
}

impl PartialEq for GlobSet {
    fn eq(&self, other: &Self) -> bool {
        self.globs == other.globs
    }
}

impl Hash for GlobSet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.globs.hash(state);
    }
}

fn parse(text: &str, stop_at_slash: bool) -> Result<globset::Glob, String> {
    GlobBuilder::new(text)
        .literal_separator(stop_at_slash)
        .backslash_escape(false)
        .empty_alternates(true)
        .build()
        .map_err(|error| error.kind().to_string())
}

/// The fault in a regular expression, in one line: the crate's own text draws several.
pub(crate) fn reason(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => format!("it needs more than {limit} bytes of memory"),
        error => {
            let text = error.to_string();
            text.rsplit_once("error: ").map_or(text.as_str(), |(_, why)| why).trim().to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(text: &str) -> Glob {
        Glob::new(text).unwrap()
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
    fn texts_that_are_no_globs() {
        assert_eq!(Glob::new("[a").unwrap_err(), "unclosed character class; missing ']'");
        assert!(Glob::new(&"{".repeat(100_000)).is_err());
        assert!(Glob::new(&"{a,".repeat(200)).is_err());
        assert!(Glob::new(&format!("{}{}", "{a,".repeat(100), "}".repeat(100))).is_ok());
    }

    #[test]
    fn a_set_matches_if_any_of_its_globs_does() {
        let texts = ["*.o", "a/**/cache", "/srv/app{,/**}", "c\\*", "?"];
        let mut set = GlobSet::default();
        assert!(set.is_empty() && !set.matches(b""));
        for text in texts {
            set.add(text).unwrap();
        }
        assert_eq!(set.add("[a").unwrap_err(), Glob::new("[a").unwrap_err(), "one compiler");
        let globs = texts.map(glob);
        let paths =
            ["x.o", "d/x.o", "a/cache", "a/1/2/cache", "/srv/app", "/srv/app/x/y", "/srv/apple", "c\\1", "c*", "/"];
        for path in paths {
            let any = globs.iter().any(|glob| glob.matches_path(path.as_bytes()));
            assert_eq!(set.matches(path.as_bytes()), any, "{path}");
        }
        let other = set.clone();
        assert!(other == set && set != GlobSet::default());
    }
}

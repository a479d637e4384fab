//! Text as the kernel has it: almost always UTF-8, kept byte for byte when it is not.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::convert::Infallible;
use std::ffi::OsStr;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

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

/// Bytes in a form that is safe to show to people.
pub(crate) struct Escaped<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Ok(text) = std::str::from_utf8(self.0)
            && text.chars().all(is_plain)
        {
            return f.pad(text);
        }
        let mut text = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            for char in chunk.valid().chars() {
                if is_plain(char) {
                    text.push(char);
                } else {
                    text.extend(char.escape_debug());
                }
            }
            for byte in chunk.invalid() {
                text.push_str(&format!("\\x{byte:02x}"));
            }
        }
        f.pad(&text)
    }
}

/// Whether a character shows as itself, and does nothing else to a terminal or to the text around it.
pub(crate) fn is_plain(char: char) -> bool {
    if char.is_ascii() {
        return !char.is_ascii_control();
    }
    // The set that std escapes in a string: its tables know which characters are printed. Behind a letter, since a mark that combines with
    // the character before it is escaped at the beginning only.
    let mut buffer = [b'a'; 5];
    let length = buffer.get_mut(1..).map_or(0, |rest| char.encode_utf8(rest).len());
    let text = buffer.get(..length.saturating_add(1)).and_then(|text| std::str::from_utf8(text).ok());
    text.is_some_and(|text| text.escape_debug().count() == 2)
}

/// Passes text on with every character that is not plain escaped, except line breaks.
pub(crate) struct Lines<'a, 'b>(pub(crate) &'a mut fmt::Formatter<'b>);

impl fmt::Write for Lines<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (nth, line) in text.split('\n').enumerate() {
            if nth > 0 {
                self.0.write_char('\n')?;
            }
            write!(self.0, "{}", Escaped(line.as_bytes()))?;
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        for (bytes, shown) in [
            (&b"postgres: writer"[..], "postgres: writer"),
            (b"dev-disk-by\\x2duuid.device", r"dev-disk-by\x2duuid.device"),
            (b"it's \"quoted\"", "it's \"quoted\""),
            (b"", ""),
            (b"a\x1b[31mb\x1b]0;title\x07", r"a\u{1b}[31mb\u{1b}]0;title\u{7}"),
            (b"\t\r\n\0\x7f", r"\t\r\n\0\u{7f}"),
            ("\u{9b}31m".as_bytes(), r"\u{9b}31m"),
            (b"\x9b31m\xff", r"\x9b31m\xff"),
            ("gpj.\u{202e}exe \u{2066}\u{200f}".as_bytes(), r"gpj.\u{202e}exe \u{2066}\u{200f}"),
            ("a\u{2028}b\u{feff}\u{200b}".as_bytes(), r"a\u{2028}b\u{feff}\u{200b}"),
            ("größe 日本 ᾘ0".as_bytes(), "größe 日本 ᾘ0"),
            // A mark that combines with the letter before it.
            ("e\u{301}".as_bytes(), "e\u{301}"),
        ] {
            assert_eq!(Text::from(bytes).to_string(), shown);
            assert_eq!(WirePath::from(bytes).to_string(), shown);
            assert_eq!(WirePath::from(bytes).display().to_string(), shown);
            assert_eq!(format!("{:>3}", Escaped(bytes)), format!("{shown:>3}"));
        }
        for char in '\0'..=char::MAX {
            let is_control = char.is_control() || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            assert!(!(is_control && is_plain(char)), "{}", char.escape_unicode());
        }
    }

    #[test]
    fn it_is_as_wide_as_it_is_shown() {
        assert_eq!(format!("{:<8}|", Text::from("a\nb")), r"a\nb    |");
        assert_eq!(format!("{:>8}|", WirePath::from("/a\nb")), r"   /a\nb|");
    }
}

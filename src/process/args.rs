//! `/proc/PID/cmdline` and `environ`: the arguments and environment that a process was started with.

use serde::{Deserialize, Serialize};

use crate::Text;

/// Returns the arguments in `/proc/PID/cmdline`, program first; none for a kernel thread and a zombie.
///
/// Empty arguments are kept. A process may write a title over its arguments (`setproctitle`): then that title is the only argument, and the
/// NULs that fill the rest of the place are not. The two cannot always be distinguished; a program whose arguments are all empty, two or
/// more of them, is taken for a title.
///
/// ```
/// use appmon::process::parse_cmdline;
///
/// assert_eq!(parse_cmdline(b"grep\0\0file\0"), ["grep", "", "file"]);
/// assert_eq!(parse_cmdline(b"nginx: master process\0\0\0\0"), ["nginx: master process"]);
/// assert_eq!(parse_cmdline(b""), [""; 0]);
/// ```
#[must_use]
pub fn parse_cmdline(file: &[u8]) -> Vec<Text> {
    if file.is_empty() {
        return Vec::new();
    }
    // A title that reaches the end of the place has no NUL.
    let args = file.strip_suffix(b"\0").unwrap_or(file);
    let title = args.split(|byte| *byte == 0).next().unwrap_or_default();
    let filling = args.get(title.len()..).unwrap_or_default();
    if filling.iter().all(|byte| *byte == 0) && (filling.len() > 1 || title.contains(&b' ')) {
        return vec![Text::from(title)];
    }
    args.split(|byte| *byte == 0).map(Text::from).collect()
}

/// `/proc/PID/environ`: the environment a process was started with, in the order of the file.
///
/// Later changes by the process itself are mostly not seen. In the wire form it is a list of pairs, the second of which is `null` for an
/// entry without `=`.
///
/// ```
/// use appmon::process::Environ;
///
/// let environ = Environ::parse(b"HOME=/root\0ODD\0EMPTY=\0");
/// assert_eq!(environ.get("HOME").unwrap(), &"/root");
/// assert_eq!(environ.get("EMPTY").unwrap(), &"");
/// assert_eq!(environ.get("ODD"), None);
/// assert_eq!(environ.iter().count(), 3);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Environ(Vec<(Text, Option<Text>)>);

impl Environ {
    /// Parses the file. Empty entries are left out: they are remains of entries that a process cleared or overwrote.
    #[must_use]
    pub fn parse(file: &[u8]) -> Self {
        file.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()).map(entry).collect()
    }

    /// Returns the value of the first variable of this name, as `getenv(3)` finds it.
    #[must_use]
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&Text> {
        let name = name.as_ref();
        self.iter().find_map(|(known, value)| value.filter(|_| known.as_bytes() == name))
    }

    /// Returns the name and value of each entry; no value for an entry without `=`.
    pub fn iter(&self) -> impl Iterator<Item = (&Text, Option<&Text>)> {
        self.0.iter().map(|(name, value)| (name, value.as_ref()))
    }
}

impl FromIterator<(Text, Option<Text>)> for Environ {
    fn from_iter<I: IntoIterator<Item = (Text, Option<Text>)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl IntoIterator for Environ {
    type Item = (Text, Option<Text>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

fn entry(entry: &[u8]) -> (Text, Option<Text>) {
    match entry.iter().position(|byte| *byte == b'=').and_then(|equals| entry.split_at_checked(equals)) {
        Some((name, value)) => (name.into(), value.get(1..).map(Text::from)),
        None => (entry.into(), None),
    }
}

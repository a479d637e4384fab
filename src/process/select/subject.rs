//! A process as far as it decides whether it is selected.

use std::cell::OnceCell;
use std::time::Duration;

use crate::process::{ProcessId, ProcessInfo};
use crate::{Cancel, Monotonic, Result, Text};

/// A process as far as it decides whether it is selected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) id: ProcessId,
    pub(crate) ppid: u32,
    pub(crate) info: &'a ProcessInfo,
    /// How much of `info` is of this process.
    pub(crate) knowledge: Knowledge,
    /// `None` where it is not known.
    pub(crate) age: Option<Duration>,
}

/// How much is known of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Knowledge {
    /// All that was read of it.
    All,
    /// Its name, and which process it is.
    Name,
    /// Which process it is: it was over before anything could be read.
    Identity,
}

/// The age at `now` of a process that started then. One that was born up to `latest`, during the reading, is new; the age of one that
/// starts in the future, by the reader's clock, is not known.
pub(crate) fn age(start_ns: i64, now: Monotonic, latest: Monotonic) -> Option<Duration> {
    let since = |at: Monotonic| u64::try_from(i128::from(at.as_nanos()).saturating_sub(start_ns.into())).ok();
    let age = since(now).or_else(|| since(latest).map(|_| 0));
    age.map(Duration::from_nanos)
}

/// A command line as conditions see it: joined when the first of them needs it, and not again for the others.
#[derive(Debug, Default)]
pub(super) struct CommandLine(OnceCell<Vec<u8>>);

impl CommandLine {
    /// The arguments, joined by single spaces.
    pub(super) fn joined<'a>(&'a self, arguments: &'a [Text], cancel: &Cancel) -> Result<&'a [u8]> {
        if let [only] = arguments {
            return Ok(only.as_bytes());
        }
        if let Some(joined) = self.0.get() {
            return Ok(joined);
        }
        // Any user can have some ten thousand of them, of megabytes.
        let bytes = arguments.iter().map(|argument| argument.as_bytes().len().saturating_add(1)).sum();
        let mut joined = Vec::with_capacity(bytes);
        for (nth, argument) in arguments.iter().enumerate() {
            cancel.check()?;
            if nth > 0 {
                joined.push(b' ');
            }
            joined.extend_from_slice(argument.as_bytes());
        }
        Ok(self.0.get_or_init(|| joined))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_joined_once() {
        let joined = |arguments: &[&str]| {
            let arguments: Vec<Text> = arguments.iter().map(|argument| Text::from(*argument)).collect();
            let line = CommandLine::default();
            let first = line.joined(&arguments, &Cancel::new()).unwrap().to_vec();
            let again = line.joined(&arguments, &Cancel::new()).unwrap();
            assert_eq!(first, again);
            assert!(line.0.get().is_none_or(|kept| std::ptr::eq(again, &**kept)));
            String::from_utf8(first).unwrap()
        };
        assert_eq!(joined(&[]), "");
        assert_eq!(joined(&[""]), "");
        assert_eq!(joined(&["a b"]), "a b");
        assert_eq!(joined(&["a", "", "b c"]), "a  b c");
    }

    #[test]
    fn joining_can_be_cancelled() {
        let cancel = Cancel::new();
        cancel.cancel();
        let line = CommandLine::default();
        let arguments = [Text::from("a"), Text::from("b")];
        assert!(line.joined(&arguments, &cancel).unwrap_err().is_cancelled());
        assert_eq!(line.joined(&arguments, &Cancel::new()).unwrap(), b"a b", "nothing is kept of it");
    }

    #[test]
    fn ages() {
        let at = Monotonic::from_nanos;
        assert_eq!(age(3, at(10), at(20)), Some(Duration::from_nanos(7)));
        assert_eq!(age(-3, at(10), at(20)), Some(Duration::from_nanos(13)), "before the zero of the clock");
        assert_eq!(age(15, at(10), at(20)), Some(Duration::ZERO), "born while it was looked");
        assert_eq!(age(21, at(10), at(20)), None);
        assert_eq!(age(i64::MAX, at(10), at(20)), None);
    }
}

//! The one error type.

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::text::{Escaped, Lines};

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate, with the path it concerns where one is known.
///
/// The type is opaque and one word wide. The `is_*` predicates classify it; its text is for people and not a stable interface.
/// [`source`](std::error::Error::source) returns the cause. [`Debug`](fmt::Debug) is the text and all its causes in one sentence, so that a
/// `main` that returns an error prints the whole of it.
///
/// A clone shares the cause, so an error can be passed to several consumers. An [`io::Error`] becomes one by `?`; [`at`](Self::at) adds the path, which the system's error does not have.
///
/// ```
/// use appmon::{Error, ProcFs};
///
/// let error = ProcFs::new("/no/such/proc").unwrap_err();
/// assert!(error.is_not_found());
/// assert_eq!(format!("{error:?}"), "/no/such/proc: No such file or directory (os error 2)");
///
/// fn load() -> appmon::Result<String> {
///     let path = "/proc/loadavg";
///     std::fs::read_to_string(path).map_err(|error| Error::from(error).at(path))
/// }
/// # load().unwrap();
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: Arc<Kind>,
    path: Option<PathBuf>,
}

enum Kind {
    Io(io::Error),
    Malformed(String),
    Config(String),
    #[cfg_attr(not(feature = "forward"), expect(dead_code, reason = "brokers are behind features"))]
    Broker(String, Option<Box<dyn std::error::Error + Send + Sync>>),
    Unsupported,
    Cancelled,
    Panicked(String),
    RuntimeGone,
}

impl Error {
    #[cold]
    fn new(kind: Kind) -> Self {
        Self(Box::new(Inner { kind: Arc::new(kind), path: None }))
    }

    /// Returns an I/O error, as [`From`] makes it.
    #[must_use]
    pub fn io(error: io::Error) -> Self {
        Self::new(Kind::Io(error))
    }

    /// Returns an error for a wrong setting, with a text that names it.
    #[must_use]
    pub fn config(what: impl Into<String>) -> Self {
        Self::new(Kind::Config(what.into()))
    }

    /// Returns an error for a text of the kernel that could not be parsed.
    #[must_use]
    pub fn malformed(what: impl Into<String>) -> Self {
        Self::new(Kind::Malformed(what.into()))
    }

    /// Returns the error for a cancelled reading, which [`Source::collect`](crate::Source::collect) returns when it stops early.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(Kind::Cancelled)
    }

    /// Returns an error for a failure of a message broker, or of the connection to it; implementations of
    /// [`Publish`](crate::forward::Publish) outside this crate use it too.
    #[cfg(feature = "forward")]
    #[must_use]
    pub fn broker(what: impl Into<String>) -> Self {
        Self::new(Kind::Broker(what.into(), None))
    }

    /// Returns the same, with the client's own error as its source.
    #[cfg(feature = "forward")]
    #[must_use]
    pub fn broker_because(what: impl Into<String>, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(Kind::Broker(what.into(), Some(cause.into())))
    }

    /// An error of a system call.
    pub(crate) fn os(errno: rustix::io::Errno) -> Self {
        Self::io(errno.into())
    }

    pub(crate) fn unsupported() -> Self {
        Self::new(Kind::Unsupported)
    }

    pub(crate) fn panicked(message: String) -> Self {
        Self::new(Kind::Panicked(message))
    }

    pub(crate) fn runtime_gone() -> Self {
        Self::new(Kind::RuntimeGone)
    }

    /// Returns the same error with `path` as the path it concerns.
    #[must_use]
    pub fn at(mut self, path: impl AsRef<Path>) -> Self {
        self.0.path = Some(path.as_ref().to_path_buf());
        self
    }

    /// Returns the path it concerns, where one is known.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// Returns whether a setting was wrong: trying again will not help.
    #[must_use]
    pub fn is_config(&self) -> bool {
        matches!(*self.0.kind, Kind::Config(_))
    }

    /// Returns whether a message broker, or the connection to it, refused or failed.
    #[must_use]
    pub fn is_broker(&self) -> bool {
        matches!(*self.0.kind, Kind::Broker(..))
    }

    /// Returns whether the object does not exist (any more): `ENOENT`, or `ESRCH` for a process that ended.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.errno().is_some_and(|e| e == rustix::io::Errno::NOENT || e == rustix::io::Errno::SRCH)
    }

    /// Returns whether this kernel does not have it, by its version or its configuration, or not for this process, which exists.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(*self.0.kind, Kind::Unsupported)
    }

    /// Returns whether the permission was missing: `EACCES` or `EPERM`.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.errno().is_some_and(|e| e == rustix::io::Errno::ACCESS || e == rustix::io::Errno::PERM)
    }

    /// Returns whether a text of the kernel could not be parsed.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        matches!(*self.0.kind, Kind::Malformed(_))
    }

    /// Returns whether the reading was cancelled, because its stream was dropped.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(*self.0.kind, Kind::Cancelled)
    }

    /// Returns whether the source panicked. Its stream ends after this error.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        matches!(*self.0.kind, Kind::Panicked(_))
    }

    /// Returns whether the runtime was shut down before the reading could start. The stream ends after this error.
    #[must_use]
    pub fn is_runtime_gone(&self) -> bool {
        matches!(*self.0.kind, Kind::RuntimeGone)
    }

    /// The system's error number, where there is one.
    pub(crate) fn errno(&self) -> Option<rustix::io::Errno> {
        match &*self.0.kind {
            Kind::Io(error) => rustix::io::Errno::from_io_error(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::io(error)
    }
}

/// There is none: it lets setters accept values that cannot be wrong along with values that can.
impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;

        // Paths and texts of foreign origin can hold anything, and the error may be shown on a terminal.
        if let Some(path) = &self.0.path {
            write!(f, "{}: ", Escaped(path.as_os_str().as_bytes()))?;
        }
        let mut f = Lines(f);
        match &*self.0.kind {
            Kind::Io(error) => write!(f, "{error}"),
            Kind::Malformed(what) => write!(f, "cannot be parsed: {what}"),
            Kind::Config(what) | Kind::Broker(what, _) => f.write_str(what),
            Kind::Unsupported => f.write_str("this kernel does not support it"),
            Kind::Cancelled => f.write_str("the reading was cancelled"),
            Kind::Panicked(message) => write!(f, "the source panicked: {message}"),
            Kind::RuntimeGone => f.write_str("the runtime was shut down"),
        }
    }
}

/// The text and its causes, as one sentence.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut previous = self.to_string();
        f.write_str(&previous)?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let lines: Vec<_> =
                error.to_string().split('\n').map(|line| Escaped(line.as_bytes()).to_string()).collect();
            let text = lines.join("\n");
            // Many errors have the text of their cause in their own.
            if !previous.contains(&text) {
                write!(f, ": {text}")?;
                previous = text;
            }
            cause = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.0.kind {
            Kind::Io(error) => Some(error),
            Kind::Broker(_, Some(cause)) => Some(&**cause),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_returned_from_main_is_a_sentence() {
        let error = Error::from(io::Error::from_raw_os_error(13)).at("/proc/1/io");
        assert_eq!(format!("{error:?}"), "/proc/1/io: Permission denied (os error 13)");
        assert_eq!(format!("{error:#?}"), format!("{error:?}"));
        assert!(error.is_denied());
        let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.unwrap().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(format!("{:?}", Error::config("selection, column 1\n  x\n  ^")), "selection, column 1\n  x\n  ^");
        // Whatever fails in here keeps its cause.
        let wrapped = Error::from(io::Error::other(Error::malformed("a\u{9b}b")));
        assert_eq!(format!("{wrapped:?}"), "cannot be parsed: a\\u{9b}b");
    }

    #[test]
    fn a_clone_is_the_same_error() {
        let error = Error::from(io::Error::from_raw_os_error(13)).at("/proc/1/io");
        let clone = error.clone().at("/proc/2/io");
        assert!(clone.is_denied() && std::error::Error::source(&clone).is_some());
        assert_eq!(clone.to_string(), "/proc/2/io: Permission denied (os error 13)");
        assert_eq!(error.to_string(), "/proc/1/io: Permission denied (os error 13)", "each has its own path");
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[cfg(feature = "forward")]
    #[test]
    fn causes_are_named_once() {
        let cause = io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
        let error = Error::broker_because("nats://127.0.0.1: not connected", cause);
        assert_eq!(error.to_string(), "nats://127.0.0.1: not connected");
        assert_eq!(format!("{error:?}"), "nats://127.0.0.1: not connected: connection refused");
        let error = Error::broker_because("refused: connection refused", io::Error::other("connection refused"));
        assert_eq!(format!("{error:?}"), "refused: connection refused");
    }

    #[test]
    fn control_characters_are_escaped() {
        let error = Error::config("line 1\n  ^ \u{1b}[2J\u{202e}").at("/srv/\u{1b}]0;x\u{7}\n");
        assert_eq!(error.to_string(), "/srv/\\u{1b}]0;x\\u{7}\\n: line 1\n  ^ \\u{1b}[2J\\u{202e}");
        for error in [
            Error::malformed("a\u{9b}b"),
            Error::panicked("a\u{9b}b".to_owned()),
            Error::io(io::Error::other("a\u{9b}b")),
            Error::config("a\u{9b}b"),
        ] {
            assert!(error.to_string().ends_with("a\\u{9b}b"), "{error}");
            assert_eq!(format!("{error:?}"), error.to_string());
        }
    }
}

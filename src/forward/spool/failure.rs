//! What goes wrong with the file of a spool.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::Error;

/// Why the database could not do it. After any of these it is opened again: it does nothing more after an I/O error.
#[derive(Debug)]
pub(super) enum Failure {
    /// Somebody else has it open.
    InUse,
    /// It is a file of something else, or of a later version: it is left as it is.
    NotOurs(&'static str),
    /// The disk is full, or does not answer as it should.
    Io(io::Error),
    /// The file is not what was written. Also where the database stopped at an inconsistency by a panic.
    Damaged(String),
    /// There is another file at the path, or none, and no new one can be made there: why not.
    Moved(Box<Failure>),
    /// A message is too large for any spool.
    TooLarge,
}

impl Failure {
    /// The same as an error of this crate; there may be one for each of those who wait.
    pub(super) fn error(&self, path: &Path) -> Error {
        let error = match self {
            Self::Moved(why) => {
                let why = why.error(path);
                return Error::config(format!("the spool's file was moved or removed, and not made anew: {why}"));
            }
            Self::TooLarge => Error::malformed("a message larger than a spool can hold"),
            Self::InUse => {
                Error::config("this spool is in use: only one process and one forwarder at a time can have it")
            }
            Self::NotOurs(what) => Error::config(format!("{what}: it is left as it is, give the spool another path")),
            Self::Io(error) => Error::io(copy(error)),
            Self::Damaged(what) => Error::malformed(format!("the spool: {what}")),
        };
        error.at(path)
    }

    /// The same once more, for the next one who asks.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::InUse => Self::InUse,
            Self::NotOurs(what) => Self::NotOurs(what),
            Self::Io(error) => Self::Io(copy(error)),
            Self::Damaged(what) => Self::Damaged(what.clone()),
            Self::Moved(why) => Self::Moved(Box::new(why.again())),
            Self::TooLarge => Self::TooLarge,
        }
    }

    /// Whether the file is to be put aside, and a new one made.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(_))
    }
}

fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// Does something with the database. A panic, with which it stops where it finds pages that contradict each other, is one more
/// failure.
pub(super) fn guarded<T>(run: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    // What a panic leaves behind is given up: whoever calls this opens the database again.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(Failure::Damaged(panic_text(&*panic))))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the database stopped at it: {}", text.unwrap_or("it said nothing"))
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // The file is shorter than it says, or has not the form of a database.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Self::Damaged(error.to_string())
            }
            // A bad sector: what is elsewhere is still good.
            _ if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Self::Damaged(error.to_string()),
            _ => Self::Io(error),
        }
    }
}

impl From<redb::Error> for Failure {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => error.into(),
            redb::Error::UpgradeRequired(_) => Self::NotOurs("this database is of another version"),
            redb::Error::ValueTooLarge(_) => Self::TooLarge,
            // An I/O error was told before, or to somebody else.
            redb::Error::PreviousIo => Self::Io(io::Error::other(error.to_string())),
            error => Self::Damaged(error.to_string()),
        }
    }
}

macro_rules! from_redb {
    ($($error:ident)*) => {$(
        impl From<redb::$error> for Failure {
            fn from(error: redb::$error) -> Self {
                redb::Error::from(error).into()
            }
        }
    )*};
}

from_redb!(StorageError TableError TransactionError CommitError DatabaseError CompactionError);

//! Failures of the file of a spool.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::Error;

/// The reason why an operation on the database failed. After each it is opened again, since it refuses everything after an I/O
/// error.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another process or forwarder has it open.
    InUse,
    /// The file is not a spool, or of a later version; it is not changed.
    NotOurs(&'static str),
    /// The disk is full, or returned another I/O error.
    Io(io::Error),
    /// The file does not have the written content, or the database panicked at an inconsistency.
    Damaged(String),
    /// The path has another file or none, and no new one could be made, for this reason.
    Moved(Box<Failure>),
    /// A message is too large for any spool.
    TooLarge,
}

impl Failure {
    /// Returns it as an error of this crate; there may be one for each waiting caller.
    pub(super) fn error(&self, path: &Path) -> Error {
        let error = match self {
            Self::Moved(why) => {
                let why = why.error(path);
                return Error::config(format!(
                    "the file of the spool was moved or removed, and could not be made again: {why}"
                ));
            }
            Self::TooLarge => Error::malformed("a message larger than a spool can hold"),
            Self::InUse => Error::config(
                "this spool is in use by another process or forwarder: give each forwarder a path of its own",
            ),
            Self::NotOurs(what) => Error::config(format!("{what}: it was not changed; give the spool another path")),
            Self::Io(error) => Error::io(copy(error)),
            Self::Damaged(what) => Error::malformed(format!("the spool: {what}")),
        };
        error.at(path)
    }

    /// Returns a copy, for the next caller.
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

    /// Whether the file is to be renamed, and a new one made.
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

/// Runs an operation on the database. Its panics, which occur on inconsistent pages, become failures.
pub(super) fn guarded<T>(run: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    // The state after a panic is discarded: the caller opens the database again.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(Failure::Damaged(panic_text(&*panic))))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the database panicked: {}", text.unwrap_or("a panic without a text"))
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // The file is shorter than its header states, or is not a database.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Self::Damaged(error.to_string())
            }
            // A bad sector: the other pages are still readable.
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
            // An earlier operation returned the I/O error.
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

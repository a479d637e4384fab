//! Messages in a spool that a broker refused for good.

use std::path::Path;

use super::failure::{self, Failure};
use super::file::SpoolFile;
use super::record::Record;
use crate::forward::message::Message;
use crate::{Result, Timestamp};

/// A message that a broker refused for good, kept in a spool for inspection; see
/// [`Outcome::Rejected`](crate::forward::Outcome::Rejected).
///
/// ```no_run
/// # fn look() -> appmon::Result<()> {
/// for letter in appmon::forward::DeadLetter::read("/var/lib/appmon/spool.redb")? {
///     println!("{} {}: {}", letter.at, letter.message.id, letter.reason);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The message.
    pub message: Message,
    /// The reason the broker gave, cut to 1000 bytes.
    pub reason: String,
    /// When it was refused.
    pub at: Timestamp,
}

impl DeadLetter {
    /// Reads the dead letters of a spool, the oldest first. A spool keeps the newest ones, in up to a sixteenth of its size, and none
    /// that is larger than that.
    ///
    /// It blocks: it reads the whole file, and repairs it if the last process was killed.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`](crate::Error::is_config) while a forwarder has the spool open, or when the file is not a spool; [`Error::is_malformed`](crate::Error::is_malformed) when it is
    /// damaged (the next forwarder that opens it begins with an empty one); an I/O error, such as [`Error::is_not_found`](crate::Error::is_not_found).
    pub fn read(path: impl AsRef<Path>) -> Result<Vec<Self>> {
        let path = path.as_ref();
        let read = || {
            let (_file, mut queue) = SpoolFile::open_existing(path)?;
            let found = failure::guarded(|| queue.dead_letters())?;
            failure::guarded(|| queue.close())?;
            Ok(found)
        };
        let found: Vec<Record> = read().map_err(|failure: Failure| failure.error(path))?;
        let letters = found.into_iter();
        Ok(letters.map(|Record { message, reason, rejected_at: at }| Self { message, reason, at }).collect())
    }
}

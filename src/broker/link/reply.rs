//! What brokers answer.

use std::time::Duration;

use crate::Error;

/// What a broker answered to one message.
#[derive(Debug)]
pub(in crate::broker) enum Reply {
    Accepted,
    /// It had it before.
    Duplicate,
    /// It took it, but for so many of its samples, which it will never take.
    #[cfg_attr(not(test), expect(dead_code, reason = "no broker that is there answers so: one over HTTP does"))]
    Partly(u32, Cause),
    Refused(Fault, Cause),
}

/// Whose fault a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) enum Fault {
    /// The message's: it will never be taken.
    Message,
    /// Its size's; with the limit where the broker says it.
    Size(Option<usize>),
    /// That of the place it goes to, or of the user: the same on all servers, and it can be mended.
    Place,
    /// This server's: another one may take it.
    Server,
}

/// What went wrong, in words, and the client's own error where there is one.
#[derive(Debug)]
pub(in crate::broker) struct Cause {
    pub(super) text: String,
    pub(super) source: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// For how long the broker wants to be left alone.
    pub(super) wait: Option<Duration>,
}

impl Cause {
    pub(in crate::broker) fn of(
        text: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { text: text.into(), source: Some(source.into()), wait: None }
    }

    /// The same, with how long the broker says to wait before it is asked again.
    #[cfg_attr(not(test), expect(dead_code, reason = "no broker that is there says so: one over HTTP does"))]
    pub(in crate::broker) fn with_wait(self, wait: Duration) -> Self {
        Self { wait: Some(wait), ..self }
    }

    /// As an error about `place`.
    pub(in crate::broker) fn at(self, place: &str) -> Error {
        let text = format!("{place}: {}", self.text);
        match self.source {
            Some(source) => Error::broker_because(text, source),
            None => Error::broker(text),
        }
    }
}

impl From<String> for Cause {
    fn from(text: String) -> Self {
        Self { text, source: None, wait: None }
    }
}

impl From<&str> for Cause {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<Error> for Cause {
    fn from(error: Error) -> Self {
        Self::of(error.to_string(), error)
    }
}

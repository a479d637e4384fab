//! The answers of brokers.

use std::time::Duration;

use crate::Error;

/// The answer of a broker to one message.
#[derive(Debug)]
pub(in crate::broker) enum Reply {
    Accepted,
    /// The broker already had the message.
    Duplicate,
    /// The broker accepted the message, except for this number of its samples, which it refuses for good.
    #[cfg_attr(not(any(test, feature = "otlp")), expect(dead_code, reason = "only OTLP has such answers"))]
    Partly(u32, Cause),
    Refused(Fault, Cause),
}

/// The cause of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) enum Fault {
    /// The message, which will never be accepted.
    Message,
    /// The size of the message, with the limit if the broker reported it.
    Size(Option<usize>),
    /// The destination or the user: the same on all servers, and an administrator can fix it.
    Place,
    /// This server: another one may accept the message.
    Server,
}

/// The text of a failure, and the error of the client library if there is one.
#[derive(Debug)]
pub(in crate::broker) struct Cause {
    pub(super) text: String,
    pub(super) source: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// The time the broker asked its clients to wait.
    pub(super) wait: Option<Duration>,
}

impl Cause {
    pub(in crate::broker) fn of(
        text: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { text: text.into(), source: Some(source.into()), wait: None }
    }

    /// The same, with the time the broker asked its clients to wait.
    #[cfg_attr(not(any(test, feature = "otlp")), expect(dead_code, reason = "only OTLP reports it"))]
    pub(in crate::broker) fn with_wait(self, wait: Duration) -> Self {
        Self { wait: Some(wait), ..self }
    }

    /// Returns it as an error about `place`.
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

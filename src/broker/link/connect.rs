//! The interface between a link and a broker.

use std::fmt;
use std::future::Future;

use super::batch::Turn;
use super::reply::Cause;
use crate::forward::Message;

/// A broker: makes sessions with its servers, and sends messages over them.
pub(in crate::broker) trait Connect: Send + Sync {
    /// The address and credentials of a server. Its `Display` is for people, without secrets.
    type Server: fmt::Display + Sync;

    type Session: Session;

    /// The servers, at least one.
    fn servers(&self) -> &[Self::Server];

    /// Makes a session; the server has answered at least once. The caller drops the future at the timeout.
    fn connect(&self, server: &Self::Server) -> impl Future<Output = Result<Self::Session, Cause>> + Send;

    /// Sends all messages of a turn, and settles each by its answer. Messages not settled at the end had no answer in time, or, with an
    /// error, no answer because the session ended. The future is dropped at the timeout.
    fn send(&self, session: &mut Self::Session, turn: &mut Turn<'_>) -> impl Future<Output = Result<(), Cause>> + Send;

    /// Returns the destination of a message at the broker, for people: a subject, a topic.
    fn place(&self, message: &Message) -> String;

    /// Returns the destination of all messages, for people: the template.
    fn places(&self) -> String;

    /// Returns the reason why no server would accept a message, of any size.
    fn refuse(&self, _: &Message) -> Option<Cause> {
        None
    }

    /// Returns the size of a message, as the limits count it.
    fn size(&self, message: &Message) -> usize {
        message.payload.len()
    }

    /// Returns the largest message set by the user, if any.
    fn limit(&self) -> Option<usize> {
        None
    }

    /// Whether each message has to wait for the answer to the one before.
    fn one_by_one(&self) -> bool {
        false
    }

    /// Returns the largest payload for this largest message.
    fn payload(&self, limit: usize) -> usize {
        limit
    }
}

/// A connection to one server, which never reconnects by itself. Dropping it ends it at once, with all messages in flight.
pub(in crate::broker) trait Session: Send {
    /// Whether it is still open, as far as that is known without a request.
    fn is_open(&mut self) -> bool;

    /// Returns the largest message the server accepts, if the server reported it.
    fn limit(&self) -> Option<usize> {
        None
    }

    /// Returns the largest payload of a turn in bytes; a single larger message is allowed.
    fn turn_bytes(&self) -> usize {
        usize::MAX
    }

    /// Returns the reason why the server currently accepts no messages, if it reported one without ending the connection.
    fn held_up(&self) -> Option<&'static str> {
        None
    }

    /// Closes it. No messages are in flight.
    fn close(self) -> impl Future<Output = ()> + Send;
}

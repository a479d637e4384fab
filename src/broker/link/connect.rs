//! What a broker is to a link.

use std::fmt;
use std::future::Future;

use super::batch::Turn;
use super::reply::Cause;
use crate::forward::Message;

/// A broker: how a session with one of its servers is made, and how messages are brought over it.
pub(in crate::broker) trait Connect: Send + Sync {
    /// Where a server is, and how to get in. Its text is for people, without secrets.
    type Server: fmt::Display + Sync;

    type Session: Session;

    /// The servers, at least one.
    fn servers(&self) -> &[Self::Server];

    /// Makes a session, after which the server has answered at least once. The time is the caller's, who drops the future.
    fn connect(&self, server: &Self::Server) -> impl Future<Output = Result<Self::Session, Cause>> + Send;

    /// Sends all messages of a turn, and settles each by its answer. What is not settled at the end was not answered: in time, or,
    /// with an error, because the session ended, for this cause. The future is dropped when the time is over.
    fn send(&self, session: &mut Self::Session, turn: &mut Turn<'_>) -> impl Future<Output = Result<(), Cause>> + Send;

    /// Where a message goes there, for people: a subject, a topic.
    fn place(&self, message: &Message) -> String;

    /// Where all of them go, for people: the template of places.
    fn places(&self) -> String;

    /// Why no server would ever take a message, whatever its size.
    fn refuse(&self, _: &Message) -> Option<Cause> {
        None
    }

    /// How large a message is, as limits count it.
    fn size(&self, message: &Message) -> usize {
        message.payload.len()
    }

    /// The largest message there may be, where the user says so.
    fn limit(&self) -> Option<usize> {
        None
    }

    /// Whether each message has to wait for the answer to the one before.
    fn one_by_one(&self) -> bool {
        false
    }

    /// The largest payload, where the largest message is so large.
    fn payload(&self, limit: usize) -> usize {
        limit
    }
}

/// A connection to one server, which never becomes another one by itself. Dropped, it ends at once, with all that is on its way.
pub(in crate::broker) trait Session: Send {
    /// Whether it has not ended, as far as that is known without asking.
    fn is_open(&mut self) -> bool;

    /// The largest message that the server takes, where it says so.
    fn limit(&self) -> Option<usize> {
        None
    }

    /// The most bytes of payload that a turn may have, beyond its first message.
    fn turn_bytes(&self) -> usize {
        usize::MAX
    }

    /// Why the server takes nothing of anybody now, where it says so and means to go on.
    fn held_up(&self) -> Option<&'static str> {
        None
    }

    /// Ends it in order. Nothing is on its way.
    fn close(self) -> impl Future<Output = ()> + Send;
}

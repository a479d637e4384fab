//! The common part of all brokers, between [`Publish`] and the connection of a client library.
//!
//! A broker implements how a [`Session`] is made and how messages are sent over it ([`Connect`]). The rest is here, the same for all:
//!
//! - **Order.** The messages of a batch are sent in turns. After a message was not accepted, no further message is sent before the
//!   caller received the outcomes; only messages of the same turn can overtake it. A turn has [`in_flight`](Link::set_in_flight)
//!   messages at first, one after a refusal, half as many after a lost connection, and more again as messages are accepted.
//! - **Deadlines.** A batch has a timeout, which includes the connection. A turn begins only in its first half, so that the other half
//!   remains for its answers.
//! - **Timeouts are not failures of a message.** A missing answer over an intact connection has no known cause:
//!   [`check`](Publish::check) then returns `None`, and no message is suspected of breaking the connection.
//! - **Faults.** [`Fault`] decides the meaning of a refusal: only a fault of the message is final.
//! - **Servers.** After a failure of a server, the next one of the list is used.
//! - **Limits.** A message above the limit is refused before it is sent. The limit is that of the broker, or of an earlier refusal.
//! - **Sessions.** A session is kept while it works. After any failure it is dropped, with all messages in flight in it.

mod batch;
mod connect;
mod reply;
mod settings;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::broker::deadline::from_now;
use crate::forward::{Message, Outcome, Publish};
use crate::{Error, Result};

use batch::Batch;
pub(super) use batch::Turn;
pub(super) use connect::{Connect, Session};
pub(super) use reply::{Cause, Fault, Reply};
pub(super) use settings::publish_by_link;
#[allow(unused_imports, reason = "OTLP has no places to name")]
pub(super) use settings::template;

/// A [`Publish`] over sessions. A clone begins without a session.
pub(super) struct Link<C: Connect> {
    pub(super) connect: C,
    timeout: Duration,
    in_flight: usize,
    /// The index of the current server.
    server: usize,
    /// The idle session. It is taken out during a batch, and put back only if it still works.
    idle: Option<C::Session>,
    window: Window,
    /// The last limit reported by the server.
    limit: Option<usize>,
    learned: Option<Learned>,
    /// Whether the last batch had no answer over an intact connection.
    silent: bool,
    /// The time until which each server asked not to be contacted.
    busy: Vec<Option<Instant>>,
    /// The error of the first invalid setting.
    wrong: Option<String>,
}

/// The current number of messages per turn.
#[derive(Clone, Copy, Debug)]
struct Window {
    size: usize,
    /// The number of messages accepted since it last changed.
    taken: usize,
}

/// The number of full turns after which it doubles. It grows slowly, since a full queue that is being read could refuse one message and
/// accept the next.
const TURNS: usize = 8;

const ASKED_TO_WAIT: &str = "not sent: it asked its clients to wait";

/// The limit learned from a refusal.
#[derive(Clone, Copy, Debug)]
struct Learned {
    limit: usize,
    /// Whether the broker named this number; otherwise it is half the size of the refused message.
    exact: bool,
    at: Instant,
}

/// The time for which it is used; after that the limit may have been raised.
const BELIEVED: Duration = Duration::from_secs(600);

/// The end of a turn, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Whole,
    /// A message was refused; the session still works.
    Refused,
    /// The server refused a message that another server may accept.
    Unfit,
    /// Not all was answered in time.
    Silent,
    /// The session ended.
    Lost,
}

impl<C: Connect> Link<C> {
    pub(super) fn new(connect: C, in_flight: usize) -> Self {
        Self {
            connect,
            timeout: Duration::from_secs(5),
            in_flight,
            server: 0,
            idle: None,
            window: Window { size: in_flight, taken: 0 },
            limit: None,
            learned: None,
            silent: false,
            busy: Vec::new(),
            wrong: None,
        }
    }

    /// Changes a setting of the broker. Its error is reported at the first use.
    pub(super) fn configure(&mut self, setting: &str, change: impl FnOnce(&mut C) -> Result<()>) {
        if let Err(error) = change(&mut self.connect) {
            self.wrong.get_or_insert_with(|| format!("{setting}: {error}"));
        }
    }

    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    pub(super) fn set_in_flight(&mut self, messages: usize) {
        self.in_flight = messages.max(1);
        self.window = Window { size: self.in_flight, taken: 0 };
    }

    fn deadline(&self, share: u32) -> Instant {
        from_now(self.timeout.checked_div(share).unwrap_or_default())
    }

    fn error(&self, cause: impl Into<Cause>) -> Error {
        cause.into().at(&self.server_name())
    }

    fn server_name(&self) -> String {
        self.connect.servers().get(self.server).map_or_else(String::new, ToString::to_string)
    }

    /// Returns the idle session, or a new one.
    async fn open(&mut self, until: Instant) -> Result<C::Session> {
        if let Some(mut session) = self.idle.take()
            && session.is_open()
        {
            return Ok(session);
        }
        let Some(server) = self.connect.servers().get(self.server) else { return Err(Error::config("no server")) };
        let connected = timeout_at(until, self.connect.connect(server)).await;
        let error = match connected {
            Ok(Ok(session)) => {
                self.limit = session.limit();
                return Ok(session);
            }
            Ok(Err(cause)) => {
                self.leave_alone(Fault::Server, cause.wait);
                self.error(cause)
            }
            Err(_) => self.error(format!("no connection within {:?}", self.timeout)),
        };
        self.next_server();
        Err(error)
    }

    fn next_server(&mut self) {
        self.idle = None;
        self.server = self.server.saturating_add(1).checked_rem(self.connect.servers().len()).unwrap_or(0);
    }

    /// Records that this server, or all servers for faults common to all, asked for this wait.
    fn leave_alone(&mut self, fault: Fault, wait: Option<Duration>) {
        let Some(wait) = wait else { return };
        self.busy.resize(self.connect.servers().len(), None);
        let until = Some(from_now(wait));
        for (server, busy) in self.busy.iter_mut().enumerate() {
            if fault == Fault::Place || server == self.server {
                *busy = until.max(*busy);
            }
        }
    }

    /// Selects a server that may be contacted now and returns `None`, or returns the time until there is one.
    fn busy_for(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let left = |busy: &Option<Instant>| busy.and_then(|until| until.checked_duration_since(now));
        for _ in 0..self.busy.len() {
            if self.busy.get(self.server).is_none_or(|busy| left(busy).is_none_or(|left| left.is_zero())) {
                return None;
            }
            self.next_server();
        }
        self.busy.iter().filter_map(left).min()
    }

    fn learned(&self) -> Option<Learned> {
        self.learned.filter(|learned| learned.at.elapsed() < BELIEVED)
    }

    /// Returns the outcome of a message that is known to be refused.
    fn refused_early(&self, message: &Message) -> Option<Outcome> {
        let place = || format!("{} {}", self.server_name(), self.connect.place(message));
        if let Some(cause) = self.connect.refuse(message) {
            return Some(Outcome::Rejected(cause.at(&place())));
        }
        let learned = self.learned().filter(|learned| learned.exact).map(|learned| learned.limit);
        let limit = [learned, self.limit, self.connect.limit()].into_iter().flatten().min()?;
        let size = self.connect.size(message);
        let text = || format!("{}: a message of {size} bytes, but it takes {limit}", place());
        (size > limit).then(|| Outcome::TooLarge(Error::broker(text())))
    }

    /// Records the end of a turn.
    fn take_in(&mut self, turn: Turn<'_>, lost: Option<Cause>, batch: &mut Batch<'_>, session: &C::Session) -> End {
        let mut end = if lost.is_some() { End::Lost } else { End::Whole };
        let (mut why, mut source) = match lost {
            Some(Cause { text, source, wait }) => {
                self.leave_alone(Fault::Server, wait);
                (text, source)
            }
            None => (format!("no answer within {:?}", self.timeout), None),
        };
        if let Some(held_up) = session.held_up() {
            why = format!("{why}; {held_up}");
        }
        let turn = turn.finish();
        for (_, message, reply) in &turn {
            if let Some(Reply::Refused(fault, cause)) = reply {
                self.leave_alone(*fault, cause.wait);
            }
            if let Some(Reply::Refused(Fault::Size(limit), _)) = reply {
                let guess = self.connect.size(message) / 2;
                self.learned =
                    Some(Learned { limit: limit.unwrap_or(guess), exact: limit.is_some(), at: Instant::now() });
            }
        }
        for (index, message, reply) in turn {
            let place = || format!("{} {}", self.server_name(), self.connect.place(message));
            let outcome = match reply {
                Some(Reply::Accepted) => Outcome::Accepted,
                Some(Reply::Duplicate) => Outcome::Duplicate,
                Some(Reply::Partly(refused, cause)) => Outcome::Partly { refused, error: cause.at(&place()) },
                Some(Reply::Refused(Fault::Message, cause)) => Outcome::Rejected(cause.at(&place())),
                Some(Reply::Refused(Fault::Size(_), cause)) => Outcome::TooLarge(cause.at(&place())),
                Some(Reply::Refused(fault, cause)) => {
                    end = end.max(if fault == Fault::Server { End::Unfit } else { End::Refused });
                    // There is no need to wait for another server.
                    match cause.wait.filter(|_| fault == Fault::Place || self.connect.servers().len() == 1) {
                        Some(wait) => Outcome::RetryAfter { wait, error: cause.at(&place()) },
                        None => Outcome::Retry(cause.at(&place())),
                    }
                }
                None => {
                    end = end.max(End::Silent);
                    let cause = Cause { text: why.clone(), source: source.take(), wait: None };
                    self.refused_early(message).unwrap_or_else(|| Outcome::Unknown(cause.at(&place())))
                }
            };
            if outcome.is_accepted() {
                self.window.taken = self.window.taken.saturating_add(1);
            }
            batch.settle(index, outcome);
        }
        end
    }

    fn adjust(&mut self, end: End) {
        let size = self.window.size;
        let size = match end {
            End::Whole if self.window.taken >= size.saturating_mul(TURNS) => size.saturating_mul(2).min(self.in_flight),
            End::Whole => return,
            End::Refused | End::Unfit => 1,
            End::Silent | End::Lost => (size / 2).max(1),
        };
        self.window = Window { size, taken: 0 };
    }
}

impl<C: Connect> Publish for Link<C> {
    async fn publish(&mut self, messages: &[Message]) -> Vec<Outcome> {
        if let Err(error) = self.validate() {
            return Outcome::none_sent(messages, error);
        }
        let (until, last_turn) = (self.deadline(1), self.deadline(2));
        let mut batch = Batch::new(messages);
        batch.settle_early(|message| self.refused_early(message));
        if batch.is_settled() {
            return batch.finish("");
        }
        if let Some(wait) = self.busy_for() {
            return batch.finish_after(wait, &self.error(ASKED_TO_WAIT));
        }
        let mut session = match self.open(until).await {
            Ok(session) => session,
            Err(error) => return batch.finish_because(error),
        };
        if let Some(why) = session.held_up() {
            self.idle = Some(session);
            return batch.finish_because(self.error(why));
        }
        batch.settle_early(|message| self.refused_early(message));
        let mut first = true;
        while !batch.is_settled() {
            if !std::mem::take(&mut first) && Instant::now() > last_turn {
                self.idle = Some(session);
                return batch
                    .finish(&self.error("not sent: the timeout was used up by the messages before").to_string());
            }
            let window = if self.connect.one_by_one() { 1 } else { self.window.size };
            let mut turn = batch.turn(window, session.turn_bytes(), until);
            let known = self.learned.map(|learned| learned.limit);
            // Also when this is dropped.
            self.silent = true;
            let sent = timeout_at(until, self.connect.send(&mut session, &mut turn)).await;
            let end = self.take_in(turn, sent.unwrap_or(Ok(())).err(), &mut batch, &session);
            self.silent = end == End::Silent;
            self.adjust(end);
            if self.learned.map(|learned| learned.limit) != known {
                batch.settle_early(|message| self.refused_early(message));
            }
            let why = match end {
                End::Whole => continue,
                End::Refused => {
                    self.idle = Some(session);
                    "not sent, as an earlier message was not taken"
                }
                End::Unfit => {
                    self.next_server();
                    "not sent, as an earlier message was not taken"
                }
                // The messages in it are not lost, and come first.
                End::Silent if session.is_open() && session.held_up().is_some() => {
                    self.idle = Some(session);
                    "not sent, as an earlier message may be lost"
                }
                End::Silent | End::Lost => {
                    self.next_server();
                    "not sent, as an earlier message may be lost"
                }
            };
            return batch.finish(&self.error(why).to_string());
        }
        self.idle = Some(session);
        batch.finish("")
    }

    /// Checks the server by a new connection, since an old one may be broken without notice.
    async fn check(&mut self) -> Option<Result<()>> {
        if let Err(error) = self.validate() {
            return Some(Err(error));
        }
        if self.busy_for().is_some() {
            return Some(Err(self.error(ASKED_TO_WAIT)));
        }
        if let Some(mut session) = self.idle.take()
            && session.is_open()
            && let Some(why) = session.held_up()
        {
            self.idle = Some(session);
            return Some(Err(self.error(why)));
        }
        match self.open(self.deadline(1)).await {
            Ok(session) => {
                self.idle = Some(session);
                // A server that accepts connections but acknowledges no message is waiting for something other than a message.
                (!self.silent).then_some(Ok(()))
            }
            Err(error) => Some(Err(error)),
        }
    }

    fn validate(&self) -> Result<()> {
        self.wrong.as_ref().map_or(Ok(()), |wrong| Err(Error::config(wrong.clone())))
    }

    fn max_message_bytes(&self) -> Option<usize> {
        let learned = self.learned().map(|learned| learned.limit);
        let limit = [learned, self.limit, self.connect.limit()].into_iter().flatten().min()?;
        Some(self.connect.payload(limit))
    }

    fn destination(&self) -> String {
        let servers: Vec<String> = self.connect.servers().iter().map(ToString::to_string).collect();
        format!("{} {}", servers.join(","), self.connect.places())
    }

    async fn close(&mut self) {
        // No messages are in flight: all were answered, or dropped with their session.
        if let Some(session) = self.idle.take() {
            let _ = timeout_at(self.deadline(1), session.close()).await;
        }
    }
}

impl<C: Connect + Clone> Clone for Link<C> {
    fn clone(&self) -> Self {
        let mut link = Self::new(self.connect.clone(), self.in_flight);
        (link.timeout, link.limit, link.learned) = (self.timeout, self.limit, self.learned);
        link.wrong.clone_from(&self.wrong);
        link
    }
}

impl<C: Connect> fmt::Debug for Link<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("destination", &self.destination())
            .field("timeout", &self.timeout)
            .field("in_flight", &self.in_flight)
            .field("connected", &self.idle.is_some())
            .finish_non_exhaustive()
    }
}

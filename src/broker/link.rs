//! The way to a broker: what all of them have in common between [`Publish`] and a client's connection.
//!
//! A broker is what makes a [`Session`] and brings messages over it ([`Connect`]). Everything else is here, and so it is the same for
//! all:
//!
//! - **Order.** The messages of a batch go out in turns. After one that was not taken none goes out before the caller saw the
//!   outcomes; what is on its way together with it is all that can overtake it. That is [`in_flight`](Link::set_in_flight)
//!   messages at first, one after the broker refused something, half as many after a connection was lost, and more again as messages
//!   are taken.
//! - **Deadlines.** A batch has a time, the connection included. A turn begins only in its first half, so that each has the other half
//!   for its answers.
//! - **Silent is not broken.** What was not answered when the time is over says nothing of a message as long as the connection stood:
//!   [`check`](Publish::check) then has no answer, and nothing is taken for poison.
//! - **Whose fault it is.** [`Fault`] decides what a refusal means: only what is the message's own is final.
//! - **Servers.** After failures that are a server's, the next one of the list has its turn.
//! - **Limits.** What is too large is refused before it is sent: by the broker's own word, or by what an earlier refusal said.
//! - **Sessions.** One is kept while all is well. It is dropped, with all that may still be on its way in it, when anything is not.

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
pub(super) use settings::{publish_by_link, template};

/// A [`Publish`] over sessions. A clone has none yet.
pub(super) struct Link<C: Connect> {
    pub(super) connect: C,
    timeout: Duration,
    in_flight: usize,
    /// The one whose turn it is.
    server: usize,
    /// In nobody's use: it is taken out while a batch is on its way, and only comes back when all is well.
    idle: Option<C::Session>,
    window: Window,
    /// What the server said last.
    limit: Option<usize>,
    learned: Option<Learned>,
    /// Whether the last batch was not answered, over a connection that stood.
    silent: bool,
    /// Until when each server wants to be left alone.
    busy: Vec<Option<Instant>>,
    /// The first setting that cannot be used, and why.
    wrong: Option<String>,
}

/// How many messages may be on their way together now.
#[derive(Clone, Copy, Debug)]
struct Window {
    size: usize,
    /// How many were taken since it last changed.
    taken: usize,
}

/// It doubles after so many turns' worth of messages were taken: where a queue is full but is read from, a refused message could be
/// overtaken by the next one, so it grows slowly.
const TURNS: usize = 8;

const ASKED_TO_WAIT: &str = "not sent: it asked to be left alone for a while";

/// What a refusal told of sizes.
#[derive(Clone, Copy, Debug)]
struct Learned {
    limit: usize,
    /// Whether the broker said this number; else it is half of what was too large.
    exact: bool,
    at: Instant,
}

/// How long that is believed. Somebody may raise the limit.
const BELIEVED: Duration = Duration::from_secs(600);

/// How a turn ended, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Whole,
    /// Something was refused; the session is well.
    Refused,
    /// The server refuses what another may take.
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

    /// Changes a setting of the broker. What is wrong with it is reported when it is used first.
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

    /// The session there is, or a new one.
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

    /// Notes that this server, or where it is the same on all of them each, wants to be left alone for so long.
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

    /// How long until a server may be asked again; `None` where there is one that may be now, whose turn it is then.
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

    /// What will be refused, as far as is known.
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

    /// Notes what became of a turn.
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
                    // Another server need not be waited for.
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
                return batch.finish(&self.error("not sent: what was sent before it took the time").to_string());
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
                // It is not lost, and what waits in it comes first.
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

    /// Connects anew: that the server lets us in is the answer, and an old connection may be gone unseen.
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
                // One that takes connections but answers to no message waits for something, and not for another message.
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
        // Whatever was sent was answered, or given up with its session.
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

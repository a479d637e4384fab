//! The state machine of a forwarder: what waits is published in batches, again and again until it is settled.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, Sleep};
use tracing::Instrument as _;

use crate::forward::backoff::Backoff;
use crate::forward::batch::{BatchLimits, Entry, Tried};
use crate::forward::bisection::{Bisection, Next};
use crate::forward::deadline::{after, from_now};
use crate::forward::encode::Encoder;
use crate::forward::message::Message;
use crate::forward::outbox::Outbox;
use crate::forward::publish::{Outcome, Publish};
use crate::forward::rejected::{OnRejected, Rejected};
use crate::forward::report::Report;
use crate::forward::split::{can_split, split};
use crate::forward::status::Shared;
use crate::{Error, Sample, Snapshot};

/// No message is split to less because it was refused.
const LEAST_BYTES: usize = 512;

/// A message of so many bytes is not too large for anybody.
const SMALL_BYTES: usize = 4 << 10;

/// Room for what a protocol adds to a payload: the attributes, a subject.
const OVERHEAD_BYTES: usize = 2 << 10;

/// What a connection gets to say goodbye, and a spool to be closed, however late it is.
const CLOSING: Duration = Duration::from_millis(500);

pub(super) struct Settings {
    pub(super) batch: BatchLimits,
    pub(super) linger: Duration,
    pub(super) publish_timeout: Duration,
    pub(super) max_message_bytes: usize,
    pub(super) on_rejected: Option<OnRejected>,
}

impl Settings {
    /// The largest payload there may be.
    fn most_bytes(&self, publish: &impl Publish) -> usize {
        let most = publish.max_message_bytes().map_or(usize::MAX, |bytes| bytes.saturating_sub(OVERHEAD_BYTES));
        most.min(self.max_message_bytes)
    }
}

pub(super) struct Delivery<P> {
    state: State<P>,
    encoder: Encoder,
    /// The largest payload there may be, as far as it is known, and the largest that was accepted.
    limit: usize,
    proven: usize,
    backlog: Outbox,
    /// The batch under work, in order: what is published, or was in vain.
    batch: VecDeque<Entry>,
    backoff: Backoff,
    poison: Bisection,
    failures: u32,
    waiting_since: Option<Instant>,
    linger: Option<Pin<Box<Sleep>>>,
    closing: bool,
    settings: Settings,
    rejected: Rejected,
    destination: Arc<str>,
    shared: Arc<Shared>,
}

enum State<P> {
    Idle(P),
    /// So many of the batch are on their way.
    Publishing {
        count: usize,
        future: Publishing<P>,
    },
    BackingOff {
        publish: P,
        until: Pin<Box<Sleep>>,
    },
    Gone,
}

type Publishing<P> = Pin<Box<dyn Future<Output = (P, Attempt)> + Send>>;

/// How an attempt ended.
enum Attempt {
    /// Nothing was sent: the broker does not even answer.
    Away(Error),
    /// All was sent; before that the broker did answer, if that was `checked`.
    Sent { checked: bool, outcomes: Vec<Outcome> },
}

impl Attempt {
    fn no_answer(limit: Duration, count: usize) -> Self {
        let outcome = || Outcome::Unknown(Error::broker(format!("no answer within {limit:?}")));
        Self::Sent { checked: false, outcomes: std::iter::repeat_with(outcome).take(count).collect() }
    }
}

impl<P> fmt::Debug for Delivery<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("destination", &self.destination)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

impl<P: Publish + 'static> Delivery<P> {
    pub(super) fn new(
        publish: P,
        mut encoder: Encoder,
        backlog: Outbox,
        backoff: Backoff,
        mut settings: Settings,
        shared: Arc<Shared>,
    ) -> Self {
        let limit = settings.most_bytes(&publish);
        encoder.set_max_bytes(limit);
        let destination: Arc<str> = publish.destination().into();
        let rejected = Rejected::new(Arc::clone(&destination), settings.on_rejected.take());
        Self {
            state: State::Idle(publish),
            limit,
            proven: SMALL_BYTES,
            encoder,
            backlog,
            batch: VecDeque::new(),
            backoff,
            poison: Bisection::default(),
            failures: 0,
            waiting_since: None,
            linger: None,
            closing: false,
            settings,
            rejected,
            destination,
            shared,
        }
    }

    /// Whether another snapshot may be pushed.
    pub(super) fn has_room(&self) -> bool {
        self.backlog.has_room()
    }

    /// Takes a snapshot, as messages.
    pub(super) fn push<T: Sample + Serialize>(&mut self, snapshot: &Snapshot<T>) {
        let encoded = self.encoder.encode(snapshot);
        self.shared.update(|status| {
            let report = &mut status.report;
            report.snapshots = report.snapshots.saturating_add(1);
            report.samples = report.samples.saturating_add(snapshot.samples.len() as u64);
            report.messages = report.messages.saturating_add(encoded.messages.len() as u64);
            let dropped = &mut report.dropped;
            dropped.oversize_samples = dropped.oversize_samples.saturating_add(encoded.oversize);
            dropped.unencodable_samples = dropped.unencodable_samples.saturating_add(encoded.failed);
            self.backlog.push(encoded.messages, report);
        });
        if encoded.oversize > 0 {
            tracing::warn!(
                destination = &*self.destination,
                samples = encoded.oversize,
                "samples larger than a message"
            );
        }
    }

    /// A snapshot went by that there was no room for.
    pub(super) fn missed(&mut self) {
        self.shared.update(|status| status.report.missed_snapshots = status.report.missed_snapshots.saturating_add(1));
    }

    pub(super) fn failed_tick(&mut self) {
        self.shared.update(|status| status.report.failed_ticks = status.report.failed_ticks.saturating_add(1));
    }

    /// From now on nothing waits for company, and what waits for another attempt has it at once: the broker may be back.
    pub(super) fn close(&mut self) {
        self.closing = true;
        self.state = match std::mem::replace(&mut self.state, State::Gone) {
            State::BackingOff { publish, .. } => State::Idle(publish),
            other => other,
        };
    }

    /// Goes on with it. Ready when all is settled; then there is nothing to wait for but another snapshot.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // Not under the lock: whoever hears what is logged meanwhile may ask how it is going.
            let mut report = self.shared.report();
            self.backlog.poll(cx, &mut report);
            self.shared.update(|status| status.report = report);
            let polled = self.poll_state(cx);
            self.show();
            match polled {
                Poll::Ready(Step::Done) if self.backlog.is_settled() => return Poll::Ready(()),
                Poll::Ready(Step::Done) | Poll::Pending => return Poll::Pending,
                Poll::Ready(Step::Again) => {}
            }
        }
    }

    fn poll_state(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        match &mut self.state {
            State::Idle(_) => {
                if self.batch.is_empty() && !self.take_batch(cx) {
                    return Poll::Ready(Step::Done);
                }
                self.publish();
            }
            State::Publishing { count, future } => {
                let count = *count;
                let (publish, attempt) = ready!(future.as_mut().poll(cx));
                // It may have been told when it connected.
                self.limit = self.settings.most_bytes(&publish);
                let wait = self.settle(count, attempt);
                self.encoder.set_max_bytes(self.limit);
                self.proven = self.proven.min(self.limit.max(SMALL_BYTES));
                self.split_large();
                self.state = match wait {
                    None => State::Idle(publish),
                    Some(wait) => State::BackingOff { publish, until: Box::pin(tokio::time::sleep(wait)) },
                };
            }
            State::BackingOff { until, .. } => {
                ready!(until.as_mut().poll(cx));
                if let State::BackingOff { publish, .. } = std::mem::replace(&mut self.state, State::Gone) {
                    self.state = State::Idle(publish);
                }
            }
            State::Gone => return Poll::Ready(Step::Done),
        }
        Poll::Ready(Step::Again)
    }

    /// Takes what waits for a new batch; false where nothing does, or what does may still get company.
    fn take_batch(&mut self, cx: &mut Context<'_>) -> bool {
        if self.backlog.is_empty() {
            self.waiting_since = None;
            return false;
        }
        let limits = self.settings.batch;
        // Where there is no room, no company comes.
        let waits = !self.closing && self.backlog.has_room() && !self.backlog.fills(limits);
        if waits && !self.settings.linger.is_zero() {
            let since = *self.waiting_since.get_or_insert_with(Instant::now);
            let until = after(since, self.settings.linger);
            let linger = self.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
            if linger.deadline() != until {
                linger.as_mut().reset(until);
            }
            if linger.as_mut().poll(cx).is_pending() {
                return false;
            }
        }
        self.waiting_since = None;
        self.batch.extend(self.backlog.take(limits));
        self.split_large();
        !self.batch.is_empty()
    }

    /// Splits what was encoded when a larger limit was known, or none.
    fn split_large(&mut self) {
        let mut batch = VecDeque::with_capacity(self.batch.len());
        for entry in self.batch.drain(..) {
            let Some(pieces) = split(&entry.message, self.limit) else {
                batch.push_back(entry);
                continue;
            };
            self.backlog.split(&entry, pieces.len());
            let more = u64::try_from(pieces.len()).unwrap_or(u64::MAX).saturating_sub(1);
            self.shared.update(|status| status.report.messages = status.report.messages.saturating_add(more));
            batch.extend(pieces.into_iter().map(|message| Entry::new(message, entry.position)));
        }
        self.batch = batch;
    }

    /// Whether a message was refused for its size and can be made smaller: then it is, before the next attempt.
    fn is_too_large(limit: &mut usize, settings: &mut Settings, message: &Message, outcome: &Outcome) -> bool {
        let bytes = message.payload.len();
        match outcome {
            Outcome::TooLarge(_) if bytes <= *limit => {
                // A power of two: a later process that has to find out finds the same, and splits in the same way.
                *limit = (bytes.next_power_of_two() / 2).max(LEAST_BYTES);
                settings.max_message_bytes = settings.max_message_bytes.min(*limit);
            }
            Outcome::TooLarge(_) | Outcome::Rejected(_) => {}
            _ => return false,
        }
        bytes > *limit && can_split(message)
    }

    /// Sends what is next of the batch.
    fn publish(&mut self) {
        let State::Idle(mut publish) = std::mem::replace(&mut self.state, State::Gone) else { return };
        let mut sent = self.poison.next(self.batch.len());
        // Where it turns out that a part of a snapshot has to be split, none of those behind it is to be there already.
        let mut entries = self.batch.iter().take(sent.count);
        let unproven = entries.position(|entry| entry.message.payload.len() > self.proven);
        sent.count = unproven.map_or(sent.count, |index| index.saturating_add(1));
        let messages: Vec<_> = self.batch.iter().take(sent.count).map(|entry| entry.message.clone()).collect();
        let span = tracing::debug_span!("publish", destination = &*self.destination, messages = messages.len());
        let limit = self.settings.publish_timeout;
        let future = async move {
            let attempt = async {
                let alive = if sent.check { publish.check().await } else { None };
                match alive {
                    Some(Err(error)) => Attempt::Away(error),
                    alive => Attempt::Sent { checked: alive.is_some(), outcomes: publish.publish(&messages).await },
                }
            };
            let attempt = tokio::time::timeout(limit, attempt)
                .await
                .unwrap_or_else(|_| Attempt::no_answer(limit, messages.len()));
            (publish, attempt)
        };
        self.state = State::Publishing { count: sent.count, future: Box::pin(future.instrument(span)) };
    }

    /// Says what became of what was sent; gives how long to wait where some of it is to be sent again.
    fn settle(&mut self, count: usize, attempt: Attempt) -> Option<Duration> {
        let (outcomes, checked) = match attempt {
            Attempt::Away(error) => return self.after(0, Some(error), Duration::ZERO),
            Attempt::Sent { checked, outcomes } => (outcomes, checked),
        };
        let (mut accepted, mut unknown) = (0_usize, 0_usize);
        let (mut failure, mut asked) = (None, Duration::ZERO);
        let mut settled = Vec::new();
        let mut outcomes = outcomes.into_iter();
        for (index, entry) in self.batch.iter_mut().enumerate().take(count) {
            self.shared.update(|status| count_again(&mut status.report, entry.tried));
            let outcome = outcomes.next().unwrap_or_else(|| Outcome::Unknown(Error::broker("no outcome was given")));
            if Self::is_too_large(&mut self.limit, &mut self.settings, &entry.message, &outcome) {
                continue;
            }
            match outcome {
                outcome @ (Outcome::Accepted | Outcome::Duplicate) => {
                    accepted = accepted.saturating_add(1);
                    self.proven = self.proven.max(entry.message.payload.len());
                    self.shared.update(|status| {
                        self.backlog.settled(entry, None, &mut status.report);
                        count_accepted(&mut status.report, &entry.message, matches!(outcome, Outcome::Duplicate));
                    });
                    settled.push(index);
                }
                Outcome::Partly { refused, error } => {
                    accepted = accepted.saturating_add(1);
                    let destination = &*self.destination;
                    tracing::warn!(destination, id = %entry.message.id, refused, %error, "samples rejected");
                    self.shared.update(|status| {
                        self.backlog.settled(entry, None, &mut status.report);
                        count_accepted(&mut status.report, &entry.message, false);
                        let refused = u64::from(refused.min(entry.message.samples));
                        status.report.accepted_samples = status.report.accepted_samples.saturating_sub(refused);
                        status.report.dropped.rejected.add(0, refused);
                    });
                    settled.push(index);
                }
                Outcome::Rejected(error) | Outcome::TooLarge(error) => {
                    self.rejected.set_aside(&mut self.backlog, &self.shared, entry, &error);
                    settled.push(index);
                }
                Outcome::Retry(error) => {
                    entry.tried = Tried::Refused;
                    failure.get_or_insert(error);
                }
                Outcome::RetryAfter { wait, error } => {
                    entry.tried = Tried::Refused;
                    asked = asked.max(wait);
                    failure.get_or_insert(error);
                }
                Outcome::Unknown(error) => {
                    unknown = unknown.saturating_add(1);
                    entry.tried = Tried::Unknown;
                    failure.get_or_insert(error);
                }
            }
        }
        if self.poison.learn(Next { count, check: checked }, settled.len(), unknown)
            && let Some(entry) = self.batch.front()
        {
            let error = Error::broker("whenever it is sent the connection breaks, and it works otherwise");
            self.rejected.set_aside(&mut self.backlog, &self.shared, entry, &error);
            settled.push(0);
            failure = None;
        }
        for index in settled.into_iter().rev() {
            self.batch.remove(index);
        }
        self.after(accepted, failure, asked)
    }

    /// What an attempt means for the next one, which the broker asked to come no sooner than after `asked`.
    fn after(&mut self, accepted: usize, failure: Option<Error>, asked: Duration) -> Option<Duration> {
        if accepted > 0 || failure.is_none() {
            self.backoff.reset();
        }
        let Some(error) = failure else {
            if self.failures > 0 {
                tracing::info!(destination = &*self.destination, attempts = self.failures, "forwarding again");
            }
            self.failures = 0;
            self.shared.update(|status| status.last_error = None);
            return None;
        };
        self.failures = self.failures.saturating_add(1);
        // With some luck on top: others were asked the same.
        let wait = asked.saturating_add(self.backoff.next_wait());
        // An outage of a day is not a million lines.
        if self.failures.is_power_of_two() {
            let attempts = self.failures;
            tracing::warn!(destination = &*self.destination, attempts, ?wait, %error, "not forwarded, to be tried again");
        }
        self.shared.update(|status| status.last_error = Some(error.to_string()));
        Some(wait)
    }

    fn show(&self) {
        self.shared.update(|status| {
            self.backlog.show(status);
            status.waiting_messages = status.waiting_messages.saturating_add(self.batch.len());
        });
    }

    /// The end, until about then: what is neither accepted nor in a spool is lost, and counted.
    pub(super) async fn end(self, until: Instant) -> Report {
        let until = until.max(from_now(CLOSING));
        let state = self.state;
        let goodbye = async move {
            // One that is still publishing could take for ever.
            if let State::Idle(mut publish) | State::BackingOff { mut publish, .. } = state {
                let _ = tokio::time::timeout_at(until, publish.close()).await;
            }
        };
        let mut report = self.shared.get().report;
        // At the same time: neither is to use up what the other has.
        futures::future::join(goodbye, self.backlog.close(self.batch.into(), until, &mut report)).await;
        self.shared.update(|status| {
            status.report = report;
            status.waiting_messages = 0;
            status.waiting_bytes = 0;
            status.spool_messages = report.spooled;
        });
        report
    }
}

enum Step {
    Again,
    Done,
}

fn count_again(report: &mut Report, tried: Tried) {
    report.retried = report.retried.saturating_add((tried != Tried::Not).into());
    report.unknown = report.unknown.saturating_add((tried == Tried::Unknown).into());
}

fn count_accepted(report: &mut Report, message: &Message, duplicate: bool) {
    report.accepted = report.accepted.saturating_add(1);
    report.accepted_samples = report.accepted_samples.saturating_add(message.samples.into());
    report.accepted_bytes = report.accepted_bytes.saturating_add(message.payload.len() as u64);
    report.duplicates = report.duplicates.saturating_add(duplicate.into());
}

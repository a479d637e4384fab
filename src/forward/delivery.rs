//! The state machine of a forwarder: publishes the waiting messages in batches, and again until each is settled (accepted or
//! refused for good).

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
use crate::forward::encode::{Encoded, Encoder};
use crate::forward::message::Message;
use crate::forward::outbox::Outbox;
use crate::forward::publish::{Outcome, Publish};
use crate::forward::rejected::{OnRejected, Rejected};
use crate::forward::report::Report;
use crate::forward::split::{can_split, split};
use crate::forward::status::Shared;
use crate::{Error, Sample, Snapshot};

/// The lower bound of the payload limit, however often a broker refuses messages for their size.
const LEAST_BYTES: usize = 512;

/// A payload size that every broker accepts.
const SMALL_BYTES: usize = 4 << 10;

/// Reserved for the bytes a protocol adds to a payload: the attributes, a subject.
const OVERHEAD_BYTES: usize = 2 << 10;

/// The least time for closing the connection and the spool, also after the deadline.
const CLOSING: Duration = Duration::from_millis(500);

pub(super) struct Settings {
    pub(super) batch: BatchLimits,
    pub(super) linger: Duration,
    pub(super) publish_timeout: Duration,
    pub(super) max_message_bytes: usize,
    pub(super) on_rejected: Option<OnRejected>,
}

impl Settings {
    /// Returns the largest payload: the lower of the setting and the broker's limit.
    fn most_bytes(&self, publish: &impl Publish) -> usize {
        let most = publish.max_message_bytes().map_or(usize::MAX, |bytes| bytes.saturating_sub(OVERHEAD_BYTES));
        most.min(self.max_message_bytes)
    }
}

pub(super) struct Delivery<P> {
    state: State<P>,
    encoder: Encoder,
    /// The largest payload allowed, as far as it is known, and the largest one accepted so far.
    limit: usize,
    proven: usize,
    outbox: Outbox,
    /// The current batch, in order: messages being published, or to be published again.
    batch: VecDeque<Entry>,
    backoff: Backoff,
    bisection: Bisection,
    failures: u32,
    waiting_since: Option<Instant>,
    linger: Option<Pin<Box<Sleep>>>,
    closing: bool,
    settings: Settings,
    rejected: Rejected,
    destination: Arc<str>,
    shared: Arc<Shared>,
    /// The number of messages and samples lost, as of the last snapshot.
    lost: u64,
}

enum State<P> {
    Idle(P),
    /// The first `count` messages of the batch are being published.
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
    /// Nothing was sent: the broker did not answer the check.
    Unreachable(Error),
    /// All messages were sent; `checked` if the broker answered a check before.
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
        outbox: Outbox,
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
            outbox,
            batch: VecDeque::new(),
            backoff,
            bisection: Bisection::default(),
            failures: 0,
            waiting_since: None,
            linger: None,
            closing: false,
            settings,
            rejected,
            destination,
            shared,
            lost: 0,
        }
    }

    /// Whether another snapshot may be pushed.
    pub(super) fn has_room(&self) -> bool {
        self.outbox.has_room()
    }

    /// Encodes a snapshot and adds its messages to the outbox.
    pub(super) fn push<T: Sample + Serialize>(&mut self, snapshot: &Snapshot<T>) {
        self.push_with(snapshot.samples.len() as u64, |encoder| encoder.encode(snapshot));
    }

    /// The same of a snapshot with this number of samples, which `encode` encodes. Returns the number of messages made of it.
    pub(super) fn push_with(&mut self, samples: u64, encode: impl FnOnce(&mut Encoder) -> Encoded) -> u64 {
        // What is sent next must not refer to a message that consumers do not receive.
        let lost = lost(&self.shared.report());
        if lost != self.lost || self.outbox.replaces_waiting() {
            self.lost = lost;
            self.encoder.restart_chains();
        }
        let encoded = encode(&mut self.encoder);
        let messages = encoded.messages.len() as u64;
        self.shared.update(|status| {
            let report = &mut status.report;
            report.snapshots = report.snapshots.saturating_add(1);
            report.samples = report.samples.saturating_add(samples);
            report.deltas = report.deltas.saturating_add(encoded.is_delta.into());
            report.messages = report.messages.saturating_add(messages);
            let dropped = &mut report.dropped;
            dropped.oversize_samples = dropped.oversize_samples.saturating_add(encoded.oversize);
            dropped.unencodable_samples = dropped.unencodable_samples.saturating_add(encoded.failed);
            self.outbox.push(encoded.messages, report);
        });
        if encoded.oversize > 0 {
            tracing::warn!(
                destination = &*self.destination,
                samples = encoded.oversize,
                "samples larger than the largest message are left out"
            );
        }
        messages
    }

    /// Counts a snapshot for which there was no room.
    pub(super) fn missed(&mut self) {
        self.shared.update(|status| status.report.missed_snapshots = status.report.missed_snapshots.saturating_add(1));
    }

    pub(super) fn failed_tick(&mut self) {
        self.shared.update(|status| status.report.failed_ticks = status.report.failed_ticks.saturating_add(1));
    }

    /// Begins the end: batches no longer wait to fill up, and the next attempt is made at once, since the broker may be back.
    pub(super) fn close(&mut self) {
        self.closing = true;
        self.state = match std::mem::replace(&mut self.state, State::Gone) {
            State::BackingOff { publish, .. } => State::Idle(publish),
            other => other,
        };
    }

    /// Continues delivery. Ready when all messages are settled.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // Without holding the lock: a `tracing` subscriber may ask for the status while an event is logged.
            let mut report = self.shared.report();
            self.outbox.poll(cx, &mut report);
            self.shared.update(|status| status.report = report);
            let polled = self.poll_state(cx);
            self.update_status();
            match polled {
                Poll::Ready(Step::Done) if self.outbox.is_settled() => return Poll::Ready(()),
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
                // The broker may have reported its limit when the connection was made.
                self.limit = self.settings.most_bytes(&publish);
                let wait = self.apply(count, attempt);
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

    /// Takes waiting messages as a new batch. Returns false when none wait, or when they linger for a larger batch.
    fn take_batch(&mut self, cx: &mut Context<'_>) -> bool {
        if self.outbox.is_empty() {
            self.waiting_since = None;
            return false;
        }
        let limits = self.settings.batch;
        // Without room no more messages come, so lingering is of no use.
        let waits = !self.closing && self.outbox.has_room() && !self.outbox.fills(limits);
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
        self.batch.extend(self.outbox.take(limits));
        self.split_large();
        !self.batch.is_empty()
    }

    /// Splits messages that were encoded before the current limit was known.
    fn split_large(&mut self) {
        let mut batch = VecDeque::with_capacity(self.batch.len());
        for entry in self.batch.drain(..) {
            let Some(pieces) = split(&entry.message, self.limit) else {
                batch.push_back(entry);
                continue;
            };
            self.outbox.split(&entry, pieces.len());
            let more = u64::try_from(pieces.len()).unwrap_or(u64::MAX).saturating_sub(1);
            self.shared.update(|status| status.report.messages = status.report.messages.saturating_add(more));
            batch.extend(pieces.into_iter().map(|message| Entry::new(message, entry.position)));
        }
        self.batch = batch;
    }

    /// Whether a message was refused for its size and can be split. Then the limit is lowered, so that the message is split before
    /// the next attempt.
    fn is_too_large(limit: &mut usize, settings: &mut Settings, message: &Message, outcome: &Outcome) -> bool {
        let bytes = message.payload.len();
        match outcome {
            Outcome::TooLarge(_) if bytes <= *limit => {
                // A power of two: a later process finds the same limit, and splits messages in the same way.
                *limit = (bytes.next_power_of_two() / 2).max(LEAST_BYTES);
                settings.max_message_bytes = settings.max_message_bytes.min(*limit);
            }
            Outcome::TooLarge(_) | Outcome::Rejected(_) => {}
            _ => return false,
        }
        bytes > *limit && can_split(message)
    }

    /// Sends the next messages of the batch.
    fn publish(&mut self) {
        let State::Idle(mut publish) = std::mem::replace(&mut self.state, State::Gone) else { return };
        let mut sent = self.bisection.next(self.batch.len());
        // If a message turns out to be too large, no later one may be at the broker already: so it is the last of this attempt.
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
                    Some(Err(error)) => Attempt::Unreachable(error),
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

    /// Applies the outcomes of an attempt. Returns the time to wait if some messages are to be sent again.
    fn apply(&mut self, count: usize, attempt: Attempt) -> Option<Duration> {
        let (outcomes, checked) = match attempt {
            Attempt::Unreachable(error) => return self.after(0, Some(error), Duration::ZERO),
            Attempt::Sent { checked, outcomes } => (outcomes, checked),
        };
        let (mut accepted, mut unknown) = (0_usize, 0_usize);
        let (mut failure, mut asked) = (None, Duration::ZERO);
        let mut settled = Vec::new();
        let mut outcomes = outcomes.into_iter();
        for (index, entry) in self.batch.iter_mut().enumerate().take(count) {
            self.shared.update(|status| count_again(&mut status.report, entry.tried));
            let outcome = outcomes.next().unwrap_or_else(|| {
                Outcome::Unknown(Error::broker("the publisher returned fewer outcomes than messages"))
            });
            if Self::is_too_large(&mut self.limit, &mut self.settings, &entry.message, &outcome) {
                continue;
            }
            match outcome {
                outcome @ (Outcome::Accepted | Outcome::Duplicate) => {
                    accepted = accepted.saturating_add(1);
                    self.proven = self.proven.max(entry.message.payload.len());
                    self.shared.update(|status| {
                        self.outbox.settled(entry, None, &mut status.report);
                        count_accepted(&mut status.report, &entry.message, matches!(outcome, Outcome::Duplicate));
                    });
                    settled.push(index);
                }
                Outcome::Partly { refused, error } => {
                    accepted = accepted.saturating_add(1);
                    let destination = &*self.destination;
                    tracing::warn!(destination, id = %entry.message.id, refused, %error, "samples rejected");
                    self.shared.update(|status| {
                        self.outbox.settled(entry, None, &mut status.report);
                        count_accepted(&mut status.report, &entry.message, false);
                        let refused = u64::from(refused.min(entry.message.samples));
                        status.report.accepted_samples = status.report.accepted_samples.saturating_sub(refused);
                        status.report.dropped.rejected.add(0, refused);
                    });
                    settled.push(index);
                }
                Outcome::Rejected(error) | Outcome::TooLarge(error) => {
                    self.rejected.reject(&mut self.outbox, &self.shared, entry, &error);
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
        if self.bisection.record(Next { count, check: checked }, settled.len(), unknown)
            && let Some(entry) = self.batch.front()
        {
            let error = Error::broker("the connection breaks whenever this message is sent, and works otherwise");
            self.rejected.reject(&mut self.outbox, &self.shared, entry, &error);
            settled.push(0);
            failure = None;
        }
        for index in settled.into_iter().rev() {
            self.batch.remove(index);
        }
        self.after(accepted, failure, asked)
    }

    /// Returns the wait before the next attempt: at least `asked`, the time the broker asked for.
    fn after(&mut self, accepted: usize, failure: Option<Error>, asked: Duration) -> Option<Duration> {
        if accepted > 0 || failure.is_none() {
            self.backoff.reset();
        }
        let Some(error) = failure else {
            if self.failures > 0 {
                tracing::info!(destination = &*self.destination, attempts = self.failures, "publishing works again");
                // The broker may have lost what it had accepted before.
                self.encoder.restart_chains();
            }
            self.failures = 0;
            self.shared.update(|status| status.last_error = None);
            return None;
        };
        self.failures = self.failures.saturating_add(1);
        // With jitter on top: other clients were asked to wait for the same time.
        let wait = asked.saturating_add(self.backoff.next_wait());
        // Attempts 1, 2, 4, 8 and so on are logged, so that a long outage does not flood the log.
        if self.failures.is_power_of_two() {
            let attempts = self.failures;
            tracing::warn!(destination = &*self.destination, attempts, ?wait, %error, "publishing failed and will be tried again");
        }
        self.shared.update(|status| status.last_error = Some(error.to_string()));
        Some(wait)
    }

    fn update_status(&self) {
        self.shared.update(|status| {
            self.outbox.update_status(status);
            status.waiting_messages = status.waiting_messages.saturating_add(self.batch.len());
        });
    }

    /// Ends delivery, by about `until`: messages that are neither accepted nor in a spool are lost, and counted.
    pub(super) async fn end(self, until: Instant) -> Report {
        let until = until.max(from_now(CLOSING));
        let state = self.state;
        let disconnect = async move {
            // A publisher that is still publishing is dropped instead: it could take for ever.
            if let State::Idle(mut publish) | State::BackingOff { mut publish, .. } = state {
                let _ = tokio::time::timeout_at(until, publish.close()).await;
            }
        };
        let mut report = self.shared.get().report;
        // Concurrently, so that neither uses up the time of the other.
        futures::future::join(disconnect, self.outbox.close(self.batch.into(), until, &mut report)).await;
        self.shared.update(|status| {
            status.report = report;
            status.waiting_messages = 0;
            status.waiting_bytes = 0;
            status.spool_messages = report.spooled;
        });
        report
    }
}

/// Returns a number that grows when something that was encoded is lost.
fn lost(report: &Report) -> u64 {
    report.dropped.total().messages.saturating_add(report.dropped.rejected.samples)
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

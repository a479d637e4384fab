//! The subscription of a consumer: its session, its position in the stream, and its consumer at the server.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::datetime::{DateTime, from_nanos};
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::message::{Acker, Message};
use async_nats::jetstream::stream::Stream;
use futures::{FutureExt as _, StreamExt as _};
use serde::de::DeserializeOwned;

use super::settings::{Begin, Settings};
use crate::broker::consuming::Subscription;
use crate::broker::link::Cause;
use crate::broker::nats::headers;
use crate::broker::nats::line::{Line, NO_TIMEOUT};
use crate::broker::nats::server::Dialer;
use crate::broker::receive::{Orphan, Received, Receiver};
use crate::{Error, Result, Sample};

/// Returns the name of a server by its index, for people.
fn name_of(dialer: &Dialer, server: usize) -> String {
    dialer.urls().get(server).map_or_else(String::new, ToString::to_string)
}

/// The token that acknowledges a message, and its position in the stream.
pub(super) struct Token {
    acker: Acker,
    sequence: u64,
}

/// The subscription of one consumer.
pub(super) struct Subscribed<T> {
    settings: Settings,
    session: Option<Session>,
    /// The index of the current server.
    server: usize,
    /// The last message received from the stream.
    position: u64,
    /// The creation time of the stream of that message.
    created: Option<DateTime>,
    /// Whether the stream was created again since: then all its messages are new.
    anew: bool,
    samples: PhantomData<fn() -> T>,
}

struct Session {
    messages: pull::Stream,
    line: Line,
    stream: Stream,
    /// Messages up to here were acknowledged before.
    acknowledged: u64,
}

/// The prefix of the descriptions of consumers made here; the kind of the samples follows.
const OURS: &str = "appmon ";

/// The number of messages requested at once.
const PULL: usize = 128;

/// How long the server keeps an unnamed consumer after it is gone.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// The delay before returned messages may be delivered to another consumer.
const BACK_AFTER: Duration = Duration::from_millis(100);

impl<T: Sample + DeserializeOwned + Clone + Send + 'static> Subscription<T> for Subscribed<T> {
    type Token = Token;

    fn is_open(&self) -> bool {
        self.session.is_some()
    }

    async fn receive(&mut self, to: &mut Receiver<T, Token>) -> Result<()> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => {
                // It waits for other parts, and will be delivered again.
                let waiting = to.waiting().map(|token| token.sequence).filter(|sequence| *sequence > 0).min();
                self.open(waiting).await?
            }
        };
        let message = session.next(self.settings.dialer.timeout()).await;
        let message = message.map_err(|cause| self.error(cause))?;
        self.session = Some(session);
        let sequence = message.info().map_or(0, |info| info.stream_sequence);
        self.position = self.position.max(sequence);
        let (message, acker) = message.split();
        let received = received(&message);
        to.push(&received, Token { acker, sequence });
        if let Some(start) = to.take_orphan().and_then(start_of) {
            let limit = self.settings.dialer.timeout();
            let read = self.read_past(to, &message.subject, sequence, start, limit).await;
            if let Err(cause) = read {
                // Then the next whole snapshot is waited for.
                let error = self.error(cause);
                tracing::warn!(%error, subject = &*message.subject, "what was sent before cannot be read");
            }
        }
        Ok(())
    }

    async fn acknowledge(&mut self, done: Vec<Token>) {
        // If the connection is lost, the message is delivered again, and acknowledged as a duplicate.
        for token in done {
            let _ = token.acker.ack().await;
        }
    }

    async fn finish(&mut self, back: Vec<Token>) {
        let Some(Session { mut messages, line, .. }) = self.session.take() else { return };
        let mut back: Vec<Acker> = back.into_iter().map(|token| token.acker).collect();
        while let Some(Some(Ok(message))) = messages.next().now_or_never() {
            back.push(message.split().1);
        }
        // Without a delay a returned message could be sent to the request that is being cancelled here, and would be late.
        drop(messages);
        let ending = async {
            for acker in back {
                let _ = acker.ack_with(AckKind::Nak(Some(BACK_AFTER))).await;
            }
            let _ = line.client.flush().await;
        };
        let _ = tokio::time::timeout(self.settings.dialer.timeout(), ending).await;
    }
}

/// Returns a message with its headers.
fn received(message: &async_nats::Message) -> Received<'_> {
    let headers = message.headers.as_ref();
    let get = |name: &str| headers.and_then(|headers: &HeaderMap| headers.get(name)).map(|value| value.as_str());
    Received {
        id: get(headers::ID),
        source: get(headers::SOURCE),
        event_type: get(headers::TYPE),
        stream: get(headers::STREAM),
        content_type: get(headers::CONTENT_TYPE),
        payload: &message.payload,
        place: &message.subject,
    }
}

/// By how much the clock of a host may be ahead of that of the server.
const MARGIN: Duration = Duration::from_secs(60);

/// Returns when the keyframe was made that a delta needs, less the margin: it was published after that.
fn start_of(orphan: Orphan) -> Option<DateTime> {
    let before = orphan.age.saturating_add(MARGIN).as_nanos();
    let made = i128::from(orphan.time.as_unix_nanos()).saturating_sub(i128::try_from(before).ok()?);
    from_nanos(made.max(0)).ok()
}

impl Session {
    async fn next(&mut self, timeout: Duration) -> Result<Message, Cause> {
        let message = match self.messages.next().now_or_never() {
            Some(message) => message,
            None => {
                // No message is ready: flush the acknowledgements.
                let flushed = tokio::time::timeout(timeout, self.line.client.flush()).await;
                if !matches!(flushed, Ok(Ok(()))) {
                    return Err("the connection broke".into());
                }
                self.messages.next().await
            }
        };
        match message {
            Some(Ok(message)) => Ok(message),
            Some(Err(error)) => Err(Cause::of(error.to_string(), error)),
            None => Err("the connection broke".into()),
        }
    }
}

impl<T: Sample> Subscribed<T> {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, session: None, server: 0, position: 0, created: None, anew: false, samples: PhantomData }
    }

    fn error(&self, cause: Cause) -> Error {
        let Settings { dialer, stream, .. } = &self.settings;
        cause.at(&format!("{} stream {stream}", name_of(dialer, self.server)))
    }

    /// Reads what is stored of a subject from `start` on, up to the message at `end`, so that what changed since can be restored. Waits at
    /// most `limit` for each message.
    async fn read_past(
        &self,
        to: &mut Receiver<T, Token>,
        subject: &str,
        end: u64,
        start: DateTime,
        limit: Duration,
    ) -> Result<(), Cause>
    where
        T: DeserializeOwned + Clone,
    {
        let Some(session) = &self.session else { return Ok(()) };
        // One that has no name of its own begins now, and leaves what was before to others.
        let is_own = self.settings.durable.is_some();
        let config = pull::Config {
            description: Some(format!("{OURS}{}, what was before", T::KIND)),
            filter_subject: subject.to_owned(),
            deliver_policy: DeliverPolicy::ByStartTime { start_time: start },
            ack_policy: AckPolicy::None,
            inactive_threshold: FORGOTTEN_AFTER,
            ..pull::Config::default()
        };
        let messages = async {
            let consumer = session.stream.create_consumer(config).await?;
            let name = consumer.cached_info().name.clone();
            Ok::<_, async_nats::Error>((consumer.stream().max_messages_per_batch(PULL).messages().await?, name))
        };
        let late = |_| Cause::from(format!("no answer within {limit:?}").as_str());
        let opened = tokio::time::timeout(limit, messages).await.map_err(late)?;
        let (mut messages, name) = opened.map_err(|error| Cause::from(error.to_string().as_str()))?;
        while let Some(message) = tokio::time::timeout(limit, messages.next()).await.map_err(late)? {
            let message = message.map_err(|error| Cause::of(error.to_string(), error))?;
            let sequence = message.info().map_or(end, |info| info.stream_sequence);
            if sequence >= end {
                break;
            }
            // What nobody acknowledged may have been yielded by nobody.
            let is_new = is_own && sequence > session.acknowledged;
            to.push_past(&received(&message), is_new);
        }
        drop(messages);
        let _ = tokio::time::timeout(limit, session.stream.delete_consumer(&name)).await;
        Ok(())
    }

    async fn open(&mut self, waiting: Option<u64>) -> Result<Session> {
        let timeout = self.settings.dialer.timeout();
        let opened = tokio::time::timeout(timeout, self.subscribe(waiting)).await;
        let opened = opened.unwrap_or_else(|_| Err(self.error(format!("no answer within {timeout:?}").into())));
        opened.inspect_err(|_| {
            self.server = self.server.saturating_add(1).checked_rem(self.settings.dialer.urls().len()).unwrap_or(0);
        })
    }

    async fn subscribe(&mut self, waiting: Option<u64>) -> Result<Session> {
        if let Some(wrong) = &self.settings.wrong {
            return Err(Error::config(wrong.clone()));
        }
        let url = self.settings.dialer.urls().get(self.server).ok_or_else(|| Error::config("no server"))?;
        let line = self.settings.dialer.connect(url).await.map_err(|cause| self.error(cause))?;
        let context = ContextBuilder::new().timeout(NO_TIMEOUT).build(line.client.clone());
        let stream = context.get_stream(&self.settings.stream).await;
        let stream =
            stream.map_err(|error| self.failed("the stream cannot be read; create it if it does not exist", error))?;
        let created = stream.cached_info().created;
        if self.created.replace(created).is_some_and(|before| before != created) {
            // Another stream of this name: the positions of the last one are meaningless.
            self.position = 0;
            self.anew = true;
        }
        let Settings { durable, subject, .. } = &self.settings;
        let config = pull::Config {
            durable_name: durable.clone(),
            description: Some(format!("{OURS}{}", T::KIND)),
            filter_subject: subject.clone(),
            deliver_policy: self.deliver(stream.cached_info().state.last_sequence, waiting),
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.settings.ack_wait,
            inactive_threshold: if durable.is_none() { FORGOTTEN_AFTER } else { Duration::ZERO },
            ..pull::Config::default()
        };
        let consumer = match durable {
            Some(durable) => stream.get_or_create_consumer(durable, config.clone()).await,
            None => stream.create_consumer(config.clone()).await,
        };
        let consumer = consumer.map_err(|error| self.failed("the consumer cannot be created", error))?;
        let acknowledged = consumer.cached_info().ack_floor.stream_sequence;
        if durable.is_some() {
            self.compare(&config, &consumer.cached_info().config)?;
        }
        let messages = consumer
            .stream()
            .max_messages_per_batch(PULL)
            .expires(Duration::from_secs(30))
            .heartbeat(Duration::from_secs(5))
            .messages()
            .await
            .map_err(|error| self.failed("messages cannot be requested", error))?;
        Ok(Session { messages, line, stream, acknowledged })
    }

    /// Checks that the server's consumer of this name has the settings of this one. Two different ones would take each other's messages.
    fn compare(&self, wanted: &pull::Config, found: &consumer::Config) -> Result<()> {
        let mut differ = Vec::new();
        let mut compare = |setting: &str, wanted: &dyn fmt::Debug, found: &dyn fmt::Debug| {
            let (wanted, found) = (format!("{wanted:?}"), format!("{found:?}"));
            if wanted != found {
                differ.push(format!("{setting} is {found} instead of {wanted}"));
            }
        };
        compare("its subject", &wanted.filter_subject, &found.filter_subject);
        compare("ack_wait", &wanted.ack_wait, &found.ack_wait);
        compare("its ack policy", &wanted.ack_policy, &found.ack_policy);
        compare("its replay policy", &wanted.replay_policy, &found.replay_policy);
        compare("headers_only", &wanted.headers_only, &found.headers_only);
        compare("its backoff", &wanted.backoff, &found.backoff);
        compare("max_deliver", &-1, &if found.max_deliver == 0 { -1 } else { found.max_deliver });
        // Consumers made elsewhere have descriptions of their own.
        if let Some(kind) = found.description.as_deref().and_then(|text| text.strip_prefix(OURS)) {
            compare("its kind", &T::KIND, &kind);
        }
        // A consumer created again begins in the middle, and without a setting any beginning is right.
        let is_beginning = matches!(found.deliver_policy, DeliverPolicy::All | DeliverPolicy::New);
        if is_beginning && self.settings.begin.is_some() && self.position == 0 && !self.anew {
            let wanted =
                if self.settings.begin == Some(Begin::Oldest) { DeliverPolicy::All } else { DeliverPolicy::New };
            compare("its beginning", &wanted, &found.deliver_policy);
        }
        if differ.is_empty() {
            return Ok(());
        }
        let Settings { dialer, stream, durable, .. } = &self.settings;
        let (server, name) = (name_of(dialer, self.server), durable.as_deref().unwrap_or_default());
        let what = differ.join("; ");
        Err(Error::config(format!(
            "{server} stream {stream}: a consumer {name} exists with other settings ({what}): use another durable name"
        )))
    }

    fn failed(&self, what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        self.error(Cause::of(format!("{what}: {error}"), error))
    }

    /// Returns the start of a consumer that is new to the server; `last` is the last stored message, `waiting` the first that waits for
    /// other parts.
    fn deliver(&self, last: u64, waiting: Option<u64>) -> DeliverPolicy {
        let begin =
            self.settings.begin.unwrap_or(if self.settings.durable.is_some() { Begin::Oldest } else { Begin::New });
        let begin = if self.anew { Begin::Oldest } else { begin };
        match (self.position, begin) {
            // It was created before and is gone: it continues at its position, or at the first message that waits for others.
            (1.., _) if last >= self.position => {
                let next = self.position.saturating_add(1);
                DeliverPolicy::ByStartSequence { start_sequence: waiting.map_or(next, |first| first.min(next)) }
            }
            // The stream was created again.
            (1.., _) | (0, Begin::Oldest) => DeliverPolicy::All,
            (0, Begin::New) => DeliverPolicy::New,
        }
    }
}

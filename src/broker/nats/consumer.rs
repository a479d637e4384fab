//! A consumer of snapshots from a JetStream stream.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::datetime::DateTime;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::message::{Acker, Message};
use futures::{FutureExt as _, StreamExt as _};
use serde::de::DeserializeOwned;

use super::line::{Line, NO_TIMEOUT};
use super::server::Dialer;
use super::{Server, headers};
use crate::broker::consuming::{Consuming, Subscription};
use crate::broker::link::Cause;
use crate::broker::receive::{Gathering, Received, Receiver};
use crate::{Error, Result, Sample};

/// A consumer of the snapshots that other hosts forwarded to a JetStream stream.
///
/// Each snapshot has the name of its host ([`Snapshot::host`](crate::Snapshot::host)), so the combinators for one machine also work for
/// a fleet: `rates`, `retain`, `changes`. Split snapshots are put together again, duplicates are dropped by their id, and missing
/// messages are counted: [`Consuming::received`].
///
/// Messages in the form of snapshots (JSON, the default, or MessagePack) are yielded as the snapshots that were sent. NDJSON, and a
/// message per sample, are yielded as a snapshot per message, which may have only some of the samples of a tick. Over these, `changes`
/// reports the samples of other messages as gone, and `rates` finds the earlier sample only within the last 60 messages of its host.
/// Send snapshots instead, or use these combinators before sending.
///
/// Delivery is at least once: a message is acknowledged when the item after its snapshot is requested. Messages not acknowledged when a
/// consumer ended are delivered again, to the next one with the same durable name.
///
/// ```no_run
/// use appmon::broker::nats::Consumer;
/// use appmon::{ProcessSample, SnapshotStreamExt};
/// use futures::StreamExt;
///
/// # async fn follow() -> appmon::Result<()> {
/// let mut fleet = Consumer::<ProcessSample>::new("nats://127.0.0.1:4222", "APPMON")?.durable("top").stream().rates();
/// while let Some(snapshot) = fleet.next().await {
///     match snapshot {
///         Ok(snapshot) => println!("{:?}: {} processes", snapshot.host, snapshot.samples.len()),
///         // A malformed message, or the server is away: the stream continues.
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// For samples sent with rates, use `Consumer::<Rated<ProcessSample>>`.
///
/// # What the user needs
///
/// For the stream `APPMON`, and `+` for the name of the consumer, which only a durable one has (else `*`):
///
/// ```text
/// permissions: {
///     publish: ["$JS.API.STREAM.INFO.APPMON", "$JS.API.CONSUMER.INFO.APPMON.+", "$JS.API.CONSUMER.CREATE.APPMON.>",
///               "$JS.API.CONSUMER.DURABLE.CREATE.APPMON.+", "$JS.API.CONSUMER.MSG.NEXT.APPMON.+", "$JS.ACK.APPMON.>"],
///     subscribe: ["_INBOX.>"]
/// }
/// ```
#[must_use = "a consumer does nothing until its stream is polled"]
pub struct Consumer<T> {
    dialer: Dialer,
    stream: String,
    subject: String,
    durable: Option<String>,
    gathering: Gathering,
    begin: Option<Begin>,
    ack_wait: Duration,
    /// The error of the first invalid setting.
    wrong: Option<String>,
    samples: PhantomData<fn() -> T>,
}

/// The start of a new consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// The oldest stored message.
    Oldest,
    /// The next new message.
    New,
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("server", &self.dialer.names())
            .field("stream", &self.stream)
            .field("subject", &self.subject)
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}

impl<T: Sample + DeserializeOwned + Send + 'static> Consumer<T> {
    /// Returns a consumer of the subjects `appmon.KIND.*` of a JetStream stream, with the defaults documented at the methods below.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`](crate::Error::is_config) for a wrong URL, invalid credentials, or an invalid stream
    /// name.
    pub fn new(server: impl Into<Server>, stream: impl Into<String>) -> Result<Self> {
        let stream = name("stream", stream.into())?;
        Ok(Self {
            dialer: server.into().check()?,
            stream,
            subject: format!("appmon.{}.*", T::KIND),
            durable: None,
            gathering: Gathering::All,
            begin: None,
            ack_wait: Duration::from_secs(30),
            wrong: None,
            samples: PhantomData,
        })
    }

    /// Sets the subjects: `*` stands for one token, `>` for all that follow. Default: those of this kind from all hosts,
    /// `appmon.KIND.*`.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    /// Sets a durable name, under which the server stores the position. A later consumer with this name continues there. Default: none;
    /// the server forgets the consumer soon after it is gone.
    ///
    /// If a consumer of this name exists with other settings (its subject, [`ack_wait`](Self::ack_wait), its kind, its
    /// start, …), the stream's items are errors ([`Error::is_config`](crate::Error::is_config)) that name each; likewise for an invalid
    /// name.
    pub fn durable(mut self, durable: impl Into<String>) -> Self {
        match name("consumer", durable.into()) {
            Ok(durable) => self.durable = Some(durable),
            Err(error) => {
                self.wrong.get_or_insert_with(|| format!("durable: {error}"));
            }
        }
        self
    }

    /// Sets that several consumers use the same durable name at the same time. The server distributes the messages among them, so each
    /// receives some messages of every host. Therefore no messages count as missing, and the parts of a split snapshot are passed on
    /// separately. To keep each host at one consumer, give each consumer its own durable name and [subjects](Self::subject) instead.
    pub fn shared(mut self) -> Self {
        self.gathering = Gathering::Shared;
        self
    }

    /// Begins with the oldest stored message. This is the default with a durable name; without one the default is the next new message.
    /// An existing consumer always continues at its position.
    pub fn from_oldest(mut self) -> Self {
        self.begin = Some(Begin::Oldest);
        self
    }

    /// Begins with the next new message.
    pub fn from_now(mut self) -> Self {
        self.begin = Some(Begin::New);
        self
    }

    /// Sets the time without an acknowledgement after which a message is delivered again, to this consumer or another one of its name.
    /// It must be longer than the time between two polls of the stream. The server stores it with a durable name. Default, and zero:
    /// 30 s; at most a hundred years.
    pub fn ack_wait(mut self, time: Duration) -> Self {
        // Sent as signed nanoseconds, and more wraps around on the way.
        self.ack_wait = time.min(Duration::from_secs(100 * 365 * 86_400));
        self
    }

    /// Returns the stream. It connects when it is first polled, and reconnects if needed; it never ends by itself.
    ///
    /// Errors are yielded and do not end it: a malformed message, a snapshot with missing parts, or a server that cannot be reached, once
    /// for each attempt. It waits up to ten seconds between attempts.
    pub fn stream(self) -> Consuming<T> {
        let (name, gathering) = (format!("{self:?}"), self.gathering);
        let subscription =
            Subscribed { consumer: self, session: None, server: 0, position: 0, created: None, anew: false };
        Consuming::new(name, subscription, gathering)
    }
}

/// Checks that a name is one that the server accepts.
fn name(what: &str, name: String) -> Result<String> {
    let allowed = |char: char| char.is_ascii_graphic() && !".*>/\\".contains(char);
    if name.is_empty() || !name.chars().all(allowed) {
        return Err(Error::config(format!(
            "{what} {name:?}: the name must not be empty or have spaces, dots, slashes or wildcards"
        )));
    }
    Ok(name)
}

/// Returns the name of a server by its index, for people.
fn name_of(dialer: &Dialer, server: usize) -> String {
    dialer.urls().get(server).map_or_else(String::new, ToString::to_string)
}

/// The token that acknowledges a message, and its position in the stream.
struct Token {
    acker: Acker,
    sequence: u64,
}

struct Subscribed<T> {
    consumer: Consumer<T>,
    session: Option<Session>,
    /// The index of the current server.
    server: usize,
    /// The last message received from the stream.
    position: u64,
    /// The creation time of the stream of that message.
    created: Option<DateTime>,
    /// Whether the stream was created again since: then all its messages are new.
    anew: bool,
}

struct Session {
    messages: pull::Stream,
    line: Line,
}

/// The prefix of the descriptions of consumers made here; the kind of the samples follows.
const OURS: &str = "appmon ";

/// The number of messages requested at once.
const PULL: usize = 128;

/// How long the server keeps an unnamed consumer after it is gone.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// The delay before returned messages may be delivered to another consumer.
const BACK_AFTER: Duration = Duration::from_millis(100);

impl<T: Sample + DeserializeOwned + Send + 'static> Subscription<T> for Subscribed<T> {
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
        let message = session.next(self.consumer.dialer.timeout()).await;
        let message = message.map_err(|cause| self.error(cause))?;
        self.session = Some(session);
        let sequence = message.info().map_or(0, |info| info.stream_sequence);
        self.position = self.position.max(sequence);
        let (message, acker) = message.split();
        let headers = message.headers.as_ref();
        let get = |name: &str| headers.and_then(|headers: &HeaderMap| headers.get(name)).map(|value| value.as_str());
        let received = Received {
            id: get(headers::ID),
            source: get(headers::SOURCE),
            event_type: get(headers::TYPE),
            content_type: get(headers::CONTENT_TYPE),
            payload: &message.payload,
            place: &message.subject,
        };
        to.push(&received, Token { acker, sequence });
        Ok(())
    }

    async fn acknowledge(&mut self, done: Vec<Token>) {
        // If the connection is lost, the message is delivered again, and acknowledged as a duplicate.
        for token in done {
            let _ = token.acker.ack().await;
        }
    }

    async fn finish(&mut self, back: Vec<Token>) {
        let Some(Session { mut messages, line }) = self.session.take() else { return };
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
        let _ = tokio::time::timeout(self.consumer.dialer.timeout(), ending).await;
    }
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
    fn error(&self, cause: Cause) -> Error {
        let Consumer { dialer, stream, .. } = &self.consumer;
        cause.at(&format!("{} stream {stream}", name_of(dialer, self.server)))
    }

    async fn open(&mut self, waiting: Option<u64>) -> Result<Session> {
        let timeout = self.consumer.dialer.timeout();
        let opened = tokio::time::timeout(timeout, self.subscribe(waiting)).await;
        let opened = opened.unwrap_or_else(|_| Err(self.error(format!("no answer within {timeout:?}").into())));
        opened.inspect_err(|_| {
            self.server = self.server.saturating_add(1).checked_rem(self.consumer.dialer.urls().len()).unwrap_or(0);
        })
    }

    async fn subscribe(&mut self, waiting: Option<u64>) -> Result<Session> {
        if let Some(wrong) = &self.consumer.wrong {
            return Err(Error::config(wrong.clone()));
        }
        let url = self.consumer.dialer.urls().get(self.server).ok_or_else(|| Error::config("no server"))?;
        let line = self.consumer.dialer.connect(url).await.map_err(|cause| self.error(cause))?;
        let context = ContextBuilder::new().timeout(NO_TIMEOUT).build(line.client.clone());
        let stream = context.get_stream(&self.consumer.stream).await;
        let stream =
            stream.map_err(|error| self.failed("the stream cannot be read; create it if it does not exist", error))?;
        let created = stream.cached_info().created;
        if self.created.replace(created).is_some_and(|before| before != created) {
            // Another stream of this name: the positions of the last one are meaningless.
            self.position = 0;
            self.anew = true;
        }
        let Consumer { durable, subject, .. } = &self.consumer;
        let config = pull::Config {
            durable_name: durable.clone(),
            description: Some(format!("{OURS}{}", T::KIND)),
            filter_subject: subject.clone(),
            deliver_policy: self.deliver(stream.cached_info().state.last_sequence, waiting),
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.consumer.ack_wait,
            inactive_threshold: if durable.is_none() { FORGOTTEN_AFTER } else { Duration::ZERO },
            ..pull::Config::default()
        };
        let consumer = match durable {
            Some(durable) => stream.get_or_create_consumer(durable, config.clone()).await,
            None => stream.create_consumer(config.clone()).await,
        };
        let consumer = consumer.map_err(|error| self.failed("the consumer cannot be created", error))?;
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
        Ok(Session { messages, line })
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
        if is_beginning && self.consumer.begin.is_some() && self.position == 0 && !self.anew {
            let wanted =
                if self.consumer.begin == Some(Begin::Oldest) { DeliverPolicy::All } else { DeliverPolicy::New };
            compare("its beginning", &wanted, &found.deliver_policy);
        }
        if differ.is_empty() {
            return Ok(());
        }
        let Consumer { dialer, stream, durable, .. } = &self.consumer;
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
            self.consumer.begin.unwrap_or(if self.consumer.durable.is_some() { Begin::Oldest } else { Begin::New });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProcessSample;

    #[test]
    fn the_longest_wait_for_an_acknowledgement_does_not_wrap_around() {
        let consumer = Consumer::<ProcessSample>::new("nats://127.0.0.1:4222", "samples").unwrap();
        let long = consumer.ack_wait(Duration::MAX).ack_wait;
        assert!(i64::try_from(long.as_nanos()).is_ok());
        assert!(long > Duration::from_secs(50 * 365 * 86_400));
    }
}

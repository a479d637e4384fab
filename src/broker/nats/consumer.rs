//! Out of a stream of JetStream, as snapshots again.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::message::Acker;
use futures::stream::FusedStream;
use futures::{FutureExt as _, Stream, StreamExt as _};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::server::{Link, Opened};
use super::{Server, headers};
use crate::broker::receive::{Gathering, ReceiveCounts, Received, Receiver};

use crate::forward::Backoff;
use crate::{Error, Result, Sample, Snapshot};

/// Makes a stream of snapshots of what other hosts brought to a stream of JetStream.
///
/// Each snapshot says which host it is from ([`Snapshot::host`]), so the same combinators run over a fleet as over one machine:
/// `rates`, `retain`, `changes`. Split snapshots are put together again, doubles are left out by their id, and what never came is
/// counted: [`Consuming::arrived`].
///
/// What was sent as snapshots (JSON or MessagePack, the default) arrives as snapshots. NDJSON, and a message per sample, arrive as a
/// snapshot per message, which may be a piece of what was read together: over these, `changes` tells what is in another piece as gone,
/// and `rates` finds what a sample had before only within the last 60 messages of its host. Compare before sending, or send
/// snapshots.
///
/// It is at least once: a message is acknowledged when the item after its snapshot is asked for. What was not acknowledged when a
/// consumer ended comes again, in the next one of the same durable name.
///
/// ```no_run
/// use appmon::broker::nats::Consumer;
/// use appmon::{ProcessSample, SnapshotStreamExt};
/// use futures::StreamExt;
///
/// # async fn follow() -> appmon::Result<()> {
/// let mut fleet = Consumer::<ProcessSample>::new("nats://127.0.0.1:4222", "APPMON")?.durable("top")?.stream().rates();
/// while let Some(snapshot) = fleet.next().await {
///     match snapshot {
///         Ok(snapshot) => println!("{:?}: {} processes", snapshot.host, snapshot.samples.len()),
///         // A message that was not understood, or the server is away: the stream goes on.
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// Samples that had their rates when they were sent are `Consumer::<Rated<ProcessSample>>`.
#[must_use = "a consumer does nothing until its stream is polled"]
pub struct Consumer<T> {
    server: Opened,
    stream: String,
    subject: String,
    durable: Option<String>,
    gathering: Gathering,
    begin: Option<Begin>,
    ack_wait: Duration,
    samples: PhantomData<fn() -> T>,
}

/// Where a consumer begins that did not exist before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// With the oldest that is stored.
    Oldest,
    /// With what comes from then on.
    New,
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("server", &self.server.name)
            .field("stream", &self.stream)
            .field("subject", &self.subject)
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}

impl<T: Sample + DeserializeOwned + Send + 'static> Consumer<T> {
    /// A consumer of what a stream of JetStream has on the subjects `appmon.KIND.*`, with the defaults the methods below tell.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`](crate::Error::is_config) for a wrong URL, credentials that are none, and what cannot be the name of a
    /// stream.
    pub fn new(server: impl Into<Server>, stream: impl Into<String>) -> Result<Self> {
        let stream = name("stream", stream.into())?;
        Ok(Self {
            server: server.into().open()?,
            stream,
            subject: format!("appmon.{}.*", T::KIND),
            durable: None,
            gathering: Gathering::All,
            begin: None,
            ack_wait: Duration::from_secs(30),
            samples: PhantomData,
        })
    }

    /// Which subjects: `*` stands for one token, `>` for all that follow. Default: those of this kind from all hosts,
    /// `appmon.KIND.*`.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    /// A name under which the server keeps how far it got. One that comes later, or takes over, goes on from there. Default: none,
    /// and the server forgets it soon after it is gone.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`](crate::Error::is_config) for what cannot be the name of a consumer.
    pub fn durable(mut self, durable: impl Into<String>) -> Result<Self> {
        self.durable = Some(name("consumer", durable.into())?);
        Ok(self)
    }

    /// Says that others have the same durable name at the same time: the server shares the messages out between them, and each
    /// has some of every host. So nothing is missed here, and the parts of a split snapshot are given as they come. Where each
    /// host is to stay with one consumer, give each a durable name and [subjects](Self::subject) of its own instead.
    pub fn shared(mut self) -> Self {
        self.gathering = Gathering::Shared;
        self
    }

    /// Begins with the oldest message that is stored. Default: so with a durable name; without one it begins with what comes from
    /// now on. Later, it always goes on where it was.
    pub fn from_oldest(mut self) -> Self {
        self.begin = Some(Begin::Oldest);
        self
    }

    /// Begins with what comes from now on.
    pub fn from_now(mut self) -> Self {
        self.begin = Some(Begin::New);
        self
    }

    /// After how long without an acknowledgement a message comes again, to this consumer or another one of its name: more than the
    /// time between two polls of the stream. It is kept under a durable name. Default, and zero: 30 s; at most a
    /// hundred years.
    pub fn ack_wait(mut self, time: Duration) -> Self {
        // Sent as signed nanoseconds, and more wraps around on the way.
        self.ack_wait = time.min(Duration::from_secs(100 * 365 * 86_400));
        self
    }

    /// The stream. It connects when it is polled first, and again whenever that is needed; it never ends by itself.
    ///
    /// An error is told and does not end it: a message that was not understood, a snapshot of which parts never came, and the
    /// server being away, once for each attempt to reach it, between which it waits up to ten seconds.
    pub fn stream(self) -> Consuming<T> {
        let arrived = Arc::default();
        let end = CancellationToken::new();
        let state = State {
            arrivals: Receiver::new(self.gathering),
            arrived: Arc::clone(&arrived),
            consumer: self,
            session: None,
            position: 0,
            done: Vec::new(),
            end: end.clone(),
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(10)),
            failed: false,
        };
        let name = format!("{:?}", state.consumer);
        let items = futures::stream::unfold(state, |mut state| async move {
            match state.next().await {
                Some(item) => Some((item, state)),
                None => {
                    state.finish().await;
                    None
                }
            }
        });
        Consuming { name, items: Box::pin(items.fuse()), arrived, end }
    }
}

/// A name as the server takes it.
fn name(what: &str, name: String) -> Result<String> {
    let allowed = |char: char| char.is_ascii_graphic() && !".*>/\\".contains(char);
    if name.is_empty() || !name.chars().all(allowed) {
        return Err(Error::config(format!("{name:?} is no name of a {what}: no spaces, dots, slashes, wildcards")));
    }
    Ok(name)
}

/// The stream of a [`Consumer`].
///
/// # Cancel safety
///
/// A dropped `next()` loses nothing. What was given out last when the stream is dropped is not acknowledged, and comes again where
/// there is a durable name, as does what the server sent ahead: after [`ack_wait`](Consumer::ack_wait). [`close`](Self::close) is the better end.
#[must_use = "streams do nothing unless polled"]
pub struct Consuming<T> {
    name: String,
    items: Pin<Box<dyn FusedStream<Item = Result<Snapshot<T>>> + Send>>,
    arrived: Arc<Mutex<ReceiveCounts>>,
    end: CancellationToken,
}

impl<T> Consuming<T> {
    /// Ends it in order: what was given out is acknowledged, and what the server sent ahead is given back, so that whoever goes on
    /// under the same name has most of it at once, and not only after [`ack_wait`](Consumer::ack_wait).
    ///
    /// It takes no longer than the server's [`timeout`](Server::timeout), unless it is connecting just now.
    pub async fn close(mut self) {
        self.end.cancel();
        while self.items.next().await.is_some() {}
    }

    /// What came so far, and what of it was not given on.
    #[must_use]
    pub fn arrived(&self) -> ReceiveCounts {
        *self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the same from elsewhere, while the stream is used.
    pub fn monitor(&self) -> impl Fn() -> ReceiveCounts + Send + Sync + 'static {
        let arrived = Arc::clone(&self.arrived);
        move || *arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Consuming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consuming")
            .field("consumer", &self.name)
            .field("arrived", &self.arrived())
            .finish_non_exhaustive()
    }
}

impl<T> Stream for Consuming<T> {
    type Item = Result<Snapshot<T>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.items.as_mut().poll_next(cx)
    }
}

impl<T> FusedStream for Consuming<T> {
    fn is_terminated(&self) -> bool {
        self.items.is_terminated()
    }
}

/// What acknowledges a message, and its place in the stream.
struct Token {
    acker: Acker,
    sequence: u64,
}

struct State<T> {
    consumer: Consumer<T>,
    arrivals: Receiver<T, Token>,
    arrived: Arc<Mutex<ReceiveCounts>>,
    session: Option<Session>,
    /// The last message of the stream that came.
    position: u64,
    /// What is acknowledged when the next item is asked for.
    done: Vec<Token>,
    end: CancellationToken,
    backoff: Backoff,
    /// Whether the last attempt to connect failed.
    failed: bool,
}

struct Session {
    messages: pull::Stream,
    link: Link,
}

/// How many messages are asked for at once.
const PULL: usize = 128;

/// How long the server remembers a consumer without a name that is gone.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// When what is given back may be sent to somebody else.
const BACK_AFTER: Duration = Duration::from_millis(100);

impl<T: Sample + DeserializeOwned + Send + 'static> State<T> {
    /// The next item; `None` when it is to end.
    async fn next(&mut self) -> Option<Result<Snapshot<T>>> {
        let end = self.end.clone();
        loop {
            self.acknowledge().await;
            if end.is_cancelled() {
                return None;
            }
            if let Some(item) = self.arrivals.pop() {
                self.done = item.done;
                self.tell();
                match item.result {
                    Some(result) => return Some(result),
                    None => continue,
                }
            }
            tokio::select! {
                biased;
                () = end.cancelled() => return None,
                received = self.receive() => if let Err(error) = received {
                    self.session = None;
                    return Some(Err(error));
                }
            }
        }
    }

    async fn acknowledge(&mut self) {
        // Where the connection is gone the message comes again, and is acknowledged as a double.
        for token in self.done.drain(..) {
            let _ = token.acker.ack().await;
        }
    }

    /// Gives back what is not given on any more.
    async fn finish(&mut self) {
        let Some(Session { mut messages, link }) = self.session.take() else { return };
        let mut back = Vec::new();
        while let Some(item) = self.arrivals.pop() {
            back.extend(item.done.into_iter().map(|token| token.acker));
        }
        back.extend(self.arrivals.take_waiting().into_iter().map(|token| token.acker));
        while let Some(Some(Ok(message))) = messages.next().now_or_never() {
            back.push(message.split().1);
        }
        // What is given back at once can be sent to the very request that is taken back here, and is lost until it is due again.
        drop(messages);
        let ending = async {
            for acker in back {
                let _ = acker.ack_with(AckKind::Nak(Some(BACK_AFTER))).await;
            }
            let _ = link.client.flush().await;
        };
        let _ = tokio::time::timeout(self.consumer.server.timeout, ending).await;
    }

    fn tell(&self) {
        *self.arrived.lock().unwrap_or_else(PoisonError::into_inner) = self.arrivals.counts();
    }

    /// Takes in the next message.
    async fn receive(&mut self) -> Result<()> {
        if self.session.is_none() {
            if self.failed {
                tokio::time::sleep(self.backoff.next_wait()).await;
            }
            self.failed = true;
            self.session = Some(self.open().await?);
        }
        let Some(session) = &mut self.session else { return Ok(()) };
        let name = &self.consumer.server.name;
        let message = match session.messages.next().now_or_never() {
            Some(message) => message,
            None => {
                // Nothing is there: time to see that what was acknowledged is on its way.
                let flushed = tokio::time::timeout(self.consumer.server.timeout, session.link.client.flush()).await;
                if !matches!(flushed, Ok(Ok(()))) {
                    return Err(Error::broker(format!("{name}: the connection broke")));
                }
                session.messages.next().await
            }
        };
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(Error::broker_because(format!("{name}: {error}"), error)),
            None => return Err(Error::broker(format!("{name}: the connection broke"))),
        };
        self.failed = false;
        self.backoff.reset();
        let sequence = message.info().map_or(0, |info| info.stream_sequence);
        self.position = self.position.max(sequence);
        let (message, acker) = message.split();
        let headers = message.headers.as_ref();
        let get = |name: &str| headers.and_then(|headers: &HeaderMap| headers.get(name)).map(|value| value.as_str());
        let received = Received {
            id: get(headers::ID).or_else(|| get("Nats-Msg-Id")),
            source: get(headers::SOURCE),
            event_type: get(headers::TYPE),
            content_type: get(headers::CONTENT_TYPE),
            payload: &message.payload,
        };
        self.arrivals.push(&received, Token { acker, sequence });
        self.tell();
        Ok(())
    }

    async fn open(&mut self) -> Result<Session> {
        let Consumer { server, stream: name, durable, subject, .. } = &self.consumer;
        let failed = |what: &str, error: Box<dyn std::error::Error + Send + Sync>| {
            Error::broker_because(format!("{} stream {name}: {what}: {error}", server.name), error)
        };
        let link = server.connect().await?;
        let context = ContextBuilder::new().timeout(server.timeout).build(link.client.clone());
        let stream = context
            .get_stream(name)
            .await
            .map_err(|error| failed("it cannot be had, does it exist?", Box::new(error)))?;
        let config = pull::Config {
            durable_name: durable.clone(),
            filter_subject: subject.clone(),
            deliver_policy: self.deliver(stream.cached_info().state.last_sequence),
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.consumer.ack_wait,
            inactive_threshold: if durable.is_none() { FORGOTTEN_AFTER } else { Duration::ZERO },
            ..pull::Config::default()
        };
        let consumer = match durable {
            Some(durable) => stream.get_or_create_consumer(durable, config).await,
            None => stream.create_consumer(config).await,
        };
        let consumer = consumer.map_err(|error| failed("no consumer can be made", Box::new(error)))?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(PULL)
            .expires(Duration::from_secs(30))
            .heartbeat(Duration::from_secs(5))
            .messages()
            .await
            .map_err(|error| failed("nothing can be asked for", Box::new(error)))?;
        Ok(Session { messages, link })
    }

    /// Where a consumer begins that the server does not know yet; `last` is the last message that is stored.
    fn deliver(&self, last: u64) -> DeliverPolicy {
        let begin =
            self.consumer.begin.unwrap_or(if self.consumer.durable.is_some() { Begin::Oldest } else { Begin::New });
        match (self.position, begin) {
            // It was made before and is not there any more: it goes on where it was, with what waits for other parts.
            (1.., _) if last >= self.position => {
                let waiting =
                    self.arrivals.waiting().map(|token| token.sequence).filter(|sequence| *sequence > 0).min();
                let next = self.position.saturating_add(1);
                DeliverPolicy::ByStartSequence { start_sequence: waiting.map_or(next, |first| first.min(next)) }
            }
            // The stream begins anew.
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

//! A consumer of snapshots from a JetStream stream.

mod settings;
mod subscribed;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use self::settings::{Begin, Settings};
use self::subscribed::Subscribed;
use crate::broker::consuming::Consuming;
use crate::broker::nats::Server;
use crate::broker::receive::Gathering;
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
/// Of streams that send [only what changed](crate::forward::Forwarder::only_changed) it yields whole snapshots. A consumer that begins in
/// between reads what is stored of the subject since the last whole snapshot, if the stream still has that; until it finds one, snapshots
/// are counted as [`unrestored`](crate::broker::ReceiveCounts::unrestored). The host's clock must not be a minute or more
/// ahead of the server's for that. With a durable name it yields all of them since the first that nobody acknowledged: after a consumer that
/// ended without [`close`](Consuming::close) these can come again, until [`ack_wait`](Self::ack_wait) is over.
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
///
/// To read what was sent before of a stream that sends only what changed, `$JS.API.CONSUMER.MSG.NEXT.APPMON.*` and
/// `$JS.API.CONSUMER.DELETE.APPMON.*` as well.
#[must_use = "a consumer does nothing until its stream is polled"]
pub struct Consumer<T> {
    settings: Settings,
    feed: Option<Arc<str>>,
    samples: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl<T: Sample + DeserializeOwned + Clone + Send + 'static> Consumer<T> {
    /// Returns a consumer of the subjects `appmon.KIND.*` of a JetStream stream, with the defaults documented at the methods below.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`](crate::Error::is_config) for a wrong URL, invalid credentials, or an invalid stream
    /// name.
    pub fn new(server: impl Into<Server>, stream: impl Into<String>) -> Result<Self> {
        let stream = name("stream", stream.into())?;
        let settings = Settings {
            dialer: server.into().check()?,
            stream,
            subject: format!("appmon.{}.*", T::KIND),
            durable: None,
            gathering: Gathering::All,
            begin: None,
            ack_wait: Duration::from_secs(30),
            wrong: None,
        };
        Ok(Self { settings, feed: None, samples: PhantomData })
    }

    /// Sets the subjects: `*` stands for one token, `>` for all that follow. Default: those of this kind from all hosts,
    /// `appmon.KIND.*`.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.settings.subject = subject.into();
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
            Ok(durable) => self.settings.durable = Some(durable),
            Err(error) => {
                self.settings.wrong.get_or_insert_with(|| format!("durable: {error}"));
            }
        }
        self
    }

    /// Yields the stream of this name alone, that of a [`Forwarder::feed`](crate::forward::Forwarder::feed); messages of others are
    /// acknowledged and counted. Needed where streams of one kind have samples of different types, such as groups by service and groups
    /// by user. Default: all streams of the kind; [`Snapshot::stream`](crate::Snapshot::stream) has their names.
    pub fn feed(mut self, name: impl Into<Arc<str>>) -> Self {
        self.feed = Some(name.into());
        self
    }

    /// Sets that several consumers use the same durable name at the same time. The server distributes the messages among them, so each
    /// receives some messages of every host. Therefore no messages count as missing, and the parts of a split snapshot are passed on
    /// separately; of a stream that sends [only what changed](crate::forward::Forwarder::only_changed) the whole snapshots are passed on, and
    /// the others are errors. To keep each host at one consumer, give each consumer its own durable name and [subjects](Self::subject) instead.
    pub fn shared(mut self) -> Self {
        self.settings.gathering = Gathering::Shared;
        self
    }

    /// Begins with the oldest stored message. This is the default with a durable name; without one the default is the next new message.
    /// An existing consumer always continues at its position.
    pub fn from_oldest(mut self) -> Self {
        self.settings.begin = Some(Begin::Oldest);
        self
    }

    /// Begins with the next new message.
    pub fn from_now(mut self) -> Self {
        self.settings.begin = Some(Begin::New);
        self
    }

    /// Sets the time without an acknowledgement after which a message is delivered again, to this consumer or another one of its name.
    /// It must be longer than the time between two polls of the stream. The server stores it with a durable name. Default, and zero:
    /// 30 s; at most a hundred years.
    pub fn ack_wait(mut self, time: Duration) -> Self {
        // Sent as signed nanoseconds, and more wraps around on the way.
        self.settings.ack_wait = time.min(Duration::from_secs(100 * 365 * 86_400));
        self
    }

    /// Returns the stream. It connects when it is first polled, and reconnects if needed; it never ends by itself.
    ///
    /// Errors are yielded and do not end it: a malformed message, a snapshot with missing parts, or a server that cannot be reached, once
    /// for each attempt. It waits up to ten seconds between attempts.
    pub fn stream(self) -> Consuming<T> {
        let (name, gathering) = (format!("{self:?}"), self.settings.gathering);
        Consuming::new(name, Subscribed::<T>::new(self.settings), gathering, self.feed)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProcessSample;

    #[test]
    fn the_longest_wait_for_an_acknowledgement_does_not_wrap_around() {
        let consumer = Consumer::<ProcessSample>::new("nats://127.0.0.1:4222", "samples").unwrap();
        let long = consumer.ack_wait(Duration::MAX).settings.ack_wait;
        assert!(i64::try_from(long.as_nanos()).is_ok());
        assert!(long > Duration::from_secs(50 * 365 * 86_400));
    }
}

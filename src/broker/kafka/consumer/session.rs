//! A member of a consumer group.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::oneshot;

use super::offsets::Place;
use crate::broker::blocking::blocking;
use crate::broker::receive::Received;
use crate::{Error, Result};

/// One client, from its first connection until it is closed.
pub(super) struct Session {
    /// Always present, except while it is being dropped.
    client: Option<StreamConsumer<Events>>,
    /// The topic of the last message, shared by most messages.
    topic: Arc<str>,
}

/// The reason why no message was received.
pub(super) struct Failure {
    pub(super) text: String,
    /// Whether this client can no longer be used.
    pub(super) is_fatal: bool,
}

impl Session {
    /// Creates a client on a blocking thread, since reading certificates may block. It does not connect yet.
    pub(super) async fn open(config: ClientConfig, topics: Vec<String>) -> Result<Self> {
        blocking(move || {
            let failed = |what: &str, error: KafkaError| Error::broker_because(format!("{what}: {error}"), error);
            let client = StreamConsumer::from_config_and_context(&config, Events::default())
                .map_err(|error| failed("no consumer", error))?;
            let session = Self { client: Some(client), topic: "".into() };
            let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
            if let Some(client) = &session.client {
                client.subscribe(&topics).map_err(|error| failed("no subscription", error))?;
            }
            Ok(session)
        })
        .await
    }

    /// Waits for the next message and passes it to `to`.
    pub(super) async fn take_in(&mut self, to: impl FnOnce(&Received<'_>, Place)) -> Result<(), Failure> {
        let Some(client) = &self.client else { return std::future::pending().await };
        let message = match client.recv().await {
            Ok(message) => message,
            Err(error) => return Err(client.context().failure(&error)),
        };
        if *self.topic != *message.topic() {
            self.topic = message.topic().into();
        }
        let place = Place { topic: Arc::clone(&self.topic), partition: message.partition(), offset: message.offset() };
        to(&received(&message), place);
        Ok(())
    }

    /// Returns the partitions revoked since the last call.
    pub(super) fn revoked(&self) -> Vec<(String, i32)> {
        self.client.as_ref().map(|client| std::mem::take(&mut client.context().notes().revoked)).unwrap_or_default()
    }

    /// Stores the position of a partition. It is committed with others, within a second.
    pub(super) fn store(&self, place: &Place, next: i64) {
        let Some(client) = &self.client else { return };
        let mut list = TopicPartitionList::with_capacity(1);
        // It fails if the partition has moved to another consumer.
        let _ = list
            .add_partition_offset(&place.topic, place.partition, Offset::Offset(next))
            .and_then(|()| client.store_offsets(&list));
    }
}

impl Session {
    /// Commits the stored positions and leaves the group; waits until that is done.
    pub(super) async fn leave(mut self) {
        let _ = self.retire().await;
    }

    /// Closes the client on a thread of its own, since that waits for answers of brokers.
    fn retire(&mut self) -> oneshot::Receiver<()> {
        let (done, left) = oneshot::channel();
        if let Some(client) = self.client.take() {
            let leave = move || {
                drop(client);
                let _ = done.send(());
            };
            // If no thread can be started, the closure and the client are dropped here.
            let _ = thread::Builder::new().name("appmon-kafka".to_owned()).spawn(leave);
        }
        left
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.retire());
    }
}

fn received<'a>(message: &'a BorrowedMessage<'_>) -> Received<'a> {
    let payload = message.payload().unwrap_or_default();
    let mut received = Received { payload, place: message.topic(), ..Received::default() };
    for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
        let value = header.value.and_then(|value| str::from_utf8(value).ok());
        match header.key {
            "ce_id" => received.id = value,
            "ce_source" => received.source = value,
            "ce_type" => received.event_type = value,
            "ce_stream" => received.stream = value,
            "content-type" => received.content_type = value,
            _ => {}
        }
    }
    received
}

/// The context of the client, which receives its reports while it is polled.
#[derive(Default)]
struct Events {
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    revoked: Vec<(String, i32)>,
    /// The last error messages of librdkafka.
    reason: Option<String>,
}

impl Events {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self, error: &KafkaError) -> Failure {
        let text = self.notes().reason.take().unwrap_or_else(|| error.to_string());
        Failure { text, is_fatal: matches!(error, KafkaError::MessageConsumptionFatal(_)) }
    }
}

impl ClientContext for Events {
    fn error(&self, _: KafkaError, reason: &str) {
        self.notes().reason = Some(reason.to_owned());
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        tracing::debug!(target: "appmon::broker::kafka", ?level, facility, "{line}");
    }
}

impl ConsumerContext for Events {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            let elements = partitions.elements();
            let revoked = elements.iter().map(|element| (element.topic().to_owned(), element.partition()));
            self.notes().revoked.extend(revoked);
        }
    }
}

//! A message: an encoded snapshot or sample, with its attributes.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;

use crate::text::percent_encoded;
use crate::wire::{Codec, Form, Piece};
use crate::{BootId, Error, Monotonic, Result, Timestamp};

/// A message to a broker. Clones share the payload.
///
/// Its attributes are those of [CloudEvents 1.0](https://cloudevents.io): a protocol with headers carries the
/// [`attributes`](Self::attributes) there and the payload unchanged, one without carries both as one JSON document.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// The id. It stays the same when the message is sent again, also by a later process out of a spool.
    pub id: MessageId,
    /// The kind of the samples, such as `process`: [`Sample::KIND`](crate::Sample::KIND).
    pub kind: Arc<str>,
    /// The name of the stream that the samples are of: that of its [feed](crate::forward::Forwarder::feed), and the kind by default.
    pub stream: Arc<str>,
    /// Whether it is a snapshot, what changed since the last one (or a part of these), or a list of samples.
    pub form: Form,
    /// The host that the samples are from; see [`Host`](crate::forward::Host).
    pub host: Arc<str>,
    /// The wall-clock time at which the reading began.
    pub time: Timestamp,
    /// The encoding of the payload.
    pub codec: Codec,
    /// The number of samples in it; of data points or records of a log if it is OTLP.
    pub samples: u32,
    /// The key of the state it holds: of two messages with the same key the later one replaces the earlier. Not sent.
    pub key: u64,
    /// The encoded samples.
    pub payload: Bytes,
}

impl Message {
    /// Returns the `source` of the CloudEvent: `urn:appmon:` and the host, with characters not allowed in a URI escaped.
    #[must_use]
    pub fn source(&self) -> String {
        format!("urn:appmon:{}", percent_encoded(&self.host))
    }

    /// Returns the `type` of the CloudEvent, such as `appmon.process.snapshot`.
    #[must_use]
    pub fn event_type(&self) -> String {
        self.form.event_type(&self.kind)
    }

    /// Returns the id with its source, which is unique among the messages of all hosts. The id alone is not, since a relay numbers the
    /// messages of each host separately. Receivers should recognize duplicates by this text.
    ///
    /// Its form is `SOURCE/ID`, with [`source`](Self::source) and [`id`](Self::id).
    #[must_use]
    pub fn source_and_id(&self) -> String {
        format!("{}/{}", self.source(), self.id)
    }

    /// Returns the attributes of the CloudEvent, by name: `specversion`, `id`, `source`, `type`, `time`, `datacontenttype`, and the
    /// extensions `sequence` (16 hexadecimal digits, and 8 more in a piece: in the order of their text), `partitionkey` (the host) and
    /// `stream` (the name of the stream).
    ///
    /// Protocols add their own prefix to the names: `ce-` in NATS and HTTP, `ce_` in Kafka, none in MQTT 5.
    #[must_use]
    pub fn attributes(&self) -> [(&'static str, Cow<'_, str>); 9] {
        [
            ("specversion", Cow::Borrowed("1.0")),
            ("id", Cow::Owned(self.id.to_string())),
            ("source", Cow::Owned(self.source())),
            ("type", Cow::Owned(self.event_type())),
            ("time", Cow::Owned(self.time.to_string())),
            ("datacontenttype", Cow::Borrowed(self.codec.media_type())),
            ("sequence", Cow::Owned(self.id.sequence())),
            ("partitionkey", Cow::Borrowed(&self.host)),
            ("stream", Cow::Borrowed(&self.stream)),
        ]
    }

    /// Returns the CloudEvent as one JSON document (`application/cloudevents+json`), for protocols without headers. A JSON
    /// payload is its `data`; any other is its `data_base64`.
    #[must_use]
    pub fn structured(&self) -> Bytes {
        let mut json = Vec::with_capacity(self.payload.len().saturating_add(512));
        json.push(b'{');
        for (name, value) in self.attributes() {
            // Cannot fail: a string can always be encoded as JSON.
            json.extend_from_slice(format!("\"{name}\":").as_bytes());
            let _ = serde_json::to_writer(&mut json, &*value);
            json.push(b',');
        }
        if self.codec == Codec::Json {
            json.extend_from_slice(b"\"data\":");
            json.extend_from_slice(&self.payload);
        } else {
            json.extend_from_slice(b"\"data_base64\":\"");
            json.extend_from_slice(base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &self.payload).as_bytes());
            json.push(b'"');
        }
        json.push(b'}');
        json.into()
    }
}

/// The id of a message: unique within its host, and ascending in the order of sending for one producer.
/// [`Message::source_and_id`] is unique among all hosts.
///
/// As text `BOOT_ID:EPOCH:SEQ`, with the last two as 16 hexadecimal digits each; a [`Piece`] of a message has the id of the
/// message, followed by `:FROM-TO-OF`.
///
/// ```
/// use appmon::forward::MessageId;
///
/// let id: MessageId = "0d1c7a1e-9f2b-4c3d-8e4f-0123456789ab:0000000000000007:000000000000002a".parse()?;
/// assert_eq!((id.epoch, id.seq, id.piece), (7, 42, None));
/// # Ok::<(), appmon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct MessageId {
    /// The boot of the machine.
    pub boot_id: BootId,
    /// The producer within the boot; a later one has a larger number.
    pub epoch: u64,
    /// The sequence number of the message, from 0. A gap means that a message was lost or dropped.
    pub seq: u64,
    /// The piece of that message, if the message was too large for the broker and was split.
    pub piece: Option<Piece>,
}

impl MessageId {
    /// Returns the id of message `seq` of a producer.
    #[must_use]
    pub fn new(boot_id: BootId, epoch: u64, seq: u64) -> Self {
        Self { boot_id, epoch, seq, piece: None }
    }

    /// Returns the number of a new producer: the microseconds since boot, and random bits for producers that start in the same
    /// microsecond.
    pub(super) fn new_epoch() -> u64 {
        let micros = Monotonic::now().as_nanos() / 1000;
        (micros << 12) | fastrand::u64(..1 << 12)
    }

    /// Returns its sequence number as a text that sorts in the order of the messages.
    fn sequence(&self) -> String {
        match self.piece {
            None => format!("{:016x}", self.seq),
            Some(piece) => format!("{:016x}{:08x}", self.seq, piece.from),
        }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:016x}:{:016x}", self.boot_id, self.epoch, self.seq)?;
        self.piece.map_or(Ok(()), |piece| write!(f, ":{piece}"))
    }
}

impl FromStr for MessageId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // Each id has exactly one text: no sign, no capitals.
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let number = |digits: &str| {
            let right = digits.len() == 16 && digits.bytes().all(digit);
            right.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        let mut parts = text.split(':');
        let id = (|| {
            let boot_id = parts.next()?.parse().ok()?;
            let id = Self::new(boot_id, number(parts.next()?)?, number(parts.next()?)?);
            let piece = parts.next().map(str::parse).transpose().ok()?;
            parts.next().is_none().then_some(Self { piece, ..id })
        })();
        id.ok_or_else(|| Error::malformed(format!("{text:?} is not a message id")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(codec: Codec, payload: &'static [u8]) -> Message {
        Message {
            id: "0d1c7a1e-9f2b-4c3d-8e4f-0123456789ab:0000000000000007:000000000000002a".parse().unwrap(),
            kind: "process".into(),
            stream: "process".into(),
            form: Form::Snapshot,
            host: "web 17\"/ü".into(),
            time: Timestamp::from_unix_nanos(1_500_000_000),
            codec,
            samples: 1,
            key: 0,
            payload: Bytes::from_static(payload),
        }
    }

    #[test]
    fn ids_read_as_written_and_sort_as_numbers() {
        let id = message(Codec::Json, b"").id;
        assert_eq!(id.to_string().parse::<MessageId>().unwrap(), id);
        let later = MessageId { seq: 0x100, ..id };
        assert!(later > id && later.to_string() > id.to_string());
        let piece = |from| MessageId { piece: Piece::new(from, 300, 300), ..id };
        assert_eq!(piece(15).to_string().parse::<MessageId>().unwrap(), piece(15));
        let ascending = [id, piece(15), piece(16), piece(256), later];
        assert!(ascending.is_sorted() && ascending.map(|id| id.sequence()).is_sorted(), "{ascending:?}");
        for wrong in [
            "",
            "x",
            "0d1c7a1e-9f2b-4c3d-8e4f-0123456789ab:7:2a",
            "0d1c7a1e-9f2b-4c3d-8e4f-0123456789ab:+000000000000007:000000000000002a",
            "0d1c7a1e-9f2b-4c3d-8e4f-0123456789ab:0000000000000007:000000000000002A",
            "0d1c7a1e-9f2b-4c3d-8e4f-0123456789ab:0000000000000007:000000000000002a:",
            "0d1c7a1e-9f2b-4c3d-8e4f-0123456789ab:0000000000000007:000000000000002a:00000001-00000001-00000002",
            "0d1c7a1e-9f2b-4c3d-8e4f-0123456789ab:0000000000000007:000000000000002a:00000000-00000003-00000002",
            "0d1c7a1e-9f2b-4c3d-8e4f-0123456789ab:0000000000000007:000000000000002a:00000000-00000001-00000002-",
        ] {
            assert!(wrong.parse::<MessageId>().unwrap_err().is_malformed(), "{wrong}");
        }
    }

    #[test]
    fn structured_is_a_cloud_event() {
        let json: serde_json::Value =
            serde_json::from_slice(&message(Codec::Json, br#"{"a":[1,2]}"#).structured()).unwrap();
        assert_eq!(json["data"]["a"][1], 2);
        assert_eq!(json["source"], "urn:appmon:web%2017%22%2F%C3%BC");
        assert_eq!(json["partitionkey"], "web 17\"/ü");
        assert_eq!(json["type"], "appmon.process.snapshot");
        let json: serde_json::Value =
            serde_json::from_slice(&message(Codec::MessagePack, b"\x81\xff").structured()).unwrap();
        assert_eq!(json["data_base64"], "gf8=");
    }
}

//! Encoding of snapshots as messages.

#[cfg(feature = "otlp")]
mod otlp;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::forward::chains::Chains;
use crate::forward::feed_name;
use crate::forward::host::Host;
use crate::forward::message::{Message, MessageId};
use crate::forward::origin::Origin;
use crate::wire::{Band, Codec, Delta, Document, Form, Head, Link, Part, RecordRef, Step, TAIL_BYTES};
use crate::{BootId, Lives, Sample, Snapshot};

/// Encodes snapshots as messages: one per snapshot or one per sample, none larger than a limit.
///
/// A snapshot too large for one message becomes several, each with its number (`part`, from 0) and whether it is the last
/// (`last`). Samples are encoded directly into the payload.
///
/// A snapshot received from another host ([`Snapshot::host`]) keeps that host's name, so a relay forwards it under its original
/// host. The messages of each host have sequence numbers of their own.
///
/// ```
/// use appmon::forward::{Encoder, Host};
/// use appmon::{Cancel, Processes, Snapshot, Source};
///
/// let mut snapshot = Snapshot::default();
/// Processes::new().collect(&mut snapshot, &Cancel::new())?;
/// let mut encoder = Encoder::new(Host::new("web-17")?);
/// let encoded = encoder.encode(&snapshot);
/// assert!(encoded.messages[0].payload.starts_with(br#"{"schema":1,"kind":"process","stream":"process","host":"web-17","#));
/// # Ok::<(), appmon::Error>(())
/// ```
#[derive(Debug)]
pub struct Encoder {
    host: Arc<str>,
    /// The kind of the last snapshot, shared by messages of the same kind.
    kind: Arc<str>,
    codec: Codec,
    per_sample: bool,
    max_bytes: usize,
    boot_id: BootId,
    epoch: u64,
    seq: u64,
    /// The next sequence numbers of hosts other than `host`.
    others: HashMap<Arc<str>, u64>,
    /// What was sent, if only what changed is to be sent.
    chains: Option<Chains>,
    /// The size of the last payload: an estimate for the next one.
    last_bytes: usize,
    #[cfg(feature = "otlp")]
    boots: crate::forward::boots::Boots,
    /// The number of samples that fit into a message of OTLP, as the last ones did.
    #[cfg(feature = "otlp")]
    samples_in_message: usize,
}

/// The messages of one snapshot, and the number of samples that are in none of them.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Encoded {
    /// The messages, in order.
    pub messages: Vec<Message>,
    /// Samples left out because one alone is larger than the limit.
    pub oversize: u64,
    /// Samples left out because they could not be encoded: their `Serialize` failed, or the name of their snapshot's host or stream is
    /// none that a host ([`Host::new`]) or stream can have.
    pub failed: u64,
    /// Whether the messages hold what changed, and not the whole snapshot.
    pub is_delta: bool,
}

/// The default limit of a payload: half of the limit that NATS and Kafka have by default.
const MAX_BYTES: usize = 512 << 10;

/// The largest number of other hosts with sequence numbers. Beyond it the encoder starts over, as a new producer.
const MOST_HOSTS: usize = 65_536;

impl Encoder {
    /// Returns an encoder of whole snapshots as JSON, with payloads of up to 512 KiB. Snapshots without a host of their own are from
    /// `host`. The encoder is a new producer: its message ids have a new epoch, and sequence numbers from 0.
    #[must_use]
    pub fn new(host: Host) -> Self {
        Self {
            host: host.shared(),
            kind: "".into(),
            codec: Codec::default(),
            per_sample: false,
            max_bytes: MAX_BYTES,
            boot_id: BootId::current(),
            epoch: MessageId::new_epoch(),
            seq: 0,
            others: HashMap::new(),
            chains: None,
            last_bytes: 0,
            #[cfg(feature = "otlp")]
            boots: crate::forward::boots::Boots::default(),
            #[cfg(feature = "otlp")]
            samples_in_message: 64,
        }
    }

    /// Sets the codec. Default: JSON.
    #[must_use]
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Encodes a message per sample instead of one per snapshot, for consumers that store rows. It costs the broker a message per
    /// process and tick, and a snapshot without samples makes no message. OTLP has its own units, and this has no effect there.
    #[must_use]
    pub fn per_sample(mut self, per_sample: bool) -> Self {
        self.per_sample = per_sample;
        self
    }

    /// Encodes only what changed since the last snapshot of the same stream and host, and everything again whenever `keyframe_every` has
    /// passed by the time of the snapshots: see [`Forwarder::only_changed`](crate::forward::Forwarder::only_changed). Every message must
    /// reach the consumers; after one that may not, [`restart_chains`](Self::restart_chains). No effect on samples one by one
    /// ([`per_sample`](Self::per_sample), NDJSON) and on events.
    #[must_use]
    pub fn only_changed(mut self, keyframe_every: Duration) -> Self {
        self.set_chains(keyframe_every, Vec::new());
        self
    }

    pub(super) fn set_chains(&mut self, keyframe_every: Duration, bands: Vec<(String, Band)>) {
        self.chains = Some(Chains::new(keyframe_every, bands));
    }

    /// Encodes the next snapshot of each stream whole, because a message that was encoded may not reach the consumers.
    pub fn restart_chains(&mut self) {
        if let Some(chains) = &mut self.chains {
            chains.restart();
        }
    }

    /// Sets the largest payload, in bytes; at least 4 KiB. Default: 512 KiB.
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.set_max_bytes(bytes);
        self
    }

    pub(super) fn set_max_bytes(&mut self, bytes: usize) {
        self.max_bytes = bytes.max(4 << 10);
    }

    /// Encodes a snapshot. The name of its stream is [`Snapshot::stream`], if it has one, and otherwise the kind of its samples.
    ///
    /// The message ids continue those of the last call.
    #[must_use]
    pub fn encode<T: Sample + Serialize>(&mut self, snapshot: &Snapshot<T>) -> Encoded {
        self.encode_as(None, snapshot)
    }

    /// Encodes a snapshot of the stream with this name.
    ///
    /// The message ids continue those of the last call, whatever stream that was for.
    #[must_use]
    pub fn encode_as<T: Sample + Serialize>(&mut self, stream: Option<&Arc<str>>, snapshot: &Snapshot<T>) -> Encoded {
        let mut encoded = Encoded::default();
        if *self.kind != *T::KIND {
            self.kind = T::KIND.into();
        }
        let Some(host) = self.host_of(snapshot) else {
            encoded.failed = snapshot.samples.len() as u64;
            return encoded;
        };
        let stream = stream.or(snapshot.stream.as_ref()).unwrap_or(&self.kind);
        if *stream != self.kind && feed_name::check(stream).is_err() {
            encoded.failed = snapshot.samples.len() as u64;
            return encoded;
        }
        let origin = Origin { host, stream: Arc::clone(stream) };
        #[cfg(feature = "otlp")]
        if self.codec == Codec::Otlp {
            self.encode_otlp(snapshot, &origin, &mut encoded);
            return encoded;
        }
        if self.codec == Codec::Ndjson || self.per_sample {
            self.encode_samples(snapshot, &origin, &mut encoded);
        } else if self.chains.is_some() && !T::IS_EVENT {
            self.encode_in_chain(snapshot, &origin, &mut encoded);
        } else {
            self.encode_whole(snapshot, &origin, None, &mut encoded);
        }
        encoded
    }

    /// Encodes what changed, or the whole as a keyframe.
    fn encode_in_chain<T: Sample + Serialize>(
        &mut self,
        snapshot: &Snapshot<T>,
        origin: &Origin,
        encoded: &mut Encoded,
    ) {
        let Some(mut chains) = self.chains.take() else { return };
        let chain = chains.of::<T>(origin);
        // A second round, where what changed does not do: a keyframe.
        for _ in 0..2 {
            let Some(step) = chain.next(snapshot) else { break };
            let Some(written) = self.encode_step(snapshot, origin, &step) else {
                chain.restart();
                continue;
            };
            *encoded = written;
            if encoded.oversize == 0 && encoded.failed == 0 {
                chain.sent(step);
            } else {
                // Nothing may refer to a snapshot that lacks samples.
                chain.restart();
            }
            self.chains = Some(chains);
            return;
        }
        chain.restart();
        self.chains = Some(chains);
        self.encode_whole(snapshot, origin, None, encoded);
    }

    /// Encodes a step of a chain. `None` if what changed cannot be sent as such: samples would be left out, or saying which ones
    /// changed takes a large part of a message.
    fn encode_step<T: Sample + Serialize>(
        &mut self,
        snapshot: &Snapshot<T>,
        origin: &Origin,
        step: &Step,
    ) -> Option<Encoded> {
        let mut encoded = Encoded::default();
        let Some(delta) = &step.delta else {
            self.encode_whole(snapshot, origin, Some(step.link), &mut encoded);
            return Some(encoded);
        };
        let chain = Some((step.link, Some(delta)));
        let head = self.head(snapshot, origin, chain, None)?;
        if head.len() > self.max_bytes / 8 {
            return None;
        }
        let before = *self.seq_of(&origin.host);
        let samples = step.samples.iter().filter_map(|index| snapshot.samples.get(*index));
        self.encode_documents(snapshot, samples, origin, chain, head, &mut encoded);
        if encoded.oversize > 0 || encoded.failed > 0 {
            // Those messages are not sent, so their numbers are still free.
            *self.seq_of(&origin.host) = before;
            return None;
        }
        encoded.is_delta = true;
        Some(encoded)
    }

    /// Encodes all samples as one document, or as several up to the limit.
    fn encode_whole<T: Sample + Serialize>(
        &mut self,
        snapshot: &Snapshot<T>,
        origin: &Origin,
        link: Option<Link>,
        encoded: &mut Encoded,
    ) {
        let chain = link.map(|link| (link, None));
        match self.head(snapshot, origin, chain, None) {
            Some(head) => self.encode_documents(snapshot, snapshot.samples.iter(), origin, chain, head, encoded),
            None => encoded.failed = encoded.failed.saturating_add(snapshot.samples.len() as u64),
        }
    }

    /// Returns the name of the host a snapshot is from; `None` if the snapshot has a name that no host can have.
    fn host_of<T>(&mut self, snapshot: &Snapshot<T>) -> Option<Arc<str>> {
        let Some(host) = snapshot.host.as_ref().filter(|host| **host != self.host) else {
            return Some(Arc::clone(&self.host));
        };
        if !self.others.contains_key(host) {
            Host::new(host).ok()?;
            if self.others.len() >= MOST_HOSTS {
                self.others.clear();
                self.seq = 0;
                self.epoch = MessageId::new_epoch().max(self.epoch.saturating_add(1));
            }
            self.others.insert(Arc::clone(host), 0);
        }
        Some(Arc::clone(host))
    }

    fn seq_of(&mut self, host: &str) -> &mut u64 {
        self.others.get_mut(host).unwrap_or(&mut self.seq)
    }

    fn next_seq(&mut self, host: &str) -> u64 {
        let next = self.seq_of(host);
        let seq = *next;
        *next = seq.saturating_add(1);
        seq
    }

    /// Encodes samples one by one: as lines up to the limit, or one in each message.
    fn encode_samples<T: Sample + Serialize>(
        &mut self,
        snapshot: &Snapshot<T>,
        origin: &Origin,
        encoded: &mut Encoded,
    ) {
        let mut payload = self.payload();
        let mut samples = 0_u32;
        for sample in snapshot {
            let start = payload.len();
            let (seq, boot_id, time) = (snapshot.seq, snapshot.boot_id, snapshot.time);
            let record =
                RecordRef { seq, boot_id, time, stream: Some(&origin.stream), host: Some(&origin.host), sample };
            if !self.codec.write(&mut payload, &record) {
                payload.truncate(start);
                encoded.failed = encoded.failed.saturating_add(1);
                continue;
            }
            if self.codec == Codec::Ndjson {
                payload.push(b'\n');
            }
            if payload.len().saturating_sub(start) > self.max_bytes {
                payload.truncate(start);
                encoded.oversize = encoded.oversize.saturating_add(1);
                continue;
            }
            if self.per_sample {
                let key = key::<T>(origin, Some(&sample.key()));
                let full = std::mem::take(&mut payload);
                encoded.messages.push(self.message::<T>(snapshot, origin, Form::Samples, key, 1, full));
                payload = self.payload();
                continue;
            }
            if payload.len() > self.max_bytes {
                let rest = payload.split_off(start);
                let full = std::mem::replace(&mut payload, rest);
                encoded.messages.push(self.message::<T>(
                    snapshot,
                    origin,
                    Form::Samples,
                    key::<T>(origin, None),
                    samples,
                    full,
                ));
                samples = 0;
            }
            samples = samples.saturating_add(1);
        }
        if samples > 0 {
            encoded.messages.push(self.message::<T>(
                snapshot,
                origin,
                Form::Samples,
                key::<T>(origin, None),
                samples,
                payload,
            ));
        }
    }

    /// Encodes samples as one document with this head, or as several up to the limit.
    fn encode_documents<'s, T: Sample + Serialize + 's>(
        &mut self,
        snapshot: &Snapshot<T>,
        samples: impl Iterator<Item = &'s T>,
        origin: &Origin,
        chain: Option<(Link, Option<&Delta>)>,
        head: Vec<u8>,
        encoded: &mut Encoded,
    ) {
        let form = if chain.is_some_and(|(_, delta)| delta.is_some()) { Form::Delta } else { Form::Snapshot };
        let key = key::<T>(origin, None);
        // What lived is in the heads of the first parts, as far as it goes; the others have none.
        let lives =
            snapshot.lives.as_deref().map(|lives| self.heads(snapshot, origin, chain, lives)).unwrap_or_default();
        let mut heads = lives.into_iter();
        let mut next_head = || heads.next().map_or_else(|| (head.clone(), true), |head| (head, false));
        let (first, mut is_plain) = next_head();
        let mut document = Document::open(self.codec, &first, self.payload());
        let mut parts = 0_u32;
        let limit = self.max_bytes.saturating_sub(TAIL_BYTES);
        for sample in samples {
            let mut start = document.separate();
            if !self.codec.write(&mut document.bytes, sample) {
                document.bytes.truncate(start);
                encoded.failed = encoded.failed.saturating_add(1);
                continue;
            }
            // A sample that has no room beside what lived may have some without.
            while document.bytes.len() > limit && (document.samples > 0 || !is_plain) {
                let rest = document.cut(start);
                let (samples, full) = document.close(Some(Part { number: parts, last: false }), None);
                encoded.messages.push(self.message::<T>(snapshot, origin, form, key, samples, full));
                parts = parts.saturating_add(1);
                let next;
                (next, is_plain) = next_head();
                document = Document::open(self.codec, &next, self.payload());
                start = document.empty;
                document.bytes.extend_from_slice(&rest);
            }
            if document.bytes.len() > limit {
                document.bytes.truncate(document.empty);
                encoded.oversize = encoded.oversize.saturating_add(1);
                continue;
            }
            document.samples = document.samples.saturating_add(1);
        }
        for head in heads {
            let (samples, full) = document.close(Some(Part { number: parts, last: false }), None);
            encoded.messages.push(self.message::<T>(snapshot, origin, form, key, samples, full));
            parts = parts.saturating_add(1);
            document = Document::open(self.codec, &head, self.payload());
        }
        let (samples, full) = document.close((parts > 0).then_some(Part { number: parts, last: true }), None);
        encoded.messages.push(self.message::<T>(snapshot, origin, form, key, samples, full));
    }

    /// The encoded head of a snapshot; `None` if it cannot be encoded.
    fn head<T: Sample>(
        &self,
        snapshot: &Snapshot<T>,
        origin: &Origin,
        chain: Option<(Link, Option<&Delta>)>,
        lives: Option<&Lives>,
    ) -> Option<Vec<u8>> {
        let mut head = Head::new::<T>(snapshot, &origin.host, &origin.stream);
        if let Some((link, delta)) = chain {
            head = head.in_chain(link, delta);
        }
        if let Some(lives) = lives {
            head = head.with_lives(lives);
        }
        let mut bytes = Vec::with_capacity(512);
        self.codec.write(&mut bytes, &head).then_some(bytes)
    }

    /// Heads with what lived, as many as it takes for each to leave half of a message to the samples.
    fn heads<T: Sample>(
        &self,
        snapshot: &Snapshot<T>,
        origin: &Origin,
        chain: Option<(Link, Option<&Delta>)>,
        lives: &Lives,
    ) -> Vec<Vec<u8>> {
        let mut heads = Vec::new();
        let mut rest = vec![lives.clone()];
        while let Some(mut lives) = rest.pop() {
            let head = self.head(snapshot, origin, chain, Some(&lives));
            let is_large = head.as_ref().is_some_and(|head| head.len() > self.max_bytes / 2);
            match lives.split().filter(|_| is_large) {
                // The first half is next.
                Some(half) => rest.extend([half, lives]),
                None => heads.extend(head),
            }
        }
        heads
    }

    fn payload(&self) -> Vec<u8> {
        // A little more than the last one, so that a slightly larger payload needs no reallocation.
        Vec::with_capacity(self.last_bytes.saturating_add(self.last_bytes / 16).saturating_add(64))
    }

    fn message<T: Sample>(
        &mut self,
        snapshot: &Snapshot<T>,
        origin: &Origin,
        form: Form,
        key: u64,
        samples: u32,
        payload: Vec<u8>,
    ) -> Message {
        let id = MessageId::new(self.boot_id, self.epoch, self.next_seq(&origin.host));
        self.last_bytes = payload.len();
        // A later event does not replace an earlier one, so each has a key of its own.
        let key = if T::IS_EVENT { key_of_event(&origin.host, id) } else { key };
        Message {
            id,
            kind: Arc::clone(&self.kind),
            stream: Arc::clone(&origin.stream),
            form,
            host: Arc::clone(&origin.host),
            time: snapshot.time,
            codec: self.codec,
            samples,
            key,
            payload: payload.into(),
        }
    }
}

/// Returns the key of the state a message holds: one sample of a stream of a host, or all of them.
fn key<T: Sample>(origin: &Origin, of: Option<&T::Key>) -> u64 {
    let mut hasher = DefaultHasher::new();
    origin.hash(&mut hasher);
    T::KIND.hash(&mut hasher);
    of.hash(&mut hasher);
    hasher.finish()
}

/// Returns the key of a message of events, which is that of no other message.
fn key_of_event(host: &str, id: MessageId) -> u64 {
    let mut hasher = DefaultHasher::new();
    (host, id).hash(&mut hasher);
    hasher.finish()
}

//! Encoding as OTLP.

use serde::Serialize;

use super::{Encoded, Encoder, key};
use crate::forward::origin::Origin;
use crate::wire::{Form, Logs, Points, pieces, record};
use crate::{Sample, Snapshot};

impl Encoder {
    /// Encodes samples with a field table as metrics, and all others as records of a log.
    pub(super) fn encode_otlp<T: Sample + Serialize>(
        &mut self,
        snapshot: &Snapshot<T>,
        origin: &Origin,
        encoded: &mut Encoded,
    ) {
        let Some(metrics) = T::metrics().filter(|_| !T::IS_EVENT) else {
            return self.encode_logs(snapshot, origin, encoded);
        };
        let booted = self.boots.of(&origin.host, snapshot);
        let points = Points::new(&metrics, snapshot, &origin.host, booted);
        let mut rest = &*snapshot.samples;
        // As many as fit, judged by the last ones.
        let mut count = self.samples_in_message;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(count.clamp(1, rest.len()));
            let (payload, samples) = points.request(now);
            if payload.len() > self.max_bytes && now.len() > 1 {
                count = now.len() / 2;
                continue;
            }
            rest = later;
            if payload.len() > self.max_bytes {
                // One sample, whose points have room in several messages.
                for (piece, payload) in pieces(Form::Snapshot, &payload, self.max_bytes, None).unwrap_or_default() {
                    if payload.len() > self.max_bytes {
                        encoded.oversize = encoded.oversize.saturating_add(1);
                        continue;
                    }
                    let (key, points) = (key::<T>(origin, None), piece.to.saturating_sub(piece.from));
                    encoded.messages.push(self.message::<T>(snapshot, origin, Form::Snapshot, key, points, payload));
                }
                continue;
            }
            if payload.len() < self.max_bytes / 2 {
                count = count.max(now.len()).saturating_mul(2);
            }
            if samples > 0 {
                let key = key::<T>(origin, None);
                encoded.messages.push(self.message::<T>(snapshot, origin, Form::Snapshot, key, samples, payload));
            }
        }
        self.samples_in_message = count.clamp(1, 1 << 20);
    }

    fn encode_logs<T: Sample + Serialize>(&mut self, snapshot: &Snapshot<T>, origin: &Origin, encoded: &mut Encoded) {
        let mut logs = Logs::new(&origin.host);
        let empty = logs.bytes();
        for sample in snapshot {
            let Some(record) = record(T::KIND, snapshot.time, sample) else {
                encoded.failed = encoded.failed.saturating_add(1);
                continue;
            };
            let size = Logs::size_of(&record);
            let alone = empty.saturating_add(size);
            if alone > self.max_bytes {
                encoded.oversize = encoded.oversize.saturating_add(1);
                continue;
            }
            if logs.bytes().saturating_add(alone) > self.max_bytes {
                self.close(std::mem::replace(&mut logs, Logs::new(&origin.host)), snapshot, origin, encoded);
            }
            logs.push(record, size);
        }
        self.close(logs, snapshot, origin, encoded);
    }

    fn close<T: Sample>(&mut self, logs: Logs<'_>, snapshot: &Snapshot<T>, origin: &Origin, encoded: &mut Encoded) {
        if logs.is_empty() {
            return;
        }
        let (payload, samples) = logs.request();
        let key = key::<T>(origin, None);
        encoded.messages.push(self.message::<T>(snapshot, origin, Form::Samples, key, samples, payload));
    }
}

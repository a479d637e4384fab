//! Samples as records of a log: events, and whatever has no metrics.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use prost::Message;
use serde::Serialize;
use serde_json::Value as Json;

use super::{resource, scope};
use crate::Timestamp;

/// Records that are becoming a request.
pub(crate) struct Logs<'a> {
    host: &'a str,
    records: Vec<LogRecord>,
    bytes: usize,
}

impl<'a> Logs<'a> {
    pub(crate) fn new(host: &'a str) -> Self {
        Self { host, records: Vec::new(), bytes: request(host, Vec::new()).encoded_len().saturating_add(32) }
    }

    /// Returns the size of the request in bytes: an upper bound.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns the size of a record in a request: an upper bound.
    pub(crate) fn size_of(record: &LogRecord) -> usize {
        // Tag and length.
        record.encoded_len().saturating_add(6)
    }

    /// Adds a record of this [size](Self::size_of).
    pub(crate) fn push(&mut self, record: LogRecord, size: usize) {
        self.bytes = self.bytes.saturating_add(size);
        self.records.push(record);
    }

    /// Returns the request, and the number of its records.
    pub(crate) fn request(self) -> (Vec<u8>, u32) {
        let count = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        (request(self.host, self.records).encode_to_vec(), count)
    }
}

fn request(host: &str, log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let scopes = vec![ScopeLogs { scope: Some(scope()), log_records, ..ScopeLogs::default() }];
    let resource = Some(resource(host));
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { resource, scope_logs: scopes, ..ResourceLogs::default() }],
    }
}

/// Returns a sample as a record: its fields are the attributes, and its JSON is the body. `None` if it cannot be encoded.
pub(crate) fn record(kind: &str, time: Timestamp, sample: &impl Serialize) -> Option<LogRecord> {
    let json = serde_json::to_value(sample).ok()?;
    let body = Value::StringValue(json.to_string());
    let attributes = match json {
        Json::Object(fields) => fields.into_iter().map(|(key, value)| pair(key, value)).collect(),
        // The body says it all.
        _ => Vec::new(),
    };
    Some(LogRecord {
        time_unix_nano: time.as_unix_nanos(),
        observed_time_unix_nano: time.as_unix_nanos(),
        severity_number: SeverityNumber::Info.into(),
        body: Some(AnyValue { value: Some(body) }),
        attributes,
        event_name: format!("appmon.{kind}"),
        ..LogRecord::default()
    })
}

fn pair(key: String, value: Json) -> KeyValue {
    KeyValue { key, value: Some(any(value)), ..KeyValue::default() }
}

fn any(json: Json) -> AnyValue {
    let value = match json {
        Json::Null => None,
        Json::Bool(value) => Some(Value::BoolValue(value)),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Some(Value::IntValue(whole)),
            None => number.as_f64().map(Value::DoubleValue),
        },
        Json::String(text) => Some(Value::StringValue(text)),
        Json::Array(values) => Some(Value::ArrayValue(ArrayValue { values: values.into_iter().map(any).collect() })),
        Json::Object(fields) => {
            let values = fields.into_iter().map(|(key, value)| pair(key, value)).collect();
            Some(Value::KvlistValue(KeyValueList { values }))
        }
    };
    AnyValue { value }
}

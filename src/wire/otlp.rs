//! OTLP, the protocol of OpenTelemetry: samples as metrics, or as records of a log.

mod logs;
mod metrics;
mod pieces;

pub(crate) use logs::{Logs, record};
pub(crate) use metrics::Points;
pub(crate) use pieces::pieces;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;

/// The host as a resource. Receivers that follow the conventions of Prometheus make `job` and `instance` of the attributes of the
/// service, and nothing of the others; so without them the series of all hosts would be the same.
pub(super) fn resource(host: &str) -> Resource {
    let attributes =
        vec![text("host.name", host), text("service.name", env!("CARGO_PKG_NAME")), text("service.instance.id", host)];
    Resource { attributes, ..Resource::default() }
}

pub(super) fn scope() -> InstrumentationScope {
    let (name, version) = (env!("CARGO_PKG_NAME").to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    InstrumentationScope { name, version, ..InstrumentationScope::default() }
}

pub(super) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

pub(super) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

//! The attributes of a message as NATS headers, and back.

use std::fmt::Write as _;

use async_nats::{HeaderMap, HeaderName, HeaderValue};

use crate::forward::Message;

/// The headers of a message, as the NATS binding of CloudEvents has them.
pub(super) fn of(message: &Message) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // By this the server sees that a message came before: of this source, for others have the same numbers.
    headers.insert(async_nats::header::NATS_MESSAGE_ID, HeaderValue::from(message.source_and_id()));
    for (name, value) in message.attributes() {
        let name = match name {
            "id" => ID,
            "specversion" => "ce-specversion",
            "source" => SOURCE,
            "type" => TYPE,
            "time" => "ce-time",
            "datacontenttype" => CONTENT_TYPE,
            "sequence" => "ce-sequence",
            "partitionkey" => "ce-partitionkey",
            "stream" => STREAM,
            _ => continue,
        };
        headers.insert(HeaderName::from_static(name), HeaderValue::from(escaped(&value)));
    }
    headers
}

pub(super) const ID: &str = "ce-id";
pub(super) const SOURCE: &str = "ce-source";
pub(super) const TYPE: &str = "ce-type";
pub(super) const STREAM: &str = "ce-stream";
pub(super) const CONTENT_TYPE: &str = "Content-Type";

/// A value as a header may hold it: what is not printable ASCII, and `"` and `%`, escaped as in URLs.
fn escaped(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'%';
    if value.bytes().all(plain) {
        return value.to_owned();
    }
    let mut text = String::with_capacity(value.len().saturating_add(16));
    for byte in value.bytes() {
        if plain(byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

//! Decoding of messages, by their headers.

use serde::de::DeserializeOwned;

use super::message::Received;
use crate::Sample;
use crate::forward::{Host, check_stream_name};
use crate::wire::{self, Decoded};

/// Decodes a message. The error is a text for people.
pub(super) fn decode<T: Sample + DeserializeOwned>(message: &Received<'_>) -> Result<Decoded<T>, String> {
    let decoded = wire::decode::<T>(message.codec()?, message.form(), message.payload)?;
    // Host names are used as keys, and when forwarded again, in subjects and headers: so they are checked.
    if let Some(host) = decoded.snapshot.host.as_deref() {
        Host::new(host).map_err(|error| error.to_string())?;
    }
    if let Some(stream) = decoded.snapshot.stream.as_deref() {
        check_stream_name(stream).map_err(|error| error.to_string())?;
    }
    if decoded.piece.is_some_and(|piece| !piece.is_sound()) {
        return Err("an invalid piece".to_owned());
    }
    Ok(decoded)
}

//! Messages to snapshots, by what their headers say.

use serde::de::DeserializeOwned;

use super::message::Received;
use crate::Sample;
use crate::forward::Host;
use crate::wire::{self, Decoded};

/// Decodes a message; the error says what is wrong with it.
pub(super) fn decode<T: Sample + DeserializeOwned>(message: &Received<'_>) -> Result<Decoded<T>, String> {
    let decoded = wire::decode::<T>(message.codec()?, message.form(), message.payload)?;
    // Names are keys in what follows hosts, and on their way again parts of subjects and headers.
    if let Some(host) = decoded.snapshot.host.as_deref() {
        Host::new(host).map_err(|error| error.to_string())?;
    }
    if decoded.piece.is_some_and(|piece| !piece.is_sound()) {
        return Err("a piece that there cannot be".to_owned());
    }
    Ok(decoded)
}

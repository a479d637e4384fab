//! The encodings of payloads.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The encoding of the payload of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Codec {
    /// `application/json`: one document. The default, for its wide support.
    #[default]
    Json,
    /// `application/x-ndjson`: a line per sample, as columnar stores read it. The attributes of the snapshot (skipped samples, the
    /// duration of the reading) are not included.
    Ndjson,
    /// `application/vnd.msgpack`: MessagePack with the names of the fields, about two thirds of the bytes of JSON.
    MessagePack,
    /// `application/x-protobuf`: requests of OTLP, the protocol of OpenTelemetry, for its receivers, and for brokers that lead there.
    ///
    /// Samples with [metrics](crate::Sample::metrics) are an `ExportMetricsServiceRequest`, in messages of the form
    /// [`Snapshot`](super::Form::Snapshot): named by the semantic conventions, counters as monotonic sums since the
    /// [start](crate::measured::Measured::counters_since) of their subject, times in seconds. Rates are left out. Events, and samples
    /// without metrics, are an `ExportLogsServiceRequest`, in messages of the form [`Samples`](super::Form::Samples): a record each, with
    /// the fields as attributes and the JSON as body. The resource is the host (`host.name`, and `service.instance.id` for receivers that
    /// know nothing else). Such messages are not decoded to snapshots again.
    #[cfg(feature = "otlp")]
    Otlp,
}

#[cfg(not(feature = "otlp"))]
const NAMES: &str = "json, ndjson or msgpack";
#[cfg(feature = "otlp")]
const NAMES: &str = "json, ndjson, msgpack or otlp";

impl Codec {
    /// Returns the media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::MessagePack => "application/vnd.msgpack",
            #[cfg(feature = "otlp")]
            Self::Otlp => "application/x-protobuf",
        }
    }

    /// Returns whether a payload can be a whole snapshot.
    pub(crate) fn has_snapshots(self) -> bool {
        matches!(self, Self::Json | Self::MessagePack)
    }

    /// Returns the codec with this media type; parameters such as `; charset=utf-8` are ignored.
    ///
    /// ```
    /// use appmon::forward::Codec;
    ///
    /// assert_eq!(Codec::from_media_type("Application/JSON; charset=utf-8"), Some(Codec::Json));
    /// assert_eq!(Codec::from_media_type("text/plain"), None);
    /// ```
    #[must_use]
    pub fn from_media_type(text: &str) -> Option<Self> {
        let media_type = text.split(';').next().unwrap_or_default().trim();
        Self::ALL.iter().copied().find(|codec| media_type.eq_ignore_ascii_case(codec.media_type()))
    }

    const ALL: &[Self] = &[
        Self::Json,
        Self::Ndjson,
        Self::MessagePack,
        #[cfg(feature = "otlp")]
        Self::Otlp,
    ];

    /// Appends `value` to `bytes`. Returns false if it cannot be encoded; `bytes` may then contain a part of it.
    pub(crate) fn write(self, bytes: &mut Vec<u8>, value: &impl Serialize) -> bool {
        match self {
            Self::Json | Self::Ndjson => serde_json::to_writer(bytes, value).is_ok(),
            Self::MessagePack => rmp_serde::encode::write_named(bytes, value).is_ok(),
            // It has no form for values of any type.
            #[cfg(feature = "otlp")]
            Self::Otlp => false,
        }
    }

    /// Decodes the output of [`write`](Self::write). The error is a text for people.
    #[cfg(feature = "_receive")]
    pub(crate) fn read<'a, V: Deserialize<'a>>(self, bytes: &'a [u8]) -> Result<V, String> {
        match self {
            Self::Json | Self::Ndjson => serde_json::from_slice(bytes).map_err(|error| error.to_string()),
            Self::MessagePack => rmp_serde::from_slice(bytes).map_err(|error| error.to_string()),
            #[cfg(feature = "otlp")]
            Self::Otlp => Err("it is OTLP, which is for receivers of OpenTelemetry".to_owned()),
        }
    }
}

/// Parses a media type, or a short name: `json`, `ndjson`, `msgpack`, `otlp`.
///
/// ```
/// use appmon::forward::Codec;
///
/// assert_eq!("msgpack".parse::<Codec>()?, Codec::MessagePack);
/// assert_eq!(Codec::MessagePack.to_string().parse::<Codec>()?, Codec::MessagePack);
/// # Ok::<(), appmon::Error>(())
/// ```
impl FromStr for Codec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "json" => Ok(Self::Json),
            "ndjson" => Ok(Self::Ndjson),
            "msgpack" | "message_pack" => Ok(Self::MessagePack),
            #[cfg(feature = "otlp")]
            "otlp" => Ok(Self::Otlp),
            _ => {
                Self::from_media_type(text).ok_or_else(|| Error::config(format!("codec {text:?}: it must be {NAMES}")))
            }
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.media_type())
    }
}
